//! Which of several kernels is the fastest for a convolution on this CPU: measured where there is a
//! choice, once in a process for each shape, on some lines of zeros. What they give is the same.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::conv::{Candidate, Prepared, Scratch};
use crate::{ConvShape, Grid, SLACK, Source, Target};

/// Multiply-accumulates that a kernel is timed on at least, where there are as many.
const MACS: u64 = 1_000_000;
/// Lines that a kernel is timed on at least, for each line that two neighbouring ones share: what
/// is made of shared lines is made again for the first of a batch, and a short one hides that.
const LINES: usize = 8;
/// How often each is timed, in turns; the least counts.
const TURNS: usize = 3;
/// Beyond these a Program is not one that somebody waits for, and the first that can run it has to
/// do: multiply-accumulates on which a kernel is timed, and answers in a process.
const MOST_MACS: u64 = 300_000_000;
const MOST_ANSWERS: usize = 256;
/// The most kernels that can run one convolution.
const MOST: usize = 3;

/// A shape, the largest code, and the names of the kernels that can run it.
type Question = (ConvShape, u8, [&'static str; MOST]);

/// The answers so far.
static FOUND: Mutex<Vec<(Question, usize)>> = Mutex::new(Vec::new());

/// The convolution of `shape`, packed for the fastest of the `candidates`.
pub(crate) fn fastest(
    candidates: &[Candidate<'_>],
    shape: &ConvShape,
    grid: Grid,
) -> Arc<dyn Prepared> {
    if let [only] = candidates {
        return (only.pack)();
    }
    let mut names = [""; MOST];
    names
        .iter_mut()
        .zip(candidates)
        .for_each(|(name, c)| *name = c.name);
    let question = (*shape, grid.bits.levels(), names);
    // Held while it is measured: two at a time would be in each other's way.
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, best)) = found.iter().find(|(other, _)| *other == question) {
        return (candidates[*best].pack)();
    }
    let lines = lines(shape);
    let macs = shape.macs() / shape.output[0] as u64 * lines as u64;
    if found.len() >= MOST_ANSWERS || macs > MOST_MACS {
        return (candidates[0].pack)();
    }
    let packed: Vec<_> = candidates.iter().map(|c| (c.pack)()).collect();
    let times = measure(&packed, shape, lines);
    let best = (0..times.len()).min_by_key(|&i| times[i]).unwrap_or(0);
    found.push((question, best));
    packed[best].clone()
}

/// The lines of output that kernels are timed on.
fn lines(shape: &ConvShape) -> usize {
    let height = shape.output[0];
    let enough = (height as u64 * MACS / shape.macs().max(1)).min(height as u64) as usize;
    let shared = shape.window.span(1) - 1;
    enough.max(LINES * shared).clamp(1, height)
}

/// The least time of each kernel on the first `lines` of the output.
fn measure(kernels: &[Arc<dyn Prepared>], shape: &ConvShape, lines: usize) -> Vec<Duration> {
    let [_, width, channels] = shape.output;
    let [_, w, c] = shape.input;
    let part: Range<usize> = 0..lines * width * channels;
    let reads = shape.window.lines(0..lines, shape.input[0]);
    let zeros = vec![0; reads.len() * w * c + SLACK];
    let (mut codes, mut numbers) = match kernels.iter().all(|k| k.has_codes()) {
        true => (vec![0; part.len()], Vec::new()),
        false => (Vec::new(), vec![0.0; part.len()]),
    };
    let mut scratch = Scratch::default();
    kernels.iter().for_each(|k| k.reserve(lines, &mut scratch));
    let mut least = vec![Duration::MAX; kernels.len()];
    for _ in 0..TURNS {
        for (kernel, least) in kernels.iter().zip(&mut least) {
            let mut target = match numbers.is_empty() {
                true => Target::Codes(&mut codes),
                false => Target::Real(&mut numbers),
            };
            let source = Source {
                codes: &zeros,
                first: reads.start,
            };
            let start = Instant::now();
            kernel.run(part.clone(), source, None, &mut scratch, &mut target);
            *least = start.elapsed().min(*least);
        }
    }
    least
}
