//! The one definition of rounding: from an accumulator or a real number to a code.
//!
//! An activation is `x = scale * (code - zero)` with `code` in `0..=levels`; a signed tensor has
//! its zero in the middle. A layer's sum of products is an `i32`; the epilogue turns it into the
//! next code in `f32`, each operation rounded by itself (no fused multiply-add), in this order:
//!
//! ```text
//! t = (acc as f32) * m[c] + b[c]             m = scale_in * scale_w[c] / scale_out
//! t = t + (r as f32) * m_r                   only where a residual sum is fused: r is its code
//! code = rne(min(max(t, lo), hi))            rne: round half to even
//! ```
//!
//! `b` holds the bias, the output's zero and the residual's zero. An activation that is a clip
//! (ReLU, ReLU6) is nothing but `lo` and `hi`. Since `lo` and `hi` are whole numbers, clipping
//! before rounding and after it are the same.

use crate::Bits;

/// The grid of an activation: `x = scale * (code - zero)`, `code` in `0..=bits.levels()`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Bit-width of a code.
    pub bits: Bits,
    /// Distance between neighbours; positive and finite.
    pub scale: f32,
    /// The code of 0.0, at most `bits.levels()`.
    pub zero: u8,
}

impl Grid {
    /// The code of `x`: `rne(clip(x / scale + zero))`, the quotient computed as written.
    pub fn code(self, x: f32) -> u8 {
        clip_round(x / self.scale + f32::from(self.zero), 0.0, f32::from(self.bits.levels()))
    }

    /// The number that `code` stands for.
    pub fn value(self, code: u8) -> f32 {
        self.scale * (f32::from(code) - f32::from(self.zero))
    }
}

/// `rne(min(max(t, lo), hi))` as a code; `lo` and `hi` are whole and within `0..=255`.
/// Not-a-number becomes `lo`.
#[inline]
pub fn clip_round(t: f32, lo: f32, hi: f32) -> u8 {
    t.max(lo).min(hi).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_to_even_and_clips() {
        assert_eq!(clip_round(0.5, 0.0, 255.0), 0);
        assert_eq!(clip_round(1.5, 0.0, 255.0), 2);
        assert_eq!(clip_round(-3.0, 0.0, 255.0), 0);
        assert_eq!(clip_round(1e30, 0.0, 15.0), 15);
        assert_eq!(clip_round(f32::NAN, 3.0, 15.0), 3);
    }

    #[test]
    fn a_grid_point_is_its_own_code() {
        let grid = Grid { bits: Bits::new(4).unwrap(), scale: 0.37, zero: 5 };
        for code in 0..=15 {
            assert_eq!(grid.code(grid.value(code)), code);
        }
    }
}
