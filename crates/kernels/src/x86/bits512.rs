//! AVX-512 with VPOPCNTDQ: weights of one bit with codes of one or two, 32 products in 32 bits.
//!
//! A weight is `w = 2 u - 1` with a bit `u`, a code the sum of its bits `a` at their worth. For one
//! of those, `w a = u - (u ^ a)`: so a sum is the number of ones among the `u`, which is known
//! before, less the number of ones of an exclusive or. Three instructions do the work of 512
//! multiply-accumulates.

use std::arch::x86_64::*;

use super::avx512vnni::{Avx512Vnni, load, put};
use crate::ConvShape;
use crate::lines::BitPlanes;
use crate::micro::{BLOCK, Job, Micro, Out};

/// Codes of a lane.
const CODES: usize = 32;
/// Blocks of a panel.
const BLOCKS: usize = 2;

/// Weights of one bit and codes of one or two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ones {
    token: Avx512Vnni,
    /// Bits of a code.
    planes: usize,
}

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
        let narrow = levels <= 3 && weights.iter().all(|w| w.unsigned_abs() == 1);
        let planes = if levels == 1 { 1 } else { 2 };
        let counts = is_x86_feature_detected!("avx512vpopcntdq");
        (whole && narrow && counts).then_some(Self { token, planes })
    }
}

impl Micro for Ones {
    type Lane = BitPlanes;
    type Weight = u32;
    const DEPTH: usize = CODES;

    fn name(self) -> &'static str {
        match self.planes {
            1 => "popcount-u1i1-avx512",
            _ => "popcount-u2i1-avx512",
        }
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
        ((1 << self.planes) - 1) * ones - i32::from(zero) * sum
    }

    fn lane(self, [code, ..]: [u8; 4]) -> BitPlanes {
        [0, 1].map(|p| ((u32::from(code) >> p) & 1) * u32::MAX)
    }

    #[inline(always)]
    fn widen(self, codes: &[u8], lanes: &mut [BitPlanes]) {
        // SAFETY: the token proves that the CPU has AVX-512, and so AVX2.
        unsafe { bit_planes(codes, lanes) }
    }

    fn multiply(self, job: &Job<'_, BitPlanes, u32>, out: &mut Out<'_>) {
        // SAFETY: the token proves most of the features, and `new` has asked for the last.
        unsafe {
            match self.planes {
                1 => tiles::<8, 4, 1>(job, out),
                _ => tiles::<6, 3, 2>(job, out),
            }
        }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.token.run(work)
    }
}

#[target_feature(enable = "avx2")]
fn bit_planes(codes: &[u8], lanes: &mut [BitPlanes]) {
    for (codes, lane) in codes.as_chunks::<CODES>().0.iter().zip(lanes) {
        // SAFETY: the array is 32 readable bytes.
        let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
        // The bit wanted becomes the highest of each byte.
        *lane = [
            _mm256_movemask_epi8(_mm256_slli_epi16::<7>(codes)) as u32,
            _mm256_movemask_epi8(_mm256_slli_epi16::<6>(codes)) as u32,
        ];
    }
}

/// All tiles of a job, `R` pixels high, with codes of `P` bits; the last one `S` if that is enough.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn tiles<const R: usize, const S: usize, const P: usize>(
    job: &Job<'_, BitPlanes, u32>,
    out: &mut Out<'_>,
) {
    job.check(1, BLOCKS * BLOCK);
    let full = job.pixels.len() / R * R;
    for first in (0..full).step_by(R) {
        put(&dot::<R, P>(job, first), first, out);
    }
    match job.pixels.len() - full {
        0 => {}
        1 => put(&dot::<1, P>(job, full), full, out),
        rest if rest <= S => put(&dot::<S, P>(job, full)[..rest], full, out),
        rest => put(&dot::<R, P>(job, full)[..rest], full, out),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vpopcntdq")]
fn dot<const R: usize, const P: usize>(
    job: &Job<'_, BitPlanes, u32>,
    first: usize,
) -> [[__m512i; BLOCKS]; R] {
    let pixels: [*const BitPlanes; R] = job.pointers(first);
    let mut weights = job.weights.as_ptr();
    let mut ones = [[[_mm512_setzero_si512(); BLOCKS]; P]; R];
    for &run in job.runs {
        for at in run..run + job.steps {
            // SAFETY: for each run `32 * steps` weights are read, and `steps` lanes from where it
            // begins in each pixel: `Job::check` has shown that they lie in their slices.
            let w: [__m512i; BLOCKS] = std::array::from_fn(|b| unsafe {
                _mm512_loadu_si512(weights.add(BLOCK * b).cast())
            });
            for (ones, pixel) in ones.iter_mut().zip(pixels) {
                // SAFETY: as above.
                let planes = unsafe { *pixel.add(at) };
                for (ones, plane) in ones.iter_mut().zip(planes) {
                    let codes = _mm512_set1_epi32(plane as i32);
                    for (ones, w) in ones.iter_mut().zip(w) {
                        let differ = _mm512_popcnt_epi32(_mm512_xor_si512(codes, w));
                        *ones = _mm512_add_epi32(*ones, differ);
                    }
                }
            }
            weights = weights.wrapping_add(BLOCKS * BLOCK);
        }
    }
    let (start, _) = job.start.as_chunks::<BLOCK>();
    ones.map(|ones: [[__m512i; BLOCKS]; P]| {
        std::array::from_fn(|block| {
            let sum = _mm512_sub_epi32(load(&start[block]), ones[0][block]);
            match ones.get(1) {
                Some(ones) => _mm512_sub_epi32(sum, _mm512_add_epi32(ones[block], ones[block])),
                None => sum,
            }
        })
    })
}
