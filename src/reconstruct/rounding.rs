//! The best rounding of a layer for given second moments.
//!
//! `S` and `C` being the centred moments `E z z'` and `E x z'`, both are shrunk towards the
//! diagonal `D` of `S`, `H = (1 - r) S + r D`, `C' = (1 - r) C + r D`, because few images span few
//! directions: where they say nothing, the float weight is the target. With `W* = W C' H^-1` the
//! error of a rounding `V` is `tr((V - W*) H (V - W*)')` plus what cannot be helped. Each row is a
//! closest-vector problem on a lattice of step `s`; `lattice` solves it from several starting
//! scales around the least-squares one and the best is kept. The bias takes up the means: `b* = b +
//! W E x - V E z`, which is bias correction (Nagel et al., 2019).

use exbit_kernels::Bits;
use exbit_model::Tensor;
use faer::linalg::solvers::{Llt, Solve};
use faer::{Mat, Side};
use rayon::prelude::*;

use super::Moments;
use super::lattice::{Lattice, Start};
use crate::quantized::QuantizedLayer;
use crate::weights::{QuantizedWeight, WeightRange, row_scale};

/// What is added to the diagonal besides, as a share of its mean: columns that are always zero.
const FLOOR: f64 = 0.001;

/// Starting scales, as multiples of the least-squares one.
const SCALES: [f32; 5] = [0.84, 0.92, 1.0, 1.08, 1.16];

/// Rows that are rounded together.
const ROWS: usize = 32;

/// The quadratic form of a group, columns sorted so that the heaviest comes last.
struct Form {
    /// The weight's column at each sorted place.
    order: Vec<usize>,
    /// `H` and its Cholesky factor.
    h: Mat<f64>,
    factor: Llt<f64>,
    /// `H_jj`, in the order of the weight's columns.
    importance: Vec<f32>,
    /// `E z`.
    mean: Vec<f64>,
    /// `r`.
    share: f64,
    /// What is added to the diagonal besides.
    floor: f64,
}

/// A group's problem: its form, and what its rows should come close to.
struct Problem {
    order: Vec<usize>,
    /// The sorted place of each column.
    place: Vec<usize>,
    factor: Llt<f64>,
    lattice: Lattice,
    importance: Vec<f32>,
    mean_x: Vec<f64>,
    mean_z: Vec<f64>,
    /// `C'`, rows in the weight's order, columns sorted.
    target: Mat<f64>,
}

/// One row's codes in the order of its weights, its scale and its bias.
type Row = (f32, Vec<i8>, f32);

/// Codes, scales and bias of `bits` for a layer whose inputs have `moments`.
///
/// # Panics
/// When moments are infinite or no numbers.
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

impl Form {
    fn new(moments: &Moments, group: usize) -> Self {
        let (depth, n) = (moments.depth, moments.patches.max(1) as f64);
        let d = depth - 1;
        let own = &moments.own[group];
        let mean: Vec<f64> = (0..d).map(|j| own[d * depth + j] / n).collect();
        let entry = |i: usize, j: usize| own[i * depth + j] / n - mean[i] * mean[j];
        let diagonal: Vec<f64> = (0..d).map(|j| entry(j, j).max(0.0)).collect();
        let mut order: Vec<usize> = (0..d).collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]));
        let mut share = shrinkage(&diagonal, entry, samples(moments));
        let floor = diagonal.iter().sum::<f64>() / d as f64 * FLOOR + 1e-12;
        loop {
            let h = Mat::from_fn(d, d, |i, j| {
                let on = i == j;
                let (i, j) = (order[i], order[j]);
                shrunk(share, entry(i, j), on.then_some((diagonal[i], floor)))
            });
            if let Ok(factor) = h.llt(Side::Lower) {
                let importance = diagonal.iter().map(|&h| (h + floor) as f32).collect();
                return Self {
                    order,
                    h,
                    factor,
                    importance,
                    mean,
                    share,
                    floor,
                };
            }
            // Rounding has made `H` indefinite: damp until it is not. At a share of 1 it is its own
            // diagonal, which is positive.
            assert!(share < 1.0, "moments are numbers");
            share = (0.5 + 0.5 * share).max(share + 1e-3).min(1.0);
        }
    }
}

/// An entry of `H` or `C'`: `(1 - r) S_ij`, and on the diagonal `r D_ii` and the floor besides.
fn shrunk(r: f64, entry: f64, diagonal: Option<(f64, f64)>) -> f64 {
    let more = diagonal.map_or(0.0, |(d, floor)| r * d + floor);
    (1.0 - r) * entry + more
}

impl Problem {
    fn new(moments: &Moments, group: usize) -> Self {
        let form = Form::new(moments, group);
        let (depth, n) = (moments.depth, moments.patches.max(1) as f64);
        let d = depth - 1;
        let cross = &moments.cross[group];
        let mean_x: Vec<f64> = (0..d).map(|j| cross[j * depth + d] / n).collect();
        let target = Mat::from_fn(d, d, |i, j| {
            let j = form.order[j];
            let entry = cross[i * depth + j] / n - mean_x[i] * form.mean[j];
            let seen = f64::from(form.importance[i]) - form.floor;
            shrunk(form.share, entry, (i == j).then_some((seen, form.floor)))
        });
        let mut place = vec![0; d];
        let sorted = form.order.iter().enumerate();
        sorted.for_each(|(k, &j)| place[j] = k);
        Self {
            place,
            lattice: Lattice::new(form.h.as_ref(), form.factor.L()),
            order: form.order,
            factor: form.factor,
            importance: form.importance,
            mean_x,
            mean_z: form.mean,
            target,
        }
    }

    /// The rows of `weights`, whose biases are `bias`.
    fn solve(&self, weights: &[f32], bias: &[f32], bits: Bits) -> Vec<Row> {
        let (rows, d) = (bias.len(), self.order.len());
        let w = Mat::from_fn(d, rows, |j, r| f64::from(weights[r * d + j]));
        // Columns are W* of the rows, entries sorted.
        let best = self.factor.solve(self.target.transpose() * &w);
        let mut starts = Vec::with_capacity(rows * SCALES.len());
        for r in 0..rows {
            let sorted: Vec<f32> = best.col_as_slice(r).iter().map(|&w| w as f32).collect();
            let natural: Vec<f32> = self.place.iter().map(|&k| sorted[k]).collect();
            let scale = row_scale(&natural, bits, WeightRange::Mse, &self.importance);
            starts.extend(SCALES.map(|factor| Start {
                row: r,
                scale: scale * factor,
            }));
        }
        let columns = (0..rows).flat_map(|r| best.col_as_slice(r));
        let sorted: Vec<f32> = columns.map(|&w| w as f32).collect();
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

/// The error of nearest-plane codes relative to that of nearest codes, summed over groups.
pub(super) fn gain(moments: &Moments) -> f64 {
    let (mut plane, mut nearest) = (0.0, 0.0);
    for g in 0..moments.own.len() {
        let form = Form::new(moments, g);
        let factor = form.factor.L();
        let d = form.order.len() as f64;
        let logarithms = (0..form.order.len()).map(|k| factor[(k, k)].ln());
        plane += (2.0 / d * logarithms.sum::<f64>()).exp();
        nearest += form.importance.iter().map(|&h| f64::from(h)).sum::<f64>() / d;
    }
    (plane / nearest).clamp(1e-6, 1.0)
}

/// How far `S` must be shrunk towards its diagonal before its inverse can be trusted: the
/// oracle-approximating shrinkage of Chen et al. (2010), of the correlations rather than of `S`,
/// from as many samples as [`samples`] counts. `entry` gives `S_ij`.
fn shrinkage(diagonal: &[f64], entry: impl Fn(usize, usize) -> f64, samples: f64) -> f64 {
    let d = diagonal.len() as f64;
    let live = |i: usize, j: usize| diagonal[i] * diagonal[j] > 0.0;
    let squares: f64 = (0..diagonal.len())
        .flat_map(|i| (0..diagonal.len()).map(move |j| (i, j)))
        .filter(|&(i, j)| live(i, j))
        .map(|(i, j)| entry(i, j).powi(2) / (diagonal[i] * diagonal[j]))
        .sum();
    // The correlations' traces are d and `squares`.
    if squares <= d {
        return 1.0;
    }
    let c = 1.0 - 2.0 / d;
    ((c * squares + d * d) / ((samples + c) * (squares - d))).min(1.0)
}

/// Patches of one image resemble each other: `p` of them count as `sqrt(p)` samples. We decided the
/// root: it did best on calibration images held out, before 1 and `p` (MobileNetV2, 128 images).
fn samples(moments: &Moments) -> f64 {
    (moments.images as f64 * moments.patches as f64).sqrt()
}
