//! AVX2, dense products: no dot product of bytes that cannot saturate, so there are two ways.
//!
//! [`Wide`] widens codes and weights to 16 bits and multiplies in pairs: exact for every width,
//! with two instructions for 16 products. [`Low`] multiplies bytes and adds in 16 bits, which is
//! exact while `2 * levels * max|w|` times the number of additions stays below 2^15; after so many
//! it widens the sums to 32 bits. That takes two instructions for 32 products, or three where every
//! sum is widened at once (7 x 8 bits).

use std::arch::x86_64::*;

use super::avx2::{Avx2, load, load_pair, put};
use crate::micro::{BLOCK, Job, Micro, Out, bytes_by_fours, weights_as_bytes};

/// Products of 16 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide(Avx2);

/// Products of 8 bits, summed in 16 bits for some steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Low {
    token: Avx2,
    /// Additions before the sums are widened.
    flush: usize,
}

impl Avx2 {
    pub(crate) fn wide(self) -> Wide {
        Wide(self)
    }

    /// The kernel for codes up to `levels` and these `weights`, where sums of two are exact.
    pub(crate) fn low(self, levels: u8, weights: &[i8]) -> Option<Low> {
        let largest = weights
            .iter()
            .map(|w| usize::from(w.unsigned_abs()))
            .max()
            .unwrap_or(0);
        let flush = i16::MAX as usize / (2 * usize::from(levels) * largest).max(1);
        (flush >= 1).then_some(Low { token: self, flush })
    }
}

/// Sums of a tile: for each pixel 16 channels in two vectors.
type Sums<const R: usize> = [[__m256i; 2]; R];

impl Micro for Wide {
    type Lane = i16;
    type Weight = i8;
    const DEPTH: usize = 2;

    fn name(self) -> &'static str {
        "conv-u8i8-avx2"
    }

    fn blocks(self, _: usize) -> usize {
        1
    }

    fn step_len(self, blocks: usize) -> usize {
        blocks * BLOCK * 2
    }

    #[inline(always)]
    fn place(self, step: &mut [i8], lane: usize, codes: &[i8]) {
        step[lane * 2..][..codes.len()].copy_from_slice(codes);
    }

    fn lane(self, [code, ..]: [u8; 4]) -> i16 {
        code.into()
    }

    #[inline(always)]
    fn widen(self, codes: &[u8], lanes: &mut [i16]) {
        lanes
            .iter_mut()
            .zip(codes)
            .for_each(|(lane, &code)| *lane = code.into());
    }

    fn multiply(self, job: &Job<'_, i16, i8>, out: &mut Out<'_>) {
        // SAFETY: the token proves that the CPU has AVX2.
        unsafe { multiply_wide(job, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.0.run(work)
    }
}

impl Micro for Low {
    bytes_by_fours!();
    weights_as_bytes!();

    fn name(self) -> &'static str {
        "conv-low-avx2"
    }

    fn blocks(self, _: usize) -> usize {
        1
    }

    fn step_len(self, blocks: usize) -> usize {
        blocks * BLOCK * 4
    }

    fn multiply(self, job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
        // SAFETY: the token proves that the CPU has AVX2.
        unsafe { multiply_low(job, self.flush, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.token.run(work)
    }
}

/// Pixels of a tile, and of the last one if that is enough: 12 sums, two vectors of weights and one
/// of codes, of 16 registers.
pub(super) const ROWS: [usize; 3] = [6, 3, 1];

/// Multiplies all pixels of a job, tile after tile, by the function named.
macro_rules! tiles {
    ($job:expr, $out:expr, $dot:ident $(, $more:expr)?) => {{
        let (job, full) = ($job, $job.pixels.len() / ROWS[0] * ROWS[0]);
        for first in (0..full).step_by(ROWS[0]) {
            put(&$dot::<{ ROWS[0] }>(job, first $(, $more)?), first, [0, 1], $out);
        }
        match job.pixels.len() - full {
            0 => {}
            1 => put(&$dot::<1>(job, full $(, $more)?), full, [0, 1], $out),
            rest if rest <= ROWS[1] => {
                put(&$dot::<{ ROWS[1] }>(job, full $(, $more)?)[..rest], full, [0, 1], $out);
            }
            rest => put(&$dot::<{ ROWS[0] }>(job, full $(, $more)?)[..rest], full, [0, 1], $out),
        }
    }};
}

pub(super) use tiles;

#[target_feature(enable = "avx2")]
fn multiply_wide(job: &Job<'_, i16, i8>, out: &mut Out<'_>) {
    job.check(2, BLOCK * 2);
    tiles!(job, out, dot_wide);
}

#[target_feature(enable = "avx2")]
fn multiply_low(job: &Job<'_, u8, i8>, flush: usize, out: &mut Out<'_>) {
    job.check(4, BLOCK * 4);
    if flush == 1 {
        tiles!(job, out, dot_each);
    } else {
        tiles!(job, out, dot_low, flush);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_wide<const R: usize>(job: &Job<'_, i16, i8>, first: usize) -> Sums<R> {
    let Job {
        runs,
        steps,
        weights,
        ..
    } = *job;
    let pixels: [*const i16; R] = job.pointers(first);
    let mut weights = weights.as_ptr();
    let mut sums = [start(job.start); R];
    for &run in runs {
        for at in (run..run + 2 * steps).step_by(2) {
            // SAFETY: for each run `32 * steps` weights are read, and `2 * steps` codes from where
            // it begins in each pixel: `Job::check` has shown that they lie in their slices.
            let w = unsafe { load_widened(weights.cast()) };
            for (sums, pixel) in sums.iter_mut().zip(pixels) {
                // SAFETY: as above.
                let codes = unsafe { pixel.add(at).cast::<i32>().read_unaligned() };
                let codes = _mm256_set1_epi32(codes);
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(codes, w));
                }
            }
            weights = weights.wrapping_add(2 * BLOCK);
        }
    }
    sums
}

/// As [`dot_low`] where the sums of every step are widened.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_each<const R: usize>(job: &Job<'_, u8, i8>, first: usize) -> Sums<R> {
    let pixels: [*const u8; R] = job.pointers(first);
    let mut weights = job.weights.as_ptr();
    let (mut sums, ones) = ([start(job.start); R], _mm256_set1_epi16(1));
    for &run in job.runs {
        for at in (run..run + 4 * job.steps).step_by(4) {
            // SAFETY: for each run `64 * steps` weights are read, and `4 * steps` codes from where
            // it begins in each pixel: `Job::check` has shown that they lie in their slices.
            let w = unsafe { load_pair(weights.cast()) };
            for (sums, pixel) in sums.iter_mut().zip(pixels) {
                // SAFETY: as above.
                let codes = unsafe { pixel.add(at).cast::<i32>().read_unaligned() };
                let codes = _mm256_set1_epi32(codes);
                for (sum, w) in sums.iter_mut().zip(w) {
                    let products = _mm256_maddubs_epi16(codes, w);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                }
            }
            weights = weights.wrapping_add(4 * BLOCK);
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_low<const R: usize>(job: &Job<'_, u8, i8>, first: usize, flush: usize) -> Sums<R> {
    let Job {
        runs,
        steps,
        weights,
        ..
    } = *job;
    let pixels: [*const u8; R] = job.pointers(first);
    let mut weights = weights.as_ptr();
    let mut wide = [start(job.start); R];
    let zero = [[_mm256_setzero_si256(); 2]; R];
    let (mut sums, mut left) = (zero, flush);
    for &run in runs {
        let (mut at, end) = (run, run + 4 * steps);
        while at < end {
            let stop = end.min(at + 4 * left);
            left -= (stop - at) / 4;
            while at < stop {
                // SAFETY: for each run `64 * steps` weights are read, and `4 * steps` codes from
                // where it begins in each pixel: `Job::check` has shown that they lie in their
                // slices.
                let w = unsafe { load_pair(weights.cast()) };
                for (sums, pixel) in sums.iter_mut().zip(pixels) {
                    // SAFETY: as above.
                    let codes = unsafe { pixel.add(at).cast::<i32>().read_unaligned() };
                    let codes = _mm256_set1_epi32(codes);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(codes, w));
                    }
                }
                (at, weights) = (at + 4, weights.wrapping_add(4 * BLOCK));
            }
            if left == 0 {
                widen(&mut wide, &sums);
                (sums, left) = (zero, flush);
            }
        }
    }
    widen(&mut wide, &sums);
    wide
}

/// Adds sums of 16 bits, two for each channel, to those of 32.
#[inline]
#[target_feature(enable = "avx2")]
fn widen<const R: usize>(wide: &mut Sums<R>, sums: &Sums<R>) {
    for (wide, sums) in wide.iter_mut().zip(sums) {
        for (wide, &sum) in wide.iter_mut().zip(sums) {
            *wide = _mm256_add_epi32(*wide, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn start(start: &[i32]) -> [__m256i; 2] {
    let (vectors, _) = start.as_chunks();
    [load(&vectors[0]), load(&vectors[1])]
}

/// 32 weights as 16 bits each.
///
/// # Safety
/// 32 bytes must be readable at `bytes`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_widened(bytes: *const __m128i) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    let (low, high) = unsafe { (_mm_loadu_si128(bytes), _mm_loadu_si128(bytes.add(1))) };
    [_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)]
}
