//! AVX2, depthwise: two taps at a time, for 32 channels, in products of 16 bits.

use std::arch::x86_64::*;

use super::avx2::{Avx2, load, load_ps, round, store};
use crate::depthwise::{Channels, ClipLine, Line};

/// Channels of a block.
const LANES: usize = 32;
/// Weights of a pair of taps: four vectors of eight pairs.
const PAIR: usize = 4 * 16;

impl Channels for Avx2 {
    type Weight = i16;
    const LANES: usize = LANES;
    const NAME: &'static str = "depthwise-u8i8-avx2";

    fn weights_len([kh, kw]: [usize; 2]) -> usize {
        (kh * kw).div_ceil(2) * PAIR
    }

    fn place([_, kw]: [usize; 2], [ky, kx]: [usize; 2], j: usize, i: usize) -> usize {
        let tap = ky * kw + kx;
        tap / 2 * PAIR + j * 16 + i * 2 + tap % 2
    }

    fn codes(self, line: &Line<'_, i16>, out: &mut ClipLine<'_>) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { codes(line, out) }
    }

    fn sums(self, line: &Line<'_, i16>, x: usize, block: usize, sums: &mut [i32; 64]) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { block_sums(line, x, block, sums) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx2::run(self, work)
    }
}

#[target_feature(enable = "avx2")]
fn codes(line: &Line<'_, i16>, out: &mut ClipLine<'_>) {
    for x in 0..line.width() {
        for block in 0..line.channels().div_ceil(LANES) {
            clip(pixel(line, x, block), line, x, block, out);
        }
    }
}

#[target_feature(enable = "avx2")]
fn block_sums(line: &Line<'_, i16>, x: usize, block: usize, sums: &mut [i32; 64]) {
    let (vectors, _) = sums.as_chunks_mut::<8>();
    vectors
        .iter_mut()
        .zip(pixel(line, x, block))
        .for_each(|(to, sum)| store(to, sum));
}

/// The sums of one pixel and one block of channels.
#[inline]
#[target_feature(enable = "avx2")]
fn pixel(line: &Line<'_, i16>, x: usize, block: usize) -> [__m256i; 4] {
    let [kh, kw] = line.shape.window.kernel;
    let (start, _) = line.start[block * LANES..].as_chunks::<8>();
    let mut sums: [__m256i; 4] = std::array::from_fn(|j| load(&start[j]));
    let weights = &line.weights[block * Avx2::weights_len([kh, kw])..];
    let (zero, splat) = (_mm256_setzero_si256(), _mm256_set1_epi8(line.zero as i8));
    let (mut ky, mut kx) = (0, 0);
    // Taps one after another; after the last one any, for which the weight is zero.
    let mut tap = || {
        let place = line.row(ky).zip(line.column(x, kx));
        kx += 1;
        if kx == kw {
            (ky, kx) = (ky + 1, 0);
        }
        match place {
            None => splat,
            Some((row, column)) => {
                load_bytes(&line.input[row + column * line.channels() + block * LANES..])
            }
        }
    };
    for weights in weights
        .as_chunks::<PAIR>()
        .0
        .iter()
        .take((kh * kw).div_ceil(2))
    {
        let (a, b) = (tap(), tap());
        let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        let pairs = [
            _mm256_unpacklo_epi8(low, zero),
            _mm256_unpackhi_epi8(low, zero),
            _mm256_unpacklo_epi8(high, zero),
            _mm256_unpackhi_epi8(high, zero),
        ];
        let (weights, _) = weights.as_chunks::<16>();
        for ((sum, pairs), w) in sums.iter_mut().zip(pairs).zip(weights) {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, load_weights(w)));
        }
    }
    sums
}

/// The codes of one block of one pixel.
#[inline]
#[target_feature(enable = "avx2")]
fn clip(sums: [__m256i; 4], line: &Line<'_, i16>, x: usize, block: usize, out: &mut ClipLine<'_>) {
    let first = block * LANES;
    let (m, b) = (out.m[first..].as_chunks().0, out.b[first..].as_chunks().0);
    let codes: [__m256i; 4] = std::array::from_fn(|j| {
        let t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[j]), load_ps(&m[j]));
        round(_mm256_add_ps(t, load_ps(&b[j])))
    });
    let low = _mm256_packus_epi32(codes[0], codes[1]);
    let high = _mm256_packus_epi32(codes[2], codes[3]);
    let (lo, hi) = (
        _mm256_set1_epi8(out.lo as i8),
        _mm256_set1_epi8(out.hi as i8),
    );
    let packed = _mm256_max_epu8(_mm256_min_epu8(_mm256_packus_epi16(low, high), hi), lo);
    let at = x * line.channels() + first;
    let count = LANES.min(line.channels() - first);
    let to = &mut out.codes[at..at + count];
    match to.first_chunk_mut() {
        Some(to) => *to = bytes(packed),
        None => to.copy_from_slice(&bytes(packed)[..count]),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_bytes(codes: &[u8]) -> __m256i {
    let codes: &[u8; 32] = codes.first_chunk().expect("slack after the codes");
    // SAFETY: the array is 32 readable bytes.
    unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_weights(weights: &[i16; 16]) -> __m256i {
    // SAFETY: the array is 32 readable bytes.
    unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn bytes(value: __m256i) -> [u8; 32] {
    let mut bytes = [0; 32];
    // SAFETY: the array is 32 writable bytes.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
    bytes
}
