//! What costs are counted from: how large each layer and each activation is, and which
//! activations are alive together.

use exbit_kernels::Bits;

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

/// An activation that is kept as codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationSize {
    /// Its name: its value's in the Model.
    pub name: String,
    /// Entries of one image.
    pub elements: u64,
}

/// The sizes of one network: its layers and its activations, in running order, and the moments
/// at which activations are alive together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    layers: Vec<LayerSize>,
    activations: Vec<ActivationSize>,
    moments: Vec<Vec<usize>>,
}

impl Sizes {
    /// Sizes that fit together. Each entry of `moments` lists the activations alive at one step;
    /// an activation in no moment does not count towards the peak.
    ///
    /// # Errors
    /// `Mismatch` when an index is out of range or a network is too large to be one.
    pub fn new(
        layers: Vec<LayerSize>,
        activations: Vec<ActivationSize>,
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
        for (i, moment) in moments.iter_mut().enumerate() {
            moment.sort_unstable();
            moment.dedup();
            if !moment.iter().all(known) {
                let message = "lists an activation that does not exist";
                return Err(mismatch(format!("moment {i}"), message));
            }
        }
        let within = |sizes: Vec<u64>| {
            let total = sizes.into_iter().try_fold(0u64, u64::checked_add);
            total.is_some_and(|n| n < LARGEST_TOTAL)
        };
        if !within(layers.iter().map(|l| l.macs).collect())
            || !within(layers.iter().map(|l| l.weights).collect())
            || !within(activations.iter().map(|a| a.elements).collect())
        {
            let message = format!("more than {LARGEST_TOTAL} weights, entries or MACs");
            return Err(mismatch("network".into(), &message));
        }
        Ok(Self {
            layers,
            activations,
            moments,
        })
    }

    /// The layers, in running order.
    pub fn layers(&self) -> &[LayerSize] {
        &self.layers
    }

    /// The activations, in running order.
    pub fn activations(&self) -> &[ActivationSize] {
        &self.activations
    }

    /// Which activations are alive at each step, by ascending index.
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
        let one = || {
            vec![ActivationSize {
                name: "a".into(),
                elements: 1,
            }]
        };
        let message = |layers, moments| Sizes::new(layers, one(), moments).unwrap_err().to_string();
        assert!(message(vec![layer(1, 1)], vec![]).starts_with("layer l:"));
        assert!(message(vec![], vec![vec![0], vec![7]]).starts_with("moment 1:"));
        let huge = vec![layer(0, u64::MAX), layer(0, u64::MAX)];
        assert!(message(huge, vec![]).starts_with("network:"));
        let sizes = Sizes::new(vec![layer(0, 9)], one(), vec![vec![0, 0]]).unwrap();
        assert_eq!(sizes.moments(), [[0]]);
    }
}
