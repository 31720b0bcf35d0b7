//! The one definition of rounding: from an accumulator or a real number to a code.
//!
//! An activation is `x = scale * (code - zero)` with `code` in `0..=levels`; a signed tensor has
//! its zero in the middle. What lies between a sum of products and [`clip_round`] is in
//! [`Epilogue`](crate::Epilogue). Since `lo` and `hi` are whole numbers, clipping before rounding
//! and after it are the same.

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
        clip_round(
            x / self.scale + f32::from(self.zero),
            0.0,
            f32::from(self.bits.levels()),
        )
    }

    /// The number that `code` stands for.
    pub fn value(self, code: u8) -> f32 {
        self.scale * (f32::from(code) - f32::from(self.zero))
    }
}

/// `rne(min(max(t, lo), hi))` as a code, `rne` rounding half to even; `lo` and `hi` are whole and
/// within `0..=255`. Not-a-number becomes `lo`.
#[inline(always)]
pub fn clip_round(t: f32, lo: f32, hi: f32) -> u8 {
    let t = if t > lo { t } else { lo };
    let t = if t < hi { t } else { hi };
    // Between 2^23 and 2^24 neighbours are 1.0 apart, so the sum itself rounds half to even and
    // leaves the code in the lowest bits: no call, and it vectorizes.
    (t + 8_388_608.0).to_bits() as u8
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

    #[test]
    fn rounds_half_to_even_and_clips() {
        assert_eq!(clip_round(0.5, 0.0, 255.0), 0);
        assert_eq!(clip_round(1.5, 0.0, 255.0), 2);
        assert_eq!(clip_round(-3.0, 0.0, 255.0), 0);
        assert_eq!(clip_round(1e30, 0.0, 15.0), 15);
        assert_eq!(clip_round(f32::NAN, 3.0, 15.0), 3);
        for i in 0..=255 * 64 {
            for t in [
                i as f32 / 64.0,
                (i as f32 / 64.0).next_down(),
                (i as f32 / 64.0).next_up(),
            ] {
                assert_eq!(clip_round(t, 0.0, 255.0), t.round_ties_even() as u8, "{t}");
            }
        }
    }

    #[test]
    fn a_grid_point_is_its_own_code() {
        let grid = Grid {
            bits: Bits::new(4).unwrap(),
            scale: 0.37,
            zero: 5,
        };
        for code in 0..=15 {
            assert_eq!(grid.code(grid.value(code)), code);
        }
    }

    #[test]
    fn tables_agree_with_the_grid() {
        let grid = |bits, scale, zero| Grid {
            bits: Bits::new(bits).unwrap(),
            scale,
            zero,
        };
        let (from, to) = (grid(4, 0.5, 3), grid(8, 0.01, 128));
        assert_eq!(
            regrid_table(from, from)[..16],
            std::array::from_fn::<u8, 16, _>(|i| i as u8)
        );
        assert_eq!(regrid_table(from, to)[3], 128);
        assert_eq!(pixel_table(1.0, 0.0, grid(8, 1.0, 0))[200], 200);
    }
}
