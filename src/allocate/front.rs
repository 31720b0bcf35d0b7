//! The trade itself: the Pareto front of one resource against the expected loss, and what one
//! step of bits more or less is worth in a given plan.

use exbit_kernels::Bits;
use rayon::prelude::*;

use super::presolve::least;
use super::problem::Problem;
use super::{Allocation, Request, allocate};
use crate::Result;
use crate::budget::{Budget, Limit, Resource};
use crate::cost::{Choice, Cost, Precisions, Table};

/// Plans from the most generous to the smallest in `axis`: the best at each of up to `points`
/// limits, evenly apart in their logarithm, with the budgets, pins and ties of `request` kept.
///
/// Plans that another beats in both are left out, so the loss rises as the cost falls. Where the
/// budgets of `request` cannot be met, the nearest plan is all there is. Each plan is searched for
/// as long as `request` allows, several at a time.
///
/// # Errors
/// As [`allocate`]; `Mismatch` also for a latency axis without measured times.
pub fn front(
    table: &Table,
    request: &Request,
    axis: Resource,
    points: usize,
) -> Result<Vec<Allocation>> {
    let on_axis = |amount| Budget {
        resource: axis,
        limit: Limit::Amount(amount),
    };
    let alone = Request {
        budgets: vec![on_axis(1.0)],
        ..request.clone()
    };
    let problem = Problem::new(table, &alone)?;
    let smallest = problem
        .rows
        .iter()
        .map(|row| least(&problem, row))
        .fold(0.0, f64::max);
    let first = allocate(table, request)?;
    let of = |plan: &Allocation| axis.of(&plan.cost).unwrap_or(0.0);
    let largest = of(&first);
    let mut plans = vec![first];
    if !plans[0].missed.is_empty() || smallest <= 0.0 {
        return Ok(plans);
    }
    let at = |i: usize| {
        let limit = largest * (smallest / largest).powf(i as f64 / (points - 1) as f64);
        let mut limited = request.clone();
        limited.budgets.push(on_axis(limit.max(smallest)));
        allocate(table, &limited)
    };
    let limited: Result<Vec<Allocation>> = (1..points).into_par_iter().map(at).collect();
    plans.extend(limited?.into_iter().filter(|plan| plan.missed.is_empty()));
    Ok(undominated(plans, of))
}

/// `plans`, by falling cost, without those that a smaller one equals or beats in the loss.
fn undominated(plans: Vec<Allocation>, of: impl Fn(&Allocation) -> f64) -> Vec<Allocation> {
    let mut kept: Vec<Allocation> = Vec::with_capacity(plans.len());
    for plan in plans {
        while kept
            .last()
            .is_some_and(|k| k.loss >= plan.loss && of(k) >= of(&plan))
        {
            kept.pop();
        }
        kept.push(plan);
    }
    kept
}

/// What another bit-width in one place would change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The other bit-width.
    pub bits: Bits,
    /// What the expected loss would rise by; negative where it would fall.
    pub loss: f64,
    /// What the whole plan would cost then.
    pub cost: Cost,
}

/// One layer's weights or one activation of a plan, and its two neighbours in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The name of the layer or activation.
    pub name: String,
    /// The bits that it has.
    pub bits: Bits,
    /// With the next bit-width up, if there is one.
    pub more: Option<Change>,
    /// With the next bit-width down, if there is one.
    pub fewer: Option<Change>,
}

/// What one step of bits more or less would change, for each layer's weights and then for each
/// activation, in running order. Empty changes also where `precisions` has bits that are not in
/// the table.
pub fn exchanges(table: &Table, precisions: &Precisions) -> (Vec<Exchange>, Vec<Exchange>) {
    let at = |bits: &[Bits], i: usize, other: Bits| {
        let mut changed = bits.to_vec();
        changed[i] = other;
        changed
    };
    let layers = table.sizes().layers().iter().enumerate().map(|(l, layer)| {
        let cost = |bits| {
            let weights = at(&precisions.weights, l, bits);
            table.cost(&Precisions {
                weights,
                ..precisions.clone()
            })
        };
        exchange(
            &layer.name,
            &table.weights()[l],
            precisions.weights[l],
            cost,
        )
    });
    let activations = table
        .sizes()
        .activations()
        .iter()
        .enumerate()
        .map(|(j, activation)| {
            let cost = |bits| {
                let activations = at(&precisions.activations, j, bits);
                table.cost(&Precisions {
                    activations,
                    ..precisions.clone()
                })
            };
            exchange(
                activation,
                &table.activations()[j],
                precisions.activations[j],
                cost,
            )
        });
    (layers.collect(), activations.collect())
}

fn exchange(name: &str, choices: &[Choice], bits: Bits, cost: impl Fn(Bits) -> Cost) -> Exchange {
    let now = choices.iter().find(|c| c.bits == bits).map(|c| c.loss);
    let change = |to: Option<&Choice>| {
        let (to, now) = (to?, now?);
        Some(Change {
            bits: to.bits,
            loss: to.loss - now,
            cost: cost(to.bits),
        })
    };
    Exchange {
        name: name.to_owned(),
        bits,
        more: change(
            choices
                .iter()
                .filter(|c| c.bits > bits)
                .min_by_key(|c| c.bits),
        ),
        fewer: change(
            choices
                .iter()
                .filter(|c| c.bits < bits)
                .max_by_key(|c| c.bits),
        ),
    }
}
