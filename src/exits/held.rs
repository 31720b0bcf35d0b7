//! What every exit and the end answered for held-out images, and what a policy makes of that.

use exbit_engine::{Policy, entropy, likeliest, max_softmax};
use serde::Serialize;

use super::{Costs, Rule};
use crate::cost::expected;

/// What one way out says of one image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    max_softmax: f32,
    entropy: f32,
    class: usize,
    pub(super) right: bool,
}

impl Seen {
    /// How sure it is by `rule`, the larger, the surer. An image leaves where this is at least a
    /// threshold. Patience has no such number.
    pub(super) fn sureness(&self, rule: Rule) -> f32 {
        match rule {
            Rule::MaxSoftmax => self.max_softmax,
            Rule::Entropy => -self.entropy,
            Rule::Patience => f32::NAN,
        }
    }
}

/// What the exits and the end answered, image by image, reduced to what decides.
#[derive(Clone, Debug)]
pub struct HeldOut {
    exits: usize,
    /// `(images, exits + 1)`.
    seen: Vec<Seen>,
}

/// What a policy gives on held-out images.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The policy.
    pub policy: Policy,
    /// Percent of right answers.
    pub top1: f64,
    /// Mean BOPs of an image.
    pub bops_mean: f64,
    /// Of 1, how many images leave at each exit, then at the end.
    pub fractions: Vec<f64>,
}

/// What an oracle gives that knows where an answer is right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Oracle {
    /// Percent of images that are answered rightly anywhere.
    pub top1: f64,
    /// Mean BOPs of an image.
    pub bops_mean: f64,
}

impl HeldOut {
    /// No image yet of a network with `exits` exits.
    pub fn new(exits: usize) -> Self {
        Self {
            exits,
            seen: Vec::new(),
        }
    }

    /// Adds images: `logits` as [`exbit_engine::Session::run_every_exit`] gives them, `(n, exits +
    /// 1, classes)`, and their classes.
    ///
    /// # Panics
    /// When `logits` has no rows of one length for each label and way out.
    pub fn add(&mut self, logits: &[f32], labels: &[usize]) {
        let ways = self.exits + 1;
        let Some(classes) = logits.len().checked_div(labels.len() * ways) else {
            return;
        };
        assert_eq!(
            logits.len(),
            labels.len() * ways * classes,
            "not one row each"
        );
        for (image, &label) in logits.chunks_exact(ways * classes).zip(labels) {
            self.seen
                .extend(image.chunks_exact(classes).map(|logits| Seen {
                    max_softmax: max_softmax(logits),
                    entropy: entropy(logits),
                    class: likeliest(logits),
                    right: likeliest(logits) == label,
                }));
        }
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.seen.len() / (self.exits + 1)
    }

    /// How many exits, the end not counted.
    pub fn exits(&self) -> usize {
        self.exits
    }

    /// What each image met, way out by way out.
    pub(super) fn each(&self) -> impl ExactSizeIterator<Item = &[Seen]> {
        self.seen.chunks_exact(self.exits + 1)
    }

    /// Right answers if every image left at `way`.
    pub(super) fn right_at(&self, way: usize) -> usize {
        self.each().filter(|image| image[way].right).count()
    }

    /// Percent of right answers of each exit and of the end, each on all images.
    pub fn alone(&self) -> Vec<f64> {
        let percent = |way| 100.0 * self.right_at(way) as f64 / self.images().max(1) as f64;
        (0..=self.exits).map(percent).collect()
    }

    /// What `policy`, which is for as many exits, gives.
    pub fn outcome(&self, policy: &Policy, costs: Costs<'_>) -> Outcome {
        let mut left = vec![0usize; self.exits + 1];
        let mut right = 0;
        for image in self.each() {
            let way = leaves_at(image, policy);
            left[way] += 1;
            right += usize::from(image[way].right);
        }
        let images = self.images().max(1) as f64;
        let fractions: Vec<f64> = left.iter().map(|&n| n as f64 / images).collect();
        Outcome {
            policy: policy.clone(),
            top1: 100.0 * right as f64 / images,
            bops_mean: expected(&fractions, costs(policy)),
            fractions,
        }
    }

    /// Every image leaves where it is first answered rightly, or at the first exit where it nowhere
    /// is. No policy that asks every exit is right as often for fewer BOPs: a goal near this needs
    /// better exits, not better thresholds.
    pub fn oracle(&self, costs: Costs<'_>) -> Oracle {
        let open = costs(&Policy::MaxSoftmax(vec![0.0; self.exits]));
        let (mut right, mut bops) = (0usize, 0.0);
        for image in self.each() {
            let way = image.iter().position(|seen| seen.right);
            right += usize::from(way.is_some());
            bops += open[way.unwrap_or(0)] as f64;
        }
        let images = self.images().max(1) as f64;
        Oracle {
            top1: 100.0 * right as f64 / images,
            bops_mean: bops / images,
        }
    }

    /// The standard error of `top1 at the end - top1 under policy`, in points: of the mean of the
    /// differences image by image, which are -1, 0 or 1.
    pub(super) fn drop_error(&self, policy: &Policy) -> f64 {
        let n = self.images() as f64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for image in self.each() {
            let way = leaves_at(image, policy);
            let at = |way: usize| f64::from(u8::from(image[way].right));
            let difference = at(self.exits) - at(way);
            sum += difference;
            squares += difference * difference;
        }
        100.0 * ((squares - sum * sum / n) / (n - 1.0).max(1.0) / n).sqrt()
    }

    /// The images at even and at odd places: a set may be in the order of its classes.
    pub(super) fn halves(&self) -> [Self; 2] {
        [0, 1].map(|half| Self {
            exits: self.exits,
            seen: self
                .each()
                .skip(half)
                .step_by(2)
                .flatten()
                .copied()
                .collect(),
        })
    }
}

/// Where an image leaves, as a Session decides.
pub(super) fn leaves_at(image: &[Seen], policy: &Policy) -> usize {
    let end = image.len() - 1;
    let mut row = 0;
    let mut leaves = |k: usize| match policy {
        Policy::Never => false,
        Policy::MaxSoftmax(thresholds) => image[k].max_softmax >= thresholds[k],
        Policy::Entropy(thresholds) => image[k].entropy <= thresholds[k],
        Policy::Patience(patience) => {
            let same = k > 0 && image[k].class == image[k - 1].class;
            row = if same { row + 1 } else { 1 };
            row >= *patience
        }
    };
    (0..end).find(|&k| leaves(k)).unwrap_or(end)
}
