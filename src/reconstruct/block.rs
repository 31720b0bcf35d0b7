//! Blocks: stretches of the network between values through which everything flows.
//!
//! A cut is a stage's output that all later stages reach only through it. Between two cuts lies a
//! block: a residual block in a ResNet, one layer in a plain chain, a whole dense block in a
//! DenseNet. Reconstruction goes block by block (BRECQ); a block is a model of its own, once as
//! floats and once with its activations rounded.

use exbit_kernels::Grid;
use exbit_model::{Model, NodeId, ValueId};

use crate::prepare::Network;
use crate::quantized::fake_quant;
use crate::{Error, ErrorKind, Result};

/// A part of the network as models of its own.
#[derive(Clone, Debug)]
pub struct Block {
    /// The value that it reads, in the network.
    pub input: ValueId,
    /// The value that it gives, in the network.
    pub output: ValueId,
    /// The part itself, in floats.
    pub float: Model,
    /// The part with every rounded activation rounded; its weights are changed as layers are
    /// quantized. The input is taken as rounded already.
    pub rounded: Model,
    /// Each layer: its node in the network, in `float`, in `rounded`.
    pub layers: Vec<[NodeId; 3]>,
}

/// The cuts of a network in running order: the input first, the output last.
pub fn cuts(network: &Network) -> Vec<ValueId> {
    let mut cuts = vec![network.model.input()];
    for (i, stage) in network.stages.iter().enumerate() {
        let passed = |v: &ValueId| *v < stage.output;
        let bypassed = network.stages[i + 1..]
            .iter()
            .flat_map(|s| &s.inputs)
            .any(passed);
        if !bypassed {
            cuts.push(stage.output);
        }
    }
    cuts
}

/// The blocks of `network`, every activation rounded to its grid in `grids`. Cuts between which
/// there is no layer are passed over.
///
/// # Errors
/// `Mismatch` when the network's output lies apart from its last stage.
pub fn blocks(network: &Network, grids: &dyn Fn(ValueId) -> Option<Grid>) -> Result<Vec<Block>> {
    let cuts = cuts(network);
    if cuts.last() != Some(&network.model.output()) {
        let message = "the output is not the last value; a network must end in its output";
        return Err(Error::new(
            ErrorKind::Mismatch,
            network.model.name(),
            message,
        ));
    }
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = cuts[0];
    for &cut in &cuts[1..] {
        let block = block(network, start, cut, grids)?;
        if block.layers.is_empty() && cut != network.model.output() {
            continue;
        }
        start = cut;
        blocks.push(block);
    }
    Ok(blocks)
}

fn block(
    network: &Network,
    input: ValueId,
    output: ValueId,
    grids: &dyn Fn(ValueId) -> Option<Grid>,
) -> Result<Block> {
    let shape = network.model.value(input).shape.clone();
    let mut float = Model::new("block", "x", shape.clone());
    let mut rounded = Model::new("block", "x", shape);
    let mut ids = vec![None; network.model.values().len()];
    ids[input.0] = Some([float.input(), rounded.input()]);
    let mut layers = Vec::new();
    for (i, node) in network.model.nodes().iter().enumerate() {
        let known: Option<Vec<[ValueId; 2]>> = node.inputs.iter().map(|v| ids[v.0]).collect();
        let Some(inputs) = known.filter(|_| node.output > input && node.output <= output) else {
            continue;
        };
        let side = |s: usize| inputs.iter().map(|v| v[s]).collect::<Vec<_>>();
        let y = float.push(&node.name, node.op.clone(), &side(0))?;
        let mut z = rounded.push(&node.name, node.op.clone(), &side(1))?;
        if node.op.weight().is_some() {
            let last = |m: &Model| NodeId(m.nodes().len() - 1);
            layers.push([NodeId(i), last(&float), last(&rounded)]);
        }
        // Only a site is rounded: what shares another's grid is on it already.
        let own = network.grid_of(node.output) == Some(node.output);
        if let Some(grid) = grids(node.output).filter(|_| own && !network.is_real(node.output)) {
            z = rounded.push("round", fake_quant(grid), &[z])?;
        }
        ids[node.output.0] = Some([y, z]);
    }
    if let Some([y, z]) = ids[output.0] {
        float.set_output(y);
        rounded.set_output(z);
    }
    Ok(Block {
        input,
        output,
        float,
        rounded,
        layers,
    })
}
