//! Against all there is to choose from, on sets so small that it can be tried.

use exbit_engine::Policy;

use super::*;

/// A generator of numbers below `n`.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// Logits of three classes on a coarse grid, so that some exits are equally sure.
fn held(random: &mut Random, images: usize, exits: usize) -> HeldOut {
    let mut held = HeldOut::new(exits);
    for _ in 0..images {
        let label = random.below(3);
        let mut logits: Vec<f32> = (0..3 * (exits + 1))
            .map(|_| random.below(5) as f32)
            .collect();
        // Later ways out know more.
        for way in 0..=exits {
            logits[3 * way + label] += random.below(1 + way) as f32;
        }
        held.add(&logits, &[label]);
    }
    held
}

/// 100 BOPs between exits, and 7 for each head that can be left by.
fn costs(exits: usize) -> impl Fn(&Policy) -> Vec<u64> {
    move |policy| {
        let heads = |k: usize| (0..=k).filter(|&j| j < exits && policy.asks(j)).count();
        (0..=exits)
            .map(|k| 100 * (k as u64 + 1) + 7 * heads(k) as u64)
            .collect()
    }
}

fn sureness(held: &HeldOut, rule: Rule, k: usize) -> Vec<f32> {
    held.each().map(|image| image[k].sureness(rule)).collect()
}

const GOALS: [Goal; 6] = [
    Goal::Drop(0.0),
    Goal::Drop(10.0),
    Goal::Drop(-100.0),
    Goal::Bops(250.0),
    Goal::Bops(310.0),
    Goal::Bops(1.0),
];

fn key(held: &HeldOut, goal: Goal, policy: &Policy, costs: Costs<'_>) -> [f64; 3] {
    let outcome = held.outcome(policy, costs);
    let full = held.right_at(held.exits());
    let right = (outcome.top1 / 100.0 * held.images() as f64).round() as usize;
    let bops = outcome.bops_mean;
    goal.key(Standing { right, bops }, full, held.images())
}

fn least(keys: impl Iterator<Item = [f64; 3]>) -> [f64; 3] {
    keys.reduce(|a, b| if better(&b, &a) { b } else { a })
        .unwrap()
}

#[test]
fn a_shared_threshold_is_the_best_there_is() {
    let mut random = Random(1);
    for round in 0..200 {
        let exits = 1 + random.below(3);
        let images = 1 + random.below(9);
        let (held, costs) = (held(&mut random, images, exits), costs(exits));
        for rule in [Rule::MaxSoftmax, Rule::Entropy, Rule::Patience] {
            let policies: Vec<Policy> = match rule {
                Rule::Patience => (1..=exits).map(Policy::Patience).collect(),
                Rule::MaxSoftmax | Rule::Entropy => (0..exits)
                    .flat_map(|k| sureness(&held, rule, k))
                    .map(|t| rule.policy(vec![t; exits]))
                    .collect(),
            };
            for goal in GOALS {
                let all = policies.iter().chain([&Policy::Never]);
                let best = least(all.map(|p| key(&held, goal, p, &costs)));
                let found = calibrate(&held, rule, Thresholds::Shared, goal, &costs);
                let own = key(&held, goal, &found.chosen.policy, &costs);
                assert_eq!(own, best, "round {round}, {rule:?}, {goal:?}");
                assert_eq!(found.met, best[0] == 0.0, "round {round}, {goal:?}");
            }
        }
    }
}

#[test]
fn thresholds_of_each_exit_are_rarely_worse_than_the_best_and_never_than_a_shared_one() {
    let mut random = Random(2);
    let (mut optimal, mut all, mut gained) = (0, 0, 0);
    for _ in 0..60 {
        let (held, costs) = (held(&mut random, 8, 2), costs(2));
        for rule in [Rule::MaxSoftmax, Rule::Entropy] {
            let [first, second] = [0, 1].map(|k| {
                let mut t = sureness(&held, rule, k);
                t.push(f32::INFINITY);
                t
            });
            let pairs = || {
                first
                    .iter()
                    .flat_map(|&a| second.iter().map(move |&b| vec![a, b]))
            };
            for goal in GOALS {
                let best = least(pairs().map(|t| key(&held, goal, &rule.policy(t), &costs)));
                let of = |thresholds| {
                    let found = calibrate(&held, rule, thresholds, goal, &costs);
                    key(&held, goal, &found.chosen.policy, &costs)
                };
                let (own, shared) = (of(Thresholds::PerExit), of(Thresholds::Shared));
                assert!(!better(&shared, &own) && !better(&own, &best));
                optimal += usize::from(own == best);
                gained += usize::from(better(&own, &shared));
                all += 1;
            }
        }
    }
    assert!(optimal * 100 >= all * 92, "{optimal} of {all}");
    assert!(gained > 100, "{gained} of {all}");
}

#[test]
fn the_curve_goes_from_nobody_to_everybody() {
    let mut random = Random(3);
    let (held, costs) = (held(&mut random, 300, 3), costs(3));
    for rule in [Rule::MaxSoftmax, Rule::Entropy, Rule::Patience] {
        let curve = curve(&held, rule, &costs, 20);
        let (first, last) = (&curve[0], &curve[curve.len() - 1]);
        assert_eq!(first, &held.outcome(&Policy::Never, &costs));
        assert_eq!(last.fractions[0], 1.0, "{rule:?}");
        assert_eq!(last.top1, held.alone()[0]);
        assert!((3..=23).contains(&curve.len()), "{}", curve.len());
        for point in &curve {
            assert!((point.fractions.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert_eq!(point, &held.outcome(&point.policy, &costs));
        }
        assert!(curve[1..].is_sorted_by(|a, b| a.bops_mean >= b.bops_mean));
    }
}

#[test]
fn errors_and_halves_are_those_of_the_books() {
    // Four images, one exit: right and right, right and wrong at the end, twice wrong and right.
    let mut held = HeldOut::new(1);
    let answers = [([0.0, 9.0], [0.0, 1.0]), ([0.0, 9.0], [1.0, 0.0])];
    for (exit, end) in answers {
        held.add(&[exit, end].concat(), &[1]);
    }
    held.add(&[9.0, 0.0, 0.0, 1.0, 9.0, 0.0, 0.0, 1.0], &[1, 1]);
    assert_eq!(held.alone(), [50.0, 75.0]);
    let policy = Policy::MaxSoftmax(vec![0.5]);
    // Differences 0, -1, 1, 1: mean 1/4, variance (0 + 1 + 1 + 1 - 4/16) / 3 = 11/12.
    let expected = 100.0 * (11.0f64 / 12.0 / 4.0).sqrt();
    assert!((held.drop_error(&policy) - expected).abs() < 1e-9);
    let [even, odd] = held.halves();
    assert_eq!((even.images(), odd.images()), (2, 2));
    assert_eq!(
        (even.alone(), odd.alone()),
        (vec![50.0, 100.0], vec![50.0, 50.0])
    );
    let costs = costs(1);
    let found = calibrate(
        &held,
        Rule::MaxSoftmax,
        Thresholds::Shared,
        Goal::Bops(107.0),
        &costs,
    );
    // Whatever half chooses, everybody leaves at once: half are right, three quarters at the end.
    assert_eq!(
        found.crossed,
        Crossed {
            drop: 25.0,
            bops_mean: 107.0
        }
    );
    assert!(found.met && found.chosen.fractions == [1.0, 0.0]);
}

#[test]
fn images_that_are_no_numbers_go_to_the_end() {
    let mut held = HeldOut::new(1);
    held.add(&[f32::NAN, 0.0, 0.0, 1.0], &[1]);
    for rule in [Rule::MaxSoftmax, Rule::Entropy] {
        for thresholds in [Thresholds::Shared, Thresholds::PerExit] {
            let found = calibrate(&held, rule, thresholds, Goal::Bops(0.0), &costs(1));
            assert_eq!(found.chosen.policy, Policy::Never);
            assert!(!found.met);
        }
    }
}

#[test]
fn no_policy_beats_the_oracle() {
    let mut random = Random(7);
    for _ in 0..100 {
        let (exits, images) = (1 + random.below(3), 1 + random.below(5));
        let (held, costs) = (held(&mut random, images, exits), costs(exits));
        let oracle = held.oracle(&costs);
        let mut ways = vec![0; images];
        // Every choice of a way out for each image, one counter of base `exits + 1`.
        let open = costs(&Policy::MaxSoftmax(vec![0.0; exits]));
        let mut best = (0, f64::INFINITY);
        loop {
            let pairs = || held.each().zip(&ways);
            let right = pairs().filter(|(image, way)| image[**way].right).count();
            let sum: u64 = ways.iter().map(|&way| open[way]).sum();
            let bops = sum as f64 / images as f64;
            if right > best.0 || right == best.0 && bops < best.1 {
                best = (right, bops);
            }
            let Some(next) = ways.iter().position(|&way| way < exits) else {
                break;
            };
            ways[next] += 1;
            ways[..next].fill(0);
        }
        let top1 = 100.0 * best.0 as f64 / images as f64;
        assert!((oracle.top1 - top1).abs() < 1e-9 && (oracle.bops_mean - best.1).abs() < 1e-9);
    }
}
