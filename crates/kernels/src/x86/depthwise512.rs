//! AVX-512 with VNNI, depthwise: four rows of a window's column at a time, for 64 channels.

use std::arch::x86_64::*;

use super::avx512vnni::{Avx512Vnni, load, load_ps, pack_lanes, round, store, store_codes};
use crate::depthwise::{Channels, ClipLine, Line};

/// Channels of a block.
const LANES: usize = 64;
/// Bytes of the weights of four rows of a column: four vectors.
const COLUMN: usize = 4 * 64;

impl Channels for Avx512Vnni {
    type Weight = i8;
    const LANES: usize = LANES;
    const NAME: &'static str = "depthwise-u8i8-avx512vnni";

    fn weights_len([kh, kw]: [usize; 2]) -> usize {
        kh.div_ceil(4) * kw * COLUMN
    }

    fn place([_, kw]: [usize; 2], [ky, kx]: [usize; 2], j: usize, i: usize) -> usize {
        (ky / 4 * kw + kx) * COLUMN + j * 64 + i * 4 + ky % 4
    }

    fn codes(self, line: &Line<'_, i8>, out: &mut ClipLine<'_>) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { codes(line, out) }
    }

    fn sums(self, line: &Line<'_, i8>, x: usize, block: usize, sums: &mut [i32; 64]) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { block_sums(line, x, block, sums) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx512Vnni::run(self, work)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn codes(line: &Line<'_, i8>, out: &mut ClipLine<'_>) {
    let window = line.shape.window;
    let neighbours = window.stride[1] == 1 && window.dilation[1] == 1;
    for block in 0..line.channels().div_ceil(LANES) {
        match window.kernel {
            [1..=4, 3] if neighbours => slide::<3, 1>(line, block, out),
            [5..=8, 5] if neighbours => slide::<5, 2>(line, block, out),
            [1..=4, 3] => jump::<3, 1>(line, block, out),
            [5..=8, 5] => jump::<5, 2>(line, block, out),
            _ => {
                let clip = Clip::new(line, block, out);
                for x in 0..line.width() {
                    clip.store(pixel(line, x, block), x, out);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn block_sums(line: &Line<'_, i8>, x: usize, block: usize, sums: &mut [i32; 64]) {
    let (vectors, _) = sums.as_chunks_mut::<16>();
    vectors
        .iter_mut()
        .zip(pixel(line, x, block))
        .for_each(|(to, sum)| store(to, sum));
}

/// The sums of one pixel and one block of channels, for any window.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pixel(line: &Line<'_, i8>, x: usize, block: usize) -> [__m512i; 4] {
    let [kh, kw] = line.shape.window.kernel;
    let mut sums = start(line, block);
    let splat = [line.zero; 64];
    for group in 0..kh.div_ceil(4) {
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

/// Pixels whose windows of `KW` columns and up to `4 * G` rows share their columns: each column is
/// interleaved once, and added to the `KW` pixels that it belongs to.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn slide<const KW: usize, const G: usize>(
    line: &Line<'_, i8>,
    block: usize,
    out: &mut ClipLine<'_>,
) {
    let splat = [line.zero; 64];
    let rows: [Rows<'_>; G] = std::array::from_fn(|group| Rows::new(line, block, group, &splat));
    let weights: [[_; KW]; G] = std::array::from_fn(|group| {
        std::array::from_fn(|kx| column_weights(line, block, group * KW + kx))
    });
    let (begin, clip) = (start(line, block), Clip::new(line, block, out));
    // The sums of the pixels whose last column this is, is the next one, ..
    let mut sums = [begin; KW];
    for column in 0..line.width() + KW - 1 {
        for (rows, weights) in rows.iter().zip(&weights) {
            let taps = rows.column(line.column(column, 0));
            for (i, sums) in sums.iter_mut().enumerate() {
                add(sums, taps, weights[KW - 1 - i]);
            }
        }
        if let Some(x) = (column + 1).checked_sub(KW) {
            clip.store(sums[0], x, out);
        }
        sums = std::array::from_fn(|i| *sums.get(i + 1).unwrap_or(&begin));
    }
}

/// Pixels whose windows of `KW` columns and up to `4 * G` rows lie anywhere.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn jump<const KW: usize, const G: usize>(
    line: &Line<'_, i8>,
    block: usize,
    out: &mut ClipLine<'_>,
) {
    let splat = [line.zero; 64];
    let rows: [Rows<'_>; G] = std::array::from_fn(|group| Rows::new(line, block, group, &splat));
    let (begin, clip) = (start(line, block), Clip::new(line, block, out));
    for x in 0..line.width() {
        let mut sums = begin;
        for (group, rows) in rows.iter().enumerate() {
            for kx in 0..KW {
                let taps = rows.column(line.column(x, kx));
                add(
                    &mut sums,
                    taps,
                    column_weights(line, block, group * KW + kx),
                );
            }
        }
        clip.store(sums, x, out);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add(sums: &mut [__m512i; 4], taps: [__m512i; 4], weights: &[[i8; 64]; 4]) {
    for ((sum, taps), w) in sums.iter_mut().zip(taps).zip(weights) {
        *sum = _mm512_dpbusd_epi32(*sum, taps, load_weights(w));
    }
}

/// Four rows of the windows of a line, for a block of channels. A row outside the image or the
/// window is the code of zero wherever it is read.
struct Rows<'a> {
    rows: [&'a [u8]; 4],
    /// All ones where columns lie apart, zero where they are all the same.
    masks: [usize; 4],
    splat: &'a [u8; 64],
    /// The last column.
    last: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn new(line: &Line<'a, i8>, block: usize, group: usize, splat: &'a [u8; 64]) -> Self {
        let last = (line.shape.input[1] - 1) * line.channels();
        let row = |i: usize| {
            let ky = 4 * group + i;
            match line.row(ky).filter(|_| ky < line.shape.window.kernel[0]) {
                Some(at) => (&line.input[at + block * LANES..], usize::MAX),
                None => (&splat[..], 0),
            }
        };
        let rows = [row(0), row(1), row(2), row(3)];
        for (row, mask) in rows {
            assert!((last & mask) + 64 <= row.len(), "slack after the input");
        }
        Self {
            rows: rows.map(|(row, _)| row),
            masks: rows.map(|(_, mask)| mask),
            splat,
            last,
        }
    }

    /// The column at `x` of each row, interleaved, or the code of zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn column(&self, x: Option<usize>) -> [__m512i; 4] {
        let Some(x) = x else {
            return [load_bytes(self.splat); 4];
        };
        assert!(x <= self.last);
        let row = |i: usize| {
            // SAFETY: `x` is at most `last`, and `new` has shown that 64 codes can be read
            // there in every row.
            unsafe { _mm512_loadu_si512(self.rows[i].as_ptr().add(x & self.masks[i]).cast()) }
        };
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
        [
            _mm512_unpacklo_epi16(ab, cd),
            _mm512_unpackhi_epi16(ab, cd),
            _mm512_unpacklo_epi16(ab_high, cd_high),
            _mm512_unpackhi_epi16(ab_high, cd_high),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn start(line: &Line<'_, i8>, block: usize) -> [__m512i; 4] {
    let (vectors, _) = line.start[block * LANES..].as_chunks::<16>();
    std::array::from_fn(|j| load(&vectors[j]))
}

#[inline(always)]
fn column_weights<'a>(line: &Line<'a, i8>, block: usize, column: usize) -> &'a [[i8; 64]; 4] {
    let len = Avx512Vnni::weights_len(line.shape.window.kernel);
    let (vectors, _) = line.weights[block * len + column * COLUMN..].as_chunks::<64>();
    vectors.first_chunk().expect("weights of every column")
}

/// What becomes of the sums of one block of channels.
#[derive(Clone, Copy)]
struct Clip {
    m: [__m512; 4],
    b: [__m512; 4],
    lo: __m512i,
    hi: __m512i,
    /// The channels of all, the first of the block, and those that exist.
    channels: usize,
    first: usize,
    count: usize,
}

impl Clip {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(line: &Line<'_, i8>, block: usize, out: &ClipLine<'_>) -> Self {
        let first = block * LANES;
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
            lo: _mm512_set1_epi8(out.lo as i8),
            hi: _mm512_set1_epi8(out.hi as i8),
            channels: line.channels(),
            first,
            count: LANES.min(line.channels() - first),
        }
    }

    /// The codes of pixel `x`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn store(&self, [s, t, u, v]: [__m512i; 4], x: usize, out: &mut ClipLine<'_>) {
        let packed = pack_lanes([
            self.round(s, 0),
            self.round(t, 1),
            self.round(u, 2),
            self.round(v, 3),
        ]);
        let packed = _mm512_max_epu8(_mm512_min_epu8(packed, self.hi), self.lo);
        let at = x * self.channels + self.first;
        store_codes(
            &mut out.codes[at..at + self.count],
            u64::MAX >> (64 - self.count),
            packed,
        );
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn round(&self, sum: __m512i, j: usize) -> __m512i {
        let t = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), self.m[j]);
        round(_mm512_add_ps(t, self.b[j]))
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_bytes(codes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is 64 readable bytes.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_weights(weights: &[i8; 64]) -> __m512i {
    // SAFETY: the array is 64 readable bytes.
    unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) }
}
