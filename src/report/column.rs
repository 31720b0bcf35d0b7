//! The columns of the report's tables: one list for the terminal and for the page.

use super::number::{bops, bytes, bytes_change, change, count, real, seconds};
use super::{LayerRow, Report};

/// A column: its heading, and what it shows of a row.
pub(super) struct Column<R> {
    /// Heading over this and the neighbours of the same group; may be empty.
    pub(super) group: &'static str,
    /// Heading.
    pub(super) title: &'static str,
    /// The terminal drops the columns of the largest number first.
    pub(super) drop: u8,
    pub(super) cell: fn(&R) -> Cell,
}

/// What stands in one cell.
#[derive(Debug, PartialEq)]
pub(super) enum Cell {
    /// Not known.
    Blank,
    /// A name or a shape.
    Text(String),
    /// A number as written.
    Number(String),
    /// Bits of a code: drawn as well as written.
    Bits(u8),
}

/// The columns of the layer table that `report` has something to say in.
pub(super) fn layer_columns(report: &Report) -> Vec<Column<LayerRow>> {
    let mut columns = sizes();
    columns.extend(precision());
    columns.extend(steps());
    known(columns, &report.layers)
}

fn sizes() -> Vec<Column<LayerRow>> {
    vec![
        column("", "layer", 0, |r: &LayerRow| Cell::Text(r.name.clone())),
        column("", "op", 9, |r| match r.op.as_str() {
            "" => Cell::Blank,
            op => Cell::Text(op.into()),
        }),
        column("", "output", 12, |r| shape(&r.output_shape)),
        column("", "weights", 7, |r| number(Some(r.weights as f64), count)),
        column("", "MACs", 10, |r| number(Some(r.macs as f64), count)),
    ]
}

fn precision() -> Vec<Column<LayerRow>> {
    vec![
        column("bits", "weights", 1, |r: &LayerRow| {
            Cell::Bits(r.weight_bits)
        }),
        column("bits", "input", 3, |r| {
            r.input_bits.map_or(Cell::Blank, Cell::Bits)
        }),
        column("", "sensitivity", 2, |r| number(r.sensitivity, real)),
        column("SQNR, dB", "weights", 11, |r| {
            number(r.weight_sqnr_db, decibel)
        }),
        column("SQNR, dB", "output", 5, |r| {
            number(r.output_sqnr_db, decibel)
        }),
        column("cost", "bytes", 4, |r| {
            number(Some(r.weight_bytes as f64), bytes)
        }),
        column("cost", "BOPs", 8, |r| {
            number(r.bops.map(|n| n as f64), |n| bops(n).replace("BOP", ""))
        }),
        column("cost", "time", 6, |r| {
            number(r.time_us, |us| seconds(us * 1e-6))
        }),
    ]
}

fn steps() -> Vec<Column<LayerRow>> {
    vec![
        column("one bit more", "loss", 13, |r: &LayerRow| {
            number(r.more.map(|s| s.loss), change)
        }),
        column("one bit more", "bytes", 13, |r| {
            number(r.more.map(|s| s.weight_bytes as f64), bytes_change)
        }),
        column("one bit less", "loss", 14, |r| {
            number(r.less.map(|s| s.loss), change)
        }),
        column("one bit less", "bytes", 14, |r| {
            number(r.less.map(|s| s.weight_bytes as f64), bytes_change)
        }),
    ]
}

fn column<R>(
    group: &'static str,
    title: &'static str,
    drop: u8,
    cell: fn(&R) -> Cell,
) -> Column<R> {
    Column {
        group,
        title,
        drop,
        cell,
    }
}

/// The columns that are not blank all the way down.
fn known<R>(mut columns: Vec<Column<R>>, rows: &[R]) -> Vec<Column<R>> {
    columns.retain(|c| rows.iter().any(|row| (c.cell)(row) != Cell::Blank));
    columns
}

fn number(value: Option<f64>, show: fn(f64) -> String) -> Cell {
    match value {
        Some(v) if !v.is_nan() => Cell::Number(show(v)),
        Some(_) | None => Cell::Blank,
    }
}

fn shape(sides: &[usize]) -> Cell {
    if sides.is_empty() {
        return Cell::Blank;
    }
    let sides: Vec<String> = sides.iter().map(usize::to_string).collect();
    Cell::Text(sides.join("×"))
}

fn decibel(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.1}").replace('-', "−")
    } else {
        real(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_with_nothing_to_say_are_left_out() {
        let titles = |report: &Report| -> Vec<&str> {
            layer_columns(report).iter().map(|c| c.title).collect()
        };
        let mut report = Report {
            layers: vec![LayerRow::default(), LayerRow::default()],
            ..Report::default()
        };
        assert_eq!(
            titles(&report),
            ["layer", "weights", "MACs", "weights", "bytes"]
        );
        report.layers[1].time_us = Some(f64::NAN);
        report.layers[1].sensitivity = Some(0.0);
        assert_eq!(titles(&report)[4], "sensitivity");
        assert!(!titles(&report).contains(&"time"));
        assert!(layer_columns(&Report::default()).is_empty());
    }
}
