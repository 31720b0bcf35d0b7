//! `c[m][p] = start[m] + sum_k a[m][k] b[k][p]`: values, and gradients of the input.

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are counted, not iterated"
)]

#[cfg(target_arch = "x86_64")]
use super::tiled;
use super::{Rows, Shifts, Term};
use crate::float::bf16::{Bf16, Pair};
use crate::float::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::float::vector::Pairs;
use crate::float::vector::Vector;

/// `c[m][p] = start[m] + sum_k a[m][k] b[k][p]` for every position `p`, rounded up to
/// [`super::ROUND`], where, `k` being a term of `b`, `a[m][k]` is `a.data[k.a + m * a.stride]` and
/// `b[k][p]` is `b.data[k.b + p]`. Where `start` is too short it is 0.
///
/// # Panics
/// When `a` and `c` differ in rows, or a row, rounded up, does not lie in its slice.
pub fn product(c: Rows<&mut [f32]>, start: &[f32], a: Rows<&[f32]>, b: Shifts<'_>) {
    product_on(Level::best(), c, start, a, b);
}

/// The same from 0, with pairs on both sides: each is a product of two and their sum.
///
/// # Panics
/// As [`product`].
pub fn product_pairs(bf16: Bf16, c: Rows<&mut [f32]>, a: Rows<&[Pair]>, b: Shifts<'_, Pair>) {
    let product = Product::new(c, &[], a, b);
    // SAFETY: `Product::new` has checked its promises, `suits_product` those of tiles; the tokens
    // prove that the CPU has the instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        match bf16.tiles().filter(|_| tiled::suits_product(&product)) {
            Some(tiles) => tiled::product(tiles, &product),
            None => product_bf16(product),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bf16, product);
}

pub(super) fn product_on(
    level: Level,
    c: Rows<&mut [f32]>,
    start: &[f32],
    a: Rows<&[f32]>,
    b: Shifts<'_>,
) {
    let product = Product::new(c, start, a, b);
    // SAFETY: `Product::new` has checked its promises; `level` is this CPU's.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => product_avx512(product),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => product_avx2(product),
            Level::Portable => product.run::<[f32; 4], 4, 3>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
unsafe fn product_bf16(product: Product<Pair>) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { product.run::<Pairs, 8, 3>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn product_avx512(product: Product<f32>) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { product.run::<std::arch::x86_64::__m512, 8, 3>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn product_avx2(product: Product<f32>) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { product.run::<std::arch::x86_64::__m256, 4, 3>() }
}

/// The arguments of a product, checked: every row holds `n` entries, a multiple of `ROUND`, and
/// every entry of `a` that a term names is there.
pub(super) struct Product<'a, T> {
    pub(super) c: Rows<*mut f32>,
    start: &'a [f32],
    pub(super) a: Rows<*const T>,
    pub(super) b: Shifts<'a, T>,
    pub(super) n: usize,
}

impl<'a, T: Copy> Product<'a, T> {
    fn new(c: Rows<&'a mut [f32]>, start: &'a [f32], a: Rows<&'a [T]>, b: Shifts<'a, T>) -> Self {
        let n = b.positions();
        assert_eq!(a.count, c.count, "as many rows of a as of c");
        let furthest = b.check();
        assert!(
            furthest.is_none_or(|at| a.fit(at, 1, a.data.len())),
            "rows of a"
        );
        assert!(c.fit(0, n, c.data.len()), "rows of c");
        Self {
            c: Rows::new(c.data.as_mut_ptr(), c.count, c.stride),
            start,
            a: Rows::new(a.data.as_ptr(), a.count, a.stride),
            b,
            n,
        }
    }

    /// All of it, in tiles of `MR` rows and `NR` registers.
    ///
    /// # Safety
    /// The promises of the type, and of [`Vector`].
    #[inline(always)]
    unsafe fn run<V: Vector<Item = T>, const MR: usize, const NR: usize>(&self) {
        let terms = self.b.terms();
        let mut p = 0;
        // SAFETY: the caller's promises; `p + NR * LEN <= n` in each call.
        unsafe {
            while p + NR * V::LEN <= self.n {
                self.columns::<V, MR, NR>(&terms, p);
                p += NR * V::LEN;
            }
            if p + 2 * V::LEN <= self.n {
                self.columns::<V, MR, 2>(&terms, p);
                p += 2 * V::LEN;
            }
            while p < self.n {
                self.columns::<V, MR, 1>(&terms, p);
                p += V::LEN;
            }
        }
    }

    #[inline(always)]
    unsafe fn columns<V: Vector<Item = T>, const MR: usize, const NR: usize>(
        &self,
        terms: &[Term],
        p: usize,
    ) {
        let mut m = 0;
        // SAFETY: as `run`; `m` is below the number of rows.
        unsafe {
            while m < self.c.count {
                match self.c.count - m {
                    1 => self.tile::<V, 1, NR>(terms, (m, p)),
                    2..=4 => self.tile::<V, 4, NR>(terms, (m, p)),
                    _ => self.tile::<V, MR, NR>(terms, (m, p)),
                }
                m += MR;
            }
        }
    }

    /// Rows `m..m + MR`, as far as there are any, from position `p` on.
    #[inline(always)]
    unsafe fn tile<V: Vector<Item = T>, const MR: usize, const NR: usize>(
        &self,
        terms: &[Term],
        (m, p): (usize, usize),
    ) {
        // SAFETY: as `columns`; rows past the last are read as the last, and not written.
        unsafe {
            let mut a = [self.a.data; MR];
            for i in 0..MR {
                // Where there are no terms, this may be beyond the end, and is not read.
                let row = (m + i).min(self.a.count - 1);
                a[i] = self.a.data.wrapping_add(row * self.a.stride);
            }
            let mut sums = [[V::all(0.0); NR]; MR];
            for i in 0..MR {
                sums[i] = [V::all(self.start.get(m + i).copied().unwrap_or(0.0)); NR];
            }
            for term in terms {
                let b = self.b.data.as_ptr().add(term.b + p);
                let mut x = [V::all(0.0); NR];
                for j in 0..NR {
                    x[j] = V::load(b.add(j * V::LEN));
                }
                if m == 0 {
                    // The rows are too many for the CPU to see that each goes on.
                    for j in 0..NR {
                        V::prefetch(b.wrapping_add((NR + j) * V::LEN));
                    }
                }
                for i in 0..MR {
                    let w = V::splat(*a[i].add(term.a));
                    for j in 0..NR {
                        sums[i][j] = w.mul_add(x[j], sums[i][j]);
                    }
                }
            }
            for i in 0..MR {
                if m + i < self.c.count {
                    for j in 0..NR {
                        let at = (m + i) * self.c.stride + p + j * V::LEN;
                        sums[i][j].store(self.c.data.add(at));
                    }
                }
            }
        }
    }
}
