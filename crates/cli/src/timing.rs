//! Times of repeated calls.

use std::time::{Duration, Instant};

/// Calls beyond this many say nothing new.
const MOST_CALLS: usize = 10_000;
/// Fewer calls than this have no 10th and 90th percentile.
const FEWEST_CALLS: usize = 10;

/// The times of calls, in milliseconds, ascending.
#[derive(Debug)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Calls `work` for about `time`, after a tenth of that to warm up; `after` hears of the time
    /// spent after each call.
    pub(crate) fn measure<E>(
        time: Duration,
        mut work: impl FnMut() -> Result<(), E>,
        mut after: impl FnMut(Duration),
    ) -> Result<Self, E> {
        let warm = Instant::now();
        work()?;
        while warm.elapsed() < time / 10 {
            work()?;
        }
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < FEWEST_CALLS || (start.elapsed() < time && times.len() < MOST_CALLS) {
            let call = Instant::now();
            work()?;
            times.push(call.elapsed().as_secs_f64() * 1e3);
            after(start.elapsed());
        }
        Ok(Self::of(times))
    }

    /// The times of at least one call, in milliseconds.
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// The time that `percent` of the calls stay within, in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }

    /// The number of calls.
    pub(crate) fn calls(&self) -> usize {
        self.0.len()
    }

    /// Mean, in milliseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times((1..=20).map(f64::from).collect());
        let at = [1, 10, 50, 90, 100].map(|p| times.percentile(p));
        assert_eq!(at, [1.0, 2.0, 10.0, 18.0, 20.0]);
        assert_eq!(times.mean(), 10.5);
    }

    #[test]
    fn even_slow_work_is_measured_often_enough() {
        let mut calls = 0;
        let work = || {
            calls += 1;
            Ok::<(), ()>(())
        };
        let times = Times::measure(Duration::ZERO, work, |_| {}).unwrap();
        assert_eq!((times.calls(), calls), (10, 11));
    }
}
