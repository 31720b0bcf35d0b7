//! What follows a sum, before rounding: the functions of one number that a step may end with.

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
            // Times a sum that has been scaled, it stays finite.
            Activation::LeakyRelu { slope } => slope.abs() < 1e9,
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

/// So small that the product of two, or of one and any sum, is finite.
pub(crate) fn small(v: f32) -> bool {
    v.abs() < 1e18
}
