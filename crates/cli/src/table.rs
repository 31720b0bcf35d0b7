//! Tables that fit a terminal, and numbers as people read them.

use std::io;

/// The widest table; also the width where standard output is no terminal.
const WIDEST: usize = 100;
/// A terminal narrower than this shows folded lines: below it names would say nothing.
const NARROWEST: usize = 60;
/// The shortest that a name is cut to.
const SHORTEST_NAME: usize = 12;
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
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Appends a row: one cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table as lines of at most `width` columns, as far as its names can give way.
    pub(crate) fn render(&self, width: usize) -> String {
        let widths = self.widths(width);
        let rule = "─".repeat(widths.iter().sum::<usize>() + GAP * (widths.len() - 1));
        let titles: Vec<String> = self.columns.iter().map(|c| c.0.to_owned()).collect();
        let mut lines = vec![self.line(&titles, &widths), rule];
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        lines.push(String::new());
        lines.join("\n")
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let cells = |i: usize| self.rows.iter().map(move |row| row[i].chars().count());
        let widest =
            |(i, c): (usize, &(&str, Side))| cells(i).max().unwrap_or(0).max(c.0.chars().count());
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(widest).collect();
        let total = widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
        let names = self.columns.iter().position(|c| c.1 == Side::Name);
        if let Some(names) = names {
            let without = total - widths[names];
            let room = width.saturating_sub(without).max(SHORTEST_NAME);
            widths[names] = widths[names].min(room);
        }
        widths
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let cell = |((text, &width), (_, side)): ((&String, &usize), &(&str, Side))| match side {
            Side::Left => format!("{text:<width$}"),
            Side::Right => format!("{text:>width$}"),
            Side::Name => format!("{:<width$}", shorten(text, width)),
        };
        let columns = cells.iter().zip(widths).zip(&self.columns);
        let cells: Vec<String> = columns.map(cell).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    }
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

/// Text from a file, which must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

/// The columns that a table may take on standard output.
pub(crate) fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(io::stdout());
    terminal
        .map_or(WIDEST, |(width, _)| usize::from(width.0))
        .clamp(NARROWEST, WIDEST)
}

/// A count of anything: `512`, `41.5 M`.
pub(crate) fn count(n: u64) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")];
    let n = n as f64;
    // Rounding may reach the next step: 999.96 K is 1.00 M.
    match steps.into_iter().find(|(unit, _)| n >= 0.9995 * unit) {
        Some((unit, prefix)) => format!("{} {prefix}", three_digits(n / unit)),
        None => format!("{n}"),
    }
}

/// Bytes in powers of 1024: `512 B`, `96.0 KiB`.
pub(crate) fn bytes(n: u64) -> String {
    let steps = [
        (1024.0 * 1024.0 * 1024.0, "GiB"),
        (1024.0 * 1024.0, "MiB"),
        (1024.0, "KiB"),
    ];
    let n = n as f64;
    match steps.into_iter().find(|(unit, _)| n >= *unit) {
        Some((unit, prefix)) => format!("{} {prefix}", three_digits(n / unit)),
        None => format!("{n} B"),
    }
}

fn three_digits(x: f64) -> String {
    let digits = if x < 9.995 { 2 } else { usize::from(x < 99.95) };
    format!("{x:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let counts = [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 K"),
            (41_500_000, "41.5 M"),
        ];
        counts
            .iter()
            .for_each(|&(n, text)| assert_eq!(count(n), text));
        assert_eq!(count(999_960), "1.00 M");
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (98304, "96.0 KiB"),
            (1 << 30, "1.00 GiB"),
        ];
        sizes
            .iter()
            .for_each(|&(n, text)| assert_eq!(bytes(n), text));
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
