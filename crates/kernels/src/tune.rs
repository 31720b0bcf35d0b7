//! Which of several kernels is the fastest for a convolution on this CPU: measured where there is a
//! choice, once in a process for each shape and width of codes, on some lines of zeros. What they
//! give is the same.

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
/// Multiply-accumulates on which a kernel is timed at most, and on which all of a process are:
/// what is asked after that, or works on more bytes than these, gets the kernel for any codes.
const MOST_MACS: u64 = 300_000_000;
const MOST_MACS_OF_ALL: u64 = 20_000_000_000;
const MOST_BYTES: usize = 64 << 20;
/// The most kernels that can run one convolution.
const MOST: usize = 3;

/// A shape, the largest code, and the names of the kernels that can run it.
type Question = (ConvShape, u8, [&'static str; MOST]);

/// The answers so far, and the multiply-accumulates that they took.
static FOUND: Mutex<(Vec<(Question, usize)>, u64)> = Mutex::new((Vec::new(), 0));

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
    if let Some(best) = known(&question) {
        return (candidates[best].pack)();
    }
    let packed: Vec<_> = candidates.iter().map(|c| (c.pack)()).collect();
    // Held while it is measured: two at a time would be in each other's way.
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(best) = among(&found.0, &question) {
        return packed[best].clone();
    }
    let lines = lines(shape);
    let macs = shape.macs() / shape.output[0] as u64 * lines as u64;
    let [_, w, c] = shape.input;
    let read = shape.window.lines(0..lines, shape.input[0]).len() * w * c;
    let bytes = packed.iter().map(|k| read + k.scratch_bytes(lines)).max();
    let much = macs > MOST_MACS || found.1 > MOST_MACS_OF_ALL || bytes > Some(MOST_BYTES);
    let best = match much {
        true => packed.len() - 1,
        false => {
            let times = measure(&packed, shape, lines);
            let best = (0..times.len()).min_by_key(|&i| times[i]).unwrap_or(0);
            found.0.push((question, best));
            found.1 += macs * (TURNS * packed.len()) as u64;
            best
        }
    };
    packed[best].clone()
}

fn known(question: &Question) -> Option<usize> {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    among(&found.0, question)
}

fn among(found: &[(Question, usize)], question: &Question) -> Option<usize> {
    let same = found.iter().find(|(other, _)| other == question);
    same.map(|(_, best)| *best)
}

/// The lines of output that kernels are timed on.
fn lines(shape: &ConvShape) -> usize {
    let height = shape.output[0];
    let enough = (height as u64 * MACS / shape.macs().max(1)).min(height as u64) as usize;
    let shared = shape.window.span(1) - 1;
    let affordable = (height as u64 * MOST_MACS / shape.macs().max(1)).min(height as u64) as usize;
    let lines = enough.max(LINES * shared).min(affordable);
    lines.clamp(1, height)
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
