//! Many sums at a time, in loops that the compiler vectorizes: each becomes what [`Epilogue::code`]
//! or [`Epilogue::real`] makes of it.

use std::ops::Range;

use super::{Epilogue, Finish};
use crate::{Activation, Target, clip_round};

/// The most channels that are finished at a time.
const MOST_CHANNELS: usize = 64;

impl Epilogue {
    /// What becomes of the sums of neighbouring `channels`, at most [`MOST_CHANNELS`]. Without a
    /// residual the codes summed in, where the epilogue has a sum, are those that `target` holds.
    #[inline(always)]
    pub(crate) fn finish(
        &self,
        sums: &[i32],
        channels: Range<usize>,
        residual: Option<&[u8]>,
        target: &mut Target<'_>,
    ) {
        match target {
            Target::Codes(y) => {
                let mut held = [0; MOST_CHANNELS];
                let residual = match residual {
                    None if self.m_r.is_some() => {
                        let held = &mut held[..y.len()];
                        held.copy_from_slice(y);
                        Some(&*held)
                    }
                    given => given,
                };
                self.codes(sums, channels, residual, y);
            }
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
}
