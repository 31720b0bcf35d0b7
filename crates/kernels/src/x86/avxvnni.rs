//! AVX-VNNI, dense products: 32 products of a code and a weight in one instruction, summed by
//! fours, for CPUs that have the dot product but not AVX-512. All else is AVX2's.
//!
//! CPUs with AVX-512 VL have the same operation under another encoding. Either will do, and the
//! code differs in one intrinsic (CONTRIBUTING.md says where each was tested).

use std::arch::x86_64::*;

use super::avx2::{Avx2, load, load_pair, put};
use super::dense2::{ROWS, tiles};
use crate::micro::{BLOCK, Job, Micro, Out, bytes_by_fours, weights_as_bytes};

/// The proof that this CPU has AVX2 and a dot product of 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AvxVnni {
    pub(crate) avx2: Avx2,
    encoding: Encoding,
}

/// How the dot product is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// AVX-VNNI.
    Vex,
    /// AVX-512 VNNI and VL.
    Evex,
}

impl AvxVnni {
    pub(crate) fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        let evex = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl");
        let encoding = match is_x86_feature_detected!("avxvnni") {
            true => Encoding::Vex,
            false if evex => Encoding::Evex,
            false => return None,
        };
        Some(Self { avx2, encoding })
    }

    /// As [`crate::peak`].
    pub(crate) fn peak(self, rounds: usize) -> u64 {
        // SAFETY: `self` proves that the CPU has the features of its encoding.
        unsafe {
            match self.encoding {
                Encoding::Vex => vex::peak(rounds),
                Encoding::Evex => evex::peak(rounds),
            }
        }
    }
}

impl Micro for AvxVnni {
    bytes_by_fours!();
    weights_as_bytes!();

    fn name(self) -> &'static str {
        "conv-u8i8-avxvnni"
    }

    fn blocks(self, _: usize) -> usize {
        1
    }

    fn step_len(self, blocks: usize) -> usize {
        blocks * BLOCK * 4
    }

    fn multiply(self, job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
        // SAFETY: `self` proves that the CPU has the features of its encoding.
        unsafe {
            match self.encoding {
                Encoding::Vex => vex::multiply(job, out),
                Encoding::Evex => evex::multiply(job, out),
            }
        }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.avx2.run(work)
    }
}

/// Independent sums enough to hide the latency of an addition.
const CHAINS: usize = 12;

/// The kernel in the encoding of `$features`, whose dot product is `$dot`.
macro_rules! encoded {
    ($encoding:ident, $features:literal, $dot:ident) => {
        mod $encoding {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) fn multiply(job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
                job.check(4, BLOCK * 4);
                tiles!(job, out, dot);
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn dot<const R: usize>(job: &Job<'_, u8, i8>, first: usize) -> [[__m256i; 2]; R] {
                let pixels: [*const u8; R] = job.pointers(first);
                let mut weights = job.weights.as_ptr();
                let (start, _) = job.start.as_chunks();
                let mut sums = [[load(&start[0]), load(&start[1])]; R];
                for &run in job.runs {
                    for at in (run..run + 4 * job.steps).step_by(4) {
                        // SAFETY: for each run `64 * steps` weights are read, and `4 * steps` codes
                        // from where it begins in each pixel: `Job::check` has shown that they lie
                        // in their slices.
                        let w = unsafe { load_pair(weights.cast()) };
                        for (sums, pixel) in sums.iter_mut().zip(pixels) {
                            // SAFETY: as above.
                            let codes = unsafe { pixel.add(at).cast::<i32>().read_unaligned() };
                            let codes = _mm256_set1_epi32(codes);
                            for (sum, w) in sums.iter_mut().zip(w) {
                                *sum = $dot(*sum, codes, w);
                            }
                        }
                        weights = weights.wrapping_add(4 * BLOCK);
                    }
                }
                sums
            }

            #[target_feature(enable = $features)]
            pub(super) fn peak(rounds: usize) -> u64 {
                let mut sums: [__m256i; CHAINS] =
                    std::array::from_fn(|i| _mm256_set1_epi32(i as i32));
                let codes = _mm256_set1_epi32(rounds as i32);
                let weights = _mm256_set1_epi32(0x0102_0304);
                for _ in 0..rounds {
                    for sum in &mut sums {
                        *sum = $dot(*sum, codes, weights);
                    }
                }
                let zero = _mm256_setzero_si256();
                let sum = sums.into_iter().fold(zero, |a, b| _mm256_add_epi32(a, b));
                std::hint::black_box(_mm256_extract_epi32::<0>(sum));
                (rounds * CHAINS * 32) as u64
            }
        }
    };
}

encoded!(vex, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
encoded!(evex, "avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
