//! Bit-widths, from 1 to 8, and the codes that each can hold.

/// A bit-width from 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bits(u8);

impl Bits {
    /// One bit: the narrowest code.
    pub const ONE: Bits = Bits(1);
    /// Eight bits: the widest code.
    pub const EIGHT: Bits = Bits(8);

    /// A bit-width, or `None` outside 1 to 8.
    pub const fn new(bits: u8) -> Option<Self> {
        if matches!(bits, 1..=8) {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The number of bits.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The largest unsigned code, `2^b - 1`: an activation's codes are `0..=levels`.
    pub const fn levels(self) -> u8 {
        ((1u16 << self.0) - 1) as u8
    }

    /// The smallest and the largest weight code, `-2^(b-1)` and `2^(b-1) - 1`. One bit is the
    /// exception, as in every binary network: its codes are -1 and +1, nothing between.
    pub const fn weight_range(self) -> (i8, i8) {
        match self.0 {
            1 => (-1, 1),
            b => (
                -((1i16 << (b - 1)) as i8 as i16) as i8,
                ((1i16 << (b - 1)) - 1) as i8,
            ),
        }
    }

    /// The whole code nearest to `v` (half to even), clipped to [`Bits::weight_range`].
    pub fn weight_code(self, v: f32) -> i8 {
        if self.0 == 1 {
            return if v < 0.0 { -1 } else { 1 };
        }
        let (lo, hi) = self.weight_range();
        v.round_ties_even().clamp(f32::from(lo), f32::from(hi)) as i8
    }
}

/// Whether `test` holds for all `codes`: some at a time without a branch, many times faster than
/// one by one.
#[inline]
pub fn every(codes: &[i8], test: impl Fn(i8) -> bool) -> bool {
    codes
        .chunks(4096)
        .all(|some| some.iter().fold(true, |all, &code| all & test(code)))
}

impl std::fmt::Display for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_twos_complement_but_for_one_bit() {
        let range = |b| Bits::new(b).unwrap().weight_range();
        assert_eq!(range(1), (-1, 1));
        assert_eq!(range(2), (-2, 1));
        assert_eq!(range(4), (-8, 7));
        assert_eq!(range(8), (-128, 127));
        assert_eq!(Bits::new(8).unwrap().levels(), 255);
        assert!(Bits::new(0).is_none() && Bits::new(9).is_none());
    }

    #[test]
    fn weight_codes_round_half_to_even_and_clip() {
        let code = |b, v| Bits::new(b).unwrap().weight_code(v);
        assert_eq!(code(4, 2.5), 2);
        assert_eq!(code(4, 3.5), 4);
        assert_eq!(code(4, 99.0), 7);
        assert_eq!(code(8, -300.0), -128);
        assert_eq!((code(1, -0.2), code(1, 0.0)), (-1, 1));
    }
}
