//! One threshold for all exits: every value at which an image changes its way, from the strictest
//! on, in one pass.

use exbit_engine::Policy;

use super::held::{HeldOut, Outcome};
use super::{Costs, Goal, Rule, Standing, better};

/// What policies of `rule` with one threshold give, from no image leaving to all at the first
/// exit: at most about `points` of them, spread over their mean BOPs.
pub fn curve(held: &HeldOut, rule: Rule, costs: Costs<'_>, points: usize) -> Vec<Outcome> {
    let all = standings(held, rule, costs);
    let bops = |i: usize| all[i].1.bops;
    let ends = all.iter().map(|p| p.1.bops);
    let (least, most) = (
        ends.clone().fold(f64::INFINITY, f64::min),
        ends.fold(0.0, f64::max),
    );
    let step = (most - least) / points.max(1) as f64;
    let mut kept: Vec<usize> = Vec::new();
    for i in 0..all.len() {
        let far = kept
            .last()
            .is_none_or(|&k| (bops(k) - bops(i)).abs() >= step);
        if far || i + 1 == all.len() {
            kept.push(i);
        }
    }
    kept.into_iter()
        .map(|i| held.outcome(&all[i].0, costs))
        .collect()
}

/// The policy of `rule` with one threshold that is best for `goal`.
pub(super) fn best(held: &HeldOut, rule: Rule, goal: Goal, costs: Costs<'_>) -> Policy {
    let full = held.right_at(held.exits());
    let key = |standing| goal.key(standing, full, held.images());
    let mut best: Option<([f64; 3], Policy)> = None;
    for (policy, standing) in standings(held, rule, costs) {
        let key = key(standing);
        if best.as_ref().is_none_or(|(so_far, _)| better(&key, so_far)) {
            best = Some((key, policy));
        }
    }
    best.map_or(Policy::Never, |(_, policy)| policy)
}

/// Every policy of `rule` with one threshold that differs from the others on `held`, the strictest
/// first, and what it gives.
fn standings(held: &HeldOut, rule: Rule, costs: Costs<'_>) -> Vec<(Policy, Standing)> {
    let standing = |policy: &Policy| {
        let outcome = held.outcome(policy, costs);
        Standing {
            right: (outcome.top1 / 100.0 * held.images() as f64).round() as usize,
            bops: outcome.bops_mean,
        }
    };
    let never = (Policy::Never, standing(&Policy::Never));
    let rest = match rule {
        Rule::MaxSoftmax | Rule::Entropy => sweep(held, rule, costs),
        Rule::Patience => (1..=held.exits())
            .rev()
            .map(|n| (Policy::Patience(n), standing(&Policy::Patience(n))))
            .collect(),
    };
    std::iter::once(never).chain(rest).collect()
}

fn sweep(held: &HeldOut, rule: Rule, costs: Costs<'_>) -> Vec<(Policy, Standing)> {
    let (exits, images) = (held.exits(), held.images());
    // Where each image may leave, the surest first.
    let mut events: Vec<(f32, usize, usize)> = Vec::with_capacity(exits * images);
    for (i, image) in held.each().enumerate() {
        let at = |k: usize| (image[k].sureness(rule), i, k);
        events.extend((0..exits).map(at).filter(|e| !e.0.is_nan()));
    }
    events.sort_by(|a, b| b.0.total_cmp(&a.0));
    let seen: Vec<_> = held.each().collect();
    let mut ways = vec![exits; images];
    let mut left = vec![0usize; exits + 1];
    left[exits] = images;
    let mut right = held.right_at(exits);
    let mut all = Vec::new();
    let price = match events.first() {
        Some(&(threshold, ..)) => costs(&rule.policy(vec![threshold; exits])),
        None => return all,
    };
    for (e, &(threshold, i, k)) in events.iter().enumerate() {
        if k < ways[i] {
            right -= usize::from(seen[i][ways[i]].right);
            right += usize::from(seen[i][k].right);
            left[ways[i]] -= 1;
            left[k] += 1;
            ways[i] = k;
        }
        // Equally sure answers leave together.
        if events.get(e + 1).is_none_or(|next| next.0 < threshold) {
            let sum: f64 = left
                .iter()
                .zip(&price)
                .map(|(&n, &c)| n as f64 * c as f64)
                .sum();
            let bops = sum / images as f64;
            all.push((
                rule.policy(vec![threshold; exits]),
                Standing { right, bops },
            ));
        }
    }
    all
}

impl Rule {
    /// The policy with these thresholds of [`super::held::Seen::sureness`]; one that shuts every
    /// exit is [`Policy::Never`].
    pub(super) fn policy(self, sureness: Vec<f32>) -> Policy {
        if sureness.iter().all(|&t| t == f32::INFINITY) {
            return Policy::Never;
        }
        match self {
            Rule::MaxSoftmax => Policy::MaxSoftmax(sureness),
            Rule::Entropy => Policy::Entropy(sureness.into_iter().map(|t| -t).collect()),
            Rule::Patience => Policy::Never,
        }
    }
}
