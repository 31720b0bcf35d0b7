//! Tables that fit a terminal, and numbers as people read them.

use std::io;

use exbit::number;
use exbit::report::printable;
use exbit_kernels::Bits;

/// The widest table; also the width where standard output is no terminal.
const WIDEST: usize = 100;
/// A terminal narrower than this shows folded lines: below it names would say nothing.
const NARROWEST: usize = 60;
/// The shortest that a name is cut to.
const SHORTEST_NAME: usize = 12;
/// Spare columns go before a name is cut to less than this: most still tell layers apart.
const TELLING_NAME: usize = 24;
/// Blanks between two columns.
const GAP: usize = 2;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
    /// Names: words that give way where the table is too wide.
    Name,
}

/// Rows of cells under titles.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
    spare: Vec<&'static str>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The same table, of which these columns go first where there is no room: the last one first.
    pub(crate) fn spare(self, titles: &[&'static str]) -> Self {
        Self {
            spare: titles.to_vec(),
            ..self
        }
    }

    /// Appends a row: one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table as lines of at most `width` columns, as far as its spare columns and its names can
    /// give way.
    pub(crate) fn render(&self, width: usize) -> String {
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        for spare in self.spare.iter().rev() {
            if total(&self.widths(&shown, width, TELLING_NAME)) > width {
                shown.retain(|&c| self.columns[c].0 != *spare);
            }
        }
        let widths = self.widths(&shown, width, SHORTEST_NAME);
        let cells = |row: &[String]| shown.iter().map(|&c| row[c].clone()).collect::<Vec<_>>();
        let sides: Vec<Side> = shown.iter().map(|&c| self.columns[c].1).collect();
        let titles: Vec<String> = self.columns.iter().map(|c| c.0.to_owned()).collect();
        let mut lines = vec![line(&cells(&titles), &widths, &sides)];
        lines.push("─".repeat(total(&widths)));
        let rows = self.rows.iter();
        lines.extend(rows.map(|row| line(&cells(row), &widths, &sides)));
        lines.push(String::new());
        lines.join("\n")
    }

    /// The widths of the columns `shown`, names cut to `shortest` at least where that helps.
    fn widths(&self, shown: &[usize], width: usize, shortest: usize) -> Vec<usize> {
        let cells = |c: usize| self.rows.iter().map(move |row| row[c].chars().count());
        let title = |c: usize| self.columns[c].0.chars().count();
        let widest = |&c: &usize| cells(c).max().unwrap_or(0).max(title(c));
        let mut widths: Vec<usize> = shown.iter().map(widest).collect();
        let names = shown.iter().position(|&c| self.columns[c].1 == Side::Name);
        if let Some(names) = names {
            let without = total(&widths) - widths[names];
            let room = width.saturating_sub(without).max(shortest);
            widths[names] = widths[names].min(room);
        }
        widths
    }
}

/// The width of columns with the gaps between them.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn line(cells: &[String], widths: &[usize], sides: &[Side]) -> String {
    let cell = |((text, &width), side): ((&String, &usize), &Side)| match side {
        Side::Left => format!("{text:<width$}"),
        Side::Right => format!("{text:>width$}"),
        Side::Name => format!("{:<width$}", shorten(text, width)),
    };
    let cells: Vec<String> = cells.iter().zip(widths).zip(sides).map(cell).collect();
    cells.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// The titles of a column of one bit-width: the long one, and the short.
pub(crate) fn bits_titles(bits: Bits) -> (&'static str, &'static str) {
    const TITLES: [(&str, &str); 8] = [
        ("1 bit", "1"),
        ("2 bits", "2"),
        ("3 bits", "3"),
        ("4 bits", "4"),
        ("5 bits", "5"),
        ("6 bits", "6"),
        ("7 bits", "7"),
        ("8 bits", "8"),
    ];
    TITLES[usize::from(bits.get()) - 1]
}

/// A sentence in lines of at most `width` columns, where its words allow.
pub(crate) fn fold(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(format!("  {word}")),
        }
    }
    lines.join("\n")
}

/// The last `width` characters of a name: where names are paths, their ends tell them apart.
fn shorten(name: &str, width: usize) -> String {
    let count = name.chars().count();
    if count <= width {
        return name.to_owned();
    }
    let end: String = name.chars().skip(count + 1 - width).collect();
    format!("…{end}")
}

/// The columns that a table may take on standard output.
pub(crate) fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(io::stdout());
    terminal
        .map_or(WIDEST, |(width, _)| usize::from(width.0))
        .clamp(NARROWEST, WIDEST)
}

/// A number of threads: `1 thread`, `8 threads`.
pub(crate) fn threads(n: usize) -> String {
    match n {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    }
}

/// A count of anything: `512`, `41.5 M`.
pub(crate) fn count(n: u64) -> String {
    number::count(n as f64)
}

/// A count of bit-operations: `41.5 GBOP`.
pub(crate) fn bops(n: u64) -> String {
    number::bops(n as f64)
}

/// Bytes in powers of 1024: `512 B`, `96.0 KiB`.
pub(crate) fn bytes(n: u64) -> String {
    number::bytes(n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_columns_go_before_lines_are_too_long() {
        let columns = ["layer", "MACs", "params", "memory"].map(|t| (t, Side::Right));
        let mut table = Table::new(&columns).spare(&["MACs", "params"]);
        table.row(["conv", "1.81 M", "2.32 k", "24.5 KiB"].map(str::to_owned));
        let titles = |width| {
            let text = table.render(width);
            let line = text.lines().next().map(str::to_owned).unwrap_or_default();
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(titles(31), ["layer", "MACs", "params", "memory"]);
        assert_eq!(titles(30), ["layer", "MACs", "memory"]);
        assert_eq!(titles(10), ["layer", "memory"]);
    }

    #[test]
    fn sentences_are_folded_between_words() {
        assert_eq!(
            fold("1 layer of 2, 4 layers of 3", 13),
            "1 layer of 2,\n  4 layers of\n  3"
        );
        assert_eq!(fold("unbreakable", 3), "unbreakable");
    }

    #[test]
    fn names_give_way_and_keep_their_ends() {
        let mut table = Table::new(&[("layer", Side::Name), ("MACs", Side::Right)]);
        table.row(["/features/features.0/conv/Conv".to_owned(), "12".to_owned()]);
        table.row(["fc".to_owned(), "7".to_owned()]);
        let text = table.render(24);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "layer               MACs");
        assert_eq!(lines[2], "…tures.0/conv/Conv    12");
        assert_eq!(lines[3], "fc                     7");
        assert!(text.lines().all(|l| l.chars().count() <= 24));
        assert!(table.render(5).contains("…0/conv/Conv  "));
    }
}
