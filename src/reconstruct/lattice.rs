//! Closest vectors of a lattice under a quadratic form: codes `q` and a scale `s` for which
//! `(s q - w) H (s q - w)'` is small, for many rows `w` at once.
//!
//! 1. Nearest plane (Babai): columns from the last to the first, each rounding's error passed on
//!    to the columns still open by the Cholesky factor `H = L L'`. This is GPTQ (Frantar et al.,
//!    2023), which walks the inverse's factor instead; ours needs no inverse.
//! 2. Coordinate descent: single codes move while that lowers the error.
//! 3. The scale that fits the codes best, `s = <q, w>_H / <q, q>_H`; then 2 again.
//!
//! Columns are walked in blocks: within one, a code's effect on its neighbours is applied at once;
//! on all others, for all rows together, as one matrix product when the block is done.

use exbit_kernels::{Bits, Matrix, MatrixMut, gemm};
use faer::MatRef;

/// Columns of a block.
const BLOCK: usize = 32;
/// Passes over all columns for one scale, at most.
const SWEEPS: usize = 4;
/// Scales that are tried from one start.
const REFITS: usize = 3;

/// The quadratic form.
#[derive(Debug)]
pub(super) struct Lattice {
    d: usize,
    /// `H`, row-major.
    h: Vec<f32>,
    /// `L`, row-major.
    lower: Vec<f32>,
}

/// Where a search begins: a row of `w`, and the first scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) row: usize,
    pub(super) scale: f32,
}

/// Where it ended.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) codes: Vec<i8>,
    pub(super) scale: f32,
    /// `<w, w>_H` less the error: more is better.
    pub(super) explained: f64,
}

/// A search of several starts: matrices with a row each.
struct Search<'a> {
    lattice: &'a Lattice,
    bits: Bits,
    n: usize,
    w: Vec<f32>,
    /// `w H`.
    wh: Vec<f32>,
    codes: Vec<f32>,
    scale: Vec<f32>,
}

impl Lattice {
    /// The form `h` with its factor `L`.
    pub(super) fn new(h: MatRef<'_, f64>, factor: MatRef<'_, f64>) -> Self {
        let d = h.nrows();
        let row_major = |m: MatRef<'_, f64>| -> Vec<f32> {
            (0..d * d).map(|i| m[(i / d, i % d)] as f32).collect()
        };
        Self {
            d,
            h: row_major(h),
            lower: row_major(factor),
        }
    }

    /// Codes and scales from each of `starts`; the rows of `w` have `d` entries.
    pub(super) fn nearest(&self, w: &[f32], starts: &[Start], bits: Bits) -> Vec<Found> {
        let (d, n) = (self.d, starts.len());
        let w: Vec<f32> = starts
            .iter()
            .flat_map(|s| &w[s.row * d..(s.row + 1) * d])
            .copied()
            .collect();
        let mut search = Search {
            lattice: self,
            bits,
            n,
            wh: self.times_h(&w, n),
            w,
            codes: vec![0.0; n * d],
            scale: starts.iter().map(|s| s.scale).collect(),
        };
        search.nearest_plane();
        let mut qh = self.times_h(&search.codes, n);
        for _ in 0..REFITS {
            if !search.descend(&mut qh) {
                break;
            }
            search.refit(&qh);
        }
        let explained = search.refit(&qh);
        (0..n)
            .map(|t| Found {
                codes: search.codes[t * d..(t + 1) * d]
                    .iter()
                    .map(|&c| c as i8)
                    .collect(),
                scale: search.scale[t],
                explained: explained[t],
            })
            .collect()
    }

    /// `x H`.
    fn times_h(&self, x: &[f32], n: usize) -> Vec<f32> {
        let d = self.d;
        let mut y = vec![0.0; n * d];
        gemm(
            MatrixMut::new(&mut y, n, d),
            0.0,
            Matrix::new(x, n, d),
            Matrix::new(&self.h, d, d),
        );
        y
    }

    /// The blocks of columns, from the last to the first.
    fn blocks(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let d = self.d;
        (0..d.div_ceil(BLOCK))
            .rev()
            .map(move |b| b * BLOCK..((b + 1) * BLOCK).min(d))
    }
}

/// `y[.., columns] += x m[rows, columns]`: `x` has `n` rows of `BLOCK`, `m` and `y` rows of `d`.
fn spread(
    y: &mut [f32],
    x: &[f32],
    m: &[f32],
    d: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) {
    if columns.is_empty() {
        return;
    }
    let n = y.len() / d;
    gemm(
        MatrixMut {
            data: &mut y[columns.start..],
            shape: [n, columns.len()],
            strides: [d, 1],
        },
        1.0,
        Matrix {
            data: x,
            shape: [n, rows.len()],
            strides: [BLOCK, 1],
        },
        Matrix {
            data: &m[rows.start * d + columns.start..],
            shape: [rows.len(), columns.len()],
            strides: [d, 1],
        },
    );
}

impl Search<'_> {
    /// Step 1: `L` being `lower`, a column's pull is `sum_k L_kj (w_k - s q_k)` over later `k`.
    fn nearest_plane(&mut self) {
        let d = self.lattice.d;
        let lower = &self.lattice.lower;
        let mut pull = vec![0.0; self.n * d];
        let mut errors = vec![0.0; self.n * BLOCK];
        for block in self.lattice.blocks() {
            for t in 0..self.n {
                let scale = self.scale[t];
                for k in block.clone().rev() {
                    let row = &lower[k * d..k * d + k + 1];
                    let w = self.w[t * d + k];
                    let centre = w + pull[t * d + k] / row[k];
                    let code = f32::from(self.bits.weight_code(centre / scale));
                    let error = w - scale * code;
                    self.codes[t * d + k] = code;
                    errors[t * BLOCK + k - block.start] = error;
                    pull[t * d + block.start..t * d + k]
                        .iter_mut()
                        .zip(&row[block.start..])
                        .for_each(|(p, l)| *p += l * error);
                }
            }
            let first = block.start;
            spread(&mut pull, &errors, lower, d, block, 0..first);
        }
    }

    /// Step 2, `qh` being `q H` before and after; says whether any code moved.
    fn descend(&mut self, qh: &mut [f32]) -> bool {
        let d = self.lattice.d;
        let h = &self.lattice.h;
        let mut steps = vec![0.0; self.n * BLOCK];
        let mut any = false;
        for _ in 0..SWEEPS {
            let mut moved = false;
            for block in self.lattice.blocks() {
                steps.fill(0.0);
                let mut here = false;
                for t in 0..self.n {
                    let (row, scale) = (t * d, self.scale[t]);
                    for j in block.clone().rev() {
                        // Half the error's slope along the code, over its curvature.
                        let slope = qh[row + j] - self.wh[row + j] / scale;
                        let old = self.codes[row + j];
                        let hjj = h[j * d + j];
                        let step = f32::from(self.bits.weight_code(old - slope / hjj)) - old;
                        if step == 0.0 || 2.0 * slope * step + step * step * hjj >= 0.0 {
                            continue;
                        }
                        self.codes[row + j] = old + step;
                        steps[t * BLOCK + j - block.start] = step;
                        here = true;
                        qh[row + block.start..row + block.end]
                            .iter_mut()
                            .zip(&h[j * d + block.start..])
                            .for_each(|(q, h)| *q += step * h);
                    }
                }
                if here {
                    spread(qh, &steps, h, d, block.clone(), 0..block.start);
                    spread(qh, &steps, h, d, block.clone(), block.end..d);
                    moved = true;
                }
            }
            any |= moved;
            if !moved {
                break;
            }
        }
        any
    }

    /// Step 3; gives what each row's rounding explains, `<q, w>_H^2 / <q, q>_H`.
    fn refit(&mut self, qh: &[f32]) -> Vec<f64> {
        let d = self.lattice.d;
        let dot =
            |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
        (0..self.n)
            .map(|t| {
                let row = t * d..(t + 1) * d;
                let q = &self.codes[row.clone()];
                let qq = dot(q, &qh[row.clone()]);
                let qw = dot(q, &self.wh[row]);
                if qq <= 0.0 || qw == 0.0 {
                    return 0.0;
                }
                self.scale[t] = (qw / qq) as f32;
                qw * qw / qq
            })
            .collect()
    }
}
