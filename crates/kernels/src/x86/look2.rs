//! AVX2, looking up sums: four codes of 32 channels in one shuffle of bytes.

use std::arch::x86_64::*;

use super::avx2::{Avx2, load, put};
use crate::lookup::{Look, Planes, Sums, chosen};
use crate::micro::{BLOCK, Job, Micro, Out};

/// Channels of a panel.
const CHANNELS: usize = 32;

impl Avx2 {
    /// Codes of a step that looks up.
    pub(crate) const DEPTH: usize = 4;
}

impl Micro for Look<Avx2> {
    type Lane = Sums;
    type Weight = u8;
    const DEPTH: usize = 4;

    fn name(self) -> &'static str {
        match self.planes {
            Planes::One => "lookup-u4i1-avx2",
            Planes::Two => "lookup-u4i2-avx2",
        }
    }

    fn blocks(self, _: usize) -> usize {
        CHANNELS / BLOCK
    }

    fn step_len(self, _: usize) -> usize {
        Look::step_len(&self, CHANNELS)
    }

    #[inline(always)]
    fn place(self, step: &mut [u8], lane: usize, codes: &[i8]) {
        Look::place(&self, step, [CHANNELS; 2], lane, codes);
    }

    fn lane(self, codes: [u8; 4]) -> Sums {
        self.table(codes)
    }

    #[inline(always)]
    fn widen(self, codes: &[u8], lanes: &mut [Sums]) {
        // SAFETY: the token proves that the CPU has AVX2.
        unsafe { tables(self, codes, lanes) }
    }

    fn multiply(self, job: &Job<'_, Sums, u8>, out: &mut Out<'_>) {
        // SAFETY: the token proves that the CPU has AVX2.
        unsafe {
            match self.planes {
                Planes::One => tiles::<4, 2, 1>(job, self.flush, out),
                Planes::Two => tiles::<3, 2, 2>(job, self.flush, out),
            }
        }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.token.run(work)
    }
}

/// The tables of a line, two at a time.
#[target_feature(enable = "avx2")]
fn tables(look: Look<Avx2>, codes: &[u8], lanes: &mut [Sums]) {
    const CHOSEN: [[i8; 32]; 4] = [chosen(0), chosen(1), chosen(2), chosen(3)];
    // SAFETY: each array is 32 readable bytes.
    let chosen = CHOSEN.map(|places| unsafe { _mm256_loadu_si256(places.as_ptr().cast()) });
    let (eights, rest) = codes.as_chunks::<8>();
    let (twos, last) = lanes.as_chunks_mut::<2>();
    for (codes, tables) in eights.iter().zip(twos) {
        let codes = _mm256_set1_epi64x(i64::from_le_bytes(*codes));
        let [a, b, c, d] = chosen.map(|places| _mm256_shuffle_epi8(codes, places));
        let mut sums = _mm256_add_epi8(_mm256_add_epi8(a, b), _mm256_add_epi8(c, d));
        if look.planes == Planes::One {
            let all = _mm256_shuffle_epi8(sums, _mm256_set1_epi8(15));
            sums = _mm256_sub_epi8(_mm256_add_epi8(sums, sums), all);
        }
        // SAFETY: the tables are 32 writable bytes.
        unsafe { _mm256_storeu_si256(tables.as_mut_ptr().cast(), sums) }
    }
    for (codes, table) in rest.as_chunks().0.iter().zip(last) {
        *table = look.table(*codes);
    }
}

/// All tiles of a job, `R` pixels high, with weights of `P` planes; the last one `S` if that is
/// enough.
#[target_feature(enable = "avx2")]
fn tiles<const R: usize, const S: usize, const P: usize>(
    job: &Job<'_, Sums, u8>,
    flush: usize,
    out: &mut Out<'_>,
) {
    job.check(1, P * CHANNELS);
    let full = job.pixels.len() / R * R;
    for first in (0..full).step_by(R) {
        store::<R, P>(job, first, flush, R, out);
    }
    match job.pixels.len() - full {
        0 => {}
        1 => store::<1, P>(job, full, flush, 1, out),
        rest if rest <= S => store::<S, P>(job, full, flush, rest, out),
        rest => store::<R, P>(job, full, flush, rest, out),
    }
}

/// The tile of `R` pixels from `first` on, of which `rows` exist.
#[inline]
#[target_feature(enable = "avx2")]
fn store<const R: usize, const P: usize>(
    job: &Job<'_, Sums, u8>,
    first: usize,
    flush: usize,
    rows: usize,
    out: &mut Out<'_>,
) {
    let sums = dot::<R, P>(job, first, flush);
    for (block, sums) in sums.iter().enumerate() {
        put(&sums[..rows], first, [block, 2], out);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot<const R: usize, const P: usize>(
    job: &Job<'_, Sums, u8>,
    first: usize,
    flush: usize,
) -> [[[__m256i; 2]; R]; 2] {
    let pixels: [*const Sums; R] = job.pointers(first);
    let mut weights = job.weights.as_ptr();
    let mut words = [[_mm256_setzero_si256(); 2]; R];
    let zero = [[_mm256_setzero_si256(); P]; R];
    let (mut bytes, mut left) = (zero, flush);
    for &run in job.runs {
        let (mut at, end) = (run, run + job.steps);
        while at < end {
            let stop = end.min(at + left);
            left -= stop - at;
            while at < stop {
                // SAFETY: for each run `32 * P * steps` weights are read, and `steps` tables from
                // where it begins in each pixel: `Job::check` has shown that they lie in their
                // slices.
                let index: [__m256i; P] = std::array::from_fn(|p| unsafe {
                    _mm256_loadu_si256(weights.add(CHANNELS * p).cast())
                });
                for (bytes, pixel) in bytes.iter_mut().zip(pixels) {
                    // SAFETY: as above.
                    let table = unsafe { _mm_loadu_si128(pixel.add(at).cast()) };
                    let table = _mm256_broadcastsi128_si256(table);
                    for (sum, index) in bytes.iter_mut().zip(index) {
                        *sum = _mm256_add_epi8(*sum, _mm256_shuffle_epi8(table, index));
                    }
                }
                (at, weights) = (at + 1, weights.wrapping_add(P * CHANNELS));
            }
            if left == 0 {
                widen(&mut words, &bytes);
                (bytes, left) = (zero, flush);
            }
        }
    }
    widen(&mut words, &bytes);
    let (start, _) = job.start.as_chunks::<8>();
    // Even bytes are the first block of channels, odd ones the second.
    std::array::from_fn(|block| {
        words.map(|words| {
            let words = words[block];
            let (low, high) = (
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            let start = &start[2 * block..];
            [
                _mm256_add_epi32(_mm256_cvtepi16_epi32(low), load(&start[0])),
                _mm256_add_epi32(_mm256_cvtepi16_epi32(high), load(&start[1])),
            ]
        })
    })
}

/// Adds sums of bytes, the even ones and the odd ones, to those of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn widen<const R: usize, const P: usize>(words: &mut [[__m256i; 2]; R], bytes: &[[__m256i; P]; R]) {
    for ([even, odd], bytes) in words.iter_mut().zip(bytes) {
        let (low, high) = match bytes.as_slice() {
            [b0, b1] => {
                let [e0, e1] = [*b0, *b1].map(|b| _mm256_and_si256(b, _mm256_set1_epi16(0xff)));
                let [o0, o1] = [*b0, *b1].map(|b| _mm256_srli_epi16::<8>(b));
                (
                    _mm256_sub_epi16(e0, _mm256_add_epi16(e1, e1)),
                    _mm256_sub_epi16(o0, _mm256_add_epi16(o1, o1)),
                )
            }
            _ => (
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes[0])),
                _mm256_srai_epi16::<8>(bytes[0]),
            ),
        };
        *even = _mm256_add_epi16(*even, low);
        *odd = _mm256_add_epi16(*odd, high);
    }
}
