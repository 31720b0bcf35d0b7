//! Where values live: from when to when, how many bytes that takes, and which place each gets in
//! the arena.
//!
//! A sum takes the place of the value summed in, where nothing reads that later. The codes of a
//! value take a byte each, or lie packed, each line from a byte of its own on: at their true width,
//! and where values share a place, at that of the widest.
//!
//! Offsets are best-fit, largest value first (Pisarchyk and Lee, "Efficient Memory Management for
//! Deep Neural Net Inference", 2020): each value goes into the smallest gap that fits among the
//! values already placed that live at the same time. We place them longest life first too, and take
//! the shorter arena.

use std::ops::{Range, RangeInclusive};

use exbit_kernels::{Bits, SLACK, narrow_len};

use crate::flow::{Flow, FlowStep, Places};
use crate::{Format, Program, Step, StepKind, Value};

/// Bytes that the values of an image take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationBytes {
    /// All values together at their true width, however they lie.
    pub sum: u64,
    /// The most that live at once as they lie: what a step reads and writes, and what later steps
    /// still need.
    pub peak: u64,
}

/// Where a value lies in an arena, and how.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its bytes, and those that a kernel may read after them.
    pub(crate) range: Range<usize>,
    /// Bits that each of its codes takes.
    pub(crate) width: Bits,
    /// Lines.
    pub(crate) lines: usize,
    /// Entries of a line.
    pub(crate) line: usize,
}

impl Place {
    pub(crate) fn is_packed(&self) -> bool {
        self.width < Bits::EIGHT
    }

    /// Bytes of a line.
    pub(crate) fn line_bytes(&self) -> usize {
        narrow_len(self.width, self.line)
    }

    /// The bytes of its codes.
    pub(crate) fn codes(&self) -> Range<usize> {
        self.range.start..self.range.start + self.lines * self.line_bytes()
    }
}

impl Program {
    /// What the values of this Program, which has passed [`Program::check`], take.
    pub fn activation_bytes(&self) -> ActivationBytes {
        let peak = self.live_bytes().into_iter().max().unwrap_or(0);
        let sum = self.values.iter().map(|v| bytes(v, true_width(v))).sum();
        ActivationBytes { sum, peak }
    }

    /// The bytes that live while the input is filled, and while each step runs.
    pub fn live_bytes(&self) -> Vec<u64> {
        Homes::new(self, &self.packed).loads(self)
    }

    /// Packs values where the most live at once, those first that gain the most, until the peak of
    /// [`Program::activation_bytes`] is at most `peak_bytes` or can be no less.
    pub fn pack(&mut self, peak_bytes: u64) {
        loop {
            let homes = Homes::new(self, &self.packed);
            let loads = homes.loads(self).into_iter().enumerate();
            let Some((moment, _)) = loads.filter(|l| l.1 > peak_bytes).max_by_key(|l| l.1) else {
                return;
            };
            let gain = |&first: &usize| {
                let bytes = |width| bytes(&self.values[first], width);
                bytes(homes.widths[first]) - bytes(homes.narrow[first])
            };
            let gaining = homes.places.alive(moment).filter(|first| gain(first) > 0);
            let Some(most) = gaining.max_by_key(gain) else {
                return;
            };
            self.packed.extend(homes.places.members(most));
            self.packed.sort_unstable();
            self.packed.dedup();
        }
    }

    /// The place of every value of this Program, which has passed its check, in an arena where the
    /// values listed in `packed` lie packed, and the arena's length.
    pub(crate) fn arrange(&self, packed: &[usize]) -> (Vec<Place>, usize) {
        self.arrange_at(Homes::new(self, packed))
    }

    /// [`Program::arrange`] with a byte for each code, and all values apart.
    pub(crate) fn arrange_apart(&self) -> (Vec<Place>, usize) {
        let mut homes = Homes::new(self, &[]);
        homes.places.first = (0..self.values.len()).collect();
        homes.places.taken.fill(0..=self.steps.len());
        self.arrange_at(homes)
    }

    fn arrange_at(&self, homes: Homes) -> (Vec<Place>, usize) {
        let size = |(v, value): (usize, &Value)| match (value.format, homes.widths[v]) {
            _ if homes.places.first[v] != v => 0,
            (Format::Real, _) => 0,
            (Format::Codes(_), Bits::EIGHT) => value.len().next_multiple_of(64) + SLACK,
            (Format::Codes(_), width) => (bytes(value, width) as usize).next_multiple_of(64),
        };
        let sizes: Vec<usize> = self.values.iter().enumerate().map(size).collect();
        let (ranges, len) = place(&sizes, &homes.places.taken);
        let place = |(v, value): (usize, &Value)| Place {
            range: ranges[homes.places.first[v]].clone(),
            width: homes.widths[v],
            lines: value.shape[0],
            line: value.shape[1] * value.shape[2],
        };
        (self.values.iter().enumerate().map(place).collect(), len)
    }
}

/// The places of a Program's values, and how wide codes lie there.
struct Homes {
    places: Places,
    /// For each value, as its codes lie.
    widths: Vec<Bits>,
    /// For each value that is the first at its place, as they lie where they are packed.
    narrow: Vec<Bits>,
}

impl Homes {
    fn new(program: &Program, listed: &[usize]) -> Self {
        let places = flow(program).places();
        let count = program.values.len();
        let mut is_listed = vec![false; count];
        listed.iter().for_each(|&v| is_listed[v] = true);
        let (mut packed, mut narrow) = (is_listed.clone(), vec![Bits::ONE; count]);
        for (v, &first) in places.first.iter().enumerate() {
            packed[first] &= is_listed[v];
            narrow[first] = narrow[first].max(true_width(&program.values[v]));
        }
        let width = |&first: &usize| match packed[first] {
            true => narrow[first],
            false => Bits::EIGHT,
        };
        Self {
            widths: places.first.iter().map(width).collect(),
            places,
            narrow,
        }
    }

    /// The bytes of the places that are taken at each moment.
    fn loads(&self, program: &Program) -> Vec<u64> {
        let size = |first: usize| bytes(&program.values[first], self.widths[first]);
        let load = |moment: usize| self.places.alive(moment).map(size).sum();
        (0..=program.steps.len()).map(load).collect()
    }
}

fn true_width(value: &Value) -> Bits {
    value.grid().map_or(Bits::EIGHT, |grid| grid.bits)
}

/// Bytes of the codes of `value` at `width`, or of its numbers.
fn bytes(value: &Value, width: Bits) -> u64 {
    match value.format {
        Format::Codes(_) => {
            let [h, w, c] = value.shape;
            (h * narrow_len(width, w * c)) as u64
        }
        Format::Real => 4 * value.len() as u64,
    }
}

/// What the steps of `program` read and write.
fn flow(program: &Program) -> Flow {
    let step = |step: &Step| {
        let over = match step.kind {
            _ if program.values[step.output].grid().is_none() => &[],
            StepKind::Conv(_) => &step.inputs[1..],
            StepKind::Add { .. } => &step.inputs[..],
            StepKind::MaxPool(_)
            | StepKind::AvgPool { .. }
            | StepKind::Concat
            | StepKind::Table { .. }
            | StepKind::Pad { .. }
            | StepKind::PadChannels { .. }
            | StepKind::Shuffle { .. } => &[],
        };
        FlowStep {
            inputs: step.inputs.clone(),
            output: step.output,
            over: over.to_vec(),
        }
    };
    Flow {
        values: program.values.len(),
        steps: program.steps.iter().map(step).collect(),
        output: program.output,
    }
}

/// A place for every value, and the length of the whole arena. `sizes` are in bytes.
fn place(sizes: &[usize], lives: &[RangeInclusive<usize>]) -> (Vec<Range<usize>>, usize) {
    let long = |v: usize| lives[v].end() - lives[v].start();
    let order = |key: &dyn Fn(usize) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&v| std::cmp::Reverse(key(v)));
        order
    };
    let largest = place_in(&order(&|v| (sizes[v], long(v))), sizes, lives);
    let longest = place_in(&order(&|v| (long(v), sizes[v])), sizes, lives);
    if longest.1 < largest.1 {
        longest
    } else {
        largest
    }
}

/// [`place`], one value after another in an order.
fn place_in(
    order: &[usize],
    sizes: &[usize],
    lives: &[RangeInclusive<usize>],
) -> (Vec<Range<usize>>, usize) {
    let mut places = vec![0..0; sizes.len()];
    // Values placed so far, by where they start.
    let mut placed: Vec<usize> = Vec::with_capacity(sizes.len());
    let mut total = 0;
    for &v in order {
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
