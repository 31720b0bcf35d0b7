//! How large a network is, as the accounting wants it: its layers, its values, and which of these
//! are alive together.

use exbit_engine::{Flow, FlowStep};
use exbit_model::ValueId;

use crate::Result;
use crate::cost::{LayerSize, Sizes, ValueSize};
use crate::lower::{is_still, memory_shape};
use crate::prepare::Network;

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
    let activations = sites.iter().map(|&s| model.value(s).name.clone());
    let (flow, held) = flow(network);
    let places = flow.places();
    let value = |(&v, &place): (&ValueId, &usize)| {
        let [lines, width, channels] = memory_shape(&model.value(v).shape).map(|n| n as u64);
        ValueSize {
            activation: index(v).filter(|_| !network.is_real(v)),
            lines,
            line: width * channels,
            place,
        }
    };
    let values = held.iter().zip(&places.first).map(value).collect();
    let moments = (0..=flow.steps.len()).map(|i| places.alive(i).collect());
    Sizes::new(layers, activations.collect(), values, moments.collect())
}

/// What the steps of the Program to be read and write, and the value of the Model that each of
/// their values is.
fn flow(network: &Network) -> (Flow, Vec<ValueId>) {
    let input = network.model.input();
    let mut held = vec![input];
    let mut slots = vec![None; network.model.values().len()];
    slots[input.0] = Some(0);
    let mut flow = Flow::default();
    for stage in &network.stages {
        let inputs: Vec<usize> = stage.inputs.iter().filter_map(|v| slots[v.0]).collect();
        if is_still(network, stage) {
            slots[stage.output.0] = inputs.first().copied();
            continue;
        }
        let over = match network.is_real(stage.output) {
            true => &[],
            false => stage.summed(),
        };
        flow.steps.push(FlowStep {
            over: over.iter().filter_map(|v| slots[v.0]).collect(),
            output: held.len(),
            inputs,
        });
        slots[stage.output.0] = Some(held.len());
        held.push(stage.output);
    }
    flow.values = held.len();
    flow.output = slots[network.model.output().0].unwrap_or(0);
    (flow, held)
}

/// For each value, the tie of the residual sum that it takes part in: values that are added, or
/// that a sum gives, share one.
fn ties(network: &Network) -> Vec<Option<usize>> {
    let mut ties: Vec<Option<usize>> = vec![None; network.model.values().len()];
    let mut next = 0;
    for stage in &network.stages {
        let summed = stage.summed();
        if summed.is_empty() {
            continue;
        }
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
