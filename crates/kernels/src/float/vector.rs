//! Vectors of floats, one type for each instruction set, so that a kernel is written once.

/// A register of floats; what it multiplies may be narrower.
///
/// # Safety
/// Every method may be called only where the CPU has the type's instructions, from a function
/// compiled with them: all are inlined into it.
pub(crate) trait Vector: Copy {
    /// What is multiplied.
    type Item: Copy;
    /// Items in a register.
    const LEN: usize;

    /// The same float everywhere.
    unsafe fn all(x: f32) -> Self;

    /// The same item everywhere.
    unsafe fn splat(x: Self::Item) -> Self;

    /// The `LEN` items at `from`, which must be readable.
    unsafe fn load(from: *const Self::Item) -> Self;

    /// Puts the floats at `to`, which must be writable.
    unsafe fn store(self, to: *mut f32);

    /// `self * b + c`, where `self` and `b` hold items and `c` floats.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;

    /// The sum of all.
    unsafe fn sum(self) -> f32;

    /// Tells the CPU that `at`, which need not be readable, will be read soon.
    #[inline(always)]
    unsafe fn prefetch(at: *const Self::Item) {
        let _ = at;
    }

    /// The sums of eight.
    #[inline(always)]
    unsafe fn sums(of: [Self; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        for i in 0..8 {
            // SAFETY: the caller's promise.
            sums[i] = unsafe { of[i].sum() };
        }
        sums
    }
}

/// Four floats without asking for any instructions: the compiler finds what every CPU has.
impl Vector for [f32; 4] {
    type Item = f32;
    const LEN: usize = 4;

    #[inline(always)]
    unsafe fn all(x: f32) -> Self {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        [
            self[0] * b[0] + c[0],
            self[1] * b[1] + c[1],
            self[2] * b[2] + c[2],
            self[3] * b[3] + c[3],
        ]
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        (self[0] + self[2]) + (self[1] + self[3])
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Halves, Pairs};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::Vector;
    use crate::float::bf16::{Half, Pair};

    impl Vector for __m256 {
        type Item = f32;
        const LEN: usize = 8;

        #[inline(always)]
        unsafe fn all(x: f32) -> Self {
            // SAFETY: the caller has AVX2 and FMA, here and below.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: as above.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above; `from` is readable.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above; `to` is writable.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: as above.
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: as above.
            unsafe {
                let half = _mm_add_ps(
                    _mm256_castps256_ps128(self),
                    _mm256_extractf128_ps::<1>(self),
                );
                let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
                _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
            }
        }
    }

    impl Vector for __m512 {
        type Item = f32;
        const LEN: usize = 16;

        #[inline(always)]
        unsafe fn all(x: f32) -> Self {
            // SAFETY: the caller has AVX-512F, here and below.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: as above.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above; `from` is readable.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above; `to` is writable.
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: as above.
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_add_ps(self) }
        }

        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            // SAFETY: as above; a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }

        /// Adds halves of two registers to each other until each float is the sum of one.
        #[inline(always)]
        unsafe fn sums(of: [Self; 8]) -> [f32; 8] {
            // SAFETY: as above; eight floats are stored in eight.
            unsafe {
                let pair = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let four = |a, b| {
                    let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                    let (lo, hi) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
                    _mm512_add_ps(_mm512_castpd_ps(lo), _mm512_castpd_ps(hi))
                };
                let a = four(pair(of[0], of[1]), pair(of[2], of[3]));
                let b = four(pair(of[4], of[5]), pair(of[6], of[7]));
                let lo = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                let hi = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                // (a0 + a1, a2 + a3, b0 + b1, b2 + b3), each of four floats.
                let halves = _mm512_add_ps(lo, hi);
                let swapped = _mm512_shuffle_f32x4::<0b10_11_00_01>(halves, halves);
                let whole = _mm512_add_ps(halves, swapped);
                let packed = _mm512_shuffle_f32x4::<0b10_00_10_00>(whole, whole);
                let mut sums = [0.0; 8];
                _mm256_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps256(packed));
                sums
            }
        }
    }

    /// Floats that take pairs.
    #[derive(Clone, Copy)]
    pub(crate) struct Pairs(__m512);

    /// Floats that take halves, neighbours as pairs.
    #[derive(Clone, Copy)]
    pub(crate) struct Halves(__m512);

    /// What both have alike: their items lie in a register as bits of floats.
    macro_rules! of_bf16 {
        ($name:ident, $item:ty, $len:expr, $splat:expr) => {
            impl Vector for $name {
                type Item = $item;
                const LEN: usize = $len;

                #[inline(always)]
                unsafe fn all(x: f32) -> Self {
                    // SAFETY: the caller has AVX-512F and BF16, here and below.
                    Self(unsafe { _mm512_set1_ps(x) })
                }

                #[inline(always)]
                unsafe fn splat(x: $item) -> Self {
                    // SAFETY: as above.
                    Self(unsafe { _mm512_castsi512_ps($splat(x)) })
                }

                #[inline(always)]
                unsafe fn load(from: *const $item) -> Self {
                    // SAFETY: as above; 64 bytes at `from` are readable.
                    Self(unsafe { _mm512_loadu_ps(from.cast()) })
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as above; `to` is writable.
                    unsafe { _mm512_storeu_ps(to, self.0) }
                }

                #[inline(always)]
                unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                    // SAFETY: as above; both types are 64 bytes of any content.
                    unsafe {
                        let [a, b] = [self.0, b.0].map(|x| transmute::<__m512, __m512bh>(x));
                        Self(_mm512_dpbf16_ps(c.0, a, b))
                    }
                }

                #[inline(always)]
                unsafe fn sum(self) -> f32 {
                    // SAFETY: as above.
                    unsafe { self.0.sum() }
                }

                #[inline(always)]
                unsafe fn prefetch(at: *const $item) {
                    // SAFETY: as above; a prefetch never faults.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
                }

                #[inline(always)]
                unsafe fn sums(of: [Self; 8]) -> [f32; 8] {
                    // SAFETY: as above.
                    unsafe { __m512::sums(of.map(|x| x.0)) }
                }
            }
        };
    }

    of_bf16!(Pairs, Pair, 16, |[a, b]: Pair| {
        _mm512_set1_epi32((u32::from(b) << 16 | u32::from(a)) as i32)
    });
    of_bf16!(Halves, Half, 32, |x: Half| _mm512_set1_epi32(
        (u32::from(x) << 16 | u32::from(x)) as i32
    ));
}
