//! What a network consists of and what it costs, layer by layer: the rows of `exbit inspect` and
//! the sums that `exbit eval` prints.
//!
//! A float network and a Program give the same rows. Rows are what runs as one: a layer with the
//! normalisation and activation behind it. Memory is what is alive while a row runs (what it
//! reads and writes, and what later rows still need) at the true bit-widths.

mod float;
mod program;

pub(crate) use float::of_model;
pub(crate) use program::of_program;

use exbit::cost::packed_bytes as packed;
use serde::Serialize;

/// The bits of a float.
const FLOAT: u64 = 32;

/// A network, row by row.
#[derive(Debug)]
pub(crate) struct Survey {
    /// In running order.
    pub(crate) rows: Vec<Row>,
    /// `[C, H, W]`, or `[F]`.
    pub(crate) input: Vec<usize>,
    /// `[C, H, W]`, or `[F]`.
    pub(crate) output: Vec<usize>,
    /// Of the whole network.
    pub(crate) totals: Totals,
}

/// What runs as one.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The first node's name.
    pub(crate) name: String,
    /// The operations.
    pub(crate) op: String,
    /// Of the result: `[C, H, W]`, or `[F]`.
    pub(crate) shape: Vec<usize>,
    /// Multiply-accumulates of one image.
    pub(crate) macs: u64,
    /// Weights, biases and the numbers of normalisation.
    pub(crate) parameters: u64,
    /// Entries of the weight tensor.
    pub(crate) weights: u64,
    /// Bits of a weight; 32 is a float.
    pub(crate) weight_bits: Option<u64>,
    /// Bits of an entry that it reads.
    pub(crate) input_bits: u64,
    /// Packed weights, without biases and scales.
    pub(crate) weight_bytes: u64,
    /// Bytes alive while it runs.
    pub(crate) memory_bytes: u64,
}

/// Sums over the rows; bytes and operations of one image.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Totals {
    pub(crate) macs: u64,
    pub(crate) parameters: u64,
    pub(crate) weight_bytes: u64,
    pub(crate) activation_bytes_sum: u64,
    pub(crate) activation_bytes_peak: u64,
    /// Sum of MACs x weight bits x input bits.
    pub(crate) bops_full: u64,
    /// The same with the first and the last layer counted at 8x8.
    pub(crate) bops_edges_at_8: u64,
    /// Mean over all weights.
    pub(crate) weight_bits_mean: Option<f64>,
}

/// Sets what is alive at each row, `live_bytes` after that of the input alone, and sums everything
/// up; all values take `value_bytes` together.
fn finish(
    mut rows: Vec<Row>,
    live_bytes: &[u64],
    value_bytes: u64,
    shapes: [Vec<usize>; 2],
) -> Survey {
    for (row, &bytes) in rows.iter_mut().zip(&live_bytes[1..]) {
        row.memory_bytes = bytes;
    }
    let [input, output] = shapes;
    Survey {
        totals: totals(&rows, value_bytes, live_bytes[0]),
        rows,
        input,
        output,
    }
}

fn totals(rows: &[Row], activation_bytes_sum: u64, input_bytes: u64) -> Totals {
    let sum = |of: &dyn Fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let layers: Vec<&Row> = rows.iter().filter(|r| r.weight_bits.is_some()).collect();
    let bops = |r: &Row| r.macs * r.weight_bits.unwrap_or(0) * r.input_bits;
    let edges = layers
        .first()
        .into_iter()
        .chain(layers.last().filter(|_| layers.len() > 1));
    let edges: Vec<&&Row> = edges.collect();
    let edge_macs: u64 = edges.iter().map(|r| r.macs).sum();
    let edge_bops: u64 = edges.iter().map(|r| bops(r)).sum();
    let bops_full = sum(&bops);
    let weights = sum(&|r| r.weights);
    let weight_bits = sum(&|r| r.weights * r.weight_bits.unwrap_or(0));
    Totals {
        macs: sum(&|r| r.macs),
        parameters: sum(&|r| r.parameters),
        weight_bytes: sum(&|r| r.weight_bytes),
        activation_bytes_sum,
        activation_bytes_peak: rows
            .iter()
            .map(|r| r.memory_bytes)
            .max()
            .unwrap_or(input_bytes),
        bops_full,
        bops_edges_at_8: bops_full - edge_bops + 64 * edge_macs,
        weight_bits_mean: (weights > 0).then(|| weight_bits as f64 / weights as f64),
    }
}

/// A window in a few characters: `3x3`, `3x3/2`.
fn window_text(kernel: [usize; 2], stride: [usize; 2]) -> String {
    let [h, w] = kernel;
    match stride {
        [1, 1] => format!("{h}x{w}"),
        [s, t] if s == t => format!("{h}x{w}/{s}"),
        [s, t] => format!("{h}x{w}/{s}x{t}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, macs: u64, weight_bits: Option<u64>) -> Row {
        Row {
            name: name.into(),
            op: "Conv".into(),
            shape: vec![1],
            macs,
            parameters: 10,
            weights: weight_bits.map_or(0, |_| 10),
            weight_bits,
            input_bits: 8,
            weight_bytes: weight_bits.map_or(0, |b| packed(10, b)),
            memory_bytes: 0,
        }
    }

    #[test]
    fn sums_are_exact() {
        let rows = vec![
            row("a", 100, Some(8)),
            row("b", 100, Some(4)),
            row("sum", 0, None),
        ];
        let survey = finish(rows, &[7, 107, 110, 111], 118, [vec![1], vec![1]]);
        let memory: Vec<u64> = survey.rows.iter().map(|r| r.memory_bytes).collect();
        assert_eq!(memory, [107, 110, 111]);
        let totals = survey.totals;
        assert_eq!(
            (totals.activation_bytes_sum, totals.activation_bytes_peak),
            (118, 111)
        );
        assert_eq!(
            (totals.bops_full, totals.bops_edges_at_8),
            (6400 + 3200, 12800)
        );
        assert_eq!(
            (totals.weight_bytes, totals.weight_bits_mean),
            (15, Some(6.0))
        );
    }
}
