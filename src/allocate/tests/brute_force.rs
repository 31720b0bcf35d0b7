//! The integer program against brute force, on small random tables.

use exbit_kernels::Bits;

use super::super::*;
use crate::budget::{Limit, Resource};
use crate::cost::{Choice, Latency, LayerSize, Sizes, ValueSize};

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
    // Some values are written over an earlier one of their size.
    let mut values: Vec<ValueSize> = Vec::new();
    for activation in (0..activations).map(Some) {
        let over = values.iter().find(|_| random.unit() < 0.3).cloned();
        let new = || ValueSize {
            activation,
            lines: 1 + random.below(3) as u64,
            line: size(random),
            place: values.len(),
        };
        let value = over.map_or_else(new, |over| ValueSize { activation, ..over });
        values.push(value);
    }
    values.push(ValueSize {
        activation: None,
        lines: 1,
        line: size(random),
        place: values.len(),
    });
    let places: Vec<usize> = (0..values.len())
        .filter(|&v| values[v].place == v)
        .collect();
    let sizes = Sizes::new(
        (0..layers).map(|l| layer(random, l)).collect(),
        (0..activations).map(|j| format!("value{j}")).collect(),
        values,
        (0..activations)
            .map(|j| {
                places
                    .iter()
                    .copied()
                    .filter(|&p| (p <= j || p == activations) && random.unit() < 0.7)
                    .collect()
            })
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

#[test]
fn a_front_under_pins_is_the_best_at_each_of_its_costs() {
    let (mut plans_seen, mut rows) = (0, 0);
    for seed in 0..60 {
        let random = &mut Random(seed * 91 + 5);
        let table = table(random, 4, 3, 3);
        let pinned = |choices: &[Choice], random: &mut Random| choices[random.below(3)].bits;
        let weights = pinned(&table.weights()[1], random);
        let input = pinned(&table.activations()[0], random);
        let pins = [format!("layer1=w{weights}"), format!("layer0=a{input}")];
        let axis = [Resource::PeakActivations, Resource::Memory][random.below(2)];
        let all: Vec<_> = all_plans(&table, false)
            .into_iter()
            .filter(|(p, ..)| p.weights[1] == weights && p.activations[0] == input)
            .collect();
        let request = Request {
            budgets: budgets(random, &all),
            pins: pins.iter().map(|p| p.parse().unwrap()).collect(),
            ..Request::default()
        };
        let allowed = || all.iter().filter(|p| within(&p.2, &request.budgets));
        let case = format!("seed {seed}: {axis:?}, {pins:?}, {:?}", request.budgets);
        let found = front(&table, &request, axis, 6).unwrap();
        if allowed().next().is_none() {
            assert!(found.len() == 1 && !found[0].missed.is_empty(), "{case}");
            continue;
        }
        rows += 1;
        plans_seen += found.len();
        let cost = |cost: &Cost| axis.of(cost).unwrap();
        for plan in &found {
            let at_most = |p: &&(_, _, Cost)| cost(&p.2) <= cost(&plan.cost) * (1.0 + 1e-9);
            let best = allowed().filter(at_most).map(|p| p.1);
            let best = best.fold(f64::INFINITY, f64::min);
            assert!(
                (plan.loss - best).abs() <= 1e-9 * best.abs(),
                "{case}: {plan:?} {best}"
            );
        }
    }
    assert!(
        rows > 30 && plans_seen > 2 * rows,
        "{rows} fronts of {plans_seen} plans"
    );
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
