//! AVX2: what its kernels share, and the way from their sums to codes.

use std::arch::x86_64::*;

use crate::micro::{BLOCK, ClipOut, Out};

/// The proof that this CPU has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
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
        if out.m_r.is_some() {
            let codes = out.residual.unwrap_or(out.codes);
            copy(&mut residual[..channels], &codes[at.clone()]);
        }
        let codes: [__m256i; 2] = std::array::from_fn(|j| {
            let t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[j]), m[j]);
            let mut t = _mm256_add_ps(t, b[j]);
            if let Some(m_r) = out.m_r {
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

/// 64 weights.
///
/// # Safety
/// 64 bytes must be readable at `bytes`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load_pair(bytes: *const __m256i) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    unsafe { [_mm256_loadu_si256(bytes), _mm256_loadu_si256(bytes.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(lanes: &mut [i32; 8], value: __m256i) {
    // SAFETY: the array is 32 writable bytes.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), value) }
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
