//! Limits as sums: what every choice uses of a limited resource.
//!
//! Bytes are linear in the choices, but for a place that several values share: it is as wide as the
//! widest of them. A peak is a row for each moment that counts one value at each place; a plan in
//! which others are wider is answered with their row ([`beyond`]), so that only those few rows are
//! made that matter. Memory adds the weights to each. BOPs and times depend on a layer's choice and
//! its input's together. Amounts are whole numbers but for times, so a row of whole numbers is
//! allowed half of one more: sums in `f64` are then exact, and a solver's tolerance changes
//! nothing.

use std::rc::Rc;

use super::problem::Picks;
use crate::budget::{Budget, Resource};
use crate::cost::{Choice, LayerSize, REAL_BITS, Table, ValueSize, packed_bytes};
use crate::{Error, ErrorKind, Result};

/// Beyond this whole numbers are no longer exact in `f64`; no sum of a [`Table`] reaches it.
const LARGEST_EXACT: f64 = (1u64 << 52) as f64;

/// Times may exceed their limit by this part of it: the rounding of their sum.
const TIME_ROUNDING: f64 = 1e-9;

/// `[layer][choice][input choice]`; one entry in the last place where the input does not matter.
type LayerUse = Rc<Vec<Vec<Vec<f64>>>>;

/// One limit: `sum of uses <= limit`.
#[derive(Clone)]
pub(crate) struct Row {
    /// Index of the budget that it comes from.
    pub(crate) budget: usize,
    pub(crate) limit: f64,
    /// What is used whatever is chosen.
    pub(crate) fixed: f64,
    layers: Option<LayerUse>,
    /// `[activation][choice]`, empty for an activation that does not count.
    activations: Vec<Vec<f64>>,
    /// The values that a peak counts, one at each place; empty for what is no peak.
    values: Vec<usize>,
}

impl Row {
    /// What layer `l` uses with choice `k` on an input with choice `a`.
    pub(crate) fn layer(&self, l: usize, k: usize, a: usize) -> f64 {
        self.layers.as_ref().map_or(0.0, |layers| {
            let by_input = &layers[l][k];
            by_input[a.min(by_input.len() - 1)]
        })
    }

    /// What activation `j` uses with choice `a`.
    pub(crate) fn activation(&self, j: usize, a: usize) -> f64 {
        self.activations[j].get(a).copied().unwrap_or(0.0)
    }

    /// Whether the choices of layer `l` and of its input multiply here.
    pub(crate) fn is_paired(&self, l: usize) -> bool {
        self.layers
            .as_ref()
            .is_some_and(|layers| layers[l].iter().any(|a| a.len() > 1))
    }

    /// Whether it counts a moment's places.
    pub(crate) fn is_peak(&self) -> bool {
        !self.values.is_empty()
    }

    /// Raises the limit to `amount` of `resource`, if it is lower.
    pub(crate) fn raise_to(&mut self, resource: Resource, amount: f64) {
        self.limit = self.limit.max(rounded_limit(resource, amount));
    }
}

/// The rows of one budget, `index` among the request's, where activations may take their `open`
/// choices.
///
/// # Errors
/// `Mismatch` for a latency budget without measured times.
pub(crate) fn rows_of(
    table: &Table,
    open: &[Vec<usize>],
    index: usize,
    budget: &Budget,
) -> Result<Vec<Row>> {
    let sizes = table.sizes();
    let limit = rounded_limit(budget.resource, budget.amount(sizes));
    let row = |layers, values: &[usize]| {
        let Bytes { activations, fixed } = Bytes::of(table, values);
        Row {
            budget: index,
            limit,
            fixed,
            layers,
            activations,
            values: Vec::new(),
        }
    };
    // Where every choice is the least, a place is as wide as the value whose least is widest.
    let least = |value: &ValueSize| match value.activation {
        Some(j) => {
            let choices = open[j].iter().map(|&a| bits(&table.activations()[j][a]));
            choices.min().unwrap_or(0)
        }
        None => REAL_BITS,
    };
    let peaks = |layers: Option<LayerUse>| {
        let rows = widest(table, &least).into_iter().map(|values| Row {
            values: values.clone(),
            ..row(layers.clone(), &values)
        });
        rows.collect()
    };
    Ok(match budget.resource {
        Resource::Weights => vec![row(Some(weight_bytes(table)), &[])],
        Resource::Activations => {
            let all: Vec<usize> = (0..sizes.values().len()).collect();
            vec![row(None, &all)]
        }
        Resource::PeakActivations => peaks(None),
        Resource::Memory => peaks(Some(weight_bytes(table))),
        Resource::Bops => vec![row(Some(bops(table)), &[])],
        Resource::Latency => {
            let latency = table.latency().ok_or_else(|| {
                let message = "no times were measured, so no plan can be held to it";
                Error::new(ErrorKind::Mismatch, format!("budget {budget}"), message)
            })?;
            let layers = Rc::new(latency.layers.clone());
            vec![Row {
                fixed: latency.rest_ms,
                ..row(Some(layers), &[])
            }]
        }
    })
}

fn rounded_limit(resource: Resource, amount: f64) -> f64 {
    match resource {
        Resource::Latency => amount * (1.0 + TIME_ROUNDING),
        Resource::Weights
        | Resource::Activations
        | Resource::PeakActivations
        | Resource::Memory
        | Resource::Bops => amount.min(LARGEST_EXACT).floor() + 0.5,
    }
}

fn bits(choice: &Choice) -> u64 {
    u64::from(choice.bits.get())
}

fn weight_bytes(table: &Table) -> LayerUse {
    let layers = table.sizes().layers().iter().zip(table.weights());
    let of_layer = |(size, choices): (&LayerSize, &Vec<Choice>)| {
        choices
            .iter()
            .map(|c| vec![packed_bytes(size.weights, bits(c)) as f64])
            .collect()
    };
    Rc::new(layers.map(of_layer).collect())
}

fn bops(table: &Table) -> LayerUse {
    let layers = table.sizes().layers().iter().zip(table.weights());
    let of_layer = |(size, choices): (&LayerSize, &Vec<Choice>)| {
        let inputs = &table.activations()[size.input];
        let of_choice = |c: &Choice| {
            inputs
                .iter()
                .map(|a| (size.macs * bits(c) * bits(a)) as f64)
                .collect()
        };
        choices.iter().map(of_choice).collect()
    };
    Rc::new(layers.map(of_layer).collect())
}

/// A sum over values: what the choices of their activations use, and what answers do.
struct Bytes {
    /// `[activation][choice]`, empty for an activation that does not count.
    activations: Vec<Vec<f64>>,
    fixed: f64,
}

impl Bytes {
    fn of(table: &Table, values: &[usize]) -> Self {
        let mut sum = Self {
            activations: vec![Vec::new(); table.activations().len()],
            fixed: 0.0,
        };
        for value in values.iter().map(|&v| &table.sizes().values()[v]) {
            let Some(j) = value.activation else {
                sum.fixed += value.bytes(REAL_BITS) as f64;
                continue;
            };
            let choices = &table.activations()[j];
            let used = &mut sum.activations[j];
            used.resize(choices.len(), 0.0);
            for (used, choice) in used.iter_mut().zip(choices) {
                *used += value.bytes(bits(choice)) as f64;
            }
        }
        sum
    }
}

/// Rows of the peaks among `rows` that `picks`, which use `used` of a row, exceed by more than any
/// row that is there says; none where enough are there.
pub(crate) fn beyond(
    table: &Table,
    rows: &[Row],
    picks: &Picks,
    used: &dyn Fn(&Row) -> f64,
) -> Vec<Row> {
    let chosen = |value: &ValueSize| match value.activation {
        Some(j) => bits(&table.activations()[j][picks.activations[j]]),
        None => REAL_BITS,
    };
    let moments = widest(table, &chosen);
    let firsts = rows.iter().enumerate().filter(|(i, row)| {
        row.is_peak() && rows[..*i].iter().all(|other| other.budget != row.budget)
    });
    let of_budget = |(_, first): (usize, &Row)| {
        let same = rows.iter().filter(|row| row.budget == first.budget);
        let worst = same.map(used).fold(first.limit, f64::max);
        let row = |values: &Vec<usize>| {
            let Bytes { activations, fixed } = Bytes::of(table, values);
            Row {
                activations,
                fixed,
                values: values.clone(),
                ..first.clone()
            }
        };
        let more = moments.iter().map(row).filter(|row| used(row) > worst);
        more.collect::<Vec<_>>()
    };
    firsts.flat_map(of_budget).collect()
}

/// For each moment, without those whose places are all taken in another, one value at each place:
/// the one that is widest by `bits`. One moment at least, if only an empty one.
fn widest(table: &Table, bits: &dyn Fn(&ValueSize) -> u64) -> Vec<Vec<usize>> {
    let (sizes, all) = (table.sizes(), table.sizes().moments());
    let mut at: Vec<usize> = (0..sizes.values().len()).collect();
    for (v, value) in sizes.values().iter().enumerate() {
        if bits(value) > bits(&sizes.values()[at[value.place]]) {
            at[value.place] = v;
        }
    }
    let within =
        |small: &[usize], large: &[usize]| small.iter().all(|j| large.binary_search(j).is_ok());
    let covered = |i: usize| {
        all.iter().enumerate().any(|(o, other)| {
            within(&all[i], other) && (other.len() > all[i].len() || (o < i && *other == all[i]))
        })
    };
    let kept = (0..all.len()).filter(|&i| !covered(i));
    let mut moments: Vec<Vec<usize>> = kept
        .map(|i| all[i].iter().map(|&place| at[place]).collect())
        .collect();
    if moments.is_empty() {
        moments.push(Vec::new());
    }
    moments
}
