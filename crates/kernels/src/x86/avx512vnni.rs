//! AVX-512 with VNNI: 64 products of a code and a weight in one instruction, summed by fours.

use std::arch::x86_64::*;

use crate::tiles::{BLOCK, ClipOut, Job, Micro, Out};

/// The proof that this CPU has AVX-512 F, BW, VL and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512Vnni(());

impl Avx512Vnni {
    pub(crate) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        present.then_some(Self(()))
    }

    #[inline(always)]
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { run(work) }
    }
}

/// Independent sums enough to hide the latency of an addition.
const CHAINS: usize = 16;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn peak(rounds: usize) -> u64 {
    let mut sums: [__m512i; CHAINS] = std::array::from_fn(|i| _mm512_set1_epi32(i as i32));
    let (codes, weights) = (
        _mm512_set1_epi32(rounds as i32),
        _mm512_set1_epi32(0x0102_0304),
    );
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, codes, weights);
        }
    }
    let sum = sums
        .into_iter()
        .fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
    std::hint::black_box(_mm512_reduce_add_epi32(sum));
    (rounds * CHAINS * 64) as u64
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run<R>(work: impl FnOnce() -> R) -> R {
    work()
}

impl Avx512Vnni {
    /// As [`crate::peak`].
    pub(crate) fn peak(self, rounds: usize) -> u64 {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { peak(rounds) }
    }
}

impl Micro for Avx512Vnni {
    type Lane = u8;
    type Weight = i8;
    const DEPTH: usize = 4;
    const NAME: &'static str = "conv-u8i8-avx512vnni";
    const BLOCKS: usize = 4;
    fn multiply(self, job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { multiply(job, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx512Vnni::run(self, work)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply(job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
    job.check(4);
    // Tiles as high as leave registers for the weights and a pixel, and few enough pixels that
    // each has a pointer of its own; more than eight sums hide the latency of an addition.
    match job.start.len() / BLOCK {
        1 => tiles::<10, 5, 2, 1>(job, out),
        2 => tiles::<12, 6, 2, 2>(job, out),
        3 => tiles::<9, 5, 2, 3>(job, out),
        _ => tiles::<6, 3, 1, 4>(job, out),
    }
}

/// All tiles of a job whose panel has `B` blocks, `R` pixels high; the last one `S` or `T` if that
/// is enough.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tiles<const R: usize, const S: usize, const T: usize, const B: usize>(
    job: &Job<'_, u8, i8>,
    out: &mut Out<'_>,
) {
    let full = job.pixels.len() / R * R;
    for first in (0..full).step_by(R) {
        put(&dot::<R, B>(job, first), first, out);
    }
    match job.pixels.len() - full {
        0 => {}
        rest if rest <= T => put(&dot::<T, B>(job, full)[..rest], full, out),
        rest if rest <= S => put(&dot::<S, B>(job, full)[..rest], full, out),
        rest => put(&dot::<R, B>(job, full)[..rest], full, out),
    }
}

/// Writes the `sums` of pixels from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn put<const B: usize>(sums: &[[__m512i; B]], first: usize, out: &mut Out<'_>) {
    match out {
        Out::Sums(out) => {
            let (vectors, _) = out.as_chunks_mut::<BLOCK>();
            for (&sum, vector) in sums.as_flattened().iter().zip(&mut vectors[first * B..]) {
                store(vector, sum);
            }
        }
        Out::Codes(out) => clip(sums, first, out),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot<const R: usize, const B: usize>(job: &Job<'_, u8, i8>, first: usize) -> [[__m512i; B]; R] {
    let Job {
        runs,
        steps,
        weights,
        start,
        ..
    } = *job;
    let (start, _) = start.as_chunks::<BLOCK>();
    let begin: [__m512i; B] = std::array::from_fn(|b| load(&start[b]));
    let mut sums = [begin; R];
    let pixels: [*const u8; R] = job.pointers(first);
    let mut weights = weights.as_ptr();
    let step = |sums: &mut [[__m512i; B]; R], at: usize, weights: *const i8| {
        // SAFETY: for each run `64 * B * steps` weights are read, and `4 * steps` codes from where
        // it begins in each pixel: `Job::check` has shown that they lie in their slices.
        let w: [__m512i; B] =
            std::array::from_fn(|b| unsafe { _mm512_loadu_si512(weights.add(64 * b).cast()) });
        for (sums, pixel) in sums.iter_mut().zip(pixels) {
            // SAFETY: as above.
            let codes = unsafe { pixel.add(at).cast::<i32>().read_unaligned() };
            let codes = _mm512_set1_epi32(codes);
            for (sum, &w) in sums.iter_mut().zip(&w) {
                *sum = _mm512_dpbusd_epi32(*sum, codes, w);
            }
        }
    };
    for &run in runs {
        let (mut at, end) = (run, run + 4 * steps);
        // Four steps at a time: one increment of each pointer for four.
        while at + 16 <= end {
            for u in 0..4 {
                step(&mut sums, at + 4 * u, weights.wrapping_add(64 * B * u));
            }
            at += 16;
            weights = weights.wrapping_add(64 * B * 4);
        }
        while at < end {
            step(&mut sums, at, weights);
            at += 4;
            weights = weights.wrapping_add(64 * B);
        }
    }
    sums
}

/// The codes of rows of sums: `Finish::Clip` of the epilogue, operation by operation, but that
/// codes are clipped after rounding, which is the same for whole ends and sums within `i32`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn clip<const B: usize>(sums: &[[__m512i; B]], first: usize, out: &mut ClipOut<'_>) {
    let (m, b) = (out.m.as_chunks().0, out.b.as_chunks().0);
    let m: [__m512; B] = std::array::from_fn(|block| load_ps(&m[block]));
    let b: [__m512; B] = std::array::from_fn(|block| load_ps(&b[block]));
    let mask = u64::MAX >> (64 - out.channels);
    let (lo, hi) = (
        _mm512_set1_epi8(out.lo as u8 as i8),
        _mm512_set1_epi8(out.hi as u8 as i8),
    );
    let whole = |sum: __m512i, block: usize, at: usize, residual: Option<(f32, &[u8])>| {
        let t = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), m[block]);
        let mut t = _mm512_add_ps(t, b[block]);
        if let Some((m_r, residual)) = residual {
            let codes = &residual[at + block * BLOCK..at + out.channels];
            let r = load_codes(codes, (mask >> (block * BLOCK)) as __mmask16);
            let r = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(r));
            t = _mm512_add_ps(t, _mm512_mul_ps(r, _mm512_set1_ps(m_r)));
        }
        round(t)
    };
    for (row, sums) in (first..).zip(sums) {
        let at = row * out.stride;
        let mut codes = [_mm512_setzero_si512(); 4];
        for (block, (codes, &sum)) in codes.iter_mut().zip(sums).enumerate() {
            *codes = whole(sum, block, at, out.residual);
        }
        let packed = _mm512_max_epu8(_mm512_min_epu8(pack(codes), hi), lo);
        store_codes(&mut out.codes[at..at + out.channels], mask, packed);
    }
}

/// Whole numbers, half to even.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn round(t: __m512) -> __m512i {
    _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(t)
}

/// Four vectors of 32 bits as one of 8, saturating.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pack(v: [__m512i; 4]) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, pack_lanes(v))
}

/// The same, each 128-bit lane for itself: lane `l` has entries `4 l..4 l + 4` of each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn pack_lanes(v: [__m512i; 4]) -> __m512i {
    let (low, high) = (
        _mm512_packs_epi32(v[0], v[1]),
        _mm512_packs_epi32(v[2], v[3]),
    );
    _mm512_packus_epi16(low, high)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(lanes: &[i32; 16]) -> __m512i {
    // SAFETY: the array is 64 readable bytes.
    unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_ps(lanes: &[f32; 16]) -> __m512 {
    // SAFETY: the array is 64 readable bytes.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(lanes: &mut [i32; 16], value: __m512i) {
    // SAFETY: the array is 64 writable bytes.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), value) }
}

/// Up to 16 codes, one for each bit of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_codes(codes: &[u8], mask: __mmask16) -> __m128i {
    debug_assert!(mask.count_ones() as usize <= codes.len());
    // SAFETY: lanes outside the mask are not read, and its bits are no more than there are codes.
    unsafe { _mm_maskz_loadu_epi8(mask, codes.as_ptr().cast()) }
}

/// Up to 64 codes, one for each bit of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn store_codes(codes: &mut [u8], mask: __mmask64, value: __m512i) {
    debug_assert!(mask.count_ones() as usize <= codes.len());
    // SAFETY: lanes outside the mask are not written, and its bits are no more than there are
    // codes.
    unsafe { _mm512_mask_storeu_epi8(codes.as_mut_ptr().cast(), mask, value) }
}
