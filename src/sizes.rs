//! How large a network is, as the accounting wants it: its layers, its activations, and which of
//! these are alive together.

use exbit_model::ValueId;

use crate::Result;
use crate::cost::{ActivationSize, LayerSize, Sizes};
use crate::prepare::{Network, StageKind};

/// The sizes of `network`: layers as [`Network::layers`], activations as [`Network::sites`]. Layers
/// that feed one residual sum, directly or through others, have one tie.
///
/// # Errors
/// `Mismatch` when the network is too large to be one.
pub fn sizes(network: &Network) -> Result<Sizes> {
    let model = &network.model;
    let sites = network.sites();
    let index = |v: ValueId| {
        let site = network.grid_of(v)?;
        sites.iter().position(|&s| s == site)
    };
    let ties = ties(network);
    let layers = network
        .layers()
        .into_iter()
        .map(|id| {
            let node = model.node(id);
            let output = network.stage_of(id).map(|s| s.output);
            LayerSize {
                name: node.name.clone(),
                weights: node.op.weight().map_or(0, |w| w.len() as u64),
                macs: model.macs(id),
                input: index(node.inputs[0]).unwrap_or(0),
                tie: output.and_then(|v| ties[v.0]),
            }
        })
        .collect();
    let activation = |&s: &ValueId| ActivationSize {
        name: model.value(s).name.clone(),
        elements: model.value(s).len() as u64,
    };
    let activations = sites.iter().map(activation).collect();
    let moments = (0..network.stages.len())
        .map(|i| alive(network, i, &index))
        .collect();
    Sizes::new(layers, activations, moments)
}

/// The activations alive while stage `i` runs: what it writes, and what exists and is read by it or
/// later.
fn alive(network: &Network, i: usize, index: &dyn Fn(ValueId) -> Option<usize>) -> Vec<usize> {
    let exists = |v: ValueId| {
        v == network.model.input() || network.stages[..i].iter().any(|s| s.output == v)
    };
    let read = network.stages[i..]
        .iter()
        .flat_map(|s| s.inputs.iter().copied());
    let values = read
        .filter(|&v| exists(v))
        .chain([network.stages[i].output]);
    values
        .filter(|&v| !network.is_real(v))
        .filter_map(index)
        .collect()
}

/// For each value, the tie of the residual sum that it takes part in: values that are added, or
/// that a sum gives, share one.
fn ties(network: &Network) -> Vec<Option<usize>> {
    let mut ties: Vec<Option<usize>> = vec![None; network.model.values().len()];
    let mut next = 0;
    for stage in &network.stages {
        let summed = match stage.kind {
            // Where a layer takes in its sum, only the residual is a value of its own.
            StageKind::Layer(_) if stage.inputs.len() == 2 => &stage.inputs[1..],
            StageKind::Add(_) => &stage.inputs[..],
            StageKind::Layer(_)
            | StageKind::Table(_)
            | StageKind::AvgPool
            | StageKind::Round
            | StageKind::MaxPool
            | StageKind::Concat
            | StageKind::Pad
            | StageKind::Shuffle(_) => continue,
        };
        let tie = next;
        next += 1;
        for v in summed.iter().copied().chain([stage.output]) {
            // A value of an earlier tie joins both.
            if let Some(old) = ties[v.0].replace(tie) {
                ties.iter_mut()
                    .filter(|t| **t == Some(old))
                    .for_each(|t| *t = Some(tie));
            }
        }
    }
    ties
}
