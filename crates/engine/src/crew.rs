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
    pub(crate) desks: &'a mut [Desk],
}

/// Memory in which a thread works.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desk {
    /// That of the kernels.
    pub(crate) scratch: Scratch,
    /// Lines of packed values, a byte for each code.
    pub(crate) lines: Vec<u8>,
}

impl Desk {
    /// Grows what holds packed lines to `len` codes.
    pub(crate) fn reserve(&mut self, len: usize) {
        self.lines.resize(self.lines.len().max(len), 0);
    }

    /// Its size in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.scratch.len_bytes() + self.lines.len()
    }
}

impl Crew<'_> {
    /// Does `work` on the `parts` of `target`, which follow each other, each on a thread of its
    /// own; all of it on this one where there is no other or a single part. What parts count is
    /// `unit` entries of the target.
    pub(crate) fn share(
        &mut self,
        parts: &[Range<usize>],
        unit: usize,
        target: Target<'_>,
        work: impl Fn(Range<usize>, &mut Desk, Target<'_>) + Sync,
    ) {
        let (Some(team), [_, _, ..]) = (&mut self.team, parts) else {
            return work(0..target.len() / unit, &mut self.desks[0], target);
        };
        let mut jobs = [const { None }; MOST_THREADS];
        let mut rest = target;
        for ((job, part), desk) in jobs.iter_mut().zip(parts).zip(self.desks.iter_mut()) {
            let (own, others) = rest.split_at(part.len() * unit);
            *job = Some((part.clone(), desk, own));
            rest = others;
        }
        team.each(&mut jobs[..parts.len()], |job| {
            if let Some((part, desk, target)) = job.take() {
                work(part, desk, target);
            }
        });
    }
}
