//! AVX-512 with VNNI, panels of one block over long lines: pixels of a tile lie evenly, so that one
//! pointer is enough for many. Under windows of three columns three neighbouring pixels read the
//! same codes: each is loaded once and multiplied three times. With so few channels loads else take
//! longer than products.

use std::arch::x86_64::*;

use super::avx512vnni::dot;
use super::clip512::{load, put};
use crate::micro::{BLOCK, Job, LINE, Out};

/// Pixels of a tile: as many sums leave registers for the weights and three codes.
const TILE: usize = LINE;
/// Pixels of a tile where fewer are left in the line.
const FEW: usize = 4;
/// Bytes of a step's weights.
const STEP: usize = 4 * BLOCK;

/// All tiles of a job whose pixels lie `pitch` apart in a line.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn tiles(job: &Job<'_, u8, i8>, pitch: usize, out: &mut Out<'_>) {
    let is_shared = 4 * job.steps == 3 * pitch && pitch.is_multiple_of(4);
    let mut first = 0;
    while let Some(left @ [begin, ..]) = job.pixels.get(first..) {
        // Lines have a tile's pixels at least, so that a tile meets one end of a line at most, and
        // its pixels span this only if it meets none, or the next line lies a pitch behind.
        let span = left.get(TILE - 1).map(|end| (end - begin) as usize);
        if span == Some((TILE - 1) * pitch) {
            let sums = match is_shared {
                true => shared(job, pitch, first),
                false => line(job, pitch, first),
            };
            put(&sums, first, out);
            first += TILE;
        } else {
            let rest = left.len().min(FEW);
            put(&dot::<FEW, 1, false>(job, first)[..rest], first, out);
            first += rest;
        }
    }
}

type Sums = [[__m512i; 1]; TILE];

/// The sums of the pixels of a line from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn line(job: &Job<'_, u8, i8>, pitch: usize, first: usize) -> Sums {
    let mut sums = begin(job);
    let [pixel] = job.pointers(first);
    let (steps, _) = job.weights.as_chunks::<STEP>();
    let runs = steps.chunks_exact(job.steps);
    for (run, steps) in job.runs.iter().zip(runs) {
        for (i, step) in steps.iter().enumerate() {
            let w = weights(step);
            for (x, [sum]) in sums.iter_mut().enumerate() {
                // SAFETY: a step of pixel `first + x`: `Job::check` has shown that it is there.
                let codes = unsafe { codes(pixel.add(run + 4 * i + x * pitch)) };
                *sum = _mm512_dpbusd_epi32(*sum, codes, w);
            }
        }
    }
    sums
}

/// The same where a run is three times `pitch`: what a pixel reads in its second third, the next
/// one reads in its first.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn shared(job: &Job<'_, u8, i8>, pitch: usize, first: usize) -> Sums {
    let mut sums = begin(job);
    let [pixel] = job.pointers(first);
    let (steps, _) = job.weights.as_chunks::<STEP>();
    let runs = steps.chunks_exact(job.steps);
    for (run, steps) in job.runs.iter().zip(runs) {
        let third = steps.len() / 3;
        let (left, others) = steps.split_at(third);
        let columns = left.iter().zip(others).zip(&others[third..]);
        for (i, ((left, middle), right)) in columns.enumerate() {
            let columns = [weights(left), weights(middle), weights(right)];
            let codes = |x: usize| {
                // SAFETY: it lies in the run of the first pixel up to that of the last one, and
                // `Job::check` has shown that both lie in their slice.
                unsafe { codes(pixel.add(run + 4 * i + x * pitch)) }
            };
            let mut window = [codes(0), codes(0), codes(1)];
            for (x, [sum]) in sums.iter_mut().enumerate() {
                window = [window[1], window[2], codes(x + 2)];
                for (codes, w) in window.into_iter().zip(columns) {
                    *sum = _mm512_dpbusd_epi32(*sum, codes, w);
                }
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn begin(job: &Job<'_, u8, i8>) -> Sums {
    let (start, _) = job.start.as_chunks();
    [[load(&start[0])]; TILE]
}

#[inline]
#[target_feature(enable = "avx512f")]
fn weights(step: &[i8; STEP]) -> __m512i {
    // SAFETY: the array is 64 readable bytes.
    unsafe { _mm512_loadu_si512(step.as_ptr().cast()) }
}

/// Four codes, in every lane.
///
/// # Safety
/// They can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn codes(at: *const u8) -> __m512i {
    // SAFETY: the caller's.
    _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() })
}
