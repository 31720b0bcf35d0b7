//! Limits as sums: what every choice uses of a limited resource.
//!
//! Bytes are linear in the choices. A peak is some rows for each moment; memory adds the weights to
//! each of them. BOPs and times depend on a layer's choice and its input's together. Amounts are
//! whole numbers but for times, so a row of whole numbers is allowed half of one more: sums in
//! `f64` are then exact, and a solver's tolerance changes nothing.

use std::rc::Rc;

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

    /// Raises the limit to `amount` of `resource`, if it is lower.
    pub(crate) fn raise_to(&mut self, resource: Resource, amount: f64) {
        self.limit = self.limit.max(rounded_limit(resource, amount));
    }
}

/// The rows of one budget, `index` among the request's.
///
/// # Errors
/// `Mismatch` for a latency budget without measured times.
pub(crate) fn rows_of(table: &Table, index: usize, budget: &Budget) -> Result<Vec<Row>> {
    let sizes = table.sizes();
    let limit = rounded_limit(budget.resource, budget.amount(sizes));
    let row = |layers, Bytes { activations, fixed }| Row {
        budget: index,
        limit,
        fixed,
        layers,
        activations,
    };
    let none = || Bytes::of(table, []);
    Ok(match budget.resource {
        Resource::Weights => vec![row(Some(weight_bytes(table)), none())],
        Resource::Activations => vec![row(None, Bytes::of(table, sizes.values()))],
        Resource::PeakActivations => moments(table)
            .into_iter()
            .map(|alive| row(None, alive))
            .collect(),
        Resource::Memory => {
            let weights = weight_bytes(table);
            let with_weights = |alive| row(Some(Rc::clone(&weights)), alive);
            moments(table).into_iter().map(with_weights).collect()
        }
        Resource::Bops => vec![row(Some(bops(table)), none())],
        Resource::Latency => {
            let latency = table.latency().ok_or_else(|| {
                let message = "no times were measured, so no plan can be held to it";
                Error::new(ErrorKind::Mismatch, format!("budget {budget}"), message)
            })?;
            let layers = Rc::new(latency.layers.clone());
            vec![Row {
                fixed: latency.rest_ms,
                ..row(Some(layers), none())
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
    fn of<'v>(table: &Table, values: impl IntoIterator<Item = &'v ValueSize>) -> Self {
        let mut sum = Self {
            activations: vec![Vec::new(); table.activations().len()],
            fixed: 0.0,
        };
        for value in values {
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

/// Activation bytes by moment, without the moments whose places are all taken in another. One
/// moment at least, if only an empty one.
///
/// A place has the bits of the widest of its values: a limit on it is one for each of them, and a
/// limit on several places one for every choice of a value at each.
fn moments(table: &Table) -> Vec<Bytes> {
    let (sizes, all) = (table.sizes(), table.sizes().moments());
    let within =
        |small: &[usize], large: &[usize]| small.iter().all(|j| large.binary_search(j).is_ok());
    let covered = |i: usize| {
        all.iter().enumerate().any(|(o, other)| {
            within(&all[i], other) && (other.len() > all[i].len() || (o < i && *other == all[i]))
        })
    };
    let mut rows = Vec::new();
    for i in (0..all.len()).filter(|&i| !covered(i)) {
        let mut choices: Vec<Vec<&ValueSize>> = vec![Vec::new()];
        for &place in &all[i] {
            let mut widest: Vec<&ValueSize> = sizes.members(place).collect();
            widest.sort_by_key(|v| v.activation);
            widest.dedup_by_key(|v| v.activation);
            let with = |chosen: Vec<_>| {
                let more = widest.iter().map(move |&v| [&chosen[..], &[v]].concat());
                more.collect::<Vec<_>>()
            };
            choices = choices.into_iter().flat_map(with).collect();
        }
        rows.extend(choices.into_iter().map(|values| Bytes::of(table, values)));
    }
    if rows.is_empty() {
        rows.push(Bytes::of(table, []));
    }
    rows
}
