//! AVX-512, looking up sums: 16 codes of 16 channels in one shuffle of bytes.
//!
//! Each quarter of a vector looks into the table of four codes of its own: four neighbouring tables
//! are one load, while one table in all quarters would take a shuffle of its own, as much as the
//! look-up itself. The quarters are summed at the end.

use std::arch::x86_64::*;

use super::avx512vnni::Avx512Vnni;
use super::clip512::{load, put};
use crate::lookup::{Look, Planes, Sums, chosen};
use crate::micro::{BLOCK, Job, Micro, Out};

/// Vectors of 16 channels of a panel.
const VECTORS: usize = 2;
/// Tables of a vector.
const TABLES: usize = 4;

impl Avx512Vnni {
    /// Codes of a step that looks up.
    pub(crate) const DEPTH: usize = 4 * TABLES;
}

impl Micro for Look<Avx512Vnni> {
    type Lane = Sums;
    type Weight = u8;
    const DEPTH: usize = 4 * TABLES;

    fn name(self) -> &'static str {
        match self.planes {
            Planes::One => "lookup-u4i1-avx512",
            Planes::Two => "lookup-u4i2-avx512",
        }
    }

    fn blocks(self, _: usize) -> usize {
        VECTORS
    }

    fn step_len(self, _: usize) -> usize {
        Look::step_len(&self, VECTORS * 64)
    }

    #[inline(always)]
    fn place(self, step: &mut [u8], lane: usize, codes: &[i8]) {
        let (vector, lane) = (lane / BLOCK, lane % BLOCK);
        for (table, codes) in codes.chunks(4).enumerate() {
            let step = &mut step[vector * 64 + table * BLOCK..];
            Look::place(&self, step, [BLOCK, VECTORS * 64], lane, codes);
        }
    }

    fn lane(self, codes: [u8; 4]) -> Sums {
        self.table(codes)
    }

    #[inline(always)]
    fn widen(self, codes: &[u8], lanes: &mut [Sums]) {
        // SAFETY: the token proves that the CPU has the features.
        unsafe { tables(self, codes, lanes) }
    }

    fn multiply(self, job: &Job<'_, Sums, u8>, out: &mut Out<'_>) {
        // SAFETY: the token proves that the CPU has the features.
        unsafe {
            match self.planes {
                Planes::One => tiles::<4, 2, 1>(job, self.flush, out),
                Planes::Two => tiles::<4, 2, 2>(job, self.flush, out),
            }
        }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.token.run(work)
    }
}

/// The tables of a line, four at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tables(look: Look<Avx512Vnni>, codes: &[u8], lanes: &mut [Sums]) {
    const CHOSEN: [[i8; 64]; 4] = [chosen(0), chosen(1), chosen(2), chosen(3)];
    // SAFETY: each array is 64 readable bytes.
    let chosen = CHOSEN.map(|places| unsafe { _mm512_loadu_si512(places.as_ptr().cast()) });
    let (sixteens, rest) = codes.as_chunks::<16>();
    let (fours, last) = lanes.as_chunks_mut::<4>();
    for (codes, tables) in sixteens.iter().zip(fours) {
        // SAFETY: the array is 16 readable bytes.
        let codes = unsafe { _mm_loadu_si128(codes.as_ptr().cast()) };
        let codes = _mm512_broadcast_i32x4(codes);
        let [a, b, c, d] = chosen.map(|places| _mm512_shuffle_epi8(codes, places));
        let mut sums = _mm512_add_epi8(_mm512_add_epi8(a, b), _mm512_add_epi8(c, d));
        if look.planes == Planes::One {
            let all = _mm512_shuffle_epi8(sums, _mm512_set1_epi8(15));
            sums = _mm512_sub_epi8(_mm512_add_epi8(sums, sums), all);
        }
        // SAFETY: the tables are 64 writable bytes.
        unsafe { _mm512_storeu_si512(tables.as_mut_ptr().cast(), sums) }
    }
    for (codes, table) in rest.as_chunks().0.iter().zip(last) {
        *table = look.table(*codes);
    }
}

/// All tiles of a job, `R` pixels high, with weights of `P` planes; the last one `S` if that is
/// enough.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tiles<const R: usize, const S: usize, const P: usize>(
    job: &Job<'_, Sums, u8>,
    flush: usize,
    out: &mut Out<'_>,
) {
    job.check(TABLES, P * VECTORS * 64);
    let full = job.pixels.len() / R * R;
    for first in (0..full).step_by(R) {
        put(&dot::<R, P>(job, first, flush), first, out);
    }
    match job.pixels.len() - full {
        0 => {}
        1 => put(&dot::<1, P>(job, full, flush), full, out),
        rest if rest <= S => put(&dot::<S, P>(job, full, flush)[..rest], full, out),
        rest => put(&dot::<R, P>(job, full, flush)[..rest], full, out),
    }
}

/// Sums of bytes of a pixel: a vector for each plane.
type Bytes<const P: usize> = [[__m512i; P]; VECTORS];
/// Sums of 16 bits of a pixel: those of even and of odd bytes.
type Words = [[__m512i; 2]; VECTORS];

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot<const R: usize, const P: usize>(
    job: &Job<'_, Sums, u8>,
    first: usize,
    flush: usize,
) -> [[__m512i; VECTORS]; R] {
    let pixels: [*const Sums; R] = job.pointers(first);
    let mut weights = job.weights.as_ptr();
    let mut words = [[[_mm512_setzero_si512(); 2]; VECTORS]; R];
    let zero = [[[_mm512_setzero_si512(); P]; VECTORS]; R];
    let (mut bytes, mut left): ([Bytes<P>; R], _) = (zero, flush);
    for &run in job.runs {
        let (mut at, end) = (run, run + TABLES * job.steps);
        while at < end {
            let stop = end.min(at + TABLES * left);
            left -= (stop - at) / TABLES;
            while at < stop {
                // SAFETY: for each run `128 * P * steps` weights are read, and `4 * steps` tables
                // from where it begins in each pixel: `Job::check` has shown that they lie in
                // their slices.
                let load = |i: usize| unsafe { _mm512_loadu_si512(weights.add(64 * i).cast()) };
                let index: Bytes<P> =
                    std::array::from_fn(|v| std::array::from_fn(|p| load(p * VECTORS + v)));
                for (bytes, pixel) in bytes.iter_mut().zip(pixels) {
                    // SAFETY: as above.
                    let tables = unsafe { _mm512_loadu_si512(pixel.add(at).cast()) };
                    let index = index.as_flattened();
                    for (sum, &index) in bytes.as_flattened_mut().iter_mut().zip(index) {
                        *sum = _mm512_add_epi8(*sum, _mm512_shuffle_epi8(tables, index));
                    }
                }
                at += TABLES;
                weights = weights.wrapping_add(P * VECTORS * 64);
            }
            if left == 0 {
                widen(&mut words, &bytes);
                (bytes, left) = (zero, flush);
            }
        }
    }
    widen(&mut words, &bytes);
    let (start, _) = job.start.as_chunks::<BLOCK>();
    words.map(|words: Words| {
        std::array::from_fn(|v| {
            let [even, odd] = words[v].map(|words| quarters(words));
            let all = _mm512_cvtepi16_epi32(_mm256_set_m128i(odd, even));
            _mm512_add_epi32(all, load(&start[v]))
        })
    })
}

/// The sum of the quarters.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn quarters(words: __m512i) -> __m128i {
    let (low, high) = (
        _mm512_castsi512_si256(words),
        _mm512_extracti64x4_epi64::<1>(words),
    );
    let halves = _mm256_add_epi16(low, high);
    let (low, high) = (
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    );
    _mm_add_epi16(low, high)
}

/// Adds sums of bytes, the even ones and the odd ones, to those of 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn widen<const R: usize, const P: usize>(words: &mut [Words; R], bytes: &[Bytes<P>; R]) {
    let words = words.as_flattened_mut().iter_mut();
    for ([even, odd], bytes) in words.zip(bytes.as_flattened()) {
        let (low, high) = match bytes.as_slice() {
            [b0, b1] => {
                let [e0, e1] = [*b0, *b1].map(|b| _mm512_and_si512(b, _mm512_set1_epi16(0xff)));
                let [o0, o1] = [*b0, *b1].map(|b| _mm512_srli_epi16::<8>(b));
                (
                    _mm512_sub_epi16(e0, _mm512_add_epi16(e1, e1)),
                    _mm512_sub_epi16(o0, _mm512_add_epi16(o1, o1)),
                )
            }
            _ => (
                _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(bytes[0])),
                _mm512_srai_epi16::<8>(bytes[0]),
            ),
        };
        *even = _mm512_add_epi16(*even, low);
        *odd = _mm512_add_epi16(*odd, high);
    }
}
