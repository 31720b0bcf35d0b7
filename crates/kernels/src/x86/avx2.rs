//! AVX2: no dot product of bytes that cannot saturate, so there are two ways.
//!
//! [`Wide`] widens codes and weights to 16 bits and multiplies in pairs: exact for every width.
//! [`Low`] multiplies bytes and adds in 16 bits, which is exact while `2 * levels * max|w|` times
//! the number of additions stays below 2^15; after so many it widens the sums to 32 bits. It takes
//! half the instructions, where it can be used.

use std::arch::x86_64::*;

use crate::tiles::{BLOCK, ClipOut, Job, Micro, Out, put_four};

/// The proof that this CPU has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

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
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(crate) fn wide(self) -> Wide {
        Wide(self)
    }

    /// The kernel for codes up to `levels` and these `weights`, where enough additions are exact
    /// that it pays.
    pub(crate) fn low(self, levels: u8, weights: &[i8]) -> Option<Low> {
        let largest = weights
            .iter()
            .map(|w| usize::from(w.unsigned_abs()))
            .max()
            .unwrap_or(0);
        let flush = i16::MAX as usize / (2 * usize::from(levels) * largest).max(1);
        (flush >= 2).then_some(Low { token: self, flush })
    }

    /// As [`crate::peak`].
    pub(crate) fn peak(self, rounds: usize) -> u64 {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { peak(rounds) }
    }

    #[inline(always)]
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { run(work) }
    }
}

#[target_feature(enable = "avx2")]
fn run<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Independent sums enough to hide the latency of an addition.
const CHAINS: usize = 6;

#[target_feature(enable = "avx2")]
fn peak(rounds: usize) -> u64 {
    let mut sums: [__m256i; CHAINS] = std::array::from_fn(|i| _mm256_set1_epi32(i as i32));
    let weights = std::hint::black_box(sums);
    let mut codes = _mm256_set1_epi16(rounds as i16);
    for _ in 0..rounds {
        for (sum, &weights) in sums.iter_mut().zip(&weights) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(codes, weights));
        }
        codes = _mm256_add_epi16(codes, _mm256_set1_epi16(1));
    }
    let sum = sums
        .into_iter()
        .fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b));
    std::hint::black_box(_mm256_extract_epi32::<0>(sum));
    (rounds * CHAINS * 16) as u64
}

/// Sums of a tile: for each pixel 16 channels in two vectors.
type Sums<const R: usize> = [[__m256i; 2]; R];

impl Micro for Wide {
    type Lane = i16;
    type Weight = i16;
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
    fn place(self, step: &mut [i16], lane: usize, codes: &[i8]) {
        let places = &mut step[lane * 2..];
        places
            .iter_mut()
            .zip(codes)
            .for_each(|(to, &w)| *to = w.into());
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

    fn multiply(self, job: &Job<'_, i16, i16>, out: &mut Out<'_>) {
        // SAFETY: the token proves that the CPU has AVX2.
        unsafe { multiply_wide(job, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.0.run(work)
    }
}

impl Micro for Low {
    type Lane = u8;
    type Weight = i8;
    const DEPTH: usize = 4;

    fn name(self) -> &'static str {
        "conv-low-avx2"
    }

    fn blocks(self, _: usize) -> usize {
        1
    }

    fn step_len(self, blocks: usize) -> usize {
        blocks * BLOCK * 4
    }

    #[inline(always)]
    fn place(self, step: &mut [i8], lane: usize, codes: &[i8]) {
        put_four(&mut step[lane * 4..], codes);
    }

    fn lane(self, [code, ..]: [u8; 4]) -> u8 {
        code
    }

    #[inline(always)]
    fn widen(self, codes: &[u8], lanes: &mut [u8]) {
        lanes.copy_from_slice(codes);
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

/// Pixels of a tile, and of the last one if that is enough.
const ROWS: [usize; 3] = [6, 3, 1];

#[target_feature(enable = "avx2")]
fn multiply_wide(job: &Job<'_, i16, i16>, out: &mut Out<'_>) {
    job.check(2, BLOCK * 2);
    let full = job.pixels.len() / ROWS[0] * ROWS[0];
    for first in (0..full).step_by(ROWS[0]) {
        put(&dot_wide::<{ ROWS[0] }>(job, first), first, [0, 1], out);
    }
    match job.pixels.len() - full {
        0 => {}
        1 => put(&dot_wide::<1>(job, full), full, [0, 1], out),
        rest if rest <= ROWS[1] => put(
            &dot_wide::<{ ROWS[1] }>(job, full)[..rest],
            full,
            [0, 1],
            out,
        ),
        rest => put(
            &dot_wide::<{ ROWS[0] }>(job, full)[..rest],
            full,
            [0, 1],
            out,
        ),
    }
}

#[target_feature(enable = "avx2")]
fn multiply_low(job: &Job<'_, u8, i8>, flush: usize, out: &mut Out<'_>) {
    job.check(4, BLOCK * 4);
    let full = job.pixels.len() / ROWS[0] * ROWS[0];
    for first in (0..full).step_by(ROWS[0]) {
        put(
            &dot_low::<{ ROWS[0] }>(job, first, flush),
            first,
            [0, 1],
            out,
        );
    }
    match job.pixels.len() - full {
        0 => {}
        1 => put(&dot_low::<1>(job, full, flush), full, [0, 1], out),
        rest if rest <= ROWS[1] => put(
            &dot_low::<{ ROWS[1] }>(job, full, flush)[..rest],
            full,
            [0, 1],
            out,
        ),
        rest => put(
            &dot_low::<{ ROWS[0] }>(job, full, flush)[..rest],
            full,
            [0, 1],
            out,
        ),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_wide<const R: usize>(job: &Job<'_, i16, i16>, first: usize) -> Sums<R> {
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
            let w = unsafe { load_pair(weights.cast()) };
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

/// Writes the `sums` of pixels from `first` on, of one of the blocks of a panel.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn put(
    sums: &[[__m256i; 2]],
    first: usize,
    [block, blocks]: [usize; 2],
    out: &mut Out<'_>,
) {
    match out {
        Out::Sums(out) => {
            let (vectors, _) = out.as_chunks_mut::<8>();
            for (row, sums) in (first..).zip(sums) {
                let at = 2 * (row * blocks + block);
                store(&mut vectors[at], sums[0]);
                store(&mut vectors[at + 1], sums[1]);
            }
        }
        Out::Codes(out) => clip(sums, first, block * BLOCK, out),
    }
}

/// The codes of rows of sums, which are those of the channels from `channel` on: `Finish::Clip` of
/// the epilogue, operation by operation, but that codes are clipped after rounding, which is the
/// same for whole ends and sums within `i32`.
#[inline]
#[target_feature(enable = "avx2")]
fn clip(sums: &[[__m256i; 2]], first: usize, channel: usize, out: &mut ClipOut<'_>) {
    let (m, b) = (
        out.m[channel..].as_chunks().0,
        out.b[channel..].as_chunks().0,
    );
    let (m, b) = (
        [load_ps(&m[0]), load_ps(&m[1])],
        [load_ps(&b[0]), load_ps(&b[1])],
    );
    let (lo, hi) = (
        _mm_set1_epi8(out.lo as u8 as i8),
        _mm_set1_epi8(out.hi as u8 as i8),
    );
    let channels = out.channels.saturating_sub(channel).min(BLOCK);
    if channels == 0 {
        return;
    }
    for (row, sums) in (first..).zip(sums) {
        let at = row * out.stride + channel;
        let at = at..at + channels;
        let mut residual = [0; BLOCK];
        if let Some((_, codes)) = out.residual {
            copy(&mut residual[..channels], &codes[at.clone()]);
        }
        let codes: [__m256i; 2] = std::array::from_fn(|j| {
            let t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[j]), m[j]);
            let mut t = _mm256_add_ps(t, b[j]);
            if let Some((m_r, _)) = out.residual {
                let (r, _) = residual.as_chunks();
                t = _mm256_add_ps(t, _mm256_mul_ps(real_codes(&r[j]), _mm256_set1_ps(m_r)));
            }
            round(t)
        });
        let words =
            _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(codes[0], codes[1]));
        let (low, high) = (
            _mm256_castsi256_si128(words),
            _mm256_extracti128_si256::<1>(words),
        );
        let packed = _mm_max_epu8(_mm_min_epu8(_mm_packus_epi16(low, high), hi), lo);
        copy(&mut out.codes[at], &bytes(packed)[..channels]);
    }
}

/// `to.copy_from_slice(from)`, without a call for a whole block.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    match (to.first_chunk_mut::<BLOCK>(), from.first_chunk()) {
        (Some(to), Some(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// Whole numbers, half to even.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn round(t: __m256) -> __m256i {
    _mm256_cvtps_epi32(_mm256_round_ps::<
        { _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC },
    >(t))
}

#[inline]
#[target_feature(enable = "avx2")]
fn start(start: &[i32]) -> [__m256i; 2] {
    let (vectors, _) = start.as_chunks();
    [load(&vectors[0]), load(&vectors[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(lanes: &[i32; 8]) -> __m256i {
    // SAFETY: the array is 32 readable bytes.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_ps(lanes: &[f32; 8]) -> __m256 {
    // SAFETY: the array is 32 readable bytes.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(lanes: &mut [i32; 8], value: __m256i) {
    // SAFETY: the array is 32 writable bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), value) }
}

/// # Safety
/// 64 bytes must be readable at `bytes`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_pair(bytes: *const __m256i) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe { [_mm256_loadu_si256(bytes), _mm256_loadu_si256(bytes.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn real_codes(codes: &[u8; 8]) -> __m256 {
    let codes = _mm_set1_epi64x(i64::from_le_bytes(*codes));
    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes))
}

#[inline]
#[target_feature(enable = "avx2")]
fn bytes(value: __m128i) -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the array is 16 writable bytes.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
    bytes
}
