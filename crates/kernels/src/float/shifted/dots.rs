//! `d[m][k] += sum_p y[m][p] b[k][p]`: gradients of the weights.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are counted, not iterated"
)]

use std::ops::Range;

use super::{ROUND, Rows};
use crate::float::bf16::{Bf16, Half};
use crate::float::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::float::vector::Halves;
use crate::float::vector::Vector;

/// `d[m][k] += sum_p y[m][p] b[rows[k] + p]` for `p` below `n` rounded up to [`ROUND`]; row `m` of
/// `d` begins at `m * rows.len()`.
///
/// # Panics
/// When `d` has not a row for each of `y`'s, or a row of `y` or `b`, `n` rounded up, does not lie
/// in its slice.
pub fn dots(d: &mut [f32], y: Rows<&[f32]>, b: &[f32], rows: &[usize], n: usize) {
    dots_on(Level::best(), d, y, b, rows, n);
}

/// The same with halves on both sides.
///
/// # Panics
/// As [`dots`].
pub fn dots_halves(_: Bf16, d: &mut [f32], y: Rows<&[Half]>, b: &[Half], rows: &[usize], n: usize) {
    let dots = Dots::new(d, y, b, rows, n);
    // SAFETY: `Dots::new` has checked its promises; the token proves that the CPU has the
    // instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        dots_bf16(dots);
    }
}

pub(super) fn dots_on(
    level: Level,
    d: &mut [f32],
    y: Rows<&[f32]>,
    b: &[f32],
    rows: &[usize],
    n: usize,
) {
    let dots = Dots::new(d, y, b, rows, n);
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
/// [`ROUND`], and `d` a row for each of `y`'s.
struct Dots<'a, T> {
    d: *mut f32,
    y: Rows<*const T>,
    b: *const T,
    rows: &'a [usize],
    n: usize,
}

/// Entries of a row that are summed at once: the rows of a tile then stay in the nearest cache.
const RUN: usize = 640;

impl<'a, T: Copy> Dots<'a, T> {
    fn new(d: &'a mut [f32], y: Rows<&'a [T]>, b: &'a [T], rows: &'a [usize], n: usize) -> Self {
        let n = n.next_multiple_of(ROUND);
        assert_eq!(d.len(), y.count * rows.len(), "rows of d");
        let furthest = rows.iter().max().copied().unwrap_or(0);
        assert!(
            furthest.checked_add(n).is_some_and(|end| end <= b.len()),
            "rows of b"
        );
        assert!(y.fit(0, n, y.data.len()), "rows of y");
        Self {
            d: d.as_mut_ptr(),
            y: Rows::new(y.data.as_ptr(), y.count, y.stride),
            b: b.as_ptr(),
            rows,
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
        // SAFETY: as `run`; `k + KR <= rows.len()` in each call.
        unsafe {
            while k + KR <= self.rows.len() {
                self.tile::<V, MR, KR>(m, k, run.clone());
                k += KR;
            }
            while k < self.rows.len() {
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
                b[j] = self.b.add(*self.rows.get_unchecked(k + j));
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
                for i in 0..MR {
                    *self.d.add((m + i) * self.rows.len() + k + j) += sums[i];
                }
            }
        }
    }
}
