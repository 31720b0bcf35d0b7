//! From a trained network to the numbers of the integer one. Codes stay as they were trained; what
//! surrounds them is folded:
//!
//! ```text
//! BatchNorm(acc) = s acc + t      s = gamma / sqrt(var + eps)
//! weight scale of channel c   alpha_w[c] s[c] alpha_a / beta_a
//! ```
//!
//! The grid of an activation is its beta: what made the codes. Its alpha only ever multiplies what
//! the reading layer computes, and goes into that layer's scales.

use std::collections::BTreeMap;

use exbit_kernels::{Bits, Grid};
use exbit_model::{Model, NodeId, Op, ValueId};

use super::graph::{Graph, Role};
use super::parameters::{Parameters, tensors};
use super::pdq;
use crate::prepare::{Network, prepare};
use crate::quantized::{Quantized, QuantizedLayer};
use crate::{Error, ErrorKind, QuantizedWeight, Result};

/// The integer network that `graph` with `parameters` stands for; `base` is the model that it was
/// made from, `input` the grid of its input.
///
/// # Errors
/// `Mismatch` when bits are not whole, or a scale is not finite.
pub(crate) fn finish(
    base: &Model,
    graph: &Graph,
    parameters: &Parameters,
    input: Grid,
) -> Result<(Network, Quantized)> {
    let mut trained = base.clone();
    copy_ops(graph, parameters, &mut trained);
    let network = prepare(&Graph::new(&trained, false)?.model)?;
    let scales = norm_scales(&trained)?;
    let mut quantized = Quantized {
        layers: BTreeMap::new(),
        grids: BTreeMap::new(),
    };
    for (l, layer) in graph.layers.iter().enumerate() {
        let id = named_node(&network, &layer.name)?;
        let bias = tensors(&network.model.node(id).op).1.to_vec();
        let found = weight(graph, parameters, l, &scales[&layer.name])?;
        let layer = QuantizedLayer {
            weight: found,
            bias,
        };
        quantized.layers.insert(id, layer);
    }
    quantized.grids.insert(network.model.input(), input);
    for (s, site) in graph.sites.iter().enumerate() {
        if site.role != Role::Input {
            let value = named_value(&network, &site.name)?;
            quantized.grids.insert(value, grid(graph, parameters, s)?);
        }
    }
    Ok((network, quantized))
}

/// The ops of the trained graph into the model that it was made from; weights unrounded.
fn copy_ops(graph: &Graph, parameters: &Parameters, to: &mut Model) {
    let nodes = graph.model.nodes();
    for i in 0..to.nodes().len() {
        let id = NodeId(i);
        let name = to.node(id).name.clone();
        if let Some(from) = nodes.iter().find(|n| n.name == name) {
            *to.op_mut(id) = from.op.clone();
        }
        let layer = graph.layers.iter().position(|l| l.name == name);
        if let (Some(l), Op::Conv(_) | Op::Linear(_)) = (layer, to.node(id).op.clone()) {
            set_weight(to.op_mut(id), parameters.layer(l).weight);
        }
    }
}

fn set_weight(op: &mut Op, weight: &[f32]) {
    if let Op::Conv(c) = op {
        c.weight.data_mut().copy_from_slice(weight);
    } else if let Op::Linear(l) = op {
        l.weight.data_mut().copy_from_slice(weight);
    }
}

/// What folding multiplies each row of each layer's weight by: found by folding weights of one.
fn norm_scales(trained: &Model) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut ones = trained.clone();
    for id in ones.layers() {
        let len = ones.node(id).op.weight().map_or(0, |w| w.len());
        set_weight(ones.op_mut(id), &vec![1.0; len]);
    }
    let folded = prepare(&Graph::new(&ones, false)?.model)?.model;
    let rows = |id: NodeId| {
        let node = folded.node(id);
        let weight = node.op.weight()?;
        let first = weight.data().iter().step_by(weight.row_len().max(1));
        Some((node.name.clone(), first.copied().collect()))
    };
    Ok(folded.layers().into_iter().filter_map(rows).collect())
}

fn weight(
    graph: &Graph,
    parameters: &Parameters,
    l: usize,
    norm: &[f32],
) -> Result<QuantizedWeight> {
    let layer = &graph.layers[l];
    let rows = parameters.layer(l);
    let [alpha, beta, _] = parameters.site(layer.site);
    let read = if graph.sites[layer.site].role == Role::Input {
        1.0
    } else {
        alpha / beta
    };
    let mut codes = rows.codes();
    let len = codes.len() / rows.alpha.len().max(1);
    let mut scale = Vec::with_capacity(rows.alpha.len());
    for (c, (&alpha, &norm)) in rows.alpha.iter().zip(norm).enumerate() {
        let own = alpha * norm * read;
        if !own.is_finite() {
            let message = format!("channel {c} has a scale of {own}");
            let place = format!("layer {}", layer.name);
            return Err(Error::new(ErrorKind::Mismatch, place, message));
        }
        // A channel that is nothing: codes of one bit know no zero.
        scale.push(match (own == 0.0, pdq::is_binary(rows.n)) {
            (false, _) => own,
            (true, false) => {
                codes[c * len..(c + 1) * len].fill(0);
                1.0
            }
            (true, true) => f32::MIN_POSITIVE,
        });
    }
    Ok(QuantizedWeight {
        bits: whole(&layer.name, rows.n)?,
        codes,
        scale,
    })
}

fn grid(graph: &Graph, parameters: &Parameters, s: usize) -> Result<Grid> {
    let [_, beta, n] = parameters.site(s);
    let site = &graph.sites[s];
    let (lo, _) = pdq::ends(n, site.signed);
    Ok(Grid {
        bits: whole(&site.name, n)?,
        scale: beta,
        zero: -lo as u8,
    })
}

fn whole(name: &str, n: f32) -> Result<Bits> {
    let bits = Bits::new(n as u8).filter(|b| f32::from(b.get()) == n);
    bits.ok_or_else(|| {
        let message = format!("{n} bits: they are not whole before the last phase");
        Error::new(ErrorKind::Mismatch, name, message)
    })
}

/// The node of this name, if folding has left it.
pub(super) fn named(network: &Network, name: &str) -> Option<NodeId> {
    let at = network.model.nodes().iter().position(|n| n.name == name);
    at.map(NodeId)
}

fn named_node(network: &Network, name: &str) -> Result<NodeId> {
    named(network, name)
        .ok_or_else(|| Error::new(ErrorKind::Mismatch, name, "is not in the folded network"))
}

fn named_value(network: &Network, name: &str) -> Result<ValueId> {
    let id = named_node(network, name)?;
    Ok(network.model.node(id).output)
}
