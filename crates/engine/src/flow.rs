//! When values live: what the steps of a network read and write, whatever they do, and which values
//! can share a place because one is written over the other.

use std::ops::RangeInclusive;

/// What the steps of a network read and write. Value 0 is the input.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// The number of values.
    pub values: usize,
    /// The steps, in running order.
    pub steps: Vec<FlowStep>,
    /// The value that is needed after the last step.
    pub output: usize,
}

/// What one step reads and writes.
#[derive(Clone, Debug, Default)]
pub struct FlowStep {
    /// The values that it reads.
    pub inputs: Vec<usize>,
    /// The value that it writes.
    pub output: usize,
    /// Those of its inputs that it can write over, the last that is not needed any more.
    pub over: Vec<usize>,
}

/// The places of the values of a [`Flow`]. Moment 0 fills the input, moment `i + 1` runs step `i`.
#[derive(Clone, Debug)]
pub struct Places {
    /// For each value the first that had its place: itself, unless it is written over another.
    pub first: Vec<usize>,
    /// For each value that is the first at its place, from when to when that is taken.
    pub taken: Vec<RangeInclusive<usize>>,
}

impl Flow {
    /// Which values share a place, and when each place is taken.
    pub fn places(&self) -> Places {
        let mut first: Vec<usize> = (0..self.values).collect();
        let mut taken = self.lives();
        for (i, step) in self.steps.iter().enumerate() {
            let done = |&&v: &&usize| {
                let reads = step.inputs.iter().filter(|&&other| other == v).count();
                *taken[v].end() == i + 1 && reads == 1 && v != self.output
            };
            if let Some(&over) = step.over.iter().rfind(done) {
                first[step.output] = first[over];
            }
        }
        for v in 0..first.len() {
            let place = &taken[first[v]];
            taken[first[v]] = *place.start()..=*taken[v].end().max(place.end());
        }
        Places { first, taken }
    }

    /// When each value is needed.
    fn lives(&self) -> Vec<RangeInclusive<usize>> {
        let (mut first, mut last) = (vec![0; self.values], vec![0; self.values]);
        for (i, step) in self.steps.iter().enumerate() {
            first[step.output] = i + 1;
            last[step.output] = i + 1;
            step.inputs.iter().for_each(|&v| last[v] = i + 1);
        }
        last[self.output] = self.steps.len();
        first.into_iter().zip(last).map(|(a, b)| a..=b).collect()
    }
}

impl Places {
    /// The first values of the places that are taken at a moment.
    pub fn alive(&self, moment: usize) -> impl Iterator<Item = usize> {
        let taken = move |&v: &usize| self.first[v] == v && self.taken[v].contains(&moment);
        (0..self.first.len()).filter(taken)
    }

    /// The values at the place that `first` is the first at.
    pub fn members(&self, first: usize) -> impl Iterator<Item = usize> {
        (0..self.first.len()).filter(move |&v| self.first[v] == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(steps: &[(&[usize], &[usize])]) -> Flow {
        let step = |(i, (inputs, over)): (usize, &(&[usize], &[usize]))| FlowStep {
            inputs: inputs.to_vec(),
            output: i + 1,
            over: over.to_vec(),
        };
        Flow {
            values: steps.len() + 1,
            steps: steps.iter().enumerate().map(step).collect(),
            output: steps.len(),
        }
    }

    #[test]
    fn a_sum_is_written_over_what_nobody_reads_later() {
        // 0 -> 1 -> 2 = f(1) + 0 -> 3 = f(2) -> 4 = f(3) + 2.
        let sums = flow(&[(&[0], &[]), (&[1, 0], &[0]), (&[2], &[]), (&[3, 2], &[2])]);
        let places = sums.places();
        assert_eq!(places.first, [0, 1, 0, 3, 0]);
        assert_eq!(places.taken[0], 0..=4);
        assert!(places.alive(2).eq([0, 1]) && places.members(0).eq([0, 2, 4]));
        // 1 is read again; a value added to itself stays.
        let again = flow(&[(&[0], &[]), (&[1, 1], &[1, 1]), (&[2, 1], &[2, 1])]);
        assert_eq!(again.places().first, [0, 1, 2, 1]);
    }

    #[test]
    fn values_may_be_written_in_any_order() {
        // 0 -> 1, 3 = 1 + 0, 3 -> 4, 2 = 4 + 3, 2 -> 5.
        let mut flow = flow(&[
            (&[0], &[]),
            (&[1, 0], &[0]),
            (&[3], &[]),
            (&[4, 3], &[3]),
            (&[2], &[]),
        ]);
        for (step, output) in flow.steps.iter_mut().zip([1, 3, 4, 2, 5]) {
            step.output = output;
        }
        flow.output = 5;
        let places = flow.places();
        assert_eq!(places.first, [0, 1, 0, 0, 4, 5]);
        assert_eq!(places.taken[0], 0..=5);
    }

    #[test]
    fn the_answer_is_not_written_over() {
        let mut flow = flow(&[(&[0], &[]), (&[0, 1], &[0, 1])]);
        assert_eq!(flow.places().first, [0, 1, 1]);
        flow.output = 1;
        assert_eq!(flow.places().first, [0, 1, 0]);
    }
}
