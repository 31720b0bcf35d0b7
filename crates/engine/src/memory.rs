//! Where values live: from when to when, how many bytes that takes at the true bit-widths, and
//! which place each gets in the arena.
//!
//! A sum takes the place of the value summed in, where nothing reads that later.
//!
//! Offsets are best-fit, largest value first (Pisarchyk and Lee, "Efficient Memory Management for
//! Deep Neural Net Inference", 2020): each value goes into the smallest gap that fits among the
//! values already placed that live at the same time.

use std::ops::{Range, RangeInclusive};

use crate::{Format, Program, StepKind, Value};

/// Bytes that the values take at their true bit-widths, each value rounded up to whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationBytes {
    /// All values together.
    pub sum: u64,
    /// The most that live at once: what a step reads and writes, and what later steps still need.
    pub peak: u64,
}

impl Program {
    /// What the values of this Program, which has passed [`Program::check`], take.
    pub fn activation_bytes(&self) -> ActivationBytes {
        let bytes: Vec<u64> = self.values.iter().map(true_bytes).collect();
        let lives = lifetimes(self);
        let homes = homes(self, &lives);
        let alive = |at: usize| {
            let mut most = vec![0; bytes.len()];
            for v in (0..bytes.len()).filter(|&v| lives[v].contains(&at)) {
                most[homes[v]] = bytes[v].max(most[homes[v]]);
            }
            most.into_iter().sum()
        };
        let peak = (0..=self.steps.len()).map(alive).max().unwrap_or(0);
        ActivationBytes {
            sum: bytes.iter().sum(),
            peak,
        }
    }

    /// The place of every value of this Program, which has passed its check, in an arena, and the
    /// arena's length; all places lie apart where it `keeps_values`.
    pub(crate) fn arrange(&self, keeps_values: bool) -> (Vec<Range<usize>>, usize) {
        let mut sizes: Vec<usize> = (0..self.values.len()).map(|v| self.arena_len(v)).collect();
        let mut lives = lifetimes(self);
        if keeps_values {
            lives.fill(0..=self.steps.len());
            return place(&sizes, &lives);
        }
        let homes = homes(self, &lives);
        for v in (0..homes.len()).filter(|&v| homes[v] != v) {
            lives[homes[v]] = *lives[homes[v]].start()..=*lives[v].end();
            sizes[v] = 0;
        }
        let (places, len) = place(&sizes, &lives);
        (homes.iter().map(|&home| places[home].clone()).collect(), len)
    }
}

/// For each value the first that had its place: itself, unless it is written over another.
fn homes(program: &Program, lives: &[RangeInclusive<usize>]) -> Vec<usize> {
    let mut homes: Vec<usize> = (0..program.values.len()).collect();
    for (i, step) in program.steps.iter().enumerate() {
        let summed = match step.kind {
            StepKind::Conv(_) => &step.inputs[1..],
            StepKind::Add { .. } => &step.inputs[..],
            StepKind::MaxPool(_)
            | StepKind::AvgPool { .. }
            | StepKind::Concat
            | StepKind::Table { .. }
            | StepKind::Pad { .. }
            | StepKind::Shuffle { .. } => &[],
        };
        let done = |&&v: &&usize| {
            let reads = step.inputs.iter().filter(|&&other| other == v).count();
            *lives[v].end() == i + 1 && reads == 1
        };
        let has_codes = program.values[step.output].grid().is_some();
        if let Some(&over) = summed.iter().rfind(done).filter(|_| has_codes) {
            homes[step.output] = homes[over];
        }
    }
    homes
}

fn true_bytes(value: &Value) -> u64 {
    let bits = match value.format {
        Format::Codes(grid) => u64::from(grid.bits.get()),
        Format::Real => 32,
    };
    (value.len() as u64 * bits).div_ceil(8)
}

/// When each value is needed: moment 0 fills the input, moment `i + 1` runs step `i`.
fn lifetimes(program: &Program) -> Vec<RangeInclusive<usize>> {
    let mut first = vec![0; program.values.len()];
    let mut last = vec![0; program.values.len()];
    for (i, step) in program.steps.iter().enumerate() {
        first[step.output] = i + 1;
        last[step.output] = i + 1;
        step.inputs.iter().for_each(|&v| last[v] = i + 1);
    }
    last[program.output] = program.steps.len();
    first
        .into_iter()
        .zip(last)
        .map(|(first, last)| first..=last)
        .collect()
}

/// A place for every value, and the length of the whole arena. `sizes` are in bytes.
fn place(sizes: &[usize], lives: &[RangeInclusive<usize>]) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&v| std::cmp::Reverse(sizes[v]));
    let mut places = vec![0..0; sizes.len()];
    // Values placed so far, by where they start.
    let mut placed: Vec<usize> = Vec::with_capacity(sizes.len());
    let mut total = 0;
    for v in order {
        let start = best_fit(sizes[v], &lives[v], &placed, &places, lives);
        places[v] = start..start + sizes[v];
        total = total.max(places[v].end);
        let at = placed.partition_point(|&other| places[other].start <= start);
        placed.insert(at, v);
    }
    (places, total)
}

fn best_fit(
    size: usize,
    life: &RangeInclusive<usize>,
    placed: &[usize],
    places: &[Range<usize>],
    lives: &[RangeInclusive<usize>],
) -> usize {
    let meets = |o: &&usize| lives[**o].start() <= life.end() && life.start() <= lives[**o].end();
    let (mut best, mut end) = (None, 0);
    for &other in placed.iter().filter(meets) {
        let gap = places[other].start.saturating_sub(end);
        if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(places[other].end);
    }
    best.map_or(end, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_alive_together_never_share_a_byte() {
        let mut state = 1u64;
        let mut next = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % n
        };
        for _ in 0..500 {
            let n = 1 + next(40);
            let sizes: Vec<usize> = (0..n).map(|_| 64 * next(9)).collect();
            let lives: Vec<_> = (0..n)
                .map(|_| {
                    let start = next(20);
                    start..=start + next(8)
                })
                .collect();
            let (places, total) = place(&sizes, &lives);
            for a in 0..n {
                assert_eq!(places[a].len(), sizes[a]);
                assert!(places[a].end <= total);
                for b in 0..a {
                    let together = lives[a].clone().any(|t| lives[b].contains(&t));
                    let apart =
                        places[a].end <= places[b].start || places[b].end <= places[a].start;
                    assert!(
                        !together || apart || sizes[a] * sizes[b] == 0,
                        "{places:?} {lives:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let (_, total) = place(&[64, 640, 320, 64], &[0..=1, 1..=2, 2..=3, 3..=3]);
        assert_eq!(total, 960);
    }
}
