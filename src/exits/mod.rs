//! When images leave: thresholds chosen on held-out images.
//!
//! Every exit and the end have answered for images whose class is known ([`HeldOut`]). A shared
//! threshold is exact: every value at which anything changes is tried. One for each exit is a
//! coordinate search from there, also along `wrong answers + mu x mean BOPs` for several `mu`
//! (`search`). The most that is promised is what was seen: a goal is met on these images, so they
//! must be none that training saw, nor any that will judge the result. [`Calibration::crossed`]
//! says what choosing on one half of them gives on the other.

mod curve;
mod held;
mod search;
#[cfg(test)]
mod tests;

pub use curve::curve;
pub use held::{HeldOut, Oracle, Outcome};

use exbit_engine::Policy;

/// By what an exit judges how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The largest probability is high enough.
    MaxSoftmax,
    /// The entropy is low enough.
    Entropy,
    /// Enough exits in a row name one class.
    Patience,
}

/// How many thresholds are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thresholds {
    /// One for all exits.
    Shared,
    /// One for each; patience has one in any case.
    PerExit,
}

/// What a policy is chosen for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The fewest mean BOPs at which top-1 is at most so many points below that of the end.
    Drop(f64),
    /// The highest top-1 at no more than so many BOPs on average.
    Bops(f64),
}

/// A policy and what it gives on the images that it was chosen on.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// The policy, with its top-1 and mean BOPs.
    pub chosen: Outcome,
    /// What the network without exits gives.
    pub full: Outcome,
    /// Whether the goal is met; a budget of BOPs may be below the first exit.
    pub met: bool,
    /// Standard error of the difference in top-1 between `chosen` and `full`, in points: the same
    /// images answered both ways.
    pub drop_error: f64,
    /// The same choice made on one half of the images and judged on the other, both ways.
    pub crossed: Crossed,
}

/// What a choice gives on images that it was not made on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossed {
    /// Points of top-1 below the end.
    pub drop: f64,
    /// Mean BOPs of an image.
    pub bops_mean: f64,
}

/// BOPs of an image that leaves at each exit under a policy, then of one that goes to the end:
/// [`crate::cost::bops_to_exits`], or the other convention's.
pub type Costs<'a> = &'a dyn Fn(&Policy) -> Vec<u64>;

/// The best policy of `rule` for `goal` on `held`, which has images. Where nothing saves anything
/// within the goal, that is [`Policy::Never`].
pub fn calibrate(
    held: &HeldOut,
    rule: Rule,
    thresholds: Thresholds,
    goal: Goal,
    costs: Costs<'_>,
) -> Calibration {
    let policy = choose(held, rule, thresholds, goal, costs);
    let full = held.outcome(&Policy::Never, costs);
    let chosen = held.outcome(&policy, costs);
    let halves = held.halves();
    let mut crossed = Crossed {
        drop: 0.0,
        bops_mean: 0.0,
    };
    for (from, to) in [(0, 1), (1, 0)] {
        let policy = choose(&halves[from], rule, thresholds, goal, costs);
        let share = halves[to].images() as f64 / held.images() as f64;
        let (end, left) = (
            halves[to].outcome(&Policy::Never, costs),
            halves[to].outcome(&policy, costs),
        );
        crossed.drop += share * (end.top1 - left.top1);
        crossed.bops_mean += share * left.bops_mean;
    }
    let met = match goal {
        Goal::Drop(points) => full.top1 - chosen.top1 <= points + 1e-9,
        Goal::Bops(most) => chosen.bops_mean <= most,
    };
    Calibration {
        met,
        drop_error: held.drop_error(&policy),
        chosen,
        full,
        crossed,
    }
}

fn choose(
    held: &HeldOut,
    rule: Rule,
    thresholds: Thresholds,
    goal: Goal,
    costs: Costs<'_>,
) -> Policy {
    let shared = curve::best(held, rule, goal, costs);
    match (thresholds, rule) {
        (Thresholds::PerExit, Rule::MaxSoftmax | Rule::Entropy) => {
            search::per_exit(held, rule, goal, costs, &shared)
        }
        (Thresholds::Shared, Rule::MaxSoftmax | Rule::Entropy) | (_, Rule::Patience) => shared,
    }
}

/// What is known of a policy while it is sought: right answers, and mean BOPs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Standing {
    right: usize,
    bops: f64,
}

impl Goal {
    /// The smaller, the better, first entry first: by how much the goal is missed, what it asks to
    /// be small, and what decides between equals. `full` answers of `images` are right at the end.
    fn key(self, s: Standing, full: usize, images: usize) -> [f64; 3] {
        let right = s.right as f64;
        match self {
            Goal::Drop(points) => {
                let lost = full as f64 - right - points / 100.0 * images as f64;
                [if lost > 1e-9 { lost } else { 0.0 }, s.bops, -right]
            }
            Goal::Bops(most) => [(s.bops - most).max(0.0), -right, s.bops],
        }
    }
}

fn better(a: &[f64; 3], b: &[f64; 3]) -> bool {
    a.partial_cmp(b) == Some(std::cmp::Ordering::Less)
}
