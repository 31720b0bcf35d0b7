//! AVX-512, what becomes of sums: they are stored, or clipped to codes.

use std::arch::x86_64::*;

use crate::micro::{BLOCK, ClipOut, Out};

/// Writes the `sums` of pixels from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn put<const B: usize>(sums: &[[__m512i; B]], first: usize, out: &mut Out<'_>) {
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

/// The codes of rows of sums: `Finish::Clip` of the epilogue, operation by operation, but that
/// codes are clipped after rounding, which is the same for whole ends and sums within `i32`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn clip<const B: usize>(sums: &[[__m512i; B]], first: usize, out: &mut ClipOut<'_>) {
    // Where one or two blocks are all of a pixel, the codes of some pixels are one vector.
    let is_whole = out.channels == B * BLOCK && out.stride == out.channels;
    match B {
        1 if is_whole => clip_by::<B, 4>(sums, first, out),
        2 if is_whole => clip_by::<B, 2>(sums, first, out),
        _ => clip_by::<B, 1>(sums, first, out),
    }
}

/// [`clip`] of `G` rows at a time, whose codes lie side by side where `G` is not 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn clip_by<const B: usize, const G: usize>(
    sums: &[[__m512i; B]],
    first: usize,
    out: &mut ClipOut<'_>,
) {
    let (m, b) = (out.m.as_chunks().0, out.b.as_chunks().0);
    let clip = Clip {
        m: std::array::from_fn(|block| load_ps(&m[block])),
        b: std::array::from_fn(|block| load_ps(&b[block])),
        lo: _mm512_set1_epi8(out.lo as u8 as i8),
        hi: _mm512_set1_epi8(out.hi as u8 as i8),
    };
    let (groups, rest) = sums.as_chunks::<G>();
    // The last row first: where codes are written over a residual, its load would wait for the
    // masked store of the row before, which reaches into it.
    let end = first + groups.len() * G;
    for (i, sums) in rest.iter().enumerate().rev() {
        clip.rows::<1>(&[*sums], end + i, out);
    }
    for (group, sums) in groups.iter().enumerate().rev() {
        clip.rows::<G>(sums, first + group * G, out);
    }
}

/// The constants of a panel.
struct Clip<const B: usize> {
    m: [__m512; B],
    b: [__m512; B],
    lo: __m512i,
    hi: __m512i,
}

impl<const B: usize> Clip<B> {
    /// Writes the codes of `G` rows from `row` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn rows<const G: usize>(&self, sums: &[[__m512i; B]; G], row: usize, out: &mut ClipOut<'_>) {
        let len = out.channels * G;
        let (at, mask) = (row * out.stride, u64::MAX >> (64 - len));
        let at = at..at + len;
        let residual = out.m_r.map(|m_r| {
            let codes = out.residual.unwrap_or(out.codes);
            (_mm512_set1_ps(m_r), &codes[at.clone()])
        });
        let mut codes = [_mm512_setzero_si512(); 4];
        for (i, (codes, &sum)) in codes.iter_mut().zip(sums.as_flattened()).enumerate() {
            let t = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), self.m[i % B]);
            let mut t = _mm512_add_ps(t, self.b[i % B]);
            if let Some((m_r, residual)) = residual {
                let codes = residual.get(i * BLOCK..).unwrap_or_default();
                let r = load_codes(codes, (mask >> (i * BLOCK)) as __mmask16);
                let r = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(r));
                t = _mm512_add_ps(t, _mm512_mul_ps(r, m_r));
            }
            *codes = round(t);
        }
        let packed = _mm512_max_epu8(_mm512_min_epu8(pack(codes), self.hi), self.lo);
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
