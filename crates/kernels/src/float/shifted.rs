//! Products with a matrix whose rows are places in one buffer, and may overlap.
//!
//! A convolution over a plane with its padding around it, rows end to end, is such a product:
//! the row of a tap is the plane shifted by the tap's distance. So a window is never unfolded:
//!
//! ```text
//! c[m][p]  = start[m] + sum_k a[m][k] b[rows[k] + p]     values, and gradients of the input
//! d[m][k] += sum_p  y[m][p] b[rows[k] + p]               gradients of the weights
//! ```

#![allow(
    clippy::needless_range_loop,
    reason = "tiles of registers are counted, not iterated"
)]

use std::ops::Range;

use super::isa::Level;
use super::vector::Vector;

/// What `p` is rounded up to: buffers must have room for it.
pub const ROUND: usize = 16;

/// One term of a [`product`]: a column of the left factor and the row that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Where the column's entry of row 0 is in `a`.
    pub a: usize,
    /// Where the row begins in `b`.
    pub b: usize,
}

/// Rows of equal distance in one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rows<T> {
    /// The buffer.
    pub data: T,
    /// How many rows.
    pub count: usize,
    /// Distance between rows.
    pub stride: usize,
}

impl<T> Rows<T> {
    /// Whether rows of `n` floats, the first at `start`, lie in `len` floats.
    fn fit(&self, start: usize, n: usize, len: usize) -> bool {
        let last = self.count.saturating_sub(1).checked_mul(self.stride);
        last.and_then(|at| at.checked_add(start)?.checked_add(n))
            .is_some_and(|end| end <= len)
    }
}

/// `c[m][p] = sum_k a[m][k] b[k][p]` for `p` below `n` rounded up to [`ROUND`], where `a[m][k]` is
/// `a.data[terms[k].a + m * a.stride]` and `b[k][p]` is `b[terms[k].b + p]`.
///
/// # Panics
/// When `a` and `c` differ in rows, or a row, `n` rounded up, does not lie in its slice.
pub fn product(c: Rows<&mut [f32]>, a: Rows<&[f32]>, b: &[f32], terms: &[Term], n: usize) {
    product_on(Level::best(), c, a, b, terms, n);
}

fn product_on(
    level: Level,
    c: Rows<&mut [f32]>,
    a: Rows<&[f32]>,
    b: &[f32],
    terms: &[Term],
    n: usize,
) {
    let n = n.next_multiple_of(ROUND);
    assert_eq!(a.count, c.count, "rows of a product");
    let furthest = |of: fn(&Term) -> usize| terms.iter().map(of).max().unwrap_or(0);
    assert!(
        a.fit(furthest(|t| t.a), 1, a.data.len()) || terms.is_empty(),
        "rows of a"
    );
    assert!(
        furthest(|t| t.b)
            .checked_add(n)
            .is_some_and(|end| end <= b.len()),
        "rows of b"
    );
    assert!(c.fit(0, n, c.data.len()), "rows of c");
    let product = Product {
        c: Rows {
            data: c.data.as_mut_ptr(),
            count: c.count,
            stride: c.stride,
        },
        a: Rows {
            data: a.data.as_ptr(),
            count: a.count,
            stride: a.stride,
        },
        b: b.as_ptr(),
        terms,
        n,
    };
    // SAFETY: the asserts above are the promises of `Product`; `level` is this CPU's.
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
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn product_avx512(product: Product) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { product.run::<std::arch::x86_64::__m512, 8, 3>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn product_avx2(product: Product) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { product.run::<std::arch::x86_64::__m256, 4, 3>() }
}

/// The arguments of [`product`], checked: every row holds `n` floats, a multiple of [`ROUND`], and
/// every entry of `a` is there.
struct Product<'a> {
    c: Rows<*mut f32>,
    a: Rows<*const f32>,
    b: *const f32,
    terms: &'a [Term],
    n: usize,
}

impl Product<'_> {
    /// All of it, in tiles of `MR` rows and `NR` registers.
    ///
    /// # Safety
    /// The promises of the type, and of [`Vector`].
    #[inline(always)]
    unsafe fn run<V: Vector, const MR: usize, const NR: usize>(&self) {
        let mut p = 0;
        // SAFETY: the caller's promises; `p + NR * LEN <= n` in each call.
        unsafe {
            while p + NR * V::LEN <= self.n {
                self.columns::<V, MR, NR>(p);
                p += NR * V::LEN;
            }
            while p < self.n {
                self.columns::<V, MR, 1>(p);
                p += V::LEN;
            }
        }
    }

    #[inline(always)]
    unsafe fn columns<V: Vector, const MR: usize, const NR: usize>(&self, p: usize) {
        let mut m = 0;
        // SAFETY: as `run`; `m` is below the number of rows.
        unsafe {
            while m < self.c.count {
                match self.c.count - m {
                    1 => self.tile::<V, 1, NR>(m, p),
                    2..=4 => self.tile::<V, 4, NR>(m, p),
                    _ => self.tile::<V, MR, NR>(m, p),
                }
                m += MR;
            }
        }
    }

    /// Rows `m..m + MR`, as far as there are any, from position `p` on.
    #[inline(always)]
    unsafe fn tile<V: Vector, const MR: usize, const NR: usize>(&self, m: usize, p: usize) {
        // SAFETY: as `columns`; rows past the last are read as the last, and not written.
        unsafe {
            let mut a = [self.a.data; MR];
            for i in 0..MR {
                a[i] = self
                    .a
                    .data
                    .add((m + i).min(self.a.count - 1) * self.a.stride);
            }
            let mut sums = [[V::splat(0.0); NR]; MR];
            for term in self.terms {
                let b = self.b.add(term.b + p);
                let mut x = [V::splat(0.0); NR];
                for j in 0..NR {
                    x[j] = V::load(b.add(j * V::LEN));
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

/// `d[m][k] += sum_p y[m][p] b[rows[k] + p]` for `p` below `n` rounded up to [`ROUND`]; row `m` of
/// `d` begins at `m * rows.len()`.
///
/// # Panics
/// When `d` has not a row for each of `y`'s, or a row of `y` or `b`, `n` rounded up, does not lie
/// in its slice.
pub fn dots(d: &mut [f32], y: Rows<&[f32]>, b: &[f32], rows: &[usize], n: usize) {
    dots_on(Level::best(), d, y, b, rows, n);
}

fn dots_on(level: Level, d: &mut [f32], y: Rows<&[f32]>, b: &[f32], rows: &[usize], n: usize) {
    let n = n.next_multiple_of(ROUND);
    assert_eq!(d.len(), y.count * rows.len(), "rows of d");
    let furthest = rows.iter().max().copied().unwrap_or(0);
    assert!(
        furthest.checked_add(n).is_some_and(|end| end <= b.len()),
        "rows of b"
    );
    assert!(y.fit(0, n, y.data.len()), "rows of y");
    let y = Rows {
        data: y.data.as_ptr(),
        count: y.count,
        stride: y.stride,
    };
    let dots = Dots {
        d: d.as_mut_ptr(),
        y,
        b: b.as_ptr(),
        rows,
        n,
    };
    // SAFETY: the asserts above are the promises of `Dots`; `level` is this CPU's.
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
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn dots_avx512(dots: Dots) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { dots.run::<std::arch::x86_64::__m512, 8, 3>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dots_avx2(dots: Dots) {
    // SAFETY: the caller's promise, and this function's features.
    unsafe { dots.run::<std::arch::x86_64::__m256, 4, 3>() }
}

/// The arguments of [`dots`], checked: every row of `b` and `y` holds `n` floats, a multiple of
/// [`ROUND`], and `d` a row for each of `y`'s.
struct Dots<'a> {
    d: *mut f32,
    y: Rows<*const f32>,
    b: *const f32,
    rows: &'a [usize],
    n: usize,
}

/// Floats of a row that are summed at once: the rows of a tile then stay in the nearest cache.
const RUN: usize = 640;

impl Dots<'_> {
    /// All of it, in tiles of `MR` by `KR` sums.
    ///
    /// # Safety
    /// The promises of the type, and of [`Vector`].
    #[inline(always)]
    unsafe fn run<V: Vector, const MR: usize, const KR: usize>(&self) {
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
    unsafe fn rows<V: Vector, const MR: usize, const KR: usize>(
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
    unsafe fn tile<V: Vector, const MR: usize, const KR: usize>(
        &self,
        m: usize,
        k: usize,
        run: Range<usize>,
    ) {
        // SAFETY: as `rows`.
        unsafe {
            let mut sums = [[V::splat(0.0); 8]; KR];
            let mut b = [self.b; KR];
            for j in 0..KR {
                b[j] = self.b.add(*self.rows.get_unchecked(k + j));
            }
            let y = self.y.data.add(m * self.y.stride);
            let mut p = run.start;
            while p < run.end {
                let mut x = [V::splat(0.0); KR];
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers from -8 to 8: their sums of products are exact.
    fn numbers(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7 + i / 5) % 17) as f32 - 8.0)
            .collect()
    }

    #[test]
    fn every_level_equals_the_definition() {
        let cases: [[usize; 3]; 5] = [
            [1, 9, 16],
            [3, 4, 33],
            [5, 1, 48],
            [8, 7, 100],
            [19, 10, 1300],
        ];
        for [m, depth, n] in cases {
            let room = n.next_multiple_of(ROUND);
            let a = numbers(m * depth);
            let b = numbers(depth * 5 + room);
            let y = numbers(m * room);
            let terms: Vec<Term> = (0..depth)
                .map(|k| Term {
                    a: k,
                    b: (k * 13) % (depth * 5),
                })
                .collect();
            let rows: Vec<usize> = terms.iter().map(|t| t.b).collect();
            for level in Level::present() {
                let mut c = vec![f32::NAN; m * room];
                let into = Rows {
                    data: &mut *c,
                    count: m,
                    stride: room,
                };
                product_on(
                    level,
                    into,
                    Rows {
                        data: &a,
                        count: m,
                        stride: depth,
                    },
                    &b,
                    &terms,
                    n,
                );
                let mut d = vec![1.0; m * depth];
                dots_on(
                    level,
                    &mut d,
                    Rows {
                        data: &y,
                        count: m,
                        stride: room,
                    },
                    &b,
                    &rows,
                    n,
                );
                for i in 0..m {
                    for p in 0..room {
                        let sum: f32 = terms.iter().map(|t| a[i * depth + t.a] * b[t.b + p]).sum();
                        assert_eq!(c[i * room + p], sum, "{level:?} {m} {depth} {n}: {i} {p}");
                    }
                    for (k, row) in rows.iter().enumerate() {
                        let sum: f32 = (0..room).map(|p| y[i * room + p] * b[row + p]).sum();
                        assert_eq!(
                            d[i * depth + k],
                            1.0 + sum,
                            "{level:?} {m} {depth} {n}: {i} {k}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows of b")]
    fn a_row_must_lie_in_its_slice() {
        let (mut c, a) = ([0.0; 16], [1.0]);
        let c = Rows {
            data: c.as_mut_slice(),
            count: 1,
            stride: 16,
        };
        let a = Rows {
            data: a.as_slice(),
            count: 1,
            stride: 1,
        };
        product(c, a, &[0.0; 20], &[Term { a: 0, b: 5 }], 16);
    }

    #[test]
    #[should_panic(expected = "rows of c")]
    fn a_result_must_lie_in_its_slice() {
        let (mut c, a) = ([0.0; 31], [1.0; 2]);
        let c = Rows {
            data: c.as_mut_slice(),
            count: 2,
            stride: 16,
        };
        let a = Rows {
            data: a.as_slice(),
            count: 2,
            stride: 1,
        };
        product(c, a, &[0.0; 32], &[Term { a: 0, b: 0 }], 16);
    }
}
