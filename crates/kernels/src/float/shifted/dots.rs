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
    // SAFETY: `Dots::new` has checked its promises; the token proves that the CPU has the
    // instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let suit = tiled::suit(dots.y.count, b.planes, &b);
        match bf16.tiles().filter(|_| suit) {
            Some(tiles) => tiled::dots(tiles, &dots, &b),
            None => dots_bf16(dots),
        }
    }
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
pub(super) struct Dots<T> {
    pub(super) d: Rows<*mut f32>,
    pub(super) y: Rows<*const T>,
    pub(super) b: *const T,
    terms: Vec<Term>,
    pub(super) n: usize,
}

/// Entries of a row that are summed at once: the rows of a tile then stay in the nearest cache.
const RUN: usize = 640;

impl<T: Copy> Dots<T> {
    fn new(d: Rows<&mut [f32]>, y: Rows<&[T]>, b: Shifts<'_, T>) -> Self {
        let (terms, n) = (b.terms(), b.positions());
        assert_eq!(d.count, y.count, "rows of d and y");
        let furthest = terms.iter().map(|t| t.a).max();
        assert!(
            furthest.is_none_or(|at| d.fit(at, 1, d.data.len())),
            "rows of d"
        );
        assert!(y.fit(0, n, y.data.len()), "rows of y");
        Self {
            d: Rows::new(d.data.as_mut_ptr(), d.count, d.stride),
            y: Rows::new(y.data.as_ptr(), y.count, y.stride),
            b: b.data.as_ptr(),
            terms,
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
        let mut from = 0;
        // SAFETY: the caller's promises; runs are multiples of `ROUND` inside `n`, and
        // `m + MR <= y.count` in each call.
        unsafe {
            while from < self.n {
                let run = from..self.n.min(from + run);
                let mut m = 0;
                while m + MR <= self.y.count {
                    self.rows::<V, MR, KR>(m, run.clone());
                    m += MR;
                }
                while m < self.y.count {
                    self.rows::<V, 1, KR>(m, run.clone());
                    m += 1;
                }
                from = run.end;
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<V: Vector<Item = T>, const MR: usize, const KR: usize>(
        &self,
        m: usize,
        run: Range<usize>,
    ) {
        let mut k = 0;
        // SAFETY: as `run`; `k + KR <= terms.len()` in each call.
        unsafe {
            while k + KR <= self.terms.len() {
                self.tile::<V, MR, KR>(m, k, run.clone());
                k += KR;
            }
            while k < self.terms.len() {
                self.tile::<V, MR, 1>(m, k, run.clone());
                k += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<V: Vector<Item = T>, const MR: usize, const KR: usize>(
        &self,
        m: usize,
        k: usize,
        run: Range<usize>,
    ) {
        // SAFETY: as `rows`.
        unsafe {
            let mut sums = [[V::all(0.0); 8]; KR];
            let mut b = [self.b; KR];
            for j in 0..KR {
                b[j] = self.b.add(self.terms.get_unchecked(k + j).b);
            }
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
                let at = self.terms.get_unchecked(k + j).a;
                for i in 0..MR {
                    *self.d.data.add((m + i) * self.d.stride + at) += sums[i];
                }
            }
        }
    }
}
