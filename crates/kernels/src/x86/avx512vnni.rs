//! AVX-512 with VNNI: 64 products of a code and a weight in one instruction, summed by fours.
//!
//! [`Nibbles`] keeps weights of up to four bits in half of the bytes: two blocks of channels in one
//! vector, which a shift and a mask move into the upper halves of bytes. So weights are 16 times
//! too large and so are the sums, exactly; one shift at the end mends that. Multiplications leave
//! room for the masks: it costs no time.

use std::arch::x86_64::*;

use super::clip512::{load, put};
use super::line512;
use crate::every;
use crate::micro::{BLOCK, Job, Micro, Out, bytes_by_fours, put_four, weights_as_bytes};

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

/// Weights of up to four bits, two in a byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nibbles(Avx512Vnni);

impl Avx512Vnni {
    /// The kernel for codes up to `levels` and these `weights`, rows of `depth`, where they have
    /// four bits and 16 times their sums fit 32.
    pub(crate) fn nibbles(self, levels: u8, weights: &[i8], depth: usize) -> Option<Nibbles> {
        let narrow = every(weights, |w| (-8..8).contains(&w));
        (narrow && depth * 8 * usize::from(levels) < 1 << 27).then_some(Nibbles(self))
    }
}

/// The blocks of a panel: as many as possible, but none of one beside one of four.
fn blocks(left: usize) -> usize {
    if left == 5 { 3 } else { left.min(4) }
}

impl Micro for Avx512Vnni {
    bytes_by_fours!();
    weights_as_bytes!();

    fn name(self) -> &'static str {
        "conv-u8i8-avx512vnni"
    }

    fn blocks(self, left: usize) -> usize {
        blocks(left)
    }

    fn step_len(self, blocks: usize) -> usize {
        step_len::<false>(blocks)
    }

    fn multiply(self, job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { multiply::<false>(job, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        Avx512Vnni::run(self, work)
    }
}

impl Micro for Nibbles {
    bytes_by_fours!();

    fn name(self) -> &'static str {
        "conv-u8i4-avx512vnni"
    }

    fn blocks(self, left: usize) -> usize {
        blocks(left)
    }

    fn step_len(self, blocks: usize) -> usize {
        step_len::<true>(blocks)
    }

    #[inline(always)]
    fn place(self, step: &mut [i8], lane: usize, codes: &[i8]) {
        let (block, lane) = (lane / BLOCK, lane % BLOCK);
        let places = &mut step[block / 2 * 64 + lane * 4..][..4];
        let mut four = [0; 4];
        put_four(&mut four, codes);
        for (to, w) in places.iter_mut().zip(four) {
            *to |= if block % 2 == 0 { w & 0xf } else { w << 4 };
        }
    }

    fn multiply(self, job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
        // SAFETY: the token proves that the CPU has the features.
        unsafe { multiply::<true>(job, out) }
    }

    #[inline(always)]
    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        self.0.run(work)
    }
}

/// Bytes of a step: a vector for each block, or for two.
const fn step_len<const NIBBLES: bool>(blocks: usize) -> usize {
    64 * if NIBBLES { blocks.div_ceil(2) } else { blocks }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<const NIBBLES: bool>(job: &Job<'_, u8, i8>, out: &mut Out<'_>) {
    let blocks = job.start.len() / BLOCK;
    debug_assert!(!NIBBLES || blocks > 1, "nibbles of a single block");
    job.check(4, step_len::<NIBBLES>(blocks));
    // Tiles as high as leave registers for the weights and a pixel, and few enough pixels that
    // each has a pointer of its own; more than eight sums hide the latency of an addition.
    match (blocks, job.line) {
        // Weights of a single block are never nibbles (`conv.rs`).
        (1, Some(pitch)) => line512::tiles(job, pitch, out),
        (1, None) => tiles::<10, 5, 2, 1, false>(job, out),
        (2, _) => tiles::<12, 6, 2, 2, NIBBLES>(job, out),
        (3, _) => tiles::<9, 5, 2, 3, NIBBLES>(job, out),
        _ => tiles::<6, 3, 1, 4, NIBBLES>(job, out),
    }
}

/// All tiles of a job whose panel has `B` blocks, `R` pixels high; the last one `S` or `T` if that
/// is enough.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tiles<const R: usize, const S: usize, const T: usize, const B: usize, const NIBBLES: bool>(
    job: &Job<'_, u8, i8>,
    out: &mut Out<'_>,
) {
    let full = job.pixels.len() / R * R;
    for first in (0..full).step_by(R) {
        put(&dot::<R, B, NIBBLES>(job, first), first, out);
    }
    match job.pixels.len() - full {
        0 => {}
        rest if rest <= T => put(&dot::<T, B, NIBBLES>(job, full)[..rest], full, out),
        rest if rest <= S => put(&dot::<S, B, NIBBLES>(job, full)[..rest], full, out),
        rest => put(&dot::<R, B, NIBBLES>(job, full)[..rest], full, out),
    }
}

/// The sums of `R` pixels from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn dot<const R: usize, const B: usize, const NIBBLES: bool>(
    job: &Job<'_, u8, i8>,
    first: usize,
) -> [[__m512i; B]; R] {
    let Job {
        runs,
        steps,
        weights,
        start,
        ..
    } = *job;
    let (start, _) = start.as_chunks::<BLOCK>();
    let begin: [__m512i; B] = std::array::from_fn(|b| match NIBBLES {
        true => _mm512_slli_epi32::<4>(load(&start[b])),
        false => load(&start[b]),
    });
    let mut sums = [begin; R];
    let len = step_len::<NIBBLES>(B);
    let pixels: [*const u8; R] = job.pointers(first);
    let mut weights = weights.as_ptr();
    let step = |sums: &mut [[__m512i; B]; R], at: usize, weights: *const i8| {
        // SAFETY: for each run `len * steps` weights are read, and `4 * steps` codes from where it
        // begins in each pixel: `Job::check` has shown that they lie in their slices.
        let load = |v: usize| unsafe { _mm512_loadu_si512(weights.add(64 * v).cast()) };
        let w: [__m512i; B] = std::array::from_fn(|b| match (NIBBLES, b % 2) {
            (false, _) => load(b),
            (true, 0) => upper(_mm512_slli_epi16::<4>(load(b / 2))),
            (true, _) => upper(load(b / 2)),
        });
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
                step(&mut sums, at + 4 * u, weights.wrapping_add(len * u));
            }
            at += 16;
            weights = weights.wrapping_add(len * 4);
        }
        while at < end {
            step(&mut sums, at, weights);
            at += 4;
            weights = weights.wrapping_add(len);
        }
    }
    if NIBBLES {
        let sums = sums.as_flattened_mut().iter_mut();
        sums.for_each(|sum| *sum = _mm512_srai_epi32::<4>(*sum));
    }
    sums
}

/// The upper half of each byte.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper(bytes: __m512i) -> __m512i {
    _mm512_and_si512(bytes, _mm512_set1_epi8(0xf0_u8 as i8))
}
