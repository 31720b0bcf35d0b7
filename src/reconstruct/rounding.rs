//! The best rounding of a layer for given second moments.
//!
//! With `H` and `C` centred and `W* = (W C + k W) (H + k I)^-1`, the error of a rounding `V` is
//! `tr((V - W*) (H + k I) (V - W*)')` plus what cannot be helped; `k` keeps directions that the
//! images do not span near the float weight. Each row is a closest-vector problem on a lattice of
//! step `s`; `lattice` solves it from several starting scales around the least-squares one and the
//! best is kept. The bias takes up the means: `b* = b + W E x - V E z`, which is bias correction
//! (Nagel et al., 2019).

use exbit_kernels::Bits;
use exbit_model::Tensor;
use nalgebra::{Cholesky, DMatrix, Dyn};
use rayon::prelude::*;

use super::Moments;
use super::lattice::{Lattice, Start};
use crate::quantized::QuantizedLayer;
use crate::weights::{QuantizedWeight, WeightRange, row_scale};

/// The share of the mean eigenvalue of `H` that `k` is.
const DAMPING: f64 = 0.01;

/// Starting scales, as multiples of the least-squares one.
const SCALES: [f32; 5] = [0.84, 0.92, 1.0, 1.08, 1.16];

/// Rows that are rounded together.
const ROWS: usize = 32;

/// A group's problem: columns sorted so that the heaviest comes last.
struct Problem {
    /// The weight's column at each sorted place, and the sorted place of each column.
    order: Vec<usize>,
    place: Vec<usize>,
    factor: Cholesky<f64, Dyn>,
    lattice: Lattice,
    /// `H_jj`, in the order of the weight's columns.
    importance: Vec<f32>,
    mean_x: Vec<f64>,
    mean_z: Vec<f64>,
    /// `C + k I`, rows in the weight's order, columns sorted.
    target: DMatrix<f64>,
}

/// One row's codes in the order of its weights, its scale and its bias.
type Row = (f32, Vec<i8>, f32);

/// Codes, scales and bias of `bits` for a layer whose inputs have `moments`.
pub fn round(weight: &Tensor, bias: &[f32], bits: Bits, moments: &Moments) -> QuantizedLayer {
    let groups = moments.own.len();
    let (rows, len) = (weight.shape()[0], weight.row_len());
    let per_group = rows / groups;
    let solved: Vec<Row> = (0..groups)
        .into_par_iter()
        .flat_map(|g| {
            let problem = Problem::new(moments, g);
            let first = g * per_group;
            let weights = &weight.data()[first * len..(first + per_group) * len];
            let solve = |(w, b): (&[f32], &[f32])| problem.solve(w, b, bits);
            weights
                .par_chunks(ROWS * len)
                .zip(bias[first..first + per_group].par_chunks(ROWS))
                .flat_map(solve)
                .collect::<Vec<Row>>()
        })
        .collect();
    let scale = solved.iter().map(|s| s.0).collect();
    let bias = solved.iter().map(|s| s.2).collect();
    let codes = solved.into_iter().flat_map(|s| s.1).collect();
    QuantizedLayer {
        weight: QuantizedWeight { bits, codes, scale },
        bias,
    }
}

impl Problem {
    fn new(moments: &Moments, group: usize) -> Self {
        let (depth, n) = (moments.depth, moments.patches.max(1) as f64);
        let d = depth - 1;
        let (own, cross) = (&moments.own[group], &moments.cross[group]);
        let mean_z: Vec<f64> = (0..d).map(|j| own[d * depth + j] / n).collect();
        let mean_x: Vec<f64> = (0..d).map(|j| cross[j * depth + d] / n).collect();
        let centred = |sums: &[f64], i: usize, j: usize, left: &[f64]| {
            sums[i * depth + j] / n - left[i] * mean_z[j]
        };
        let diagonal: Vec<f64> = (0..d)
            .map(|j| centred(own, j, j, &mean_z).max(0.0))
            .collect();
        let mean = diagonal.iter().sum::<f64>() / d as f64;
        let mut damping = DAMPING * mean + 1e-12;
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]));
        loop {
            let on = |i: usize, j: usize| if i == j { damping } else { 0.0 };
            let h = DMatrix::from_fn(d, d, |i, j| {
                centred(own, order[i], order[j], &mean_z) + on(i, j)
            });
            if let Some(factor) = h.clone().cholesky() {
                let target = DMatrix::from_fn(d, d, |i, j| {
                    centred(cross, i, order[j], &mean_x) + on(i, order[j])
                });
                let importance = diagonal.iter().map(|&h| (h + damping) as f32).collect();
                let mut place = vec![0; d];
                order.iter().enumerate().for_each(|(k, &j)| place[j] = k);
                return Self {
                    order,
                    place,
                    lattice: Lattice::new(&h, &factor),
                    factor,
                    importance,
                    mean_x,
                    mean_z,
                    target,
                };
            }
            // Rounding has made `H` indefinite: damp until it is not.
            damping = damping * 10.0 + 1e-9;
        }
    }

    /// The rows of `weights`, whose biases are `bias`.
    fn solve(&self, weights: &[f32], bias: &[f32], bits: Bits) -> Vec<Row> {
        let (rows, d) = (bias.len(), self.order.len());
        let w = DMatrix::from_fn(d, rows, |j, r| f64::from(weights[r * d + j]));
        // Columns are W* of the rows, entries sorted.
        let best = self.factor.solve(&self.target.tr_mul(&w));
        let mut starts = Vec::with_capacity(rows * SCALES.len());
        for r in 0..rows {
            let sorted: Vec<f32> = best.column(r).iter().map(|&w| w as f32).collect();
            let natural: Vec<f32> = self.place.iter().map(|&k| sorted[k]).collect();
            let scale = row_scale(&natural, bits, WeightRange::Mse, &self.importance);
            starts.extend(SCALES.map(|factor| Start {
                row: r,
                scale: scale * factor,
            }));
        }
        let sorted: Vec<f32> = best.iter().map(|&w| w as f32).collect();
        let found = self.lattice.nearest(&sorted, &starts, bits);
        found
            .chunks_exact(SCALES.len())
            .enumerate()
            .filter_map(|(r, all)| {
                let best = all
                    .iter()
                    .max_by(|a, b| a.explained.total_cmp(&b.explained))?;
                let mut codes = vec![0i8; d];
                for (&j, &code) in self.order.iter().zip(&best.codes) {
                    codes[j] = code;
                }
                let shift = |j: usize| {
                    f64::from(weights[r * d + j]) * self.mean_x[j]
                        - f64::from(best.scale * f32::from(codes[j])) * self.mean_z[j]
                };
                let bias = f64::from(bias[r]) + (0..d).map(shift).sum::<f64>();
                Some((best.scale, codes, bias as f32))
            })
            .collect()
    }
}
