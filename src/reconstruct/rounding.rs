//! The best rounding of a layer for given second moments.
//!
//! With `H` and `C` centred and `W* = (W C + k W) (H + k I)^-1`, the error of a rounding `V` is
//! `tr((V - W*) (H + k I) (V - W*)')` plus what cannot be helped; `k` keeps directions that the
//! images do not span near the float weight. Each row is a closest-vector problem on a lattice of
//! step `s`:
//!
//! 1. nearest plane (Babai): columns from the heaviest to the lightest, each rounding's error
//!    passed on to the columns still open by the Cholesky factor of `H`. This is GPTQ (Frantar et
//!    al., 2023), which walks the inverse's factor instead; ours needs no inverse;
//! 2. coordinate descent: single codes move while that lowers the error;
//! 3. the scale that fits the codes best, `s = <q, W*>_H / <q, q>_H`; then 2 again.
//!
//! The line of starting scales is around the least-squares one. The bias takes up the means:
//! `b* = b + W E x - V E z`, which is bias correction (Nagel et al., 2019).

use exbit_kernels::Bits;
use exbit_model::Tensor;
use nalgebra::{Cholesky, DMatrix, Dyn};
use rayon::prelude::*;

use super::Moments;
use crate::quantized::QuantizedLayer;
use crate::weights::{QuantizedWeight, WeightRange, row_scale};

/// The share of the mean eigenvalue of `H` that `k` is.
const DAMPING: f64 = 0.01;

/// Starting scales, as multiples of the least-squares one.
const SCALES: [f32; 5] = [0.84, 0.92, 1.0, 1.08, 1.16];

/// A group's problem: columns sorted so that the heaviest comes last.
struct Problem {
    /// The weight's column at each sorted place, and the sorted place of each column.
    order: Vec<usize>,
    place: Vec<usize>,
    h: DMatrix<f64>,
    factor: Cholesky<f64, Dyn>,
    /// `R = L'` of `H = L L'`: its columns are contiguous.
    upper: DMatrix<f64>,
    /// `H_jj`, in the order of the weight's columns.
    importance: Vec<f32>,
    mean_x: Vec<f64>,
    mean_z: Vec<f64>,
    /// `C + k I`, rows in the weight's order, columns sorted.
    target: DMatrix<f64>,
}

/// Codes, scales and bias of `bits` for a layer whose inputs have `moments`.
pub fn round(weight: &Tensor, bias: &[f32], bits: Bits, moments: &Moments) -> QuantizedLayer {
    let problems: Vec<Problem> = (0..moments.own.len())
        .into_par_iter()
        .map(|g| Problem::new(moments, g))
        .collect();
    let rows = weight.shape()[0];
    let per_group = rows / problems.len();
    let solved: Vec<(f32, Vec<i8>, f32)> = (0..rows)
        .into_par_iter()
        .map(|r| problems[r / per_group].solve(weight.row(r), bias[r], bits))
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
                let upper = factor.l().transpose();
                let mut place = vec![0; d];
                order.iter().enumerate().for_each(|(k, &j)| place[j] = k);
                return Self {
                    order,
                    place,
                    h,
                    factor,
                    upper,
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

    /// Scale, codes (in the weight's order) and bias of one row.
    fn solve(&self, row: &[f32], bias: f32, bits: Bits) -> (f32, Vec<i8>, f32) {
        let d = row.len();
        let mut w = DMatrix::from_fn(d, 1, |j, _| {
            (0..d)
                .map(|i| f64::from(row[i]) * self.target[(i, j)])
                .sum::<f64>()
        });
        self.factor.solve_mut(&mut w);
        let w = w.as_slice();
        let natural: Vec<f32> = self.place.iter().map(|&k| w[k] as f32).collect();
        let start = row_scale(&natural, bits, WeightRange::Mse, &self.importance);
        let mut best = (f64::INFINITY, start, vec![0i8; d]);
        for factor in SCALES {
            let mut scale = f64::from(start * factor);
            let mut codes = self.nearest_plane(w, scale, bits);
            let mut error = self.descend(w, &mut scale, &mut codes, bits);
            for _ in 0..2 {
                let last = error;
                error = self.descend(w, &mut scale, &mut codes, bits);
                if error > last * 0.999 {
                    break;
                }
            }
            if error < best.0 {
                best = (error, scale as f32, codes);
            }
        }
        let (_, scale, sorted) = best;
        let mut codes = vec![0i8; d];
        for (k, &j) in self.order.iter().enumerate() {
            codes[j] = sorted[k];
        }
        let shift = |j: usize| {
            f64::from(row[j]) * self.mean_x[j]
                - f64::from(scale * f32::from(codes[j])) * self.mean_z[j]
        };
        let bias = (f64::from(bias) + (0..d).map(shift).sum::<f64>()) as f32;
        (scale, codes, bias)
    }

    /// Babai's nearest plane from the last column to the first, `H = L L'`, `R = L'`.
    fn nearest_plane(&self, w: &[f64], scale: f64, bits: Bits) -> Vec<i8> {
        let d = w.len();
        let mut codes = vec![0i8; d];
        // pull[j] = sum over columns k already rounded of R_jk (w_k - s q_k)
        let mut pull = vec![0.0; d];
        for k in (0..d).rev() {
            let column = self.upper.column(k);
            let centre = w[k] + pull[k] / column[k];
            codes[k] = bits.weight_code((centre / scale) as f32);
            let error = w[k] - scale * f64::from(codes[k]);
            pull[..k]
                .iter_mut()
                .zip(column.iter())
                .for_each(|(p, r)| *p += r * error);
        }
        codes
    }

    /// Moves single codes while the error falls, then fits the scale; gives the error.
    fn descend(&self, w: &[f64], scale: &mut f64, codes: &mut [i8], bits: Bits) -> f64 {
        const SWEEPS: usize = 4;
        let d = w.len();
        let residual = |scale: f64, codes: &[i8]| -> Vec<f64> {
            (0..d).map(|j| scale * f64::from(codes[j]) - w[j]).collect()
        };
        let mut r = self.times_h(&residual(*scale, codes));
        for _ in 0..SWEEPS {
            let mut moved = false;
            for j in (0..d).rev() {
                let best = f64::from(codes[j]) - r[j] / (*scale * self.h[(j, j)]);
                let code = bits.weight_code(best as f32);
                let step = *scale * (f64::from(code) - f64::from(codes[j]));
                if step == 0.0 || 2.0 * r[j] * step + step * step * self.h[(j, j)] >= 0.0 {
                    continue;
                }
                codes[j] = code;
                moved = true;
                let column = self.h.column(j);
                r.iter_mut()
                    .zip(column.iter())
                    .for_each(|(r, h)| *r += step * h);
            }
            if !moved {
                break;
            }
        }
        let q: Vec<f64> = codes.iter().map(|&c| f64::from(c)).collect();
        let hq = self.times_h(&q);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (qq, qw) = (dot(&q, &hq), dot(w, &hq));
        if qq > 0.0 && qw / qq != 0.0 {
            *scale = qw / qq;
        }
        let e = residual(*scale, codes);
        dot(&e, &self.times_h(&e))
    }

    /// `H x`, `H` being symmetric: columns are contiguous.
    fn times_h(&self, x: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; x.len()];
        for (j, &x) in x.iter().enumerate() {
            if x != 0.0 {
                let column = self.h.column(j);
                y.iter_mut()
                    .zip(column.iter())
                    .for_each(|(y, h)| *y += x * h);
            }
        }
        y
    }
}
