//! Reproducible numbers for tests.

/// Xorshift64 (Marsaglia 2003); the seed is not 0.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// `n` floats, uniform in `[-range, range)`.
    pub(crate) fn floats(&mut self, n: usize, range: f32) -> Vec<f32> {
        (0..n).map(|_| range * (2.0 * self.unit() - 1.0)).collect()
    }

    fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}
