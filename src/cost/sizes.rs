//! What costs are counted from: how large each layer and each value is, and which values are alive
//! together.

use exbit_kernels::Bits;

use super::packed_bytes;
use crate::{Error, ErrorKind, Result};

/// A network with more weights, entries or MACs than this is not believed, so that its float
/// cost in bit-operations (1024 times as many) is still exact in `f64`.
const LARGEST_TOTAL: u64 = 1 << 42;

/// A layer with weights: what one bit-width decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSize {
    /// The layer's name: its node's in the Model.
    pub name: String,
    /// Number of weights, without the bias.
    pub weights: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Index of the activation that it reads.
    pub input: usize,
    /// Layers of one tie (the layers that feed one residual sum) share a bit-width when the
    /// request asks for it; `None` for a layer that is free in any case.
    pub tie: Option<usize>,
}

/// A value of one image, as it lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSize {
    /// The activation whose codes it holds; `None` for real numbers: an answer.
    pub activation: Option<usize>,
    /// Its lines; each begins with a byte of its own.
    pub lines: u64,
    /// Entries of a line.
    pub line: u64,
    /// The first value at its place: itself, unless a sum is written over what is summed in.
    pub place: usize,
}

impl ValueSize {
    /// Its bytes at `bits` for each entry.
    pub fn bytes(&self, bits: u64) -> u64 {
        self.lines * packed_bytes(self.line, bits)
    }
}

/// The sizes of one network: its layers, its activations and its values, in running order, and
/// the moments at which places are taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    layers: Vec<LayerSize>,
    activations: Vec<String>,
    values: Vec<ValueSize>,
    moments: Vec<Vec<usize>>,
}

impl Sizes {
    /// Sizes that fit together. `activations` are names: of their values in the Model. Each entry
    /// of `moments` lists the first values of the places that are taken at one step; a place in no
    /// moment does not count towards the peak.
    ///
    /// # Errors
    /// `Mismatch` when an index is out of range or a network is too large to be one.
    pub fn new(
        layers: Vec<LayerSize>,
        activations: Vec<String>,
        values: Vec<ValueSize>,
        mut moments: Vec<Vec<usize>>,
    ) -> Result<Self> {
        let known = |a: &usize| *a < activations.len();
        for layer in &layers {
            if !known(&layer.input) {
                let place = format!("layer {}", layer.name);
                return Err(mismatch(
                    place,
                    "reads an activation that is not in the list",
                ));
            }
        }
        let first = |v: &usize| values.get(*v).is_some_and(|value| value.place == *v);
        for (i, value) in values.iter().enumerate() {
            if !value.activation.iter().all(known) || !first(&value.place) {
                let message = "has an activation or a place that does not exist";
                return Err(mismatch(format!("value {i}"), message));
            }
        }
        for (i, moment) in moments.iter_mut().enumerate() {
            moment.sort_unstable();
            moment.dedup();
            if !moment.iter().all(first) {
                let message = "lists a place that does not exist";
                return Err(mismatch(format!("moment {i}"), message));
            }
        }
        let within = |sizes: Vec<u64>| {
            let total = sizes.into_iter().try_fold(0u64, u64::checked_add);
            total.is_some_and(|n| n < LARGEST_TOTAL)
        };
        if !within(layers.iter().map(|l| l.macs).collect())
            || !within(layers.iter().map(|l| l.weights).collect())
            || !within(
                values
                    .iter()
                    .map(|v| v.lines.saturating_mul(v.line))
                    .collect(),
            )
        {
            let message = format!("more than {LARGEST_TOTAL} weights, entries or MACs");
            return Err(mismatch("network".into(), &message));
        }
        Ok(Self {
            layers,
            activations,
            values,
            moments,
        })
    }

    /// The layers, in running order.
    pub fn layers(&self) -> &[LayerSize] {
        &self.layers
    }

    /// The names of the activations, in running order.
    pub fn activations(&self) -> &[String] {
        &self.activations
    }

    /// The values, in running order.
    pub fn values(&self) -> &[ValueSize] {
        &self.values
    }

    /// Which places are taken at each step: their first values, ascending.
    pub fn moments(&self) -> &[Vec<usize>] {
        &self.moments
    }
}

fn mismatch(place: String, message: &str) -> Error {
    Error::new(ErrorKind::Mismatch, place, message)
}

/// A bit-width for every layer's weights and for every activation, in the order of [`Sizes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precisions {
    /// One per layer.
    pub weights: Vec<Bits>,
    /// One per activation.
    pub activations: Vec<Bits>,
}

impl Precisions {
    /// The same bit-widths everywhere.
    pub fn uniform(sizes: &Sizes, weights: Bits, activations: Bits) -> Self {
        Self {
            weights: vec![weights; sizes.layers.len()],
            activations: vec![activations; sizes.activations.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(input: usize, macs: u64) -> LayerSize {
        LayerSize {
            name: "l".into(),
            weights: 1,
            macs,
            input,
            tie: None,
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        let value = |activation, place| ValueSize {
            activation,
            lines: 1,
            line: 1,
            place,
        };
        let new = |layers, values, moments| Sizes::new(layers, vec!["a".into()], values, moments);
        let check = |layers, value, moments, expected: &str| {
            let error = new(layers, vec![value], moments).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(vec![layer(1, 1)], value(Some(0), 0), vec![], "layer l:");
        check(vec![], value(Some(1), 0), vec![], "value 0:");
        check(vec![], value(None, 1), vec![], "value 0:");
        check(vec![], value(None, 0), vec![vec![0], vec![7]], "moment 1:");
        let huge = vec![layer(0, u64::MAX), layer(0, u64::MAX)];
        check(huge, value(None, 0), vec![], "network:");
        let one = vec![value(Some(0), 0)];
        let sizes = new(vec![layer(0, 9)], one, vec![vec![0, 0]]).unwrap();
        assert_eq!(sizes.moments(), [[0]]);
    }
}
