//! Where a run stands, and what comes next.

use serde::{Deserialize, Serialize};

use super::recipe::{Phase, Recipe};
use super::step::Seen;

/// Where a run stands. At the end it stands behind the last epoch of the last phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The phase.
    pub phase: Phase,
    /// Epochs of the phase that are done.
    pub epoch: usize,
    /// Steps of the epoch that are done.
    pub step: usize,
    /// Sums over those steps.
    pub sums: Sums,
}

/// Sums over the steps of an epoch, of each answer: the exits', then the output's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    /// Images.
    pub images: usize,
    /// Losses, nats.
    pub losses: Vec<f64>,
    /// Right answers.
    pub right: Vec<usize>,
    /// Seconds.
    pub seconds: f64,
}

impl Place {
    fn at(phase: Phase, epoch: usize) -> Self {
        Self {
            phase,
            epoch,
            step: 0,
            sums: Sums::default(),
        }
    }

    /// The beginning of a run of `recipe`.
    pub(crate) fn first(recipe: &Recipe) -> Self {
        let first = recipe.phases().first().map_or(Phase::Settle, |p| p.0);
        Self::at(first, 0)
    }

    /// The epochs of its phase.
    pub(crate) fn epochs(&self, recipe: &Recipe) -> usize {
        let phases = recipe.phases();
        let own = phases.iter().find(|(phase, _)| *phase == self.phase);
        own.map_or(0, |(_, epochs)| *epochs)
    }

    /// Whether nothing of `recipe` is left to do.
    pub(crate) fn is_end(&self, recipe: &Recipe) -> bool {
        self.epoch >= self.epochs(recipe) && self.following(recipe).is_none()
    }

    fn following(&self, recipe: &Recipe) -> Option<Phase> {
        let phases = recipe.phases();
        let later = |phase: &Phase| *phase > self.phase;
        phases.into_iter().map(|p| p.0).find(later)
    }

    /// The place itself or, where its phase has no epoch left, the beginning of the next.
    pub(crate) fn settled(self, recipe: &Recipe) -> Self {
        match self.following(recipe) {
            Some(next) if self.epoch >= self.epochs(recipe) => Self::at(next, 0),
            Some(_) | None => self,
        }
    }

    /// The place after the epoch that it is in.
    pub(crate) fn next_epoch(&self, recipe: &Recipe) -> Self {
        Self::at(self.phase, self.epoch + 1).settled(recipe)
    }
}

impl Sums {
    /// Adds a step of `images` images.
    pub(crate) fn add(&mut self, seen: &Seen, images: usize) {
        self.images += images;
        self.losses.resize(seen.losses.len(), 0.0);
        self.right.resize(seen.right.len(), 0);
        let losses = self.losses.iter_mut().zip(&seen.losses);
        losses.for_each(|(sum, loss)| *sum += loss);
        let right = self.right.iter_mut().zip(&seen.right);
        right.for_each(|(sum, right)| *sum += right);
    }
}

#[cfg(test)]
mod tests {
    use super::super::recipe::Epochs;
    use super::*;

    fn recipe(warm: usize, search: usize, settle: usize) -> Recipe {
        Recipe {
            epochs: Epochs {
                warm,
                search,
                settle,
            },
            ..Recipe::default()
        }
    }

    #[test]
    fn phases_follow_each_other_and_those_of_no_epoch_are_left_out() {
        let recipe = recipe(1, 0, 2);
        let mut place = Place::first(&recipe);
        let mut seen = Vec::new();
        while !place.is_end(&recipe) {
            seen.push((place.phase, place.epoch));
            place = place.next_epoch(&recipe);
        }
        let expected = [(Phase::Warm, 0), (Phase::Settle, 0), (Phase::Settle, 1)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_run_may_be_made_longer_or_shorter() {
        let end = Place::at(Phase::Settle, 2);
        assert!(end.is_end(&recipe(1, 1, 2)) && !end.is_end(&recipe(1, 1, 3)));
        let middle = Place::at(Phase::Search, 3);
        assert_eq!(
            middle.clone().settled(&recipe(0, 4, 2)).phase,
            Phase::Search
        );
        let shorter = middle.settled(&recipe(0, 3, 2));
        assert_eq!((shorter.phase, shorter.epoch), (Phase::Settle, 0));
    }
}
