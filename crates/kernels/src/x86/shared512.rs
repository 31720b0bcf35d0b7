//! AVX-512 with VNNI, panels of one block under windows of three columns: three neighbouring pixels
//! read the same codes, so each is loaded once and multiplied three times. With so few channels
//! loads else take longer than products.

use std::arch::x86_64::*;

use super::avx512vnni::dot;
use super::clip512::{load, put};
use crate::micro::{BLOCK, Job, Out};

/// Pixels of a tile: as many sums leave registers for the weights and three codes.
const TILE: usize = 16;
/// Pixels of a tile where a line has no more so many.
const FEW: usize = 4;

/// Bytes of a step's weights.
const STEP: usize = 4 * BLOCK;

/// All tiles of a job whose neighbouring pixels share codes, `pitch` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn tiles(job: &Job<'_, u8, i8>, pitch: usize, out: &mut Out<'_>) {
    let mut first = 0;
    while let Some(left @ [begin, ..]) = job.pixels.get(first..) {
        // Pixels lie at least `pitch` apart: in one line where they lie no farther.
        let span = left.get(TILE - 1).map(|end| (end - begin) as usize);
        if span == Some((TILE - 1) * pitch) {
            put(&shared(job, pitch, first), first, out);
            first += TILE;
        } else {
            let rest = left.len().min(FEW);
            put(&dot::<FEW, 1, false>(job, first)[..rest], first, out);
            first += rest;
        }
    }
}

/// The sums of the pixels of a line from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn shared(job: &Job<'_, u8, i8>, pitch: usize, first: usize) -> [[__m512i; 1]; TILE] {
    assert_eq!(4 * job.steps, 3 * pitch, "a run is three pixels");
    let (start, _) = job.start.as_chunks::<BLOCK>();
    let mut sums = [[load(&start[0])]; TILE];
    let [pixel] = job.pointers(first);
    // A vector of weights for each step.
    let runs = job.weights.chunks_exact(STEP * job.steps);
    for (run, weights) in job.runs.iter().zip(runs) {
        for at in (0..pitch).step_by(4) {
            // SAFETY: a run is three times `pitch` codes: so far apart lie the three columns' steps,
            // and `weights` has all of them.
            let step = |column: usize| unsafe {
                let step = weights.as_ptr().add(STEP * (column * pitch + at) / 4);
                _mm512_loadu_si512(step.cast())
            };
            let weights: [__m512i; 3] = std::array::from_fn(step);
            let codes = |x: usize| {
                // SAFETY: they lie in the run of the first pixel up to that of the last one, and
                // `Job::check` has shown that both lie in their slice.
                let four = unsafe {
                    pixel
                        .add(run + at + x * pitch)
                        .cast::<i32>()
                        .read_unaligned()
                };
                _mm512_set1_epi32(four)
            };
            let mut window = [codes(0), codes(0), codes(1)];
            for (x, [sum]) in sums.iter_mut().enumerate() {
                window = [window[1], window[2], codes(x + 2)];
                for (codes, w) in window.into_iter().zip(weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, codes, w);
                }
            }
        }
    }
    sums
}
