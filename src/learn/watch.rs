//! Whether training has lost its way: its losses beside those of a network that guesses.
//!
//! A rate that is too high seldom gives numbers that are none. Mostly the losses grow to hundreds
//! of times what they were and stay there, and bits that are learned go with them. A network that
//! has learned nothing answers alike for every class; what answers a good deal worse than that,
//! over many steps, will not come back (the limit is our own).

/// Steps that the mean looks back over.
const HORIZON: usize = 50;
/// Steps before the mean is judged: new heads and fewer bits may begin far off.
const FIRST: usize = 20;
/// Times the loss of guessing.
const MOST: f64 = 10.0;

/// The course of `loss / loss of guessing`, of the answer where it is largest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    steps: usize,
    mean: f64,
    /// Sum and number of the ratios of this epoch.
    epoch: (f64, usize),
}

impl Watch {
    /// Hears of a step, whose answers have these losses; guessing would have `guess`. Gives how
    /// many times that the losses are, where training has diverged.
    pub(crate) fn see(&mut self, losses: &[f64], guess: f64) -> Option<f64> {
        let largest = losses.iter().copied().fold(0.0, f64::max);
        let ratio = largest / guess.max(f64::MIN_POSITIVE);
        self.steps += 1;
        self.mean += (ratio - self.mean) / self.steps.min(HORIZON) as f64;
        self.epoch.0 += ratio;
        self.epoch.1 += 1;
        (self.steps >= FIRST && self.mean > MOST).then_some(self.mean)
    }

    /// Ends an epoch, which may be shorter than what the mean needs; as [`Watch::see`].
    pub(crate) fn end_epoch(&mut self) -> Option<f64> {
        let (sum, steps) = std::mem::take(&mut self.epoch);
        let mean = sum / steps.max(1) as f64;
        (mean > MOST).then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_beginning_is_forgiven_and_a_lasting_one_is_not() {
        let mut watch = Watch::default();
        let settles = (0..200).map(|i| if i < 10 { 15.0 } else { 1.0 });
        assert!(
            settles
                .map(|l| watch.see(&[0.1, l], 1.0))
                .all(|w| w.is_none())
        );
        assert_eq!(watch.end_epoch(), None);
        let grows = (0..100).map(|_| watch.see(&[0.1, 40.0], 2.0));
        let found = grows.flatten().next();
        assert!(
            found.is_some_and(|ratio| ratio > MOST && ratio < 20.0),
            "{found:?}"
        );

        // Epochs of three steps.
        let mut short = Watch::default();
        assert!((0..3).all(|_| short.see(&[300.0], 2.3).is_none()));
        assert!(short.end_epoch().is_some_and(|ratio| ratio > 100.0));
    }
}
