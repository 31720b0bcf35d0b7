//! AVX-512 with VPOPCNTDQ: weights and codes of one bit, 32 products in 32 bits.
//!
//! A weight is `w = 2 u - 1` with a bit `u`. With a code of a bit `a`, `w a = u - (u ^ a)`: so a
//! sum is the number of ones among the `u`, which is known before, less the number of ones of an
//! exclusive or. Three instructions do the work of 512 multiply-accumulates. (Codes of two bits
//! would take twice as many: looking up their sums takes less.)

use std::arch::x86_64::*;

use super::avx512vnni::Avx512Vnni;
use super::clip512::{load, put};
use crate::micro::{BLOCK, Job, Micro, Out};
use crate::{ConvShape, every};

/// Codes of a lane.
const CODES: usize = 32;
/// Blocks of a panel.
const BLOCKS: usize = 2;

/// Weights and codes of one bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ones(Avx512Vnni);

impl Ones {
    /// The kernel for codes up to `levels` and these `weights`, where their bits fill whole lanes
    /// and this CPU counts ones.
    pub(crate) fn new(
        token: Avx512Vnni,
        shape: &ConvShape,
        levels: u8,
        weights: &[i8],
    ) -> Option<Self> {
        let whole = (shape.input[2] / shape.groups).is_multiple_of(CODES);
        let narrow = levels == 1 && every(weights, |w| w.unsigned_abs() == 1);
        let counts = is_x86_feature_detected!("avx512vpopcntdq");
        (whole && narrow && counts).then_some(Self(token))
    }
}

impl Micro for Ones {
    type Lane = u32;
    type Weight = u32;
    const DEPTH: usize = CODES;

    fn name(self) -> &'static str {
        "popcount-u1i1-avx512"
    }

    fn blocks(self, _: usize) -> usize {
        BLOCKS
    }

    fn step_len(self, blocks: usize) -> usize {
        blocks * BLOCK
    }

    #[inline(always)]
    fn place(self, step: &mut [u32], lane: usize, codes: &[i8]) {
        for (j, &w) in codes.iter().enumerate() {
            step[lane] |= u32::from(w > 0) << j;
        }
    }

    fn start(self, zero: u8, weights: &[i8]) -> i32 {
        let ones = weights.iter().filter(|&&w| w > 0).count() as i32;
        let sum = 2 * ones - weights.len() as i32;
        ones - i32::from(zero) * sum
    }

    fn lane(self, [code, ..]: [u8; 4]) -> u32 {
        u32::from(code) * u32::MAX
    }

    #[inline(always)]
    fn widen(self, codes: &[u8], lanes: &mut [u32]) {
        // SAFETY: the token proves that the CPU has AVX-512, and so AVX2.
        unsafe { bits(codes, lanes) }
    }

    fn multiply(self, job: &Job<'_, u32, u32>, out: &mut Out<'_>) {
        // SAFETY: the token proves most of the features, and `new` has asked for the last.
        unsafe { multiply(job, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.0.run(work)
    }
}

#[target_feature(enable = "avx2")]
fn bits(codes: &[u8], lanes: &mut [u32]) {
    for (codes, lane) in codes.as_chunks::<CODES>().0.iter().zip(lanes) {
        // SAFETY: the array is 32 readable bytes.
        let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
        // The bit becomes the highest of each byte.
        *lane = _mm256_movemask_epi8(_mm256_slli_epi16::<7>(codes)) as u32;
    }
}

/// Pixels of a tile, and of the last one if that is enough.
const ROWS: [usize; 2] = [8, 4];

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn multiply(job: &Job<'_, u32, u32>, out: &mut Out<'_>) {
    job.check(1, BLOCKS * BLOCK);
    let full = job.pixels.len() / ROWS[0] * ROWS[0];
    for first in (0..full).step_by(ROWS[0]) {
        put(&dot::<{ ROWS[0] }>(job, first), first, out);
    }
    match job.pixels.len() - full {
        0 => {}
        1 => put(&dot::<1>(job, full), full, out),
        rest if rest <= ROWS[1] => put(&dot::<{ ROWS[1] }>(job, full)[..rest], full, out),
        rest => put(&dot::<{ ROWS[0] }>(job, full)[..rest], full, out),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn dot<const R: usize>(job: &Job<'_, u32, u32>, first: usize) -> [[__m512i; BLOCKS]; R] {
    let pixels: [*const u32; R] = job.pointers(first);
    let mut weights = job.weights.as_ptr();
    let mut ones = [[_mm512_setzero_si512(); BLOCKS]; R];
    for &run in job.runs {
        for at in run..run + job.steps {
            // SAFETY: for each run `32 * steps` weights are read, and `steps` lanes from where it
            // begins in each pixel: `Job::check` has shown that they lie in their slices.
            let w: [__m512i; BLOCKS] = std::array::from_fn(|b| unsafe {
                _mm512_loadu_si512(weights.add(BLOCK * b).cast())
            });
            for (ones, pixel) in ones.iter_mut().zip(pixels) {
                // SAFETY: as above.
                let codes = _mm512_set1_epi32(unsafe { *pixel.add(at) } as i32);
                for (ones, w) in ones.iter_mut().zip(w) {
                    let differ = _mm512_popcnt_epi32(_mm512_xor_si512(codes, w));
                    *ones = _mm512_add_epi32(*ones, differ);
                }
            }
            weights = weights.wrapping_add(BLOCKS * BLOCK);
        }
    }
    let (start, _) = job.start.as_chunks::<BLOCK>();
    ones.map(|ones: [__m512i; BLOCKS]| {
        std::array::from_fn(|block| _mm512_sub_epi32(load(&start[block]), ones[block]))
    })
}
