//! AVX-512 with VNNI: 64 products of a code and a weight in one instruction, summed by fours.

use std::arch::x86_64::*;

use crate::tiles::{BLOCK, ClipOut, Micro, Tile};

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
    // As many as leave registers for one panel of weights and a pixel, and few enough that each
    // pixel has a pointer of its own; more than eight sums hide the latency of an addition.
    const ROWS: [[usize; 3]; 4] = [[10, 5, 2], [12, 6, 2], [9, 5, 2], [6, 3, 1]];

    fn sums(self, tile: &Tile<'_, u8, i8>, sums: &mut [i32]) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { dispatch(tile, Out::Sums(sums)) }
    }

    fn codes(self, tile: &Tile<'_, u8, i8>, out: &mut ClipOut<'_>) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { dispatch(tile, Out::Codes(out)) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx512Vnni::run(self, work)
    }
}

enum Out<'a, 'b> {
    Sums(&'a mut [i32]),
    Codes(&'a mut ClipOut<'b>),
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dispatch(tile: &Tile<'_, u8, i8>, out: Out<'_, '_>) {
    match (tile.start.len() / BLOCK, tile.class) {
        (1, 0) => multiply::<10, 1>(tile, out),
        (1, 1) => multiply::<5, 1>(tile, out),
        (1, _) => multiply::<2, 1>(tile, out),
        (2, 0) => multiply::<12, 2>(tile, out),
        (2, 1) => multiply::<6, 2>(tile, out),
        (2, _) => multiply::<2, 2>(tile, out),
        (3, 0) => multiply::<9, 3>(tile, out),
        (3, 1) => multiply::<5, 3>(tile, out),
        (3, _) => multiply::<2, 3>(tile, out),
        (_, 0) => multiply::<6, 4>(tile, out),
        (_, 1) => multiply::<3, 4>(tile, out),
        (_, _) => multiply::<1, 4>(tile, out),
    }
}

/// A tile of up to `R` pixels by `B` blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<const R: usize, const B: usize>(tile: &Tile<'_, u8, i8>, out: Out<'_, '_>) {
    let sums = dot::<R, B>(tile);
    let rows = sums.iter().take(tile.pixels.len());
    match out {
        Out::Sums(out) => {
            let (vectors, _) = out.as_chunks_mut::<BLOCK>();
            for (row, vectors) in rows.zip(vectors.chunks_exact_mut(B)) {
                row.iter()
                    .zip(vectors)
                    .for_each(|(&sum, vector)| store(vector, sum));
            }
        }
        Out::Codes(out) => clip(rows, out),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot<const R: usize, const B: usize>(tile: &Tile<'_, u8, i8>) -> [[__m512i; B]; R] {
    let Tile {
        codes,
        runs,
        steps,
        weights,
        start,
        ..
    } = *tile;
    assert!(tile.reach() + 4 * steps <= codes.len());
    assert!(64 * B * steps * runs.len() <= weights.len());
    let (start, _) = start.as_chunks::<BLOCK>();
    let begin: [__m512i; B] = std::array::from_fn(|b| load(&start[b]));
    let mut sums = [begin; R];
    let pixels: [*const u8; R] = tile.pointers();
    let mut weights = weights.as_ptr();
    let step = |sums: &mut [[__m512i; B]; R], at: usize, weights: *const i8| {
        // SAFETY: for each run `64 * B * steps` weights are read, and from the beginning of each
        // pixel `4 * steps` codes: the assertions have shown that they lie in their slices.
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
fn clip<'a, const B: usize>(rows: impl Iterator<Item = &'a [__m512i; B]>, out: &mut ClipOut<'_>) {
    let (m, b) = (out.m.as_chunks().0, out.b.as_chunks().0);
    let m: [__m512; B] = std::array::from_fn(|block| load_ps(&m[block]));
    let b: [__m512; B] = std::array::from_fn(|block| load_ps(&b[block]));
    let mask = u64::MAX >> (64 - out.channels);
    let (lo, hi) = (
        _mm512_set1_epi8(out.lo as u8 as i8),
        _mm512_set1_epi8(out.hi as u8 as i8),
    );
    for (row, sums) in rows.enumerate() {
        let at = row * out.stride..row * out.stride + out.channels;
        let mut codes = [_mm512_setzero_si512(); 4];
        let mut residuals = [[0; BLOCK]; B];
        if let Some((_, residual)) = out.residual {
            store_codes(
                residuals.as_flattened_mut(),
                mask,
                load_codes(&residual[at.clone()], mask),
            );
        }
        for block in 0..B {
            let t = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[block]), m[block]);
            let mut t = _mm512_add_ps(t, b[block]);
            if let Some((m_r, _)) = out.residual {
                let r = _mm512_cvtepi32_ps(widen(&residuals[block]));
                t = _mm512_add_ps(t, _mm512_mul_ps(r, _mm512_set1_ps(m_r)));
            }
            codes[block] = round(t);
        }
        let packed = _mm512_max_epu8(_mm512_min_epu8(pack(codes), hi), lo);
        store_codes(&mut out.codes[at], mask, packed);
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
        _mm512_packus_epi32(v[0], v[1]),
        _mm512_packus_epi32(v[2], v[3]),
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

#[inline]
#[target_feature(enable = "avx512f")]
fn widen(codes: &[u8; 16]) -> __m512i {
    // SAFETY: the array is 16 readable bytes.
    _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) })
}

/// Up to 64 codes, one for each bit of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_codes(codes: &[u8], mask: __mmask64) -> __m512i {
    debug_assert!(mask.count_ones() as usize <= codes.len());
    // SAFETY: lanes outside the mask are not read, and its bits are no more than there are codes.
    unsafe { _mm512_maskz_loadu_epi8(mask, codes.as_ptr().cast()) }
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
