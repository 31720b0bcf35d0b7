//! AVX2, depthwise: two rows of a window's column at a time, for 32 channels, in products of 16
//! bits.

use std::arch::x86_64::*;

use super::avx2::{Avx2, load, load_ps, round, store};
use crate::depthwise::{Channels, ClipOut, Strip};

/// Channels of a block.
const LANES: usize = 32;
/// Weights of two rows of a column: four vectors of eight pairs.
const COLUMN: usize = 4 * 16;

impl Channels for Avx2 {
    type Weight = i16;
    const LANES: usize = LANES;
    const NAME: &'static str = "depthwise-u8i8-avx2";

    fn weights_len([kh, kw]: [usize; 2]) -> usize {
        kh.div_ceil(2) * kw * COLUMN
    }

    fn place([_, kw]: [usize; 2], [ky, kx]: [usize; 2], j: usize, i: usize) -> usize {
        (ky / 2 * kw + kx) * COLUMN + j * 16 + i * 2 + ky % 2
    }

    fn codes(self, strip: &Strip<'_, i16>, out: &mut ClipOut<'_>) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { codes(strip, out) }
    }

    fn sums(self, strip: &Strip<'_, i16>, place: [usize; 2], block: usize, sums: &mut [i32; 64]) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { block_sums(strip, place, block, sums) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx2::run(self, work)
    }
}

#[target_feature(enable = "avx2")]
fn codes(strip: &Strip<'_, i16>, out: &mut ClipOut<'_>) {
    for block in 0..strip.channels().div_ceil(LANES) {
        match strip.shape.window.kernel {
            [3, 3] => pixels::<3, 2>(strip, block, out),
            [5, 5] => pixels::<5, 3>(strip, block, out),
            _ => {
                let clip = Clip::new(strip, block, out);
                for pixel in 0..strip.count * strip.width() {
                    let place = [strip.first + pixel / strip.width(), pixel % strip.width()];
                    clip.store(sums(strip, place, block), pixel, out);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2")]
fn block_sums(strip: &Strip<'_, i16>, place: [usize; 2], block: usize, out: &mut [i32; 64]) {
    let (vectors, _) = out.as_chunks_mut::<8>();
    vectors
        .iter_mut()
        .zip(sums(strip, place, block))
        .for_each(|(to, sum)| store(to, sum));
}

/// The sums of one pixel and one block of channels, for any window.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(strip: &Strip<'_, i16>, [y, x]: [usize; 2], block: usize) -> [__m256i; 4] {
    let [kh, kw] = strip.shape.window.kernel;
    let mut sums = start(strip, block);
    for group in 0..kh.div_ceil(2) {
        let rows = Rows::new(strip, y, block, group);
        for kx in 0..kw {
            let taps = rows.column(strip.columns().at(x, kx));
            add(
                &mut sums,
                taps,
                column_weights(strip, block, group * kw + kx),
            );
        }
    }
    sums
}

/// Pixels of `K` x `K` windows, of up to `2 * G` rows.
#[target_feature(enable = "avx2")]
fn pixels<const K: usize, const G: usize>(
    strip: &Strip<'_, i16>,
    block: usize,
    out: &mut ClipOut<'_>,
) {
    let weights: [[_; K]; G] = std::array::from_fn(|group| {
        std::array::from_fn(|kx| column_weights(strip, block, group * K + kx))
    });
    let (begin, clip) = (start(strip, block), Clip::new(strip, block, out));
    let (places, width) = (strip.columns(), strip.width());
    for y in 0..strip.count {
        let rows: [Rows<'_>; G] =
            std::array::from_fn(|group| Rows::new(strip, strip.first + y, block, group));
        for x in 0..width {
            let mut sums = begin;
            for kx in 0..K {
                let column = places.at(x, kx);
                for (rows, weights) in rows.iter().zip(&weights) {
                    add(&mut sums, rows.column(column), weights[kx]);
                }
            }
            clip.store(sums, y * width + x, out);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(sums: &mut [__m256i; 4], taps: [__m256i; 4], weights: &[[i16; 16]; 4]) {
    for ((sum, taps), w) in sums.iter_mut().zip(taps).zip(weights) {
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(taps, load_weights(w)));
    }
}

/// Two rows of the windows of line `y`, for a block of channels; one beyond the window is its last
/// one again, for which the weights are zero.
struct Rows<'a> {
    rows: [&'a [u8]; 2],
    /// Where the last column begins.
    last: usize,
    /// The code of zero, for columns outside the image.
    outside: &'a [u8; LANES],
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn new(strip: &Strip<'a, i16>, y: usize, block: usize, group: usize) -> Self {
        let last_row = strip.shape.window.kernel[0] - 1;
        let row = |i: usize| strip.row(y, (2 * group + i).min(last_row), block * LANES);
        let (rows, last) = ([row(0), row(1)], strip.last_column());
        for row in rows {
            assert!(last + LANES <= row.len(), "slack after the input");
        }
        let outside = strip.outside.first_chunk().expect("at least the slack");
        Self {
            rows,
            last,
            outside,
        }
    }

    /// The column at `at` of both rows, interleaved and widened to 16 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn column(&self, at: Option<usize>) -> [__m256i; 4] {
        let row = |i: usize| match at {
            Some(at) => {
                assert!(at <= self.last);
                // SAFETY: `new` has shown that 32 codes can be read in every row at `last`.
                unsafe { _mm256_loadu_si256(self.rows[i].as_ptr().add(at).cast()) }
            }
            None => load_bytes(self.outside),
        };
        let (a, b, zero) = (row(0), row(1), _mm256_setzero_si256());
        let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        [
            _mm256_unpacklo_epi8(low, zero),
            _mm256_unpackhi_epi8(low, zero),
            _mm256_unpacklo_epi8(high, zero),
            _mm256_unpackhi_epi8(high, zero),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn start(strip: &Strip<'_, i16>, block: usize) -> [__m256i; 4] {
    let (vectors, _) = strip.start[block * LANES..].as_chunks::<8>();
    [
        load(&vectors[0]),
        load(&vectors[1]),
        load(&vectors[2]),
        load(&vectors[3]),
    ]
}

#[inline(always)]
fn column_weights<'a>(strip: &Strip<'a, i16>, block: usize, column: usize) -> &'a [[i16; 16]; 4] {
    let len = Avx2::weights_len(strip.shape.window.kernel);
    let (vectors, _) = strip.weights[block * len + column * COLUMN..].as_chunks::<16>();
    vectors.first_chunk().expect("weights of every column")
}

/// What becomes of the sums of one block of channels.
struct Clip {
    m: [__m256; 4],
    b: [__m256; 4],
    lo: __m256i,
    hi: __m256i,
    /// The channels of all, the first of the block, and those that exist.
    channels: usize,
    first: usize,
    count: usize,
}

impl Clip {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(strip: &Strip<'_, i16>, block: usize, out: &ClipOut<'_>) -> Self {
        let (first, channels) = (block * LANES, strip.channels());
        let (m, b) = (out.m[first..].as_chunks().0, out.b[first..].as_chunks().0);
        Self {
            m: [
                load_ps(&m[0]),
                load_ps(&m[1]),
                load_ps(&m[2]),
                load_ps(&m[3]),
            ],
            b: [
                load_ps(&b[0]),
                load_ps(&b[1]),
                load_ps(&b[2]),
                load_ps(&b[3]),
            ],
            lo: _mm256_set1_epi8(out.lo as i8),
            hi: _mm256_set1_epi8(out.hi as i8),
            channels,
            first,
            count: LANES.min(channels - first),
        }
    }

    /// The codes of pixel `x` of the strip.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(&self, [s, t, u, v]: [__m256i; 4], x: usize, out: &mut ClipOut<'_>) {
        let low = _mm256_packs_epi32(self.round(s, 0), self.round(t, 1));
        let high = _mm256_packs_epi32(self.round(u, 2), self.round(v, 3));
        let packed = _mm256_min_epu8(_mm256_packus_epi16(low, high), self.hi);
        let packed = bytes(_mm256_max_epu8(packed, self.lo));
        let at = x * self.channels + self.first;
        let to = &mut out.codes[at..at + self.count];
        match to.first_chunk_mut() {
            Some(to) => *to = packed,
            None => to.copy_from_slice(&packed[..self.count]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn round(&self, sum: __m256i, j: usize) -> __m256i {
        let t = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), self.m[j]);
        round(_mm256_add_ps(t, self.b[j]))
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_bytes(codes: &[u8; LANES]) -> __m256i {
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
fn bytes(value: __m256i) -> [u8; LANES] {
    let mut bytes = [0; LANES];
    // SAFETY: the array is 32 writable bytes.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
    bytes
}
