//! The integer program over the core, for the solver `microlp` (branch and bound over a simplex).
//!
//! ```text
//! y_{j,a}     activation j has choice a                      sum_a y_{j,a} = 1
//! z_{l,k,a}   layer l has choice k, its input choice a       sum_k z_{l,k,a} = y_{in(l),a}
//! ```
//!
//! The second line is the product of two choices, made linear through its marginals: it is whole
//! where they are. Where no limit multiplies them, z_{l,k} with sum_k z_{l,k} = 1 is enough. Tied
//! layers share x_{u,o}; with sum_a z_{l,k,a} = x_{u,o} their z need not be whole by themselves.
//!
//! Losses and sizes range over decades and the solver's tolerances are absolute. So the least
//! coefficient of every "exactly one" is taken out of each sum, and the sum is scaled.

use std::collections::HashMap;
use std::time::Duration;

use microlp::{
    ComparisonOp, OptimizationDirection, Problem as Linear, SolutionStatus, SolveOptions,
    SolveOutcome, Variable,
};

use super::bound::Core;
use super::choice::{Choices, Choose};
use super::problem::{Picks, Problem};

/// The largest coefficient of every scaled sum.
const SCALE: f64 = 1000.0;

/// What is made least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The loss, within every limit.
    Loss,
    /// The part by which the worst limit is exceeded.
    Excess,
}

/// What the solver found.
pub(crate) enum Outcome {
    /// Picks, and the least that the goal can be: reached by them when `optimal`.
    Found {
        picks: Picks,
        optimal: bool,
        bound: f64,
    },
    /// No picks of the core keep within the limits.
    Infeasible,
    /// Nothing within the time, or nothing that the solver would vouch for.
    Unknown,
}

/// Solves for `goal` over `core` in at most `time`; `start` seeds the search.
pub(crate) fn solve(
    problem: &Problem,
    core: &Core,
    goal: Goal,
    start: Option<&Picks>,
    time: Duration,
) -> Outcome {
    let choices = Choices::new(problem, core);
    if choices.sets.iter().any(|set| set.entries.is_empty()) {
        return Outcome::Infeasible;
    }
    let loss_base: f64 = choices.sets.iter().map(|set| least(&set.losses)).sum();
    let widest = || {
        choices
            .sets
            .iter()
            .map(|set| spread(&set.losses))
            .fold(0.0, f64::max)
    };
    let loss_scale = match (goal, start) {
        (Goal::Excess, _) => 0.0,
        (Goal::Loss, Some(picks)) => SCALE / nonzero(problem.loss(picks) - loss_base),
        (Goal::Loss, None) => SCALE / nonzero(widest()),
    };
    let mut linear = Linear::new(OptimizationDirection::Minimize);
    let variables = add_choices(&choices, loss_scale, &mut linear);
    add_links(problem, &choices, &variables, &mut linear);
    let excess = (goal == Goal::Excess).then(|| linear.add_var(SCALE, (0.0, f64::INFINITY)));
    if !add_limits(problem, &choices, &variables, excess, &mut linear) {
        return Outcome::Infeasible;
    }
    let mut options = SolveOptions::default();
    options.time_limit = Some(time);
    options.warm_start = start.and_then(|picks| hint(&choices, &variables, picks));
    match linear.solve_with(options) {
        Ok(SolveOutcome::Solution(found)) => {
            let bound = found.stats().best_bound.unwrap_or(f64::NEG_INFINITY);
            Outcome::Found {
                picks: read(problem, &choices, |s, e| found.var_value(variables[s][e])),
                optimal: found.status() == SolutionStatus::Optimal,
                bound: match goal {
                    Goal::Loss => bound / loss_scale + loss_base,
                    Goal::Excess => bound / SCALE,
                },
            }
        }
        Err(microlp::Error::Infeasible) => Outcome::Infeasible,
        Ok(SolveOutcome::Interrupted(_)) | Err(_) => Outcome::Unknown,
    }
}

/// A variable for each entry of each set, in their order.
fn add_choices(choices: &Choices, loss_scale: f64, linear: &mut Linear) -> Vec<Vec<Variable>> {
    let mut variables = Vec::with_capacity(choices.sets.len());
    for set in &choices.sets {
        let base = least(&set.losses);
        let mut of_set = Vec::with_capacity(set.entries.len());
        for loss in &set.losses {
            let cost = (loss - base) * loss_scale;
            of_set.push(match set.whole {
                true => linear.add_binary_var(cost),
                false => linear.add_var(cost, (0.0, 1.0)),
            });
        }
        if !set.linked {
            let all: Vec<_> = of_set.iter().map(|&v| (v, 1.0)).collect();
            linear.add_constraint(all, ComparisonOp::Eq, 1.0);
        }
        variables.push(of_set);
    }
    variables
}

/// The marginals of the products: one constraint for each choice that products are linked to.
fn add_links(
    problem: &Problem,
    choices: &Choices,
    variables: &[Vec<Variable>],
    linear: &mut Linear,
) {
    // (choice, input choice, variable) of each linked layer.
    let mut products: HashMap<usize, Vec<(usize, usize, Variable)>> = HashMap::new();
    for (set, of_set) in choices
        .sets
        .iter()
        .zip(variables)
        .filter(|(set, _)| set.linked)
    {
        for (&entry, &variable) in set.entries.iter().zip(of_set) {
            if let Choose::Layer {
                layer,
                choice,
                input,
            } = entry
            {
                products
                    .entry(layer)
                    .or_default()
                    .push((choice, input, variable));
            }
        }
    }
    let mut link = |layer: usize, chosen: Variable, same: &dyn Fn(usize, usize) -> bool| {
        let Some(of_layer) = products.get(&layer) else {
            return;
        };
        let marginal = of_layer.iter().filter(|(k, a, _)| same(*k, *a));
        let mut sum: Vec<_> = marginal.map(|p| (p.2, 1.0)).collect();
        sum.push((chosen, -1.0));
        linear.add_constraint(sum, ComparisonOp::Eq, 0.0);
    };
    let sets = choices.sets.iter().zip(variables);
    for (&entry, &chosen) in sets.flat_map(|(set, of_set)| set.entries.iter().zip(of_set)) {
        match entry {
            Choose::Input { activation, choice } => {
                for &l in &problem.readers[activation] {
                    link(l, chosen, &|_, a| a == choice);
                }
            }
            Choose::Option { unit, option } => {
                let unit = &problem.units[unit];
                for (&l, &choice) in unit.layers.iter().zip(&unit.options[option]) {
                    link(l, chosen, &|k, _| k == choice);
                }
            }
            Choose::Layer { .. } => {}
        }
    }
}

/// The limits; `false` when one cannot be met by anything.
fn add_limits(
    problem: &Problem,
    choices: &Choices,
    variables: &[Vec<Variable>],
    excess: Option<Variable>,
    linear: &mut Linear,
) -> bool {
    for row in &problem.rows {
        let mut room = row.limit - row.fixed;
        let mut sum: Vec<(Variable, f64)> = Vec::new();
        for (set, variables) in choices.sets.iter().zip(variables) {
            let used: Vec<f64> = set.entries.iter().map(|&e| choices.used(row, e)).collect();
            let base = least(&used);
            room -= base;
            let above = variables.iter().zip(used).map(|(&v, u)| (v, u - base));
            sum.extend(above.filter(|(_, u)| *u > 0.0));
        }
        let scale = SCALE / nonzero(sum.iter().map(|s| s.1).fold(0.0, f64::max));
        sum.iter_mut().for_each(|s| s.1 *= scale);
        match excess {
            Some(excess) => sum.push((excess, -row.limit * scale)),
            None if room < 0.0 => return false,
            None if sum.is_empty() => continue,
            None => {}
        }
        linear.add_constraint(sum, ComparisonOp::Le, room * scale);
    }
    true
}

/// `picks` as values of every variable; `None` where the core has closed one of them.
fn hint(
    choices: &Choices,
    variables: &[Vec<Variable>],
    picks: &Picks,
) -> Option<Vec<(Variable, f64)>> {
    let mut values = Vec::new();
    for (set, variables) in choices.sets.iter().zip(variables) {
        let made: Vec<bool> = set
            .entries
            .iter()
            .map(|&e| choices.is_made(picks, e))
            .collect();
        if !made.contains(&true) {
            return None;
        }
        values.extend(
            variables
                .iter()
                .zip(made)
                .map(|(&v, made)| (v, f64::from(u8::from(made)))),
        );
    }
    Some(values)
}

/// The picks of a solution, given the value of every entry of every set.
fn read(problem: &Problem, choices: &Choices, value: impl Fn(usize, usize) -> f64) -> Picks {
    let mut picks = Picks {
        weights: vec![0; problem.table.weights().len()],
        activations: vec![0; problem.table.activations().len()],
    };
    for (s, set) in choices.sets.iter().enumerate().filter(|(_, set)| set.whole) {
        let largest = (0..set.entries.len()).max_by(|&x, &y| value(s, x).total_cmp(&value(s, y)));
        if let Some(e) = largest {
            choices.make(&mut picks, set.entries[e]);
        }
    }
    picks
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn spread(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least(values)
}

/// A divisor: 1 where there is nothing to scale.
fn nonzero(value: f64) -> f64 {
    if value > 0.0 { value } else { 1.0 }
}
