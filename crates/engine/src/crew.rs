//! Who runs a step: one thread, or a team that shares its output.

use std::ops::Range;

use exbit_kernels::{Scratch, Target, Team};

/// The most threads of a Session.
pub(crate) const MOST_THREADS: usize = Team::MOST;

/// The threads that work on one image, and the memory in which each works.
pub(crate) struct Crew<'a> {
    /// More threads than the caller, where there are any.
    pub(crate) team: Option<&'a mut Team>,
    /// One for each thread.
    pub(crate) scratches: &'a mut [Scratch],
}

impl Crew<'_> {
    /// Does `work` on the `parts` of `target`, which follow each other, each on a thread of its
    /// own; all of it on this one where there is no other or a single part.
    pub(crate) fn share(
        &mut self,
        parts: &[Range<usize>],
        target: Target<'_>,
        work: impl Fn(Range<usize>, &mut Scratch, Target<'_>) + Sync,
    ) {
        let (Some(team), [_, _, ..]) = (&mut self.team, parts) else {
            return work(0..target.len(), &mut self.scratches[0], target);
        };
        let mut jobs = [const { None }; MOST_THREADS];
        let mut rest = target;
        let scratches = self.scratches.iter_mut();
        for ((job, part), scratch) in jobs.iter_mut().zip(parts).zip(scratches) {
            let (own, others) = rest.split_at(part.len());
            *job = Some((part.clone(), scratch, own));
            rest = others;
        }
        team.each(&mut jobs[..parts.len()], |job| {
            if let Some((part, scratch, target)) = job.take() {
                work(part, scratch, target);
            }
        });
    }
}
