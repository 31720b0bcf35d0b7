//! How parameters move down a gradient, and how the rate changes while they do.
//!
//! With `g` the gradient plus `decay p`:
//!
//! ```text
//! sgd       v = m v + g                                          p -= rate v
//! rmsprop   s = 0.9 s + 0.1 g^2,  v = m v + g / sqrt(s + 1e-3)   p -= rate v
//! adam      v = 0.9 v + 0.1 g,    s = 0.999 s + 0.001 g^2        p -= rate v' / (sqrt(s') + 1e-8)
//! ```
//!
//! `v'` and `s'` are without the bias of their start (Kingma and Ba 2015). RMSProp is TensorFlow's,
//! with the constants that EfficientNet and FDQ are trained with.

use serde::{Deserialize, Serialize};

use super::parameters::Parameter;
use super::recipe::Recipe;

/// How parameters move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Gradients over the root of their mean square, with momentum.
    Rmsprop,
    /// Their mean over the root of their mean square.
    Adam,
}

/// How the rate falls over a phase, after its rise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// As a cosine, to zero.
    Cosine,
    /// To a tenth at half of the phase, to a hundredth at three quarters.
    Step,
}

/// The rate of step `done` of the `total` of a phase.
pub(crate) fn rate(recipe: &Recipe, done: usize, total: usize) -> f32 {
    let rise = ((done + 1) as f32 / recipe.warmup_steps.max(1) as f32).min(1.0);
    let part = done as f32 / total.max(1) as f32;
    let fall = match recipe.schedule {
        Schedule::Cosine => 0.5 * (1.0 + (std::f32::consts::PI * part).cos()),
        Schedule::Step if part < 0.5 => 1.0,
        Schedule::Step if part < 0.75 => 0.1,
        Schedule::Step => 0.01,
    };
    recipe.rate * rise * fall
}

/// Moves `parameter` down `g`, as step `done` of its phase (from 0).
pub(crate) fn descend(
    parameter: &mut Parameter,
    g: &[f32],
    recipe: &Recipe,
    done: usize,
    rate: f32,
) {
    let decay = if parameter.what.is_quantizer() {
        0.0
    } else {
        recipe.decay
    };
    let Parameter {
        value,
        velocity,
        square,
        ..
    } = parameter;
    let moving = value.iter_mut().zip(velocity.iter_mut()).zip(g);
    let moving = moving.map(|((p, v), g)| {
        let g = g + decay * *p;
        ((p, v), g)
    });
    match recipe.optimizer {
        Optimizer::Sgd => {
            for ((p, v), g) in moving {
                *v = recipe.momentum * *v + g;
                *p -= rate * *v;
            }
        }
        Optimizer::Rmsprop => {
            square.resize(g.len(), 0.0);
            for (((p, v), g), s) in moving.zip(square) {
                *s = 0.9 * *s + 0.1 * g * g;
                *v = recipe.momentum * *v + g / (*s + 1e-3).sqrt();
                *p -= rate * *v;
            }
        }
        Optimizer::Adam => {
            square.resize(g.len(), 0.0);
            let steps = i32::try_from(done + 1).unwrap_or(i32::MAX);
            let (c1, c2) = (1.0 - 0.9f32.powi(steps), 1.0 - 0.999f32.powi(steps));
            for (((p, v), g), s) in moving.zip(square) {
                *v = 0.9 * *v + 0.1 * g;
                *s = 0.999 * *s + 0.001 * g * g;
                *p -= rate * (*v / c1) / ((*s / c2).sqrt() + 1e-8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use exbit_model::NodeId;

    use super::*;
    use crate::learn::parameters::What;

    fn parameter(value: &[f32]) -> Parameter {
        Parameter {
            name: "p".into(),
            what: What::Weight(NodeId(0)),
            value: value.to_vec(),
            velocity: vec![0.0; value.len()],
            square: Vec::new(),
            least: f32::NEG_INFINITY,
        }
    }

    #[test]
    fn every_optimizer_finds_the_minimum_of_a_bowl() {
        for (optimizer, peak) in [
            (Optimizer::Sgd, 0.02),
            (Optimizer::Rmsprop, 0.01),
            (Optimizer::Adam, 0.05),
        ] {
            let recipe = Recipe {
                optimizer,
                rate: peak,
                decay: 0.0,
                ..Recipe::default()
            };
            let mut p = parameter(&[3.0, -2.0]);
            for t in 0..2000 {
                let g = [4.0 * (p.value[0] - 1.0), 0.5 * (p.value[1] - 0.5)];
                descend(&mut p, &g, &recipe, t, rate(&recipe, t, 2000));
            }
            let off = (p.value[0] - 1.0).abs().max((p.value[1] - 0.5).abs());
            assert!(off < 1e-2, "{optimizer:?}: {:?}", p.value);
        }
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let recipe = Recipe {
            rate: 1.0,
            warmup_steps: 10,
            ..Recipe::default()
        };
        assert!((rate(&recipe, 0, 1000) - 0.1).abs() < 1e-6);
        assert!(rate(&recipe, 10, 1000) > 0.99);
        assert!((rate(&recipe, 500, 1000) - 0.5).abs() < 1e-3);
        assert!(rate(&recipe, 999, 1000) < 1e-4);
        let step = Recipe {
            schedule: Schedule::Step,
            ..recipe
        };
        let at = |done| rate(&step, done, 1000);
        assert_eq!([at(499), at(500), at(750)], [1.0, 0.1, 0.01]);
    }
}
