//! A histogram of unknown range in constant memory: when a number falls outside, neighbouring bins
//! are joined and the range doubles, so nothing is ever seen twice.

use rayon::prelude::*;

/// Counts of finite numbers in equal bins, with the exact minimum and maximum.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Left end of the first bin.
    start: f64,
    /// Width of a bin; 0 until two different numbers have been seen.
    width: f64,
    counts: Vec<u64>,
    min: f32,
    max: f32,
    seen: u64,
}

/// Bins; even, so that they join in pairs.
const BINS: usize = 4096;

impl Default for Histogram {
    fn default() -> Self {
        let (min, max) = (f32::INFINITY, f32::NEG_INFINITY);
        Self {
            start: 0.0,
            width: 0.0,
            counts: vec![0; BINS],
            min,
            max,
            seen: 0,
        }
    }
}

impl Histogram {
    /// Counts `numbers`; those that are not finite are left out.
    pub fn add(&mut self, numbers: &[f32]) {
        const CHUNK: usize = 1 << 16;
        let ends = |chunk: &[f32]| {
            let finite = chunk.iter().filter(|x| x.is_finite());
            finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &x| {
                (lo.min(x), hi.max(x))
            })
        };
        let both = |a: (f32, f32), b: (f32, f32)| (a.0.min(b.0), a.1.max(b.1));
        let none = || (f32::INFINITY, f32::NEG_INFINITY);
        let (lo, hi) = numbers.par_chunks(CHUNK).map(ends).reduce(none, both);
        if lo > hi {
            return;
        }
        self.reach(lo.min(self.min), hi.max(self.max));
        let (start, inverse) = (self.start as f32, (1.0 / self.width) as f32);
        let last = (BINS - 1) as f32;
        let count = |mut counts: Vec<u64>, chunk: &[f32]| {
            for x in chunk.iter().filter(|x| x.is_finite()) {
                counts[((x - start) * inverse).clamp(0.0, last) as usize] += 1;
            }
            counts
        };
        let sum = |mut a: Vec<u64>, b: Vec<u64>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        let zeros = || vec![0; BINS];
        let counts = numbers
            .par_chunks(CHUNK)
            .fold(zeros, count)
            .reduce(zeros, sum);
        self.seen += counts.iter().sum::<u64>();
        self.counts = sum(std::mem::take(&mut self.counts), counts);
    }

    /// Makes the bins cover `lo..=hi`.
    fn reach(&mut self, lo: f32, hi: f32) {
        (self.min, self.max) = (lo, hi);
        let (lo, hi) = (f64::from(lo), f64::from(hi));
        if self.seen == 0 {
            let span = (hi - lo).max(lo.abs() * 1e-6).max(1e-12);
            (self.start, self.width) = (lo, span * (1.0 + 1e-6) / BINS as f64);
            return;
        }
        while hi >= self.start + self.width * BINS as f64 {
            self.join(0);
        }
        while lo < self.start {
            self.start -= self.width * BINS as f64;
            self.join(BINS / 2);
        }
    }

    /// Joins bins in pairs and puts them at `offset`; the other half becomes empty.
    fn join(&mut self, offset: usize) {
        let joined: Vec<u64> = self
            .counts
            .chunks_exact(2)
            .map(|pair| pair[0] + pair[1])
            .collect();
        self.counts.fill(0);
        self.counts[offset..offset + BINS / 2].copy_from_slice(&joined);
        self.width *= 2.0;
    }

    /// Occupied bins: centre and count.
    pub fn bins(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let centre = |i: usize| self.start + (i as f64 + 0.5) * self.width;
        let occupied = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        occupied.map(move |(i, &n)| (centre(i), n))
    }

    /// The exact least and greatest number, or `None` before the first.
    pub fn range(&self) -> Option<(f32, f32)> {
        (self.seen > 0).then_some((self.min, self.max))
    }

    /// How many numbers were counted.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The number below which a share `p` of all lie, to the width of a bin.
    pub fn quantile(&self, p: f64) -> f32 {
        let target = (p * self.seen as f64).ceil() as u64;
        let mut below = 0;
        for (i, &n) in self.counts.iter().enumerate() {
            below += n;
            if below >= target.max(1) {
                let right = self.start + (i + 1) as f64 * self.width;
                return (right as f32).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_grows_on_both_sides_and_keeps_every_count() {
        let mut h = Histogram::default();
        for x in [0.5, 0.25, 3.0, -7.0, 100.0, -1.0, f32::NAN, f32::INFINITY] {
            h.add(&[x]);
        }
        assert_eq!((h.seen(), h.range()), (6, Some((-7.0, 100.0))));
        assert_eq!(h.bins().map(|(_, n)| n).sum::<u64>(), 6);
        let width = h.width;
        for x in [0.5f64, 3.0, -7.0, 100.0, -1.0] {
            assert!(
                h.bins().any(|(centre, _)| (centre - x).abs() <= width),
                "{x}"
            );
        }
    }

    #[test]
    fn quantiles_are_right_to_a_bin() {
        let mut h = Histogram::default();
        let numbers: Vec<f32> = (0..10_000).map(|i| i as f32).collect();
        numbers.chunks(999).for_each(|c| h.add(c));
        for p in [0.0, 0.1, 0.5, 0.999, 1.0] {
            let error = f64::from(h.quantile(p)) - p * 10_000.0;
            assert!(error.abs() <= h.width + 1.0, "{p}: {error}");
        }
    }
}
