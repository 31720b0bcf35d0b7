//! Which images, in which order: seeded and the same on every machine.

/// `count` of the images `0..len`, one drawn from each of `count` equal stretches, ascending: a
/// set sorted by class is covered evenly. All of them when `count` is not below `len`.
pub fn spread(len: usize, count: usize, seed: u64) -> Vec<usize> {
    if count >= len {
        return (0..len).collect();
    }
    let mut random = Random(seed);
    let bound = |k: usize| (k as u128 * len as u128 / count as u128) as usize;
    (0..count)
        .map(|k| bound(k) + random.below(bound(k + 1) - bound(k)))
        .collect()
}

/// All of `0..len` in a random order (Fisher and Yates).
pub fn shuffled(len: usize, seed: u64) -> Vec<usize> {
    let mut random = Random(seed);
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i, random.below(i + 1));
    }
    order
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..n`, for `n` of at least 1; the bias, below n / 2^64, is of no account here.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 0 of the authors' reference program.
        let mut random = Random(0);
        assert_eq!(random.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(random.next(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn a_spread_covers_evenly() {
        for (len, count) in [(10, 3), (1000, 999), (50_000, 1024), (7, 7), (7, 9), (5, 0)] {
            let picks = spread(len, count, 1);
            assert_eq!(picks.len(), count.min(len));
            for (k, &i) in picks.iter().enumerate() {
                let n = picks.len();
                assert!(
                    k * len / n <= i && i < (k + 1) * len / n,
                    "{len} {count}: {i} at {k}"
                );
            }
        }
        assert_ne!(spread(50_000, 64, 1), spread(50_000, 64, 2));
    }

    #[test]
    fn a_shuffle_keeps_every_image_once() {
        let order = shuffled(1000, 5);
        assert_ne!(order, shuffled(1000, 6));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert!(shuffled(0, 1).is_empty());
        // Far from the identity: fewer than 10 fixed points where 1 is expected.
        assert!(order.iter().enumerate().filter(|&(i, &j)| i == j).count() < 10);
    }
}
