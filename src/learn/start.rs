//! What a run does before its first step: the network without a last Softmax, the grid of pixels,
//! how large activations are.

use exbit_grad::{Mode, forward};
use exbit_kernels::Grid;
use exbit_model::{FakeQuant, Model, Op, ValueId};

use super::graph::{Graph, Role};
use super::pdq;
use crate::Result;

/// `model` without a Softmax at its end: losses take logits, and so do Programs.
pub(crate) fn without_softmax(model: &Model) -> Result<Model> {
    let input = model.value(model.input());
    let mut out = Model::new(model.name(), input.name.clone(), input.shape.clone());
    let mut renamed = vec![out.input(); model.values().len()];
    for node in model.nodes() {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| renamed[v.0]).collect();
        let is_last = model.consumers(node.output).is_empty();
        let is_dropped = matches!(node.op, Op::Softmax { .. }) && is_last;
        renamed[node.output.0] = match is_dropped {
            true => inputs[0],
            false => out.push(&node.name, node.op.clone(), &inputs)?,
        };
    }
    out.set_output(renamed[model.output().0]);
    out.set_exits(model.exits().iter().map(|v| renamed[v.0]).collect())?;
    Ok(out)
}

/// The input's quantizer is the one that pixels have.
pub(crate) fn set_input(graph: &mut Graph, grid: Grid) {
    let sites = graph.sites.iter().filter(|s| s.role == Role::Input);
    for node in sites.map(|s| s.node).collect::<Vec<_>>() {
        if let Op::FakeQuant(quantizer) = graph.model.op_mut(node) {
            *quantizer = FakeQuant {
                scale: grid.scale,
                step: grid.scale,
                zero: f32::from(grid.zero),
                levels: f32::from(grid.bits.levels()),
            };
        }
    }
}

/// How large `|x|` is of what a site rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Magnitude {
    pub(crate) mean: f32,
    pub(crate) most: f32,
}

/// Of each site, over `images` images of `x`, BatchNorm on their statistics as in training: new
/// heads have none of their own yet.
pub(crate) fn magnitudes(base: &Model, graph: &Graph, x: &[f32], images: usize) -> Vec<Magnitude> {
    if graph.sites.is_empty() {
        return Vec::new();
    }
    let tape = forward(base, x, images, Mode::Train);
    let of = |y: &[f32]| {
        let sum: f64 = y.iter().map(|y| f64::from(y.abs())).sum();
        Magnitude {
            mean: (sum / y.len().max(1) as f64) as f32,
            most: pdq::largest(y),
        }
    };
    let sites = graph.sites.iter();
    sites.map(|site| of(tape.value(site.value))).collect()
}
