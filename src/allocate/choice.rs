//! The variables of the integer program: what each stands for, costs and uses.

use std::collections::BTreeSet;

use super::bound::Core;
use super::problem::{Picks, Problem};
use super::row::Row;

/// What a variable stands for, where it is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choose {
    /// An activation has this choice.
    Input { activation: usize, choice: usize },
    /// A layer has this choice, and its input that one (if the two are linked).
    Layer {
        layer: usize,
        choice: usize,
        input: usize,
    },
    /// Tied layers have this option.
    Option { unit: usize, option: usize },
}

/// Variables of which exactly one is 1.
pub(crate) struct OneOf {
    pub(crate) entries: Vec<Choose>,
    /// What each adds to the loss.
    pub(crate) losses: Vec<f64>,
    /// Whether they are whole by themselves, or follow from those that they are linked to.
    pub(crate) whole: bool,
    /// Whether "exactly one" follows from the links.
    pub(crate) linked: bool,
}

/// The choices of a core.
pub(crate) struct Choices<'p, 't> {
    problem: &'p Problem<'t>,
    /// Whether some limit multiplies the choices of a layer and of its input, both open.
    linked: Vec<bool>,
    /// A choice of each layer's input: the only one, or one of those that do not matter.
    input: Vec<usize>,
    pub(crate) sets: Vec<OneOf>,
}

impl<'p, 't> Choices<'p, 't> {
    pub(crate) fn new(problem: &'p Problem<'t>, core: &Core) -> Self {
        let layers = 0..core.pairs.len();
        let is_linked = |l: usize| {
            core.inputs[problem.input(l)].len() > 1 && problem.rows.iter().any(|r| r.is_paired(l))
        };
        let linked: Vec<bool> = layers.clone().map(is_linked).collect();
        let any_input = |l: usize| core.inputs[problem.input(l)].first().copied().unwrap_or(0);
        let mut new = Self {
            problem,
            linked,
            input: layers.map(any_input).collect(),
            sets: vec![],
        };
        for (activation, open) in core.inputs.iter().enumerate() {
            let entry = |&choice: &usize| Choose::Input { activation, choice };
            let losses = problem.table.activations()[activation]
                .iter()
                .map(|c| c.loss);
            let losses: Vec<f64> = losses.collect();
            new.sets.push(OneOf {
                entries: open.iter().map(entry).collect(),
                losses: open.iter().map(|&a| losses[a]).collect(),
                whole: true,
                linked: false,
            });
        }
        for unit in 0..problem.units.len() {
            if problem.units[unit].layers.len() == 1 {
                new.add_layer(core, problem.units[unit].layers[0]);
            } else {
                new.add_tie(core, unit);
            }
        }
        new
    }

    /// One layer: its pairs where it is linked, otherwise its choices.
    fn add_layer(&mut self, core: &Core, layer: usize) {
        let linked = self.linked[layer];
        let pairs: Vec<(usize, usize)> = if linked {
            core.pairs[layer].clone()
        } else {
            let choices: BTreeSet<usize> = core.pairs[layer].iter().map(|p| p.0).collect();
            choices
                .into_iter()
                .map(|k| (k, self.input[layer]))
                .collect()
        };
        let choices = &self.problem.table.weights()[layer];
        self.sets.push(OneOf {
            losses: pairs.iter().map(|p| choices[p.0].loss).collect(),
            entries: layer_entries(layer, &pairs),
            whole: true,
            linked,
        });
    }

    /// Tied layers: their options, which have the loss, and the pairs of those that are linked,
    /// which have the uses.
    fn add_tie(&mut self, core: &Core, unit: usize) {
        let tie = &self.problem.units[unit];
        let weights = self.problem.table.weights();
        let open = |o: &usize| {
            let mut layers = tie.layers.iter().zip(&tie.options[*o]);
            layers.all(|(&l, &k)| core.pairs[l].iter().any(|p| p.0 == k))
        };
        let options: Vec<usize> = (0..tie.options.len()).filter(open).collect();
        let loss = |&o: &usize| {
            let layers = tie.layers.iter().zip(&tie.options[o]);
            layers.map(|(&l, &k)| weights[l][k].loss).sum()
        };
        self.sets.push(OneOf {
            losses: options.iter().map(loss).collect(),
            entries: options
                .iter()
                .map(|&option| Choose::Option { unit, option })
                .collect(),
            whole: true,
            linked: false,
        });
        for &layer in tie.layers.iter().filter(|l| self.linked[**l]) {
            let pairs = &core.pairs[layer];
            self.sets.push(OneOf {
                losses: vec![0.0; pairs.len()],
                entries: layer_entries(layer, pairs),
                whole: false,
                linked: true,
            });
        }
    }

    /// What a choice uses of `row`.
    pub(crate) fn used(&self, row: &Row, choose: Choose) -> f64 {
        match choose {
            Choose::Input { activation, choice } => row.activation(activation, choice),
            Choose::Layer {
                layer,
                choice,
                input,
            } => row.layer(layer, choice, input),
            Choose::Option { unit, option } => {
                let unit = &self.problem.units[unit];
                let layers = unit.layers.iter().zip(&unit.options[option]);
                let free = layers.filter(|(l, _)| !self.linked[**l]);
                free.map(|(&l, &k)| row.layer(l, k, self.input[l])).sum()
            }
        }
    }

    /// Whether `picks` make this choice.
    pub(crate) fn is_made(&self, picks: &Picks, choose: Choose) -> bool {
        match choose {
            Choose::Input { activation, choice } => picks.activations[activation] == choice,
            Choose::Layer {
                layer,
                choice,
                input,
            } => {
                let now = picks.activations[self.problem.input(layer)];
                picks.weights[layer] == choice && (!self.linked[layer] || now == input)
            }
            Choose::Option { unit, option } => {
                let unit = &self.problem.units[unit];
                let mut layers = unit.layers.iter().zip(&unit.options[option]);
                layers.all(|(&l, &k)| picks.weights[l] == k)
            }
        }
    }

    /// Makes this choice in `picks`.
    pub(crate) fn make(&self, picks: &mut Picks, choose: Choose) {
        match choose {
            Choose::Input { activation, choice } => picks.activations[activation] = choice,
            Choose::Layer { layer, choice, .. } => picks.weights[layer] = choice,
            Choose::Option { unit, option } => {
                let unit = &self.problem.units[unit];
                for (&l, &k) in unit.layers.iter().zip(&unit.options[option]) {
                    picks.weights[l] = k;
                }
            }
        }
    }
}

fn layer_entries(layer: usize, pairs: &[(usize, usize)]) -> Vec<Choose> {
    pairs
        .iter()
        .map(|&(choice, input)| Choose::Layer {
            layer,
            choice,
            input,
        })
        .collect()
}
