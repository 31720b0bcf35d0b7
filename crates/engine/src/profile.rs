//! How long each step of a Session takes.

use std::time::Instant;

use crate::crew::Crew;
use crate::{Result, Session};

/// What one step took.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The step's name.
    pub step: String,
    /// The kernel that ran it; for the first entry, the pixels' tables.
    pub kernel: &'static str,
    /// Median time, in nanoseconds.
    pub nanoseconds: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Bytes of its weights and constants as they are packed for this CPU.
    pub weight_bytes: usize,
}

impl Session {
    /// How long each step takes on `pixels` and one thread: the median of `repeats` runs, in
    /// running order. The first entry is the way from pixels to codes.
    ///
    /// # Errors
    /// `Mismatch` when `pixels` is not [`Session::input_len`] long.
    pub fn profile(&mut self, pixels: &[u8], repeats: usize) -> Result<Vec<StepTime>> {
        self.network.check_pixels(pixels.len(), 1)?;
        let (network, arena) = (&self.network, &mut self.arenas[0]);
        let mut crew = Crew {
            team: None,
            desks: &mut self.desks,
        };
        let answer = &mut self.answers[..network.answer_len];
        let repeats = repeats.max(1);
        let mut times = vec![Vec::with_capacity(repeats); network.steps.len() + 1];
        for _ in 0..repeats {
            let timed = |work: &mut dyn FnMut()| {
                let start = Instant::now();
                work();
                start.elapsed().as_nanos() as u64
            };
            times[0].push(timed(&mut || network.fill(arena, &mut crew, pixels)));
            for (step, times) in network.steps.iter().zip(&mut times[1..]) {
                times.push(timed(&mut || step.run(arena, &mut crew, answer)));
            }
        }
        let median = |mut times: Vec<u64>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let what = |i: usize| match i.checked_sub(1) {
            None => ("input".to_owned(), "pixels", 0, 0),
            Some(i) => {
                let (step, name) = (&network.steps[i], network.names[i].clone());
                (name, step.kernel_name(), step.macs(), step.weight_bytes())
            }
        };
        let entry = |(i, times)| {
            let (step, kernel, macs, weight_bytes) = what(i);
            StepTime {
                step,
                kernel,
                nanoseconds: median(times),
                macs,
                weight_bytes,
            }
        };
        Ok(times.into_iter().enumerate().map(entry).collect())
    }
}
