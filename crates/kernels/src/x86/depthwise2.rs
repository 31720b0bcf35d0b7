//! AVX2, depthwise: two rows of a window's column at a time, for 32 channels, in products of 16
//! bits.

use std::arch::x86_64::*;

use super::avx2::{Avx2, load, load_ps, round, store};
use crate::depthwise::{Channels, ClipLine, Line};

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
    for block in 0..line.channels().div_ceil(LANES) {
        match line.shape.window.kernel {
            [3..=4, 3] => pixels::<3, 2>(line, block, out),
            [5..=6, 5] => pixels::<5, 3>(line, block, out),
            _ => {
                let clip = Clip::new(line, block, out);
                for x in 0..line.width() {
                    clip.store(pixel(line, x, block), x, out);
                }
            }
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

/// The sums of one pixel and one block of channels, for any window.
#[inline]
#[target_feature(enable = "avx2")]
fn pixel(line: &Line<'_, i16>, x: usize, block: usize) -> [__m256i; 4] {
    let [kh, kw] = line.shape.window.kernel;
    let splat = [line.zero; LANES];
    let mut sums = start(line, block);
    for group in 0..kh.div_ceil(2) {
        let rows = Rows::new(line, block, group, &splat);
        for kx in 0..kw {
            let taps = rows.column(line.column(x, kx));
            add(
                &mut sums,
                taps,
                column_weights(line, block, group * kw + kx),
            );
        }
    }
    sums
}

/// Pixels whose windows have `KW` columns and up to `2 * G` rows.
#[target_feature(enable = "avx2")]
fn pixels<const KW: usize, const G: usize>(
    line: &Line<'_, i16>,
    block: usize,
    out: &mut ClipLine<'_>,
) {
    let splat = [line.zero; LANES];
    let rows: [Rows<'_>; G] = std::array::from_fn(|group| Rows::new(line, block, group, &splat));
    let weights: [[_; KW]; G] = std::array::from_fn(|group| {
        std::array::from_fn(|kx| column_weights(line, block, group * KW + kx))
    });
    let (begin, clip) = (start(line, block), Clip::new(line, block, out));
    for x in 0..line.width() {
        let mut columns = [None; KW];
        columns
            .iter_mut()
            .enumerate()
            .for_each(|(kx, column)| *column = line.column(x, kx));
        let mut sums = begin;
        for (rows, weights) in rows.iter().zip(&weights) {
            for (column, weights) in columns.into_iter().zip(weights) {
                add(&mut sums, rows.column(column), weights);
            }
        }
        clip.store(sums, x, out);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(sums: &mut [__m256i; 4], taps: [__m256i; 4], weights: &[[i16; 16]; 4]) {
    for ((sum, taps), w) in sums.iter_mut().zip(taps).zip(weights) {
        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(taps, load_weights(w)));
    }
}

/// Two rows of the windows of a line, for a block of channels. A row outside the image or the
/// window is the code of zero wherever it is read.
struct Rows<'a> {
    rows: [&'a [u8]; 2],
    /// All ones where columns lie apart, zero where they are all the same.
    masks: [usize; 2],
    splat: &'a [u8; LANES],
    /// The last column.
    last: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn new(line: &Line<'a, i16>, block: usize, group: usize, splat: &'a [u8; LANES]) -> Self {
        let row = |i: usize| {
            let ky = 2 * group + i;
            match line.row(ky).filter(|_| ky < line.shape.window.kernel[0]) {
                Some(at) => (&line.input[at + block * LANES..], usize::MAX),
                None => (&splat[..], 0),
            }
        };
        let rows = [row(0), row(1)];
        let last = (line.shape.input[1] - 1) * line.channels();
        for (row, mask) in rows {
            assert!((last & mask) + LANES <= row.len(), "slack after the input");
        }
        Self {
            rows: rows.map(|(row, _)| row),
            masks: rows.map(|(_, mask)| mask),
            splat,
            last,
        }
    }

    /// The column at `x` of each row, interleaved and widened to 16 bits, or the code of zero.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn column(&self, x: Option<usize>) -> [__m256i; 4] {
        let row = |i: usize| match x {
            Some(x) => {
                assert!(x <= self.last);
                // SAFETY: `x` is at most `last`, and `new` has shown that 32 codes can be
                // read there in every row.
                unsafe { _mm256_loadu_si256(self.rows[i].as_ptr().add(x & self.masks[i]).cast()) }
            }
            None => load_bytes(self.splat),
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
fn start(line: &Line<'_, i16>, block: usize) -> [__m256i; 4] {
    let (vectors, _) = line.start[block * LANES..].as_chunks::<8>();
    [
        load(&vectors[0]),
        load(&vectors[1]),
        load(&vectors[2]),
        load(&vectors[3]),
    ]
}

#[inline(always)]
fn column_weights<'a>(line: &Line<'a, i16>, block: usize, column: usize) -> &'a [[i16; 16]; 4] {
    let len = Avx2::weights_len(line.shape.window.kernel);
    let (vectors, _) = line.weights[block * len + column * COLUMN..].as_chunks::<16>();
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
    fn new(line: &Line<'_, i16>, block: usize, out: &ClipLine<'_>) -> Self {
        let (first, channels) = (block * LANES, line.channels());
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

    /// The codes of pixel `x`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(&self, [s, t, u, v]: [__m256i; 4], x: usize, out: &mut ClipLine<'_>) {
        let low = _mm256_packus_epi32(self.round(s, 0), self.round(t, 1));
        let high = _mm256_packus_epi32(self.round(u, 2), self.round(v, 3));
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
