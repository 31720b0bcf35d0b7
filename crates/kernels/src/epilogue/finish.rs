//! The last part of an epilogue: from `t` to a code or a real number.

use crate::{Activation, Grid, clip_round};

/// The last part of an [`Epilogue`](crate::Epilogue).
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

impl Finish {
    pub(super) fn new(activation: Activation, output: Option<Grid>) -> Self {
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

    /// Whether it makes codes, not real numbers.
    pub(crate) fn has_codes(self) -> bool {
        match self {
            Finish::Clip { .. } | Finish::Curve { .. } => true,
            Finish::Real { .. } => false,
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
