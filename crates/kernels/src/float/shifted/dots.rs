//! `d[m][k] += sum_p y[m][p] b[k][p]`: gradients of the weights.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are counted, not iterated"
)]

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::tiled;
use super::{ROUND, Rows, Shifts, Term};
use crate::float::bf16::{Bf16, Half};
use crate::float::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::float::vector::Halves;
use crate::float::vector::Vector;

/// `d[m][k] += sum_p y[m][p] b[k][p]` for `p` below `b.len` rounded up to [`ROUND`], where, `k`
/// being a term of `b`, `d[m][k]` is `d.data[k.a + m * d.stride]` and `b[k][p]` is
/// `b.data[k.b + p]`.
///
/// # Panics
/// When `d` and `y` differ in rows, or a row, rounded up, does not lie in its slice.
pub fn dots(d: Rows<&mut [f32]>, y: Rows<&[f32]>, b: Shifts<'_>) {
    dots_on(Level::best(), d, y, b);
}

/// The same with halves on both sides.
///
/// # Panics
/// As [`dots`].
pub fn dots_halves(bf16: Bf16, d: Rows<&mut [f32]>, y: Rows<&[Half]>, b: Shifts<'_, Half>) {
    let dots = Dots::new(d, y, b);
    // SAFETY: `Dots::new` has checked its promises, `suits_dots` those of tiles; the tokens prove
    // that the CPU has the instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        match bf16.tiles().filter(|_| tiled::suits_dots(&dots)) {
            Some(tiles) => tiled::dots(tiles, &dots),
            None => dots_bf16(dots),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bf16, dots);
}

pub(super) fn dots_on(level: Level, d: Rows<&mut [f32]>, y: Rows<&[f32]>, b: Shifts<'_>) {
    let dots = Dots::new(d, y, b);
    // SAFETY: `Dots::new` has checked its promises; `level` is this CPU's.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => dots_avx512(dots),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => dots_avx2(dots),
            Level::Portable => dots.run::<[f32; 4], 4, 2>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
unsafe fn dots_bf16(dots: Dots<Half>) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { dots.run::<Halves, 8, 3>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn dots_avx512(dots: Dots<f32>) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { dots.run::<std::arch::x86_64::__m512, 8, 3>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dots_avx2(dots: Dots<f32>) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { dots.run::<std::arch::x86_64::__m256, 4, 3>() }
}

/// The arguments of [`dots`], checked: every row of `b` and `y` holds `n` entries, a multiple of
/// [`ROUND`], and every entry of `d` that a term names is there.
pub(super) struct Dots<'a, T> {
    pub(super) d: Rows<*mut f32>,
    pub(super) y: Rows<*const T>,
    pub(super) b: Shifts<'a, T>,
    pub(super) n: usize,
}

/// Entries of a row that are summed at once: the rows of a tile then stay in the nearest cache.
const RUN: usize = 640;

impl<'a, T: Copy> Dots<'a, T> {
    fn new(d: Rows<&'a mut [f32]>, y: Rows<&'a [T]>, b: Shifts<'a, T>) -> Self {
        let n = b.positions();
        assert_eq!(d.count, y.count, "as many rows of d as of y");
        let furthest = b.check();
        assert!(
            furthest.is_none_or(|at| d.fit(at, 1, d.data.len())),
            "rows of d"
        );
        assert!(y.fit(0, n, y.data.len()), "rows of y");
        Self {
            d: Rows::new(d.data.as_mut_ptr(), d.count, d.stride),
            y: Rows::new(y.data.as_ptr(), y.count, y.stride),
            b,
            n,
        }
    }

    /// All of it, in tiles of `MR` by `KR` sums.
    ///
    /// # Safety
    /// The promises of the type, and of [`Vector`].
    #[inline(always)]
    unsafe fn run<V: Vector<Item = T>, const MR: usize, const KR: usize>(&self) {
        let run = self
            .n
            .div_ceil(self.n.div_ceil(RUN).max(1))
            .next_multiple_of(ROUND);
        let terms = self.b.terms();
        let mut from = 0;
        // SAFETY: the caller's promises; runs are multiples of `ROUND` inside `n`, and
        // `m + MR <= y.count` in each call.
        unsafe {
            while from < self.n {
                let run = from..self.n.min(from + run);
                let mut m = 0;
                while m + MR <= self.y.count {
                    self.rows::<V, MR, KR>(&terms, m, run.clone());
                    m += MR;
                }
                while m < self.y.count {
                    self.rows::<V, 1, KR>(&terms, m, run.clone());
                    m += 1;
                }
                from = run.end;
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<V: Vector<Item = T>, const MR: usize, const KR: usize>(
        &self,
        terms: &[Term],
        m: usize,
        run: Range<usize>,
    ) {
        let (whole, rest) = terms.as_chunks::<KR>();
        // SAFETY: as `run`.
        unsafe {
            for terms in whole {
                self.tile::<V, MR, KR>(terms, m, run.clone());
            }
            for term in rest {
                self.tile::<V, MR, 1>(&[*term], m, run.clone());
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Vector<Item = T>, const MR: usize, const KR: usize>(
        &self,
        terms: &[Term; KR],
        m: usize,
        run: Range<usize>,
    ) {
        // SAFETY: as `rows`.
        unsafe {
            let mut sums = [[V::all(0.0); 8]; KR];
            let b = terms.map(|term| self.b.data.as_ptr().add(term.b));
            let y = self.y.data.add(m * self.y.stride);
            let mut p = run.start;
            while p < run.end {
                let mut x = [V::all(0.0); KR];
                for j in 0..KR {
                    x[j] = V::load(b[j].add(p));
                }
                for i in 0..MR {
                    let y = V::load(y.add(i * self.y.stride + p));
                    for j in 0..KR {
                        sums[j][i] = x[j].mul_add(y, sums[j][i]);
                    }
                }
                p += V::LEN;
            }
            for j in 0..KR {
                let sums = V::sums(sums[j]);
                for i in 0..MR {
                    *self.d.data.add((m + i) * self.d.stride + terms[j].a) += sums[i];
                }
            }
        }
    }
}
