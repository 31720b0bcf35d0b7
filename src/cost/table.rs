//! What an allocation is decided from: for every layer and activation the bit-widths it may
//! have and the loss that each is expected to cost, and the measured times if there are any.

use exbit_kernels::Bits;

use super::{Cost, Precisions, Sizes, cost};
use crate::{Error, ErrorKind, Result};

/// One bit-width that a layer or an activation may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The bit-width.
    pub bits: Bits,
    /// Expected increase of the loss over the float network's; may be negative where measured.
    pub loss: f64,
}

/// Measured times of one image, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// `layers[l][k][a]`: layer `l` with its choice `k`, reading an activation with choice `a`.
    pub layers: Vec<Vec<Vec<f64>>>,
    /// Everything that no bit-width changes.
    pub rest_ms: f64,
}

/// Sizes, choices and times of one network, checked to fit together.
///
/// The expected loss of a plan is the sum of the losses of its choices: errors of different
/// layers are taken as uncorrelated, which is what makes an integer program of the question.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    sizes: Sizes,
    weights: Vec<Vec<Choice>>,
    activations: Vec<Vec<Choice>>,
    latency: Option<Latency>,
}

impl Table {
    /// A table of `weights[l]` and `activations[j]`, the choices of each layer and activation of
    /// `sizes`, in its order.
    ///
    /// # Errors
    /// `Mismatch` when lengths differ, a list is empty or has a bit-width twice, or a loss is
    /// not finite; names the layer or activation.
    pub fn new(
        sizes: Sizes,
        weights: Vec<Vec<Choice>>,
        activations: Vec<Vec<Choice>>,
    ) -> Result<Self> {
        let layers = sizes.layers().iter().map(|l| format!("layer {}", l.name));
        let values = sizes
            .activations()
            .iter()
            .map(|a| format!("activation {a}"));
        if weights.len() != layers.len() || activations.len() != values.len() {
            let message = format!(
                "expected {} layers and {} activations, got {} and {}",
                layers.len(),
                values.len(),
                weights.len(),
                activations.len()
            );
            return Err(Error::new(
                ErrorKind::Mismatch,
                "sensitivity table",
                message,
            ));
        }
        for (place, choices) in layers.chain(values).zip(weights.iter().chain(&activations)) {
            check_choices(choices)
                .map_err(|message| Error::new(ErrorKind::Mismatch, place, message))?;
        }
        Ok(Self {
            sizes,
            weights,
            activations,
            latency: None,
        })
    }

    /// The same table, with measured times.
    ///
    /// # Errors
    /// `Mismatch` when there is not one positive time for each choice of each layer and of its
    /// input.
    pub fn with_latency(mut self, latency: Latency) -> Result<Self> {
        let bad = |place: String, message: &str| {
            Err(Error::new(ErrorKind::Mismatch, place, message.to_owned()))
        };
        if latency.layers.len() != self.weights.len() {
            return bad("latency table".into(), "expected one entry for each layer");
        }
        if !(latency.rest_ms.is_finite() && latency.rest_ms >= 0.0) {
            return bad(
                "latency table".into(),
                "expected a time of at least 0 ms for the rest",
            );
        }
        for (l, times) in latency.layers.iter().enumerate() {
            let layer = &self.sizes.layers()[l];
            let inputs = self.activations[layer.input].len();
            let shaped =
                times.len() == self.weights[l].len() && times.iter().all(|row| row.len() == inputs);
            if !shaped || !times.iter().flatten().all(|t| t.is_finite() && *t > 0.0) {
                let message = "expected a positive time for each choice of weights and input";
                return bad(format!("latency of layer {}", layer.name), message);
            }
        }
        self.latency = Some(latency);
        Ok(self)
    }

    /// The sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The choices of each layer's weights.
    pub fn weights(&self) -> &[Vec<Choice>] {
        &self.weights
    }

    /// The choices of each activation.
    pub fn activations(&self) -> &[Vec<Choice>] {
        &self.activations
    }

    /// The measured times, where there are any.
    pub fn latency(&self) -> Option<&Latency> {
        self.latency.as_ref()
    }

    /// What `precisions` cost; its latency is known where times were measured for every one of
    /// its bit-widths.
    pub fn cost(&self, precisions: &Precisions) -> Cost {
        Cost {
            latency_ms: self.latency_ms(precisions),
            ..cost(&self.sizes, precisions)
        }
    }

    /// The expected loss of `precisions`; `None` when one of its bit-widths is not a choice here.
    pub fn loss(&self, precisions: &Precisions) -> Option<f64> {
        let sum = |table: &[Vec<Choice>], bits: &[Bits]| {
            let pairs = table.iter().zip(bits);
            pairs
                .map(|(row, &b)| Some(row[index_of(row, b)?].loss))
                .sum::<Option<f64>>()
        };
        let weights = sum(&self.weights, &precisions.weights)?;
        Some(weights + sum(&self.activations, &precisions.activations)?)
    }

    fn latency_ms(&self, precisions: &Precisions) -> Option<f64> {
        let latency = self.latency.as_ref()?;
        let mut total = latency.rest_ms;
        for (l, layer) in self.sizes.layers().iter().enumerate() {
            let k = index_of(&self.weights[l], precisions.weights[l])?;
            let input = layer.input;
            let a = index_of(&self.activations[input], precisions.activations[input])?;
            total += latency.layers[l][k][a];
        }
        Some(total)
    }
}

/// Where `bits` stands among `choices`.
pub(crate) fn index_of(choices: &[Choice], bits: Bits) -> Option<usize> {
    choices.iter().position(|c| c.bits == bits)
}

fn check_choices(choices: &[Choice]) -> std::result::Result<(), String> {
    if choices.is_empty() {
        return Err("has no bit-width to choose from".into());
    }
    for (i, choice) in choices.iter().enumerate() {
        if !choice.loss.is_finite() {
            return Err(format!(
                "the loss at {} bits is {}",
                choice.bits, choice.loss
            ));
        }
        if choices[..i].iter().any(|c| c.bits == choice.bits) {
            return Err(format!("{} bits are listed twice", choice.bits));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{LayerSize, ValueSize};

    fn sizes() -> Sizes {
        let layer = LayerSize {
            name: "l".into(),
            weights: 8,
            macs: 8,
            input: 0,
            tie: None,
        };
        let value = ValueSize {
            activation: Some(0),
            lines: 1,
            line: 8,
            place: 0,
        };
        Sizes::new(vec![layer], vec!["a".into()], vec![value], vec![vec![0]]).unwrap()
    }

    fn choices(of: &[(u8, f64)]) -> Vec<Choice> {
        of.iter()
            .map(|&(b, loss)| Choice {
                bits: Bits::new(b).unwrap(),
                loss,
            })
            .collect()
    }

    #[test]
    fn tables_that_do_not_fit_are_errors() {
        let check = |weights: Vec<Vec<Choice>>, expected: &str| {
            let error = Table::new(sizes(), weights, vec![choices(&[(8, 0.0)])]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            vec![],
            "sensitivity table: expected 1 layers and 1 activations, got 0 and 1",
        );
        check(vec![vec![]], "layer l: has no bit-width to choose from");
        check(
            vec![choices(&[(4, f64::NAN)])],
            "layer l: the loss at 4 bits is NaN",
        );
        check(
            vec![choices(&[(4, 1.0), (4, 0.0)])],
            "layer l: 4 bits are listed twice",
        );
    }

    #[test]
    fn loss_and_latency_are_sums_over_the_choices_made() {
        let weights = vec![choices(&[(2, 0.5), (4, 0.25)])];
        let activations = vec![choices(&[(4, 0.125), (8, 0.0)])];
        let table = Table::new(sizes(), weights, activations).unwrap();
        let times = Latency {
            layers: vec![vec![vec![1.0, 2.0], vec![3.0, 4.0]]],
            rest_ms: 0.5,
        };
        let short = Latency {
            layers: vec![vec![vec![1.0, 2.0]]],
            rest_ms: 0.5,
        };
        assert!(table.clone().with_latency(short).is_err());
        let table = table.with_latency(times).unwrap();
        let bits = |b| Bits::new(b).unwrap();
        let chosen = Precisions::uniform(table.sizes(), bits(4), bits(4));
        assert_eq!(table.loss(&chosen), Some(0.375));
        assert_eq!(table.cost(&chosen).latency_ms, Some(3.5));
        let unknown = Precisions::uniform(table.sizes(), bits(3), bits(8));
        assert_eq!(
            (table.loss(&unknown), table.cost(&unknown).latency_ms),
            (None, None)
        );
    }
}
