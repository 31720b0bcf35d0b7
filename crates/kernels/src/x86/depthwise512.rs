//! AVX-512 with VNNI, depthwise: four rows of a window's column at a time, for 64 channels.

use std::arch::x86_64::*;

use super::avx512vnni::Avx512Vnni;
use super::clip512::{load, load_ps, pack_lanes, round, store, store_codes};
use crate::depthwise::{Channels, ClipOut, Columns, Strip};

/// Channels of a block.
const LANES: usize = 64;
/// Bytes of the weights of four rows of a column: four vectors.
const COLUMN: usize = 4 * 64;
/// Columns of weights of the largest window that slides: five, in two groups of rows.
const MAX_COLUMNS: usize = 2 * 5;

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

    fn codes(self, strip: &Strip<'_, i8>, out: &mut ClipOut<'_>) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { codes(strip, out) }
    }

    fn sums(self, strip: &Strip<'_, i8>, place: [usize; 2], block: usize, sums: &mut [i32; 64]) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { block_sums(strip, place, block, sums) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx512Vnni::run(self, work)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn codes(strip: &Strip<'_, i8>, out: &mut ClipOut<'_>) {
    let window = strip.shape.window;
    let neighbours = window.stride[1] == 1 && window.dilation[1] == 1;
    for block in 0..strip.channels().div_ceil(LANES) {
        match window.kernel {
            [3, 3] if neighbours => slide::<3>(strip, block, out),
            [5, 5] if neighbours => slide::<5>(strip, block, out),
            [3, 3] => jump::<3>(strip, block, out),
            [5, 5] => jump::<5>(strip, block, out),
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn block_sums(strip: &Strip<'_, i8>, place: [usize; 2], block: usize, out: &mut [i32; 64]) {
    let (vectors, _) = out.as_chunks_mut::<16>();
    vectors
        .iter_mut()
        .zip(sums(strip, place, block))
        .for_each(|(to, sum)| store(to, sum));
}

/// The sums of one pixel and one block of channels, for any window.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums(strip: &Strip<'_, i8>, [y, x]: [usize; 2], block: usize) -> [__m512i; 4] {
    let [kh, kw] = strip.shape.window.kernel;
    let mut sums = start(strip, block);
    for group in 0..kh.div_ceil(4) {
        // Rows beyond the window are its last one again, for which the weights are zero.
        let rows: Rows<'_, 4> = Rows::new(strip, y, block, |i| (4 * group + i).min(kh - 1));
        for kx in 0..kw {
            let taps = rows.column(strip.columns().at(x, kx), 0);
            add(
                &mut sums,
                taps,
                column_weights(strip, block, group * kw + kx),
            );
        }
    }
    sums
}

/// Pixels of `K` x `K` windows that share their columns: each column is interleaved once, and
/// added to the `K` pixels that it belongs to.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn slide<const K: usize>(strip: &Strip<'_, i8>, block: usize, out: &mut ClipOut<'_>) {
    let begin = start(strip, block);
    let weights = std::array::from_fn(|i| column_weights(strip, block, i));
    let (clip, columns, width) = (Clip::new(strip, block, out), strip.columns(), strip.width());
    for y in 0..strip.count {
        let rows = Rows::new(strip, strip.first + y, block, |i| i);
        let (sums, first) = ([begin; K], y * width);
        let mut slide = Slide::<K> {
            rows,
            weights,
            begin,
            sums,
            clip,
            columns,
            width,
            first,
        };
        // Columns beyond the last are outside the image, and complete no pixel.
        for column in (0..width + K - 1).step_by(K) {
            slide.phase::<0>(column, out);
            slide.phase::<1>(column + 1, out);
            slide.phase::<2>(column + 2, out);
            if K == 5 {
                slide.phase::<3>(column + 3, out);
                slide.phase::<4>(column + 4, out);
            }
        }
    }
}

/// The state of [`slide`].
struct Slide<'a, const K: usize> {
    rows: Rows<'a, K>,
    /// Of column `kx` and group of rows `g` at `g * K + kx`.
    weights: [&'a [[i8; 64]; 4]; MAX_COLUMNS],
    begin: [__m512i; 4],
    /// Of pixel `x` at `x % K`.
    sums: [[__m512i; 4]; K],
    clip: Clip,
    columns: Columns,
    /// Pixels of the line, and the first of them.
    width: usize,
    first: usize,
}

impl<const K: usize> Slide<'_, K> {
    /// Adds `column`, which is `P` modulo `K`, to its pixels, and stores the one that is complete.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn phase<const P: usize>(&mut self, column: usize, out: &mut ClipOut<'_>) {
        let at = self.columns.at(column, 0);
        self.sums[P % K] = self.begin;
        for group in 0..K.div_ceil(4) {
            let taps = self.rows.column(at, group);
            for kx in 0..K {
                add(
                    &mut self.sums[(P + K - kx) % K],
                    taps,
                    self.weights[group * K + kx],
                );
            }
        }
        if let Some(x) = (column + 1).checked_sub(K).filter(|&x| x < self.width) {
            self.clip.store(self.sums[(P + 1) % K], self.first + x, out);
        }
    }
}

/// Pixels of `K` x `K` windows that lie anywhere.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn jump<const K: usize>(strip: &Strip<'_, i8>, block: usize, out: &mut ClipOut<'_>) {
    let weights: [_; MAX_COLUMNS] = std::array::from_fn(|i| column_weights(strip, block, i));
    let (begin, clip) = (start(strip, block), Clip::new(strip, block, out));
    let (columns, width) = (strip.columns(), strip.width());
    for y in 0..strip.count {
        let rows: Rows<'_, K> = Rows::new(strip, strip.first + y, block, |i| i);
        for x in 0..width {
            let mut sums = begin;
            for kx in 0..K {
                let column = columns.at(x, kx);
                for group in 0..K.div_ceil(4) {
                    add(
                        &mut sums,
                        rows.column(column, group),
                        weights[group * K + kx],
                    );
                }
            }
            clip.store(sums, y * width + x, out);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add(sums: &mut [__m512i; 4], taps: [__m512i; 4], weights: &[[i8; 64]; 4]) {
    for ((sum, taps), w) in sums.iter_mut().zip(taps).zip(weights) {
        *sum = _mm512_dpbusd_epi32(*sum, taps, load_weights(w));
    }
}

/// Rows of the windows of line `y`, for a block of channels.
struct Rows<'a, const N: usize> {
    rows: [&'a [u8]; N],
    /// Where the last column begins.
    last: usize,
    /// The code of zero, for columns outside the image.
    outside: &'a [u8; 64],
}

impl<'a, const N: usize> Rows<'a, N> {
    /// Row `i` of them is row `ky(i)` of the windows.
    #[inline(always)]
    fn new(strip: &Strip<'a, i8>, y: usize, block: usize, ky: impl Fn(usize) -> usize) -> Self {
        let mut rows = [strip.outside; N];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = strip.row(y, ky(i), block * LANES);
            assert!(
                strip.last_column() + 64 <= row.len(),
                "slack after the input"
            );
        }
        let outside = strip.outside.first_chunk().expect("at least the slack");
        Self {
            rows,
            last: strip.last_column(),
            outside,
        }
    }

    /// Rows `4 * group..` of the column at `at`, up to four, interleaved; those that are not there
    /// are others again, for which the weights are zero.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn column(&self, at: Option<usize>, group: usize) -> [__m512i; 4] {
        let Some(at) = at else {
            return [load_bytes(self.outside); 4];
        };
        assert!(at <= self.last);
        // SAFETY: `new` has shown that 64 codes can be read in every row at `last`.
        let row = |i: usize| unsafe { _mm512_loadu_si512(self.rows[i].as_ptr().add(at).cast()) };
        let (first, count) = (4 * group, (N - 4 * group).min(4));
        let a = row(first);
        let b = if count > 1 { row(first + 1) } else { a };
        let (ab, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
        let (cd, cd_high) = if count > 2 {
            let c = row(first + 2);
            let d = if count > 3 { row(first + 3) } else { c };
            (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d))
        } else {
            (ab, ab_high)
        };
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
fn start(strip: &Strip<'_, i8>, block: usize) -> [__m512i; 4] {
    let (vectors, _) = strip.start[block * LANES..].as_chunks::<16>();
    std::array::from_fn(|j| load(&vectors[j]))
}

/// The weights of a column; those of the first where there are not so many.
#[inline(always)]
fn column_weights<'a>(strip: &Strip<'a, i8>, block: usize, column: usize) -> &'a [[i8; 64]; 4] {
    let len = Avx512Vnni::weights_len(strip.shape.window.kernel);
    let at = if column * COLUMN < len {
        column * COLUMN
    } else {
        0
    };
    let (vectors, _) = strip.weights[block * len + at..].as_chunks::<64>();
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
    fn new(strip: &Strip<'_, i8>, block: usize, out: &ClipOut<'_>) -> Self {
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
            channels: strip.channels(),
            first,
            count: LANES.min(strip.channels() - first),
        }
    }

    /// The codes of pixel `x` of the strip.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn store(&self, [s, t, u, v]: [__m512i; 4], x: usize, out: &mut ClipOut<'_>) {
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
