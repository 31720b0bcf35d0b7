//! A threshold for each exit, sought one exit at a time.
//!
//! With the other thresholds fixed, the best one of an exit is found exactly, by a pass over the
//! images in the order of their sureness there; or the exit is shut, so that its head costs
//! nothing. This goes round until nothing changes, with the goal itself and, since a goal of two
//! halves has many dead ends, first with `wrong + mu n bops / bops_full` for several `mu`, from the
//! shared threshold and from all exits shut.

use exbit_engine::Policy;

use super::held::{HeldOut, Seen};
use super::{Costs, Goal, Rule, Standing, better};

/// Rounds over all exits; a few are enough.
const MOST_ROUNDS: usize = 20;
/// The prices of BOPs that are tried: `2^(-i/2)` right answers for all BOPs saved, for `i` below
/// this.
const PRICES: i32 = 25;

/// The best thresholds found for `goal`, no worse than those of `shared`.
pub(super) fn per_exit(
    held: &HeldOut,
    rule: Rule,
    goal: Goal,
    costs: Costs<'_>,
    shared: &Policy,
) -> Policy {
    let search = Search::new(held, rule, costs);
    let images = held.images();
    let full = held.right_at(held.exits());
    let shut = vec![f32::INFINITY; held.exits()];
    let whole = search.standing(&shut).bops.max(1.0);
    let by_goal = |s: Standing| goal.key(s, full, images);
    let start: Vec<f32> = match (shared, rule) {
        (Policy::MaxSoftmax(t), Rule::MaxSoftmax) => t.clone(),
        (Policy::Entropy(t), Rule::Entropy) => t.iter().map(|t| -t).collect(),
        (Policy::Never | Policy::MaxSoftmax(_) | Policy::Entropy(_) | Policy::Patience(_), _) => {
            shut.clone()
        }
    };
    let mut best = start.clone();
    search.descend(&mut best, &by_goal);
    for (i, start) in (0..PRICES).flat_map(|i| [(i, &start), (i, &shut)]) {
        let price = (f64::from(-i) / 2.0).exp2() * images as f64 / whole;
        let mut t = start.clone();
        search.descend(&mut t, &|s| [price * s.bops - s.right as f64, s.bops, 0.0]);
        search.descend(&mut t, &by_goal);
        let key = |t: &[f32]| by_goal(search.standing(t));
        if better(&key(&t), &key(&best)) {
            best = t;
        }
    }
    rule.policy(best)
}

/// The images, and for each exit their order by sureness there.
struct Search<'a> {
    rule: Rule,
    costs: Costs<'a>,
    images: Vec<&'a [Seen]>,
    orders: Vec<Vec<usize>>,
}

impl<'a> Search<'a> {
    fn new(held: &'a HeldOut, rule: Rule, costs: Costs<'a>) -> Self {
        let images: Vec<&[Seen]> = held.each().collect();
        let order = |k: usize| {
            let sureness = |i: usize| images[i][k].sureness(rule);
            let mut order: Vec<usize> = (0..images.len())
                .filter(|&i| !sureness(i).is_nan())
                .collect();
            order.sort_by(|&a, &b| sureness(b).total_cmp(&sureness(a)));
            order
        };
        Self {
            rule,
            costs,
            orders: (0..held.exits()).map(order).collect(),
            images,
        }
    }

    /// Goes round the exits with the best threshold for each, until nothing changes.
    fn descend(&self, thresholds: &mut [f32], key: &dyn Fn(Standing) -> [f64; 3]) {
        for _ in 0..MOST_ROUNDS {
            let before = thresholds.to_vec();
            for k in 0..thresholds.len() {
                self.improve(thresholds, k, key);
            }
            if before == thresholds {
                return;
            }
        }
    }

    /// Sets the threshold of exit `k` to the best one, the others being what they are.
    fn improve(&self, thresholds: &mut [f32], k: usize, key: &dyn Fn(Standing) -> [f64; 3]) {
        let mut best = (key(self.standing(thresholds)), thresholds[k]);
        thresholds[k] = f32::INFINITY;
        let shut = key(self.standing(thresholds));
        if better(&shut, &best.0) {
            best = (shut, f32::INFINITY);
        }
        // With exit k open but passed by all, its head is paid for.
        let mut open = thresholds.to_vec();
        open[k] = match self.orders[k].first() {
            Some(&surest) => self.images[surest][k].sureness(self.rule),
            None => return,
        };
        let costs = (self.costs)(&self.rule.policy(open));
        let n = self.images.len() as f64;
        let (mut right, mut sum) = self.walk(thresholds, &costs);
        let mut order = self.orders[k].iter().peekable();
        while let Some(&i) = order.next() {
            let (image, sureness) = (self.images[i], self.images[i][k].sureness(self.rule));
            let way = self.way(image, thresholds);
            if way > k {
                right = right + usize::from(image[k].right) - usize::from(image[way].right);
                sum = sum + costs[k] as f64 - costs[way] as f64;
            }
            let next = order
                .peek()
                .map(|&&j| self.images[j][k].sureness(self.rule));
            if next.is_none_or(|next| next < sureness) {
                let standing = Standing {
                    right,
                    bops: sum / n,
                };
                let key = key(standing);
                if better(&key, &best.0) {
                    best = (key, sureness);
                }
            }
        }
        thresholds[k] = best.1;
    }

    fn standing(&self, thresholds: &[f32]) -> Standing {
        let costs = (self.costs)(&self.rule.policy(thresholds.to_vec()));
        let (right, sum) = self.walk(thresholds, &costs);
        let bops = sum / self.images.len() as f64;
        Standing { right, bops }
    }

    /// Right answers, and BOPs of all images.
    fn walk(&self, thresholds: &[f32], costs: &[u64]) -> (usize, f64) {
        self.images.iter().fold((0, 0.0), |(right, sum), image| {
            let way = self.way(image, thresholds);
            (
                right + usize::from(image[way].right),
                sum + costs[way] as f64,
            )
        })
    }

    /// Where `image` leaves.
    fn way(&self, image: &[Seen], thresholds: &[f32]) -> usize {
        let leaves = |k: &usize| image[*k].sureness(self.rule) >= thresholds[*k];
        let exits = thresholds.len();
        (0..exits).find(leaves).unwrap_or(exits)
    }
}
