//! Convolution by looking up sums: weights of one or two bits with codes of up to four.
//!
//! Four neighbouring codes have 16 sums, one for each choice among them. A table of those is made
//! of every four codes once, while lines are copied; four weights of one bit are an index into it.
//! A shuffle of bytes looks up a sum for every channel of a vector at once: with an addition it
//! does the work of 256 multiply-accumulates on 64 channels. That is exact, unlike the tables of
//! T-MAC (Wei et al., 2024), from which the idea is, since codes are small.
//!
//! Weights of two bits are `w = b0 - 2 b1`: two look-ups. A weight of one bit is 1 or -1: its
//! table holds sums of the chosen codes less the others.
//!
//! Looked-up sums add up in bytes for `flush` steps, as many as cannot overflow, and then in 16
//! bits, whose overflow on the way does no harm where the last sum fits.

use crate::{ConvShape, every};

/// All sums of four codes: entry `i` sums those whose bit is in `i`.
pub(crate) type Sums = [u8; 16];

/// The largest code of which a table's sums fit.
const MOST_LEVELS: u8 = 15;

/// Bit planes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planes {
    /// Weights of 1 and -1.
    One,
    /// Weights from -2 to 1.
    Two,
}

/// A kernel that looks up sums with the instructions of `token`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<T> {
    pub(crate) token: T,
    pub(crate) planes: Planes,
    /// Steps before the sums are widened.
    pub(crate) flush: usize,
}

impl<T> Look<T> {
    /// The kernel for codes up to `levels` and these `weights`, where their sums fit and it takes
    /// steps of `step` codes.
    pub(crate) fn new(
        token: T,
        step: usize,
        shape: &ConvShape,
        levels: u8,
        weights: &[i8],
    ) -> Option<Self> {
        let planes = Planes::of(weights)?;
        let (depth, limit) = (shape.depth(), planes.limit());
        let most = depth * limit.largest * usize::from(levels);
        let tables = (shape.input[2] / shape.groups).is_multiple_of(4) && levels <= MOST_LEVELS;
        // What fills up a step is looked up too: an index of 0, where nothing is chosen. That is no
        // sum, unless it is less those that are not chosen. (Behind the lines, tables are zero.)
        let whole = (shape.input[2] / shape.groups).is_multiple_of(step);
        let filled = planes == Planes::Two || whole;
        let flush = limit.bytes / (4 * usize::from(levels));
        (tables && filled && most <= i16::MAX as usize).then_some(Self {
            token,
            planes,
            flush,
        })
    }

    /// What a step of a panel takes that needs `plane` bytes for one plane.
    pub(crate) fn step_len(&self, plane: usize) -> usize {
        self.planes.limit().lookups * plane
    }

    /// Puts four weights of channel `lane` of a vector of `channels` into a step, the next plane
    /// `plane` bytes later.
    ///
    /// Look-ups add up in bytes, which come apart into even and odd ones when they are widened: so
    /// the even bytes are the first half of the channels.
    #[inline(always)]
    pub(crate) fn place(
        &self,
        step: &mut [u8],
        [channels, plane]: [usize; 2],
        lane: usize,
        codes: &[i8],
    ) {
        let half = channels / 2;
        let at = lane % half * 2 + lane / half;
        for (j, &w) in codes.iter().enumerate() {
            match self.planes {
                Planes::One => step[at] |= u8::from(w > 0) << j,
                Planes::Two => {
                    step[at] |= (w as u8 & 1) << j;
                    step[plane + at] |= ((w as u8 >> 1) & 1) << j;
                }
            }
        }
    }

    /// The table of four codes.
    #[inline(always)]
    pub(crate) fn table(&self, codes: [u8; 4]) -> Sums {
        let all = codes.iter().fold(0u8, |sum, &c| sum.wrapping_add(c));
        std::array::from_fn(|i| {
            let chosen = (0..4).filter(|j| (i >> j) & 1 == 1).map(|j| codes[j]);
            let sum = chosen.fold(0u8, u8::wrapping_add);
            match self.planes {
                Planes::One => sum.wrapping_mul(2).wrapping_sub(all),
                Planes::Two => sum,
            }
        })
    }
}

/// What a number of planes means for a kernel.
struct Limit {
    /// The largest weight, without sign.
    largest: usize,
    /// The largest sum of a byte: signed for one plane.
    bytes: usize,
    /// Look-ups for four weights.
    lookups: usize,
}

impl Planes {
    fn of(weights: &[i8]) -> Option<Self> {
        if every(weights, |w| w.unsigned_abs() == 1) {
            return Some(Planes::One);
        }
        let two = every(weights, |w| (-2..2).contains(&w));
        two.then_some(Planes::Two)
    }

    fn limit(self) -> Limit {
        match self {
            Planes::One => Limit {
                largest: 1,
                bytes: 127,
                lookups: 1,
            },
            Planes::Two => Limit {
                largest: 2,
                bytes: 255,
                lookups: 2,
            },
        }
    }
}

/// For each entry of the tables of some groups of four codes, the place of code `j` of its group
/// where that is chosen, and otherwise what a shuffle makes a zero of.
pub(crate) const fn chosen<const N: usize>(j: usize) -> [i8; N] {
    let mut places = [-128; N];
    let mut i = 0;
    while i < N {
        if (i >> j) & 1 == 1 {
            places[i] = (i / 16 * 4 + j) as i8;
        }
        i += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_every_choice() {
        let look = |planes| Look {
            token: (),
            planes,
            flush: 1,
        };
        let sums = look(Planes::Two).table([1, 2, 4, 8]);
        assert_eq!(sums, std::array::from_fn(|i| i as u8));
        let sums = look(Planes::One).table([1, 2, 4, 8]);
        assert_eq!(sums, std::array::from_fn(|i| (2 * i as i8 - 15) as u8));
    }

    #[test]
    fn weights_decide_the_planes() {
        assert_eq!(Planes::of(&[1, -1, -1]), Some(Planes::One));
        assert_eq!(Planes::of(&[1, 0, -2]), Some(Planes::Two));
        assert_eq!(Planes::of(&[2]), None);
    }
}
