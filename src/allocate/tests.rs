//! The integer program against brute force on small random tables, and answers to budgets that
//! cannot be met.

use exbit_kernels::Bits;

use super::*;
use crate::budget::{Limit, Resource};
use crate::cost::{ActivationSize, Choice, Latency, LayerSize, Sizes};

/// A small linear congruential generator, so that a failing case has a seed.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// `count` different bit-widths in no order, their losses mostly falling as bits rise.
fn choices(random: &mut Random, count: usize) -> Vec<Choice> {
    let scale = 10f64.powf(-4.0 * random.unit());
    let mut bits: Vec<u8> = (1..=8).collect();
    let mut choices = Vec::new();
    for _ in 0..count {
        let b = bits.remove(random.below(bits.len()));
        let noise = 0.2 * random.unit() - 0.1;
        let loss = scale * (4f64.powf(-f64::from(b)) * 4.0 + 0.05 * noise);
        choices.push(Choice {
            bits: Bits::new(b).unwrap(),
            loss,
        });
    }
    choices
}

fn table(random: &mut Random, layers: usize, activations: usize, choice_count: usize) -> Table {
    let size = |random: &mut Random| (1.0 + 10f64.powf(1.0 + 3.0 * random.unit())) as u64;
    let layer = |random: &mut Random, l: usize| LayerSize {
        name: format!("layer{l}"),
        weights: size(random),
        macs: size(random) * 16,
        input: if l < activations {
            l
        } else {
            random.below(activations)
        },
        tie: (random.unit() < 0.5).then(|| random.below(2)),
    };
    let sizes = Sizes::new(
        (0..layers).map(|l| layer(random, l)).collect(),
        (0..activations)
            .map(|j| ActivationSize {
                name: format!("value{j}"),
                elements: size(random),
            })
            .collect(),
        (0..activations)
            .map(|j| (0..=j).filter(|_| random.unit() < 0.7).collect())
            .collect(),
    );
    let weights: Vec<_> = (0..layers).map(|_| choices(random, choice_count)).collect();
    let inputs: Vec<_> = (0..activations)
        .map(|_| choices(random, choice_count))
        .collect();
    let sizes = sizes.unwrap();
    let time = |l: usize, k: &Choice, a: &Choice, random: &mut Random| {
        // Not monotone on purpose: odd bit-widths are unpacked to the next kernel's.
        let wide = f64::from(k.bits.get().next_multiple_of(4) + a.bits.get().next_multiple_of(2));
        sizes.layers()[l].macs as f64 * 1e-6 * wide * (1.0 + 0.5 * random.unit())
    };
    let times = (0..layers).map(|l| {
        let inputs = &inputs[sizes.layers()[l].input];
        weights[l]
            .iter()
            .map(|k| inputs.iter().map(|a| time(l, k, a, random)).collect())
            .collect()
    });
    let latency = Latency {
        layers: times.collect(),
        rest_ms: 0.01,
    };
    Table::new(sizes.clone(), weights, inputs)
        .unwrap()
        .with_latency(latency)
        .unwrap()
}

/// Every plan with its loss and cost, pins left aside.
fn all_plans(table: &Table, tied: bool) -> Vec<(Precisions, f64, Cost)> {
    let lists: Vec<&Vec<Choice>> = table.weights().iter().chain(table.activations()).collect();
    let layers = table.weights().len();
    let mut digits = vec![0; lists.len()];
    let mut plans = Vec::new();
    loop {
        let bits: Vec<Bits> = digits.iter().zip(&lists).map(|(&d, c)| c[d].bits).collect();
        let precisions = Precisions {
            weights: bits[..layers].to_vec(),
            activations: bits[layers..].to_vec(),
        };
        let sizes = table.sizes().layers();
        let tie_kept = |x: usize, y: usize| {
            sizes[x].tie.is_none() || sizes[x].tie != sizes[y].tie || bits[x] == bits[y]
        };
        if !tied || (0..layers).all(|x| (0..x).all(|y| tie_kept(x, y))) {
            let (loss, cost) = (table.loss(&precisions).unwrap(), table.cost(&precisions));
            plans.push((precisions, loss, cost));
        }
        let Some(i) = (0..digits.len()).find(|&i| digits[i] + 1 < lists[i].len()) else {
            return plans;
        };
        digits[..i].fill(0);
        digits[i] += 1;
    }
}

fn within(cost: &Cost, budgets: &[Budget]) -> bool {
    budgets.iter().all(|b| {
        let Limit::Amount(limit) = b.limit else {
            panic!("amounts only")
        };
        b.resource.of(cost).unwrap() <= limit * (1.0 + 1e-9)
    })
}

/// One to three budgets, mostly between the least and the most of their resource over `plans`.
fn budgets(random: &mut Random, plans: &[(Precisions, f64, Cost)]) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for _ in 0..1 + random.below(3) {
        let resource = Resource::ALL[random.below(6)];
        let all: Vec<f64> = plans.iter().map(|p| resource.of(&p.2).unwrap()).collect();
        let (lo, hi) = (all.iter().copied().fold(f64::INFINITY, f64::min), all[0]);
        let least = if random.unit() < 0.2 { 0.7 * lo } else { lo };
        let most = all[random.below(all.len())].max(hi);
        let limit = least + (most - least) * random.unit().powi(2);
        budgets.push(Budget {
            resource,
            limit: Limit::Amount(limit.max(1e-3)),
        });
    }
    budgets
}

#[test]
fn the_program_equals_brute_force_over_every_kind_of_budget() {
    let (mut met, mut missed) = (0, 0);
    for seed in 0..300 {
        let random = &mut Random(seed * 77 + 1);
        let table = table(random, 4, 3, 3);
        let tied = seed % 3 == 0;
        let Ok(problem) = Problem::new(
            &table,
            &Request {
                tied,
                ..Request::default()
            },
        ) else {
            continue;
        };
        assert!(problem.units.iter().all(|u| tied || u.layers.len() == 1));
        let plans = all_plans(&table, tied);
        let request = Request {
            budgets: budgets(random, &plans),
            tied,
            ..Request::default()
        };
        let found = allocate(&table, &request).unwrap();
        let allowed = plans.iter().filter(|p| within(&p.2, &request.budgets));
        let best = allowed.map(|p| p.1).fold(f64::INFINITY, f64::min);
        let case = format!("seed {seed}: {:?} tied {tied}", request.budgets);
        if best.is_finite() {
            met += 1;
            assert!(
                found.missed.is_empty() && within(&found.cost, &request.budgets),
                "{case}"
            );
            assert!(
                (found.loss - best).abs() <= 1e-9 * best.abs(),
                "{case}: {found:?} {best}"
            );
            assert_eq!(found.gap(), 0.0, "{case}: {found:?}");
        } else {
            missed += 1;
            check_nearest(&found, &plans, &request.budgets, &case);
        }
    }
    assert!(met > 200 && missed > 30, "{met} met, {missed} missed");
}

/// The part by which the worst budget is exceeded.
fn excess(cost: &Cost, budgets: &[Budget]) -> f64 {
    let of = |b: &Budget| {
        let Limit::Amount(limit) = b.limit else {
            panic!("amounts only")
        };
        b.resource.of(cost).unwrap() / limit - 1.0
    };
    budgets.iter().map(of).fold(0.0, f64::max)
}

/// Each budget raised to what some plan uses, then all by the least common part.
fn check_nearest(
    found: &Allocation,
    plans: &[(Precisions, f64, Cost)],
    budgets: &[Budget],
    case: &str,
) {
    let raised: Vec<Budget> = budgets
        .iter()
        .map(|b| {
            let all = plans.iter().map(|p| b.resource.of(&p.2).unwrap());
            let Limit::Amount(limit) = b.limit else {
                panic!("amounts only")
            };
            Budget {
                limit: Limit::Amount(all.fold(f64::INFINITY, f64::min).max(limit)),
                ..*b
            }
        })
        .collect();
    let part = plans
        .iter()
        .map(|p| excess(&p.2, &raised))
        .fold(f64::INFINITY, f64::min);
    // Whole amounts may be rounded, by less than one.
    assert!(
        excess(&found.cost, &raised) <= part + 1e-2,
        "{case}: {found:?}, {part}"
    );
    let near = plans
        .iter()
        .filter(|p| excess(&p.2, &raised) <= part * (1.0 + 1e-9) + 1e-9);
    let best = near.map(|p| p.1).fold(f64::INFINITY, f64::min);
    assert!(
        found.loss <= best + 1e-9 * best.abs(),
        "{case}: {found:?}, {best}"
    );
    let missed: Vec<Budget> = found.missed.iter().map(|m| m.budget).collect();
    let expected = budgets.iter().filter(|b| !within(&found.cost, &[**b]));
    assert_eq!(missed, expected.copied().collect::<Vec<_>>(), "{case}");
    assert!(!missed.is_empty(), "{case}");
}

/// Layers of 1000 weights and 1000 MACs whose losses fall by 4 a bit, from `scales[l]`.
fn chain(scales: &[f64]) -> Table {
    let layer = |l: usize| LayerSize {
        name: format!("layer{l}"),
        weights: 1000,
        macs: 1000,
        input: l,
        tie: Some(0),
    };
    let layers = (0..scales.len()).map(layer).collect();
    let activations = (0..scales.len())
        .map(|j| ActivationSize {
            name: format!("value{j}"),
            elements: 100,
        })
        .collect();
    let moments = (0..scales.len()).map(|j| vec![j]).collect();
    let sizes = Sizes::new(layers, activations, moments).unwrap();
    let falling = |scale: f64, of: &[u8]| -> Vec<Choice> {
        let choice = |&b: &u8| {
            let loss = scale * 4f64.powf(-f64::from(b));
            Choice {
                bits: Bits::new(b).unwrap(),
                loss,
            }
        };
        of.iter().map(choice).collect()
    };
    let weights = scales
        .iter()
        .map(|&s| falling(s, &[2, 3, 4, 5, 6, 8]))
        .collect();
    let inputs = scales.iter().map(|_| falling(0.0, &[8])).collect();
    Table::new(sizes, weights, inputs).unwrap()
}

fn request(budgets: &[&str], pins: &[&str]) -> Request {
    Request {
        budgets: budgets.iter().map(|b| b.parse().unwrap()).collect(),
        pins: pins.iter().map(|p| p.parse().unwrap()).collect(),
        ..Request::default()
    }
}

fn bits_of(allocation: &Allocation) -> Vec<u8> {
    allocation
        .precisions
        .weights
        .iter()
        .map(|b| b.get())
        .collect()
}

#[test]
fn bits_go_where_the_loss_is() {
    let table = chain(&[1.0, 16.0, 1.0, 1.0 / 16.0]);
    let check = |request: &Request, expected: &[u8]| {
        assert_eq!(
            bits_of(&allocate(&table, request).unwrap()),
            expected,
            "{request:?}"
        );
    };
    check(&request(&[], &[]), &[8, 8, 8, 8]);
    check(&request(&["weights=8x"], &[]), &[4, 6, 4, 2]);
    check(&request(&["weights=8x"], &["first"]), &[8, 4, 2, 2]);
    check(
        &request(&["weights=8x"], &["*=4", "layer3=6"]),
        &[4, 4, 4, 6],
    );
    check(
        &Request {
            tied: true,
            ..request(&["weights=8x"], &[])
        },
        &[4, 4, 4, 4],
    );
    let tied = Request {
        tied: true,
        ..request(&["bops=140k"], &[])
    };
    check(&tied, &[4, 4, 4, 4]);
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let check = |request: Request, expected: &str| {
        assert_eq!(
            allocate(&chain(&[1.0]), &request).unwrap_err().to_string(),
            expected
        );
    };
    check(
        request(&[], &["conv1=8"]),
        "pin conv1=w8: no layer has such a name",
    );
    check(
        request(&[], &["first=7"]),
        "pin first=w7: layer layer0 was measured at 2, 3, 4, 5, 6, 8 bits only",
    );
    check(
        request(&["latency=2ms"], &[]),
        "budget latency=2ms: no times were measured, so no plan can be held to it",
    );
}

#[test]
fn a_budget_that_cannot_be_met_is_answered_in_words() {
    let table = chain(&[1.0, 16.0, 1.0, 1.0]);
    let near = allocate(&table, &request(&["weights=1100B", "bops=1M"], &["last"])).unwrap();
    assert_eq!(bits_of(&near), [2, 2, 2, 8]);
    let words: Vec<String> = near.missed.iter().map(Shortfall::to_string).collect();
    let expected = "budget weights=1100B allows 1.1 KiB, the nearest plan takes 1.7 KiB \
        (59.1 % more): no plan takes less than 1.7 KiB with these pins; without them 1000 bytes";
    assert_eq!(words, [expected]);
}

#[test]
fn a_search_without_time_still_answers() {
    let scales: Vec<f64> = (0..40).map(|l| 1.0 + f64::from(l * 7 % 11)).collect();
    let table = chain(&scales);
    let hurried = Request {
        time_limit: Duration::ZERO,
        ..request(&["weights=3.7bits"], &[])
    };
    let found = allocate(&table, &hurried).unwrap();
    assert!(found.missed.is_empty() && found.cost.weight_bytes <= 18500);
    assert!(
        found.bound <= found.loss && found.gap() < 0.05,
        "{}",
        found.gap()
    );
}

#[test]
fn the_front_falls_in_cost_and_rises_in_loss() {
    let table = chain(&[1.0, 16.0, 3.0, 0.2]);
    let plans = front(&table, &request(&[], &["last=4"]), Resource::Weights, 9).unwrap();
    assert_eq!(bits_of(&plans[0]), [8, 8, 8, 4]);
    assert_eq!(bits_of(plans.last().unwrap()), [2, 2, 2, 4]);
    assert!(plans.len() >= 6);
    for pair in plans.windows(2) {
        assert!(pair[0].cost.weight_bytes > pair[1].cost.weight_bytes);
        assert!(pair[0].loss < pair[1].loss);
    }
    let bound = front(&table, &request(&["weights=8x"], &[]), Resource::Bops, 5).unwrap();
    assert!(bound.iter().all(|plan| plan.cost.weight_bytes <= 2000));
}

#[test]
fn exchanges_say_what_a_step_is_worth() {
    let table = chain(&[1.0, 16.0]);
    let found = allocate(&table, &request(&["weights=8x"], &[])).unwrap();
    assert_eq!(bits_of(&found), [3, 5]);
    let (layers, activations) = exchanges(&table, &found.precisions);
    let more = layers[0].more.unwrap();
    assert_eq!(
        (more.bits.get(), more.cost.weight_bytes),
        (4, found.cost.weight_bytes + 125)
    );
    assert_eq!(more.loss, 4f64.powi(-4) - 4f64.powi(-3));
    let fewer = layers[1].fewer.unwrap();
    assert_eq!(
        (fewer.bits.get(), fewer.cost.bops),
        (4, found.cost.bops - 8000)
    );
    assert_eq!(layers[1].more.unwrap().bits.get(), 6);
    assert_eq!((activations[0].more, activations[0].fewer), (None, None));
}
