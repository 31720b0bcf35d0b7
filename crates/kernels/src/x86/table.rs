//! Tables of 256 codes, looked up for many codes at once.

use std::arch::x86_64::*;

use super::{Avx2, Avx512Vnni};
use crate::scalar;

/// The proof that this CPU has AVX-512 with VBMI, which shuffles single bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(());

impl Avx512Vnni {
    /// The shuffles of bytes that most CPUs with VNNI have too.
    pub(crate) fn bytes(self) -> Option<Bytes> {
        is_x86_feature_detected!("avx512vbmi").then_some(Bytes(()))
    }
}

impl Bytes {
    /// As [`scalar::lookup`].
    pub(crate) fn lookup(self, table: &[u8; 256], input: &[u8], output: &mut [u8]) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { lookup512(table, input, output) }
    }
}

impl Avx2 {
    /// As [`scalar::lookup`].
    pub(crate) fn lookup(self, table: &[u8; 256], input: &[u8], output: &mut [u8]) {
        // SAFETY: `self` proves that the CPU has AVX2.
        unsafe { lookup2(table, input, output) }
    }
}

/// A shuffle of two vectors looks up a code's lower seven bits; its upper bit says in which half of
/// the table.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lookup512(table: &[u8; 256], input: &[u8], output: &mut [u8]) {
    let (quarters, _) = table.as_chunks::<64>();
    let [a, b, c, d] = std::array::from_fn(|i| load512(&quarters[i]));
    let (codes, rest) = input.as_chunks::<64>();
    let (outputs, output_rest) = output.as_chunks_mut::<64>();
    for (x, y) in codes.iter().zip(outputs) {
        let x = load512(x);
        let lower = _mm512_permutex2var_epi8(a, x, b);
        let upper = _mm512_permutex2var_epi8(c, x, d);
        store512(
            y,
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), lower, upper),
        );
    }
    scalar::lookup(table, rest, output_rest);
}

/// A shuffle looks up sixteen entries, of which there are sixteen times as many. For each of them
/// the codes that are of others get their upper bit, for which a shuffle gives 0.
#[target_feature(enable = "avx2")]
fn lookup2(table: &[u8; 256], input: &[u8], output: &mut [u8]) {
    let (entries, _) = table.as_chunks::<16>();
    let (codes, rest) = input.as_chunks::<32>();
    let (outputs, output_rest) = output.as_chunks_mut::<32>();
    for (x, y) in codes.iter().zip(outputs) {
        let x = load2(x);
        let mut found = _mm256_setzero_si256();
        for (part, entries) in (0u8..).zip(entries) {
            let own = _mm256_xor_si256(x, _mm256_set1_epi8((part << 4) as i8));
            let index = _mm256_adds_epu8(own, _mm256_set1_epi8(0x70));
            let entries = twice(entries);
            found = _mm256_or_si256(found, _mm256_shuffle_epi8(entries, index));
        }
        store2(y, found);
    }
    scalar::lookup(table, rest, output_rest);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load512(codes: &[u8; 64]) -> __m512i {
    // SAFETY: the array is 64 readable bytes.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store512(codes: &mut [u8; 64], value: __m512i) {
    // SAFETY: the array is 64 writable bytes.
    unsafe { _mm512_storeu_si512(codes.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load2(codes: &[u8; 32]) -> __m256i {
    // SAFETY: the array is 32 readable bytes.
    unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store2(codes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the array is 32 writable bytes.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), value) }
}

/// The same sixteen entries in both halves.
#[inline]
#[target_feature(enable = "avx2")]
fn twice(entries: &[u8; 16]) -> __m256i {
    // SAFETY: the array is 16 readable bytes.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(entries.as_ptr().cast()) })
}
