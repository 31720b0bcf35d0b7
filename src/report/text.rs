//! The report for a terminal: never wider than it is told to be.
//!
//! Names come from foreign files, so nothing in them may move the cursor: control characters
//! and marks that reverse the direction of the text are replaced before anything is printed.

use unicode_width::UnicodeWidthChar;

use super::column::{Cell, Column, layer_columns};
use super::headline::{best_steps, figures, sentence, step_words};
use super::{LayerRow, Report};

/// Gap between two columns.
const GAP: usize = 2;

/// Names are not made narrower than this while other columns can go.
const NAME: usize = 24;

impl Report {
    /// The report as lines of at most `columns` columns: figures, budgets, layers, and where one
    /// more bit would help most.
    pub fn to_text(&self, columns: usize) -> String {
        let mut sections = vec![vec![self.title()]];
        sections.push(figure_lines(self, columns));
        let mut told: Vec<String> = Vec::new();
        for budget in &self.budgets {
            told.extend(wrap(
                &format!("budget {} {}", budget.asked, sentence(budget)),
                columns,
            ));
        }
        for remark in &self.remarks {
            told.extend(wrap(remark, columns));
        }
        sections.push(told);
        sections.push(layer_lines(self, columns));
        sections.push(step_lines(self, columns));
        sections.retain(|lines| !lines.is_empty());
        let mut text = String::new();
        for (i, lines) in sections.iter().enumerate() {
            if i > 0 {
                text.push('\n');
            }
            for line in lines {
                text.push_str(fit(line, columns).trim_end());
                text.push('\n');
            }
        }
        text
    }

    fn title(&self) -> String {
        let mut title = self.network.clone();
        if !self.origin.version.is_empty() {
            title.push_str(&format!(", by exbit {}", self.origin.version));
        }
        title
    }
}

fn figure_lines(report: &Report, columns: usize) -> Vec<String> {
    let mut rows = vec![["", "float32", "integer", ""].map(String::from)];
    let figures = figures(report);
    if figures.is_empty() {
        return Vec::new();
    }
    rows.extend(
        figures
            .into_iter()
            .map(|f| [f.name, f.float, f.quantized, f.change]),
    );
    let mut widths: [usize; 4] =
        std::array::from_fn(|c| rows.iter().map(|row| width(&row[c])).max().unwrap_or(0));
    let mut left = vec![true, false, false, true];
    if total(&widths) > columns {
        // The two networks matter more than how they compare.
        left.pop();
    }
    let widths = &mut widths[..left.len()];
    widths[0] = widths[0].min((columns + widths[0]).saturating_sub(total(widths)));
    let line = |row: &[String; 4]| join(&row[..left.len()], widths, &left);
    rows.iter().map(line).collect()
}

fn layer_lines(report: &Report, columns: usize) -> Vec<String> {
    if report.layers.is_empty() {
        return Vec::new();
    }
    let mut shown = layer_columns(report);
    let mut cells: Vec<Vec<String>> = shown.iter().map(|c| texts(c, &report.layers)).collect();
    let mut widths: Vec<usize> = cells.iter().map(|c| widest(c)).collect();
    while total(&widths) > columns {
        let least = shown.iter().map(|c| c.drop).max().unwrap_or(0);
        let name = columns.saturating_sub(total(&widths) - widths[0]);
        if least == 0 || name >= NAME.min(widths[0]) {
            widths[0] = name;
            break;
        }
        let keep: Vec<bool> = shown.iter().map(|c| c.drop < least).collect();
        retain(&mut shown, &keep);
        retain(&mut cells, &keep);
        retain(&mut widths, &keep);
    }
    let left: Vec<bool> = shown.iter().map(|c| is_left(c, &report.layers)).collect();
    let row = |r: usize| -> String {
        let mut row: Vec<String> = cells.iter().map(|column| column[r].clone()).collect();
        if let Some(name) = row.first_mut() {
            *name = end(name, widths[0]);
        }
        join(&row, &widths, &left)
    };
    let mut lines = vec![group_line(&shown, &widths, &left)];
    lines.retain(|line| !line.trim().is_empty());
    lines.extend((0..=report.layers.len()).map(row));
    lines
}

/// A column as text, its title first.
fn texts(column: &Column<LayerRow>, rows: &[LayerRow]) -> Vec<String> {
    let cell = |row: &LayerRow| match (column.cell)(row) {
        Cell::Blank => String::new(),
        Cell::Text(text) | Cell::Number(text, _) => printable(&text),
        Cell::Bits(bits) if column.drawn() => {
            format!("{bits} {}", "■".repeat(usize::from(bits.min(8))))
        }
        Cell::Bits(bits) => bits.to_string(),
    };
    let mut texts = vec![column.title.to_owned()];
    texts.extend(rows.iter().map(cell));
    texts
}

fn is_left(column: &Column<LayerRow>, rows: &[LayerRow]) -> bool {
    let first = rows.iter().map(|row| (column.cell)(row));
    let mut known = first.filter(|cell| *cell != Cell::Blank);
    match known.next() {
        Some(Cell::Text(_)) => true,
        Some(Cell::Bits(_)) => column.drawn(),
        Some(Cell::Blank | Cell::Number(..)) | None => false,
    }
}

/// The headings over groups of columns, each over the first column of its group.
fn group_line(columns: &[Column<LayerRow>], widths: &[usize], left: &[bool]) -> String {
    let mut line = String::new();
    let mut start = 0;
    let mut last = "";
    for ((column, w), left) in columns.iter().zip(widths).zip(left) {
        if column.group != last && !column.group.is_empty() {
            let indent = if *left {
                0
            } else {
                w.saturating_sub(width(column.group))
            };
            line.push_str(&" ".repeat((start + indent).saturating_sub(width(&line))));
            line.push_str(column.group);
        }
        last = column.group;
        start += w + GAP;
    }
    line
}

fn step_lines(report: &Report, columns: usize) -> Vec<String> {
    let steps = best_steps(report, 5);
    if steps.is_empty() {
        return Vec::new();
    }
    let steps: Vec<[String; 2]> = steps
        .into_iter()
        .map(|(row, step)| [printable(&row.name), step_words(row, step)])
        .collect();
    let [name, words] = [0, 1].map(|c| steps.iter().map(|step| width(&step[c])).max().unwrap_or(0));
    let title = "where one more bit takes most of the expected loss away for its bytes";
    let mut lines = wrap(title, columns);
    for step in steps {
        if name + GAP + words <= columns {
            lines.push(join(&step, &[name, words], &[true, true]));
        } else {
            let [name, words] = step;
            lines.extend([name, format!("  {words}")]);
        }
    }
    lines
}

/// Cells side by side, each cut or padded to its width.
fn join(cells: &[String], widths: &[usize], left: &[bool]) -> String {
    let mut line = String::new();
    for (i, (cell, &w)) in cells.iter().zip(widths).enumerate() {
        if i > 0 {
            line.push_str(&" ".repeat(GAP));
        }
        let cell = fit(cell, w);
        let pad = " ".repeat(w.saturating_sub(width(&cell)));
        line.push_str(&if left[i] { cell + &pad } else { pad + &cell });
    }
    line
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn widest(cells: &[String]) -> usize {
    cells.iter().map(|cell| width(cell)).max().unwrap_or(0)
}

fn retain<T>(list: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    list.retain(|_| keep.next().copied().unwrap_or(true));
}

/// The end of a name that is wider than `columns`: where names are paths, it tells them apart.
fn end(name: &str, columns: usize) -> String {
    if width(name) <= columns || columns == 0 {
        return name.to_owned();
    }
    let tail = prefix(name.chars().rev(), columns - 1);
    format!("…{}", &name[name.len() - tail..])
}

/// The text with its middle left out where it is wider than `columns`.
fn fit(text: &str, columns: usize) -> String {
    let text = printable(text);
    if width(&text) <= columns {
        return text;
    }
    let Some(room) = columns.checked_sub(1) else {
        return String::new();
    };
    let head = &text[..prefix(text.chars(), room.div_ceil(2))];
    let tail = prefix(text.chars().rev(), room / 2);
    format!("{head}…{}", &text[text.len() - tail..])
}

/// Bytes of as many first characters as `columns` hold.
fn prefix(chars: impl Iterator<Item = char>, columns: usize) -> usize {
    let mut used = 0;
    let within = |c: &char| {
        used += char_width(*c);
        used <= columns
    };
    chars.take_while(within).map(char::len_utf8).sum()
}

/// The text in lines of at most `columns` where words allow, all but the first set in.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let text = printable(text);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.trim().is_empty() {
            if width(&line) + 1 + width(word) <= columns {
                line.push(' ');
            } else {
                lines.push(std::mem::replace(&mut line, "  ".into()));
            }
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// The text, which may be from a file, without what a terminal would act on.
pub fn printable(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
    };
    text.chars()
        .map(|c| if acts(c) { '\u{fffd}' } else { c })
        .collect()
}

fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Step, sample};
    use super::*;
    use crate::Resource;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut report = sample::resnet(20);
        report.network = "a network 网络 with a very long name ".repeat(9);
        report.layers[3].name = "スクリプト".repeat(30);
        report.remarks.push("x".repeat(300));
        for columns in (0..260).step_by(7) {
            for line in report.to_text(columns).lines() {
                assert!(
                    unicode_width::UnicodeWidthStr::width(line) <= columns,
                    "{columns}: {line}"
                );
            }
        }
    }

    #[test]
    fn columns_go_before_names_are_cut() {
        let report = sample::resnet(20);
        let header = |columns| {
            let text = report.to_text(columns);
            let line = text
                .lines()
                .find(|line| line.starts_with("layer "))
                .unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(header(200).matches("loss").count(), 2);
        assert_eq!(header(60), "layer weights input sensitivity bytes");
        assert_eq!(header(30), "layer weights");
        assert!(report.to_text(60).contains("layer1.0.conv1"));
    }

    #[test]
    fn names_that_are_paths_keep_their_ends() {
        let mut report = sample::resnet(20);
        for (i, layer) in report.layers.iter_mut().enumerate() {
            layer.name = format!("/features/features.{i}/squeeze/Conv");
        }
        let text = report.to_text(80);
        assert!(text.contains("tures/features.7/squeeze/Conv "), "{text}");
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let mut report = sample::resnet(20);
        let hostile = "\u{1b}[2Ja\u{202e}b\n\r\0\u{9b}c";
        report.network = hostile.into();
        report.layers[0].name = hostile.into();
        report.layers[0].op = hostile.into();
        report.remarks.push(hostile.into());
        report.budgets.push(Budget {
            asked: hostile.into(),
            resource: Resource::Bops,
            limit: 1.0,
            reached: 2.0,
        });
        report.layers[0].more = Some(Step {
            bits: 9,
            loss: -1e9,
            weight_bytes: 1,
        });
        for columns in [40, 120] {
            let text = report.to_text(columns);
            let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!text.contains(acts), "{text}");
            assert!(text.contains("[2Ja"));
        }
    }

    #[test]
    fn a_report_of_nothing_has_a_title() {
        let report = Report {
            network: "net".into(),
            ..Report::default()
        };
        assert_eq!(report.to_text(80), "net\n");
    }
}
