//! The columns of the report's tables: one list for the terminal and for the page.

use super::{LayerRow, Report, SiteRow, TradeoffPoint};
use crate::number::{bops, bytes, bytes_change, change, count, real, seconds};

/// A column: its heading, and what it shows of a row.
pub(super) struct Column<R> {
    /// Heading over this and the neighbours of the same group; may be empty.
    pub(super) group: &'static str,
    /// Heading.
    pub(super) title: &'static str,
    /// A line on what it is.
    pub(super) meaning: &'static str,
    /// The terminal drops the columns of the largest number first.
    pub(super) drop: u8,
    pub(super) cell: fn(&R) -> Cell,
}

impl<R> Column<R> {
    /// Whether bits are drawn as well as written: in the column that is read from top to bottom.
    pub(super) fn drawn(&self) -> bool {
        self.drop == 1
    }
}

/// What stands in one cell.
#[derive(Debug, PartialEq)]
pub(super) enum Cell {
    /// Not known.
    Blank,
    /// A name or a shape.
    Text(String),
    /// A number as written, and itself.
    Number(String, f64),
    /// Bits of a code.
    Bits(u8),
}

/// The columns of the layer table that `report` has something to say in.
pub(super) fn layer_columns(report: &Report) -> Vec<Column<LayerRow>> {
    let mut columns = sizes();
    columns.extend(precision());
    columns.extend(steps());
    known(columns, &report.layers)
}

/// The columns of the activation table that `report` has something to say in.
pub(super) fn activation_columns(report: &Report) -> Vec<Column<SiteRow>> {
    let columns = vec![
        column("", "activation", "the value's name", 0, |r: &SiteRow| {
            Cell::Text(r.name.clone())
        }),
        column("", "shape", "of one image", 5, |r| shape(&r.shape)),
        column("", "bits", "bits of an entry", 1, |r| Cell::Bits(r.bits)),
        column(
            "range",
            "from",
            "the smallest number that calibration saw",
            3,
            |r| number(r.range.map(|(low, _)| low), real),
        ),
        column(
            "range",
            "to",
            "the largest number that calibration saw",
            3,
            |r| number(r.range.map(|(_, high)| high), real),
        ),
        column("codes", "scale", "the step between two codes", 4, |r| {
            number(r.scale, real)
        }),
        column("codes", "zero", "the code of 0", 4, |r| {
            number(r.zero.map(f64::from), |z| format!("{z}").replace('-', "−"))
        }),
        column(
            "",
            "SQNR, dB",
            "signal to the noise of this rounding alone",
            2,
            |r| number(r.sqnr_db, decibel),
        ),
        column(
            "",
            "sensitivity",
            "loss that these bits are expected to cost",
            2,
            |r| number(r.sensitivity, real),
        ),
    ];
    known(columns, &report.activations)
}

/// The columns of a table of `points` that have something to say.
pub(super) fn point_columns(points: &[TradeoffPoint]) -> Vec<Column<TradeoffPoint>> {
    let columns = vec![
        column(
            "",
            "way",
            "a policy or a network",
            0,
            |p: &TradeoffPoint| p.label.clone().map_or(Cell::Blank, Cell::Text),
        ),
        column("", "top-1", "right answers", 1, |p| {
            number(Some(p.top1), |top1| format!("{top1:.2} %"))
        }),
        column("an image on average", "work", "bit-operations", 2, |p| {
            number(Some(p.bops_mean), bops)
        }),
        column("an image on average", "time", "of the steps", 3, |p| {
            number(p.ms_mean, |ms| seconds(ms / 1e3))
        }),
    ];
    known(columns, points)
}

fn sizes() -> Vec<Column<LayerRow>> {
    vec![
        column("", "layer", "the node's name", 0, |r: &LayerRow| {
            Cell::Text(r.name.clone())
        }),
        // The bits stand first, where a telephone shows them too.
        column("bits", "weights", "bits of a weight", 1, |r| {
            Cell::Bits(r.weight_bits)
        }),
        column("bits", "input", "bits of an entry of the input", 3, |r| {
            r.input_bits.map_or(Cell::Blank, Cell::Bits)
        }),
        column("", "op", "what it computes", 9, |r| match r.op.as_str() {
            "" => Cell::Blank,
            op => Cell::Text(op.into()),
        }),
        column("", "output", "shape of the output for one image", 12, |r| {
            shape(&r.output_shape)
        }),
        column(
            "",
            "weights",
            "number of weights, without the bias",
            7,
            |r| number(Some(r.weights as f64), count),
        ),
        column("", "MACs", "multiply-accumulates of one image", 10, |r| {
            number(Some(r.macs as f64), count)
        }),
    ]
}

fn precision() -> Vec<Column<LayerRow>> {
    vec![
        column(
            "",
            "sensitivity",
            "loss that these weight bits are expected to cost",
            2,
            |r: &LayerRow| number(r.sensitivity, real),
        ),
        column(
            "SQNR, dB",
            "weights",
            "signal to the noise of rounding the weights",
            11,
            |r| number(r.weight_sqnr_db, decibel),
        ),
        column(
            "SQNR, dB",
            "output",
            "signal to all noise gathered up to this layer's result",
            5,
            |r| number(r.output_sqnr_db, decibel),
        ),
        column("cost", "bytes", "packed weights", 4, |r| {
            number(Some(r.weight_bytes as f64), bytes)
        }),
        column("cost", "BOPs", "MACs x weight bits x input bits", 8, |r| {
            number(r.bops.map(|n| n as f64), |n| bops(n).replace("BOP", ""))
        }),
        column(
            "cost",
            "time",
            "measured time of one image on one thread",
            6,
            |r| number(r.time_us, |us| seconds(us * 1e-6)),
        ),
    ]
}

fn steps() -> Vec<Column<LayerRow>> {
    vec![
        column(
            "one bit more",
            "loss",
            "change of the expected loss",
            13,
            |r: &LayerRow| number(r.more.map(|s| s.loss), change),
        ),
        column(
            "one bit more",
            "bytes",
            "change of the weight bytes",
            13,
            |r| number(r.more.map(|s| s.weight_bytes as f64), bytes_change),
        ),
        column(
            "one bit less",
            "loss",
            "change of the expected loss",
            14,
            |r| number(r.less.map(|s| s.loss), change),
        ),
        column(
            "one bit less",
            "bytes",
            "change of the weight bytes",
            14,
            |r| number(r.less.map(|s| s.weight_bytes as f64), bytes_change),
        ),
    ]
}

fn column<R>(
    group: &'static str,
    title: &'static str,
    meaning: &'static str,
    drop: u8,
    cell: fn(&R) -> Cell,
) -> Column<R> {
    Column {
        group,
        title,
        meaning,
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
        Some(v) if !v.is_nan() => Cell::Number(show(v), v),
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
            ["layer", "weights", "weights", "MACs", "bytes"]
        );
        report.layers[1].time_us = Some(f64::NAN);
        report.layers[1].sensitivity = Some(0.0);
        assert_eq!(titles(&report)[4], "sensitivity");
        assert!(!titles(&report).contains(&"time"));
        assert!(layer_columns(&Report::default()).is_empty());
        assert!(activation_columns(&Report::default()).is_empty());
    }
}
