//! PDQ, the parametric differentiable quantizer of McQueen (Saxena and Roy, BMVC 2023), on weights:
//!
//! ```text
//! x_q = alpha clip(round(x / beta), Qn, Qp)
//! signed    Qn = -round(2^(n-1)),  Qp = round(2^(n-1)) - 1
//! unsigned  Qn = 0,                Qp = round(2^n) - 1
//! ```
//!
//! `alpha` reads what `beta` makes, both one for each output channel; `n`, one for a layer, is not
//! rounded: what is whole is the number of levels. With `g` upstream, `c` the clipped code, "in
//! range" where nothing was clipped, and `s = 1 / sqrt(N Qp)`, N the entries of one slice:
//!
//! ```text
//! dx      = g alpha / beta                        in range
//! dalpha  = s sum(g c)
//! dbeta   = s sum(-g alpha x / beta^2)            in range
//! dn      = ln2 2^(n-1) (sum above(g alpha) - sum below(g alpha));  2^n where unsigned
//! ```
//!
//! Where the released code and the poster differ we follow the code: what rounds to the last level
//! is in range. We depart from it in that the step is `beta`, not `2 beta`, and that `dn` does not
//! vanish at two bits: `n` is held in [2, 8] after each step, so that a layer can grow again. LSQ
//! is the same with alpha and beta one number, whose gradient is the sum of both.
//!
//! Weights of one bit, where they are given, are `x_q = alpha sign(x)`, with `dx = g` wherever `x`
//! is and `dalpha = s sum(g sign(x))`: XNOR-Net's (Rastegari et al. 2016), but alpha is learned.
//!
//! Activations are rounded by the training core's FakeQuant, which gives the four sums that these
//! gradients are made of.

use std::f32::consts::LN_2;

/// The fewest and the most bits that are learned.
pub(crate) const LEAST: f32 = 2.0;
pub(crate) const MOST: f32 = 8.0;

/// Whether codes of `n` bits are -1 and +1.
pub(crate) fn is_binary(n: f32) -> bool {
    n < LEAST
}

/// `Qn` and `Qp`.
pub(crate) fn ends(n: f32, signed: bool) -> (f32, f32) {
    let n = n.clamp(LEAST, MOST);
    if signed {
        let half = (n - 1.0).exp2().round_ties_even();
        (-half, half - 1.0)
    } else {
        (0.0, n.exp2().round_ties_even() - 1.0)
    }
}

/// `d levels / dn` of one end: `ln2 2^(n-1)`, or `ln2 2^n` where unsigned.
pub(crate) fn growth(n: f32, signed: bool) -> f32 {
    let n = n.clamp(LEAST, MOST);
    LN_2 * if signed { n - 1.0 } else { n }.exp2()
}

/// The scale of the gradients of alpha and beta, `1 / sqrt(N Qp)`.
pub(crate) fn scaling(entries: usize, n: f32, signed: bool) -> f32 {
    1.0 / (entries as f32 * ends(n, signed).1).sqrt()
}

/// LSQ's first step: `2 mean|x| / sqrt(Qp)`, of one bit `mean|x|`; 1 where all is zero.
pub(crate) fn first_step(mean_magnitude: f32, n: f32, signed: bool) -> f32 {
    let step = match is_binary(n) {
        true => mean_magnitude,
        false => 2.0 * mean_magnitude / ends(n, signed).1.sqrt(),
    };
    if step.is_normal() { step } else { 1.0 }
}

/// The largest `|x|`.
pub(crate) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The step of eight bits with which `most` is the last code; 1 where all is zero.
pub(crate) fn covering_step(most: f32, signed: bool) -> f32 {
    let step = most / ends(MOST, signed).1;
    if step.is_normal() { step } else { 1.0 }
}

/// A weight and its quantizer: rows are output channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) weight: &'a [f32],
    /// One for each row.
    pub(crate) alpha: &'a [f32],
    /// One for each row.
    pub(crate) beta: &'a [f32],
    pub(crate) n: f32,
}

/// The gradients of a weight and its quantizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gradient {
    pub(crate) weight: Vec<f32>,
    pub(crate) alpha: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) n: f32,
}

impl Rows<'_> {
    fn row_len(&self) -> usize {
        self.weight.len() / self.alpha.len().max(1)
    }

    /// Writes `x_q`.
    pub(crate) fn round(&self, out: &mut [f32]) {
        let (lo, hi) = ends(self.n, true);
        let len = self.row_len();
        let rows = self.weight.chunks_exact(len).zip(out.chunks_exact_mut(len));
        for ((row, out), (&alpha, &beta)) in rows.zip(self.alpha.iter().zip(self.beta)) {
            if is_binary(self.n) {
                row.iter().zip(out).for_each(|(w, q)| *q = alpha * sign(*w));
                continue;
            }
            for (w, q) in row.iter().zip(out) {
                *q = alpha * (w / beta).round_ties_even().clamp(lo, hi);
            }
        }
    }

    /// The codes.
    pub(crate) fn codes(&self) -> Vec<i8> {
        if is_binary(self.n) {
            return self.weight.iter().map(|&w| sign(w) as i8).collect();
        }
        let (lo, hi) = ends(self.n, true);
        let rows = self.weight.chunks_exact(self.row_len()).zip(self.beta);
        let code = |w: f32, beta: f32| (w / beta).round_ties_even().clamp(lo, hi) as i8;
        rows.flat_map(|(row, &beta)| row.iter().map(move |&w| code(w, beta)))
            .collect()
    }

    /// The gradients, from that of `x_q`.
    pub(crate) fn gradient(&self, g: &[f32]) -> Gradient {
        if is_binary(self.n) {
            return self.binary_gradient(g);
        }
        let (lo, hi) = ends(self.n, true);
        let len = self.row_len();
        let scaling = scaling(len, self.n, true);
        let mut all = Gradient {
            weight: Vec::with_capacity(g.len()),
            ..Gradient::default()
        };
        let mut ends = 0.0;
        let rows = self.weight.chunks_exact(len).zip(g.chunks_exact(len));
        for ((row, g), (&alpha, &beta)) in rows.zip(self.alpha.iter().zip(self.beta)) {
            let (mut codes, mut inside, mut outside) = (0.0f32, 0.0f32, 0.0f32);
            for (&w, &g) in row.iter().zip(g) {
                let code = (w / beta).round_ties_even();
                let clipped = code.clamp(lo, hi);
                codes += g * clipped;
                if code == clipped {
                    all.weight.push(g * (alpha / beta));
                    inside += g * w;
                } else {
                    all.weight.push(0.0);
                    outside += if code > hi { g } else { -g };
                }
            }
            all.alpha.push(scaling * codes);
            all.beta.push(-scaling * alpha / (beta * beta) * inside);
            ends += alpha * outside;
        }
        all.n = growth(self.n, true) * ends;
        all
    }

    fn binary_gradient(&self, g: &[f32]) -> Gradient {
        let len = self.row_len();
        let scaling = scaling(len, self.n, true);
        let rows = self.weight.chunks_exact(len).zip(g.chunks_exact(len));
        let signs =
            |row: &[f32], g: &[f32]| -> f32 { row.iter().zip(g).map(|(w, g)| g * sign(*w)).sum() };
        Gradient {
            weight: g.to_vec(),
            alpha: rows.map(|(row, g)| scaling * signs(row, g)).collect(),
            beta: vec![0.0; self.beta.len()],
            n: 0.0,
        }
    }
}

/// The code of one bit.
fn sign(w: f32) -> f32 {
    if w < 0.0 { -1.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vector_of_the_method() {
        let rows = Rows {
            weight: &[-3.0, -0.4, 0.2, 0.7, 5.0],
            alpha: &[0.9],
            beta: &[0.5],
            n: 3.0,
        };
        assert_eq!(rows.codes(), [-4, -1, 0, 1, 3]);
        let mut rounded = [0.0; 5];
        rows.round(&mut rounded);
        close(&rounded, &[-3.6, -0.9, 0.0, 0.9, 2.7]);
        let found = rows.gradient(&[1.0, 1.0, 1.0, 1.0, 2.0]);
        close(&found.weight, &[0.0, 1.8, 1.8, 1.8, 0.0]);
        close(&found.alpha, &[0.5164]);
        close(&found.beta, &[-0.4648]);
        close(&[found.n], &[2.49533]);
    }

    #[test]
    fn weights_of_one_bit_are_signs() {
        let rows = Rows {
            weight: &[-3.0, -0.1, 0.0, 0.7],
            alpha: &[0.5],
            beta: &[0.5],
            n: 1.0,
        };
        assert_eq!(rows.codes(), [-1, -1, 1, 1]);
        let mut rounded = [0.0; 4];
        rows.round(&mut rounded);
        assert_eq!(rounded, [-0.5, -0.5, 0.5, 0.5]);
        let found = rows.gradient(&[1.0, 2.0, 3.0, -1.0]);
        assert_eq!(found.weight, [1.0, 2.0, 3.0, -1.0]);
        // (-1 - 2 + 3 - 1) / sqrt(4)
        assert_eq!((found.alpha[0], found.beta[0], found.n), (-0.5, 0.0, 0.0));
        assert_eq!(first_step(0.3, 1.0, true), 0.3);
    }

    #[test]
    fn levels_are_whole_while_bits_are_not() {
        let highest = |n| ends(n, true).1;
        assert_eq!(
            [2.0, 2.5, 3.0, 3.2, 3.5].map(highest),
            [1.0, 2.0, 3.0, 4.0, 5.0]
        );
        assert_eq!(ends(2.0, false), (0.0, 3.0));
        assert_eq!(ends(1.0, true), (-2.0, 1.0), "never below two bits");
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{found:?} for {expected:?}");
        }
    }
}
