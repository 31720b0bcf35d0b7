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

use std::ops::Range;

use crate::{Grid, Target, clip_round};

/// What follows a sum, before rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `min(max(y, lo), hi)`; either end may be infinite. Becomes the clip of the codes.
    Clip {
        /// Lower end.
        lo: f32,
        /// Upper end.
        hi: f32,
    },
    /// `y` where positive, `slope * y` elsewhere.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// `y * min(max(y * (1/6) + 1/2, 0), 1)`.
    HardSwish,
    /// `min(max(y * alpha + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
}

impl Activation {
    /// No activation at all.
    pub const NONE: Activation = Activation::Clip {
        lo: f32::NEG_INFINITY,
        hi: f32::INFINITY,
    };
    /// `max(y, 0)`.
    pub const RELU: Activation = Activation::Clip {
        lo: 0.0,
        hi: f32::INFINITY,
    };

    /// Whether its parameters are numbers, in order and of reasonable size.
    pub fn is_sound(self) -> bool {
        match self {
            Activation::Clip { lo, hi } => lo <= hi,
            Activation::LeakyRelu { slope } => small(slope),
            Activation::HardSwish => true,
            Activation::HardSigmoid { alpha, beta } => small(alpha) && small(beta),
        }
    }

    /// The function itself, its operations in the order in which they are written above.
    #[inline(always)]
    pub fn apply(self, y: f32) -> f32 {
        match self {
            Activation::Clip { lo, hi } => clip(y, lo, hi),
            Activation::LeakyRelu { slope } => {
                if y > 0.0 {
                    y
                } else {
                    slope * y
                }
            }
            Activation::HardSwish => y * clip(y * (1.0 / 6.0) + 0.5, 0.0, 1.0),
            Activation::HardSigmoid { alpha, beta } => clip(y * alpha + beta, 0.0, 1.0),
        }
    }
}

/// `min(max(y, lo), hi)`, one instruction each; not-a-number becomes `lo`.
#[inline(always)]
fn clip(y: f32, lo: f32, hi: f32) -> f32 {
    let y = if y > lo { y } else { lo };
    if y < hi { y } else { hi }
}

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

/// The last part of an [`Epilogue`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finish {
    /// `rne(clip(t, lo, hi))`, the ends whole and within `0..=255`.
    Clip {
        /// Lower end.
        lo: f32,
        /// Upper end.
        hi: f32,
    },
    /// `rne(clip(activation(t) * inverse_scale + zero, 0, levels))`.
    Curve {
        /// The function.
        activation: Activation,
        /// `1 / scale_out`.
        inverse_scale: f32,
        /// `zero_out`.
        zero: f32,
        /// The largest code.
        levels: f32,
    },
    /// `activation(t)`, no code at all.
    Real {
        /// The function.
        activation: Activation,
    },
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

    /// What becomes of the sums of neighbouring `channels`.
    #[inline(always)]
    pub(crate) fn finish(
        &self,
        sums: &[i32],
        channels: Range<usize>,
        residual: Option<&[u8]>,
        target: &mut Target<'_>,
    ) {
        match target {
            Target::Codes(y) => self.codes(sums, channels, residual, y),
            Target::Real(y) => self.reals(sums, channels, residual, y),
        }
    }

    /// The codes of neighbouring `channels`: [`Epilogue::code`] of each.
    #[inline(always)]
    fn codes(
        &self,
        sums: &[i32],
        channels: Range<usize>,
        residual: Option<&[u8]>,
        codes: &mut [u8],
    ) {
        match self.finish {
            Finish::Clip { lo, hi } => {
                self.each(sums, channels, residual, codes, |t| clip_round(t, lo, hi));
            }
            Finish::Curve {
                activation,
                inverse_scale,
                zero,
                levels,
            } => {
                let code = |y: f32| clip_round(y * inverse_scale + zero, 0.0, levels);
                match activation {
                    Activation::LeakyRelu { slope } => {
                        let y = |t| Activation::LeakyRelu { slope }.apply(t);
                        self.each(sums, channels, residual, codes, |t| code(y(t)));
                    }
                    Activation::HardSwish => {
                        let y = |t| Activation::HardSwish.apply(t);
                        self.each(sums, channels, residual, codes, |t| code(y(t)));
                    }
                    Activation::Clip { .. } | Activation::HardSigmoid { .. } => {
                        self.each(sums, channels, residual, codes, |t| {
                            code(activation.apply(t))
                        });
                    }
                }
            }
            Finish::Real { .. } => panic!("this step makes real numbers"),
        }
    }

    /// The real results of neighbouring `channels`: [`Epilogue::real`] of each.
    #[inline(always)]
    fn reals(
        &self,
        sums: &[i32],
        channels: Range<usize>,
        residual: Option<&[u8]>,
        reals: &mut [f32],
    ) {
        let Finish::Real { activation } = self.finish else {
            panic!("this step makes codes")
        };
        self.each(sums, channels, residual, reals, |t| activation.apply(t));
    }

    /// `finish` of each `t`, in a form that the compiler vectorizes.
    #[inline(always)]
    fn each<T>(
        &self,
        sums: &[i32],
        channels: Range<usize>,
        residual: Option<&[u8]>,
        out: &mut [T],
        finish: impl Fn(f32) -> T,
    ) {
        let constants = self.m[channels.clone()].iter().zip(&self.b[channels]);
        let sums = sums
            .iter()
            .zip(constants)
            .map(|(&acc, (m, b))| acc as f32 * m + b);
        match self.m_r.zip(residual) {
            None => out
                .iter_mut()
                .zip(sums)
                .for_each(|(out, t)| *out = finish(t)),
            Some((m_r, r)) => {
                let sums = sums.zip(r).map(|(t, &r)| t + f32::from(r) * m_r);
                out.iter_mut()
                    .zip(sums)
                    .for_each(|(out, t)| *out = finish(t));
            }
        }
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

    /// Whether no sum within `±2^31` can leave the finite numbers on its way; the activation is
    /// sound.
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

impl Finish {
    fn new(activation: Activation, output: Option<Grid>) -> Self {
        let Some(grid) = output else {
            return Finish::Real { activation };
        };
        let levels = f32::from(grid.bits.levels());
        match activation {
            Activation::Clip { lo, hi } => Finish::Clip {
                lo: f32::from(grid.code(lo)),
                hi: f32::from(grid.code(hi)),
            },
            Activation::LeakyRelu { .. }
            | Activation::HardSwish
            | Activation::HardSigmoid { .. } => Finish::Curve {
                activation,
                inverse_scale: (1.0 / f64::from(grid.scale)) as f32,
                zero: f32::from(grid.zero),
                levels,
            },
        }
    }

    /// The code of `t`.
    ///
    /// # Panics
    /// When the result is real.
    #[inline(always)]
    pub(crate) fn code(self, t: f32) -> u8 {
        match self {
            Finish::Clip { lo, hi } => clip_round(t, lo, hi),
            Finish::Curve {
                activation,
                inverse_scale,
                zero,
                levels,
            } => clip_round(activation.apply(t) * inverse_scale + zero, 0.0, levels),
            Finish::Real { .. } => panic!("this step makes real numbers"),
        }
    }
}

/// So small that the product of two, or of one and any sum, is finite.
fn small(v: f32) -> bool {
    v.abs() < 1e18
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

/// `table[code]` is the code on `to` of what `code` stands for on `from`; codes beyond the levels
/// of `from` never occur.
pub fn regrid_table(from: Grid, to: Grid) -> [u8; 256] {
    std::array::from_fn(|code| to.code(from.value(code as u8)))
}

/// `table[pixel]` is the code on `grid` of `pixel * scale + shift`.
pub fn pixel_table(scale: f32, shift: f32, grid: Grid) -> [u8; 256] {
    std::array::from_fn(|pixel| grid.code(pixel as f32 * scale + shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bits;

    const fn grid(bits: u8, scale: f32, zero: u8) -> Grid {
        let Some(bits) = Bits::new(bits) else {
            panic!()
        };
        Grid { bits, scale, zero }
    }

    #[test]
    fn a_clip_becomes_the_ends_of_the_codes() {
        let relu6 = Activation::Clip { lo: 0.0, hi: 6.0 };
        for (activation, output, ends) in [
            (Activation::NONE, grid(8, 0.1, 3), (0.0, 255.0)),
            (Activation::RELU, grid(4, 0.1, 3), (3.0, 15.0)),
            (relu6, grid(8, 0.05, 0), (0.0, 120.0)),
            (relu6, grid(4, 0.05, 0), (0.0, 15.0)),
        ] {
            let finish = Finish::new(activation, Some(output));
            assert_eq!(
                finish,
                Finish::Clip {
                    lo: ends.0,
                    hi: ends.1
                }
            );
        }
    }

    #[test]
    fn codes_are_the_nearest_to_the_real_result() {
        let (input, residual) = (grid(8, 0.02, 7), grid(6, 0.3, 31));
        let curves = [
            Activation::NONE,
            Activation::RELU,
            Activation::LeakyRelu { slope: 0.1 },
            Activation::HardSwish,
            Activation::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
        ];
        for activation in curves {
            for output in [grid(8, 0.07, 90), grid(3, 0.9, 2)] {
                let fold = |output| {
                    Epilogue::conv(input, &[0.01], &[-0.4], Some(residual), activation, output)
                };
                let (codes, real) = (fold(Some(output)), fold(None));
                for (acc, r) in [
                    (0, 31),
                    (12_345, 0),
                    (-54_321, 63),
                    (777, 30),
                    (i32::MIN, 5),
                ] {
                    let y = activation.apply(
                        (f64::from(acc) * 0.02 * 0.01 - 0.4 + 0.3 * (f64::from(r) - 31.0)) as f32,
                    );
                    assert!((real.real(acc, 0, r) - y).abs() <= 1e-6 * y.abs().max(10.0));
                    let near = i32::from(codes.code(acc, 0, r)) - i32::from(output.code(y));
                    assert!(near.abs() <= 1, "{activation:?} {acc} {r}");
                }
            }
        }
    }

    #[test]
    fn a_sum_and_a_mean_keep_zero() {
        let (a, b, out) = (grid(8, 0.1, 12), grid(4, 0.7, 3), grid(5, 0.4, 9));
        assert_eq!(
            Epilogue::add(a, b, Activation::NONE, Some(out)).code(12, 0, 3),
            9
        );
        assert_eq!(
            Epilogue::add(a, b, Activation::NONE, None).real(22, 0, 3),
            1.0
        );
        assert_eq!(Epilogue::mean(a, 4, Some(out)).code(0, 0, 0), 9);
        assert_eq!(Epilogue::mean(a, 4, Some(out)).code(16, 0, 0), 10);
    }

    #[test]
    fn tables_agree_with_the_grid() {
        let (from, to) = (grid(4, 0.5, 3), grid(8, 0.01, 128));
        assert_eq!(
            regrid_table(from, from)[..16],
            std::array::from_fn::<u8, 16, _>(|i| i as u8)
        );
        assert_eq!(regrid_table(from, to)[3], 128);
        assert_eq!(pixel_table(1.0, 0.0, grid(8, 1.0, 0))[200], 200);
    }
}
