//! Signal to quantization noise: `10 log10(sum x^2 / sum (x - q)^2)`, in dB.

/// Sums over pairs of a number and what quantization made of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noise {
    signal: f64,
    error: f64,
}

impl Noise {
    /// Adds the pairs of `exact` and `rounded`.
    pub(crate) fn add(&mut self, exact: &[f32], rounded: impl Iterator<Item = f32>) {
        for (&x, q) in exact.iter().zip(rounded) {
            let (x, q) = (f64::from(x), f64::from(q));
            self.signal += x * x;
            self.error += (x - q) * (x - q);
        }
    }

    /// The ratio in dB; `None` where there is no signal or nothing was lost.
    pub(crate) fn decibel(self) -> Option<f64> {
        let some = self.signal > 0.0 && self.error > 0.0;
        some.then(|| 10.0 * (self.signal / self.error).log10())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_less_noise_is_20_decibel_more() {
        let of = |error: f32| {
            let mut noise = Noise::default();
            noise.add(&[3.0, -4.0], [3.0, -4.0 + error].into_iter());
            noise.decibel()
        };
        assert!(of(5.0).is_some_and(|db| db.abs() < 1e-9));
        assert!(of(0.5).is_some_and(|db| (db - 20.0).abs() < 1e-9));
        assert_eq!((of(0.0), Noise::default().decibel()), (None, None));
    }
}
