//! From a sum of products to the next code: how the constants of a step are folded, and what each
//! sum goes through.
//!
//! Every step that computes (convolution, sum of two, mean) ends here, so that training, the
//! simulation and the engine share one arithmetic. Folding is done in `f64` and rounded to `f32`
//! once; a sum then passes, each `f32` operation rounded by itself and never fused:
//!
//! ```text
//! t = (acc as f32) * m[c] + b[c]
//! t = t + (r as f32) * m_r                    where a second code r is summed in
//!
//! clip to codes:   code = rne(clip(t, lo, hi))
//!                  unit = scale_out, offset = zero_out: t is measured in output codes
//! curve to codes:  code = rne(clip(act(t) * (1 / scale_out) + zero_out, 0, levels))
//! to real numbers: y = act(t)
//!                  unit = 1, offset = 0: t is measured in real units
//!
//! m[c] = scale_in * scale_w[c] / unit         m_r = scale_r / unit
//! b[c] = bias[c] / unit + offset - zero_r * scale_r / unit
//! lo, hi = the ends of the clip as codes
//! ```
//!
//! A sum of two values is the same with the first code as `acc`, `scale_w = 1` and
//! `bias = -zero_a * scale_a`; a mean of `n` codes is the same with `scale_w = 1 / n`.

mod finish;
mod sums;

pub use finish::Finish;

use crate::activation::small;
use crate::{Activation, Grid};

/// The folded constants of a step; made once at load.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// One per channel.
    pub m: Vec<f32>,
    /// One per channel.
    pub b: Vec<f32>,
    /// The factor of the second code, where there is one.
    pub m_r: Option<f32>,
    /// What follows.
    pub finish: Finish,
}

impl Epilogue {
    /// For a convolution of codes on `input` with weights of `weight_scale[c]` and a bias in real
    /// units, plus a second value on `residual`; the result on `output`, or real where `None`.
    pub fn conv(
        input: Grid,
        weight_scale: &[f32],
        bias: &[f32],
        residual: Option<Grid>,
        activation: Activation,
        output: Option<Grid>,
    ) -> Self {
        let (unit, offset) = unit(activation, output);
        let scale_in = f64::from(input.scale);
        let shift = residual.map_or(0.0, |r| real_zero(r) / unit);
        Self {
            m: weight_scale
                .iter()
                .map(|&s| (scale_in * f64::from(s) / unit) as f32)
                .collect(),
            b: bias
                .iter()
                .map(|&b| (f64::from(b) / unit + offset - shift) as f32)
                .collect(),
            m_r: residual.map(|r| (f64::from(r.scale) / unit) as f32),
            finish: Finish::new(activation, output),
        }
    }

    /// For the sum of a code on `a`, taken as `acc`, and one on `b`, taken as `r`; one channel.
    pub fn add(a: Grid, b: Grid, activation: Activation, output: Option<Grid>) -> Self {
        let (unit, offset) = unit(activation, output);
        Self {
            m: vec![(f64::from(a.scale) / unit) as f32],
            b: vec![(offset - real_zero(a) / unit - real_zero(b) / unit) as f32],
            m_r: Some((f64::from(b.scale) / unit) as f32),
            finish: Finish::new(activation, output),
        }
    }

    /// For the mean of `count` codes on `input`, whose `acc` is `sum(code - zero)`; one channel.
    pub fn mean(input: Grid, count: usize, output: Option<Grid>) -> Self {
        let (unit, offset) = unit(Activation::NONE, output);
        Self {
            m: vec![(f64::from(input.scale) / (count as f64 * unit)) as f32],
            b: vec![offset as f32],
            m_r: None,
            finish: Finish::new(Activation::NONE, output),
        }
    }

    /// `t` of channel `c`: everything before the finish.
    #[inline(always)]
    fn sum(&self, acc: i32, c: usize, r: u8) -> f32 {
        let t = acc as f32 * self.m[c] + self.b[c];
        match self.m_r {
            Some(m_r) => t + f32::from(r) * m_r,
            None => t,
        }
    }

    /// The code of channel `c`. `r` is the second code, ignored where there is none.
    ///
    /// # Panics
    /// When the result is real, or `c` is no channel.
    #[inline]
    pub fn code(&self, acc: i32, c: usize, r: u8) -> u8 {
        self.finish.code(self.sum(acc, c, r))
    }

    /// The real result of channel `c`; as [`Epilogue::code`].
    ///
    /// # Panics
    /// When the result is a code, or `c` is no channel.
    #[inline]
    pub fn real(&self, acc: i32, c: usize, r: u8) -> f32 {
        let Finish::Real { activation } = self.finish else {
            panic!("this step makes codes")
        };
        activation.apply(self.sum(acc, c, r))
    }

    /// Whether `t` of channel `c` with these `weights` stays within `i32` for any codes, so that
    /// it can be rounded before it is clipped.
    pub(crate) fn stays_whole(&self, c: usize, weights: &[i8]) -> bool {
        let size = |v: f32| f64::from(v.abs());
        let (m, m_r, b) = (self.m[c], self.m_r.unwrap_or(0.0), self.b[c]);
        // Half of the range is left for rounding on the way.
        let fits = |sum: u64| (sum as f64 * size(m) + size(m_r)) * 255.0 + size(b) < 2f64.powi(30);
        // Mostly the largest codes there are would fit, which saves a look at these.
        fits(128 * weights.len() as u64) || fits(magnitude(weights))
    }

    /// Whether no sum within `±2^31` can leave the finite numbers on its way to a real number, nor
    /// become none on its way to a code, whose range clips it; the activation is sound.
    pub fn is_finite(&self) -> bool {
        let constants = self.m.iter().chain(&self.b).chain(&self.m_r);
        let finish = match self.finish {
            Finish::Curve { inverse_scale, .. } => inverse_scale,
            Finish::Clip { .. } | Finish::Real { .. } => 0.0,
        };
        constants.chain([&finish]).all(|&v| small(v))
    }
}

/// `sum |w|`: times the largest code, the largest sum.
pub fn magnitude(weights: &[i8]) -> u64 {
    // So few in 32 bits that none overflows, which takes half the time of 64.
    let few = |weights: &[i8]| {
        let sizes = weights.iter().map(|w| u32::from(w.unsigned_abs()));
        u64::from(sizes.sum::<u32>())
    };
    weights.chunks(1 << 16).map(few).sum()
}

/// What `t` is measured in, and where its zero lies.
fn unit(activation: Activation, output: Option<Grid>) -> (f64, f64) {
    match (activation, output) {
        (Activation::Clip { .. }, Some(grid)) => (f64::from(grid.scale), f64::from(grid.zero)),
        _ => (1.0, 0.0),
    }
}

fn real_zero(grid: Grid) -> f64 {
    f64::from(grid.zero) * f64::from(grid.scale)
}

#[cfg(test)]
mod tests;
