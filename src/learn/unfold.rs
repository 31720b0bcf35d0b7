//! From a trained Program back to a network in training: the inverse of `finish`, as far as there
//! is one. A Program has codes where training had weights, and one scale and shift a channel:
//!
//! ```text
//! weight = alpha code             |weight| of a row as in the float network, which sets alpha
//! BatchNorm(acc) = s acc + t      s = scale / alpha, t = bias
//! ```
//!
//! Where no normalisation follows, alpha is the scale. What a normalisation had seen is not in a
//! Program: [`center`] measures it on a batch, and gamma and beta follow so that the network stays
//! what it is. So training goes on from the answers of the Program, not from the unrounded weights
//! that led to them: each begins in the middle of its code, but a zero leans to the side of the
//! float network's weight, which is all that fewer bits can know of it. A Program that no run wrote
//! may have what training has not (offsets of activations, negative scales): it is refused.

use exbit_engine::Program;
use exbit_grad::{Mode, forward, moments};
use exbit_model::{BatchNorm, Model, NodeId, Op, Tensor};

use super::checkpoint::Tensors;
use super::finish::named;
use super::graph::{Graph, Role};
use super::parameters::{Parameters, What};
use super::pdq;
use crate::lower::raise;
use crate::prepare::{Network, prepare};
use crate::quantized::QuantizedLayer;
use crate::{Error, ErrorKind, Result};

/// What `program`, which came from a run on `base`, has of the tensors of a run of `graph`.
///
/// # Errors
/// `Unsupported` as [`Graph::new`], and for a Program that no run wrote.
pub(crate) fn unfold(base: &Model, graph: &Graph, program: &Program) -> Result<Tensors> {
    let network = prepare(&Graph::new(base, false)?.model)?;
    let numbers = raise(&network, program);
    let mut tensors = Tensors::new();
    for (i, node) in base.nodes().iter().enumerate() {
        let Some(layer) = named(&network, &node.name).and_then(|id| numbers.layers.get(&id)) else {
            continue;
        };
        if let Some(float) = node.op.weight() {
            unfold_layer(base, &network, (NodeId(i), float), layer, &mut tensors)?;
        } else {
            // A lone normalisation has one code a channel.
            let pairs = layer.weight.codes.iter().zip(&layer.weight.scale);
            let scale = pairs.map(|(&code, &scale)| f32::from(code) * scale);
            set_norm(
                base,
                NodeId(i),
                scale.collect(),
                layer.bias.clone(),
                &mut tensors,
            );
        }
    }
    for site in graph.sites.iter().filter(|s| s.role != Role::Input) {
        let value = named(&network, &site.name).map(|id| network.model.node(id).output);
        let grid = value.and_then(|v| numbers.grids.get(&v));
        let Some(grid) = grid else {
            continue;
        };
        let n = f32::from(grid.bits.get());
        if f32::from(grid.zero) != -pdq::ends(n, site.signed).0 {
            return Err(not_trained(
                &site.name,
                "its codes do not lie as training has them",
            ));
        }
        set_quantizer(&site.name, vec![grid.scale], n, &mut tensors);
    }
    Ok(tensors)
}

fn not_trained(place: &str, what: &str) -> Error {
    let message = format!("{what}: --from takes what `exbit train` has written");
    Error::new(ErrorKind::Unsupported, place, message)
}

fn unfold_layer(
    base: &Model,
    network: &Network,
    (id, float): (NodeId, &Tensor),
    layer: &QuantizedLayer,
    tensors: &mut Tensors,
) -> Result<()> {
    let node = base.node(id);
    let norms = norms(base, network, id);
    let QuantizedLayer { weight, bias } = layer;
    if norms.is_empty() && weight.scale.iter().any(|&scale| scale < 0.0) {
        return Err(not_trained(&node.name, "it has negative scales"));
    }
    let (mut alphas, mut scales, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let rows = weight
        .codes
        .chunks_exact(float.row_len())
        .zip(&weight.scale);
    for (c, (codes, &scale)) in rows.enumerate() {
        let own = codes.iter().map(|&q| f32::from(q).powi(2)).sum::<f32>();
        let alpha = match norms.is_empty() {
            true => scale,
            false => (float.row(c).iter().map(|w| w * w).sum::<f32>() / own).sqrt(),
        };
        // A channel of zeros has any.
        let alpha = if alpha.is_normal() { alpha } else { 1.0 };
        let unit = if norms.is_empty() { scale } else { alpha };
        let leaning = |(&q, &w): (&i8, &f32)| match q {
            0 => (0.25 * unit).copysign(w),
            q => f32::from(q) * unit,
        };
        values.extend(codes.iter().zip(float.row(c)).map(leaning));
        scales.push(scale / alpha);
        alphas.push(alpha);
    }
    tensors.insert(format!("{}.weight", node.name), values);
    set_quantizer(&node.name, alphas, f32::from(weight.bits.get()), tensors);
    let Some((&first, others)) = norms.split_first() else {
        tensors.insert(format!("{}.bias", node.name), bias.clone());
        return Ok(());
    };
    tensors.insert(format!("{}.bias", node.name), vec![0.0; bias.len()]);
    set_norm(base, first, scales, bias.clone(), tensors);
    for &id in others {
        set_norm(
            base,
            id,
            vec![1.0; bias.len()],
            vec![0.0; bias.len()],
            tensors,
        );
    }
    Ok(())
}

/// The normalisations behind layer `id` that folding takes into it, in order.
fn norms(base: &Model, network: &Network, id: NodeId) -> Vec<NodeId> {
    let (mut found, mut value) = (Vec::new(), base.node(id).output);
    while let [reader] = base.consumers(value)[..] {
        let node = base.node(reader);
        let is_norm = matches!(node.op, Op::BatchNorm(_) | Op::Affine(_));
        if !is_norm || named(network, &node.name).is_some() {
            break;
        }
        found.push(reader);
        value = node.output;
    }
    found
}

fn set_quantizer(name: &str, steps: Vec<f32>, n: f32, tensors: &mut Tensors) {
    tensors.insert(format!("{name}.beta"), steps.clone());
    tensors.insert(format!("{name}.alpha"), steps);
    tensors.insert(format!("{name}.n"), vec![n]);
}

/// Makes normalisation `id` the map `s x + t`.
fn set_norm(base: &Model, id: NodeId, s: Vec<f32>, t: Vec<f32>, tensors: &mut Tensors) {
    let node = base.node(id);
    if let Op::BatchNorm(bn) = &node.op {
        tensors.insert(format!("{}.mean", node.name), vec![0.0; s.len()]);
        tensors.insert(format!("{}.var", node.name), vec![1.0 - bn.eps; s.len()]);
    }
    tensors.insert(format!("{}.weight", node.name), s);
    tensors.insert(format!("{}.bias", node.name), t);
}

/// Gives every normalisation of which `tensors` has statistics those of the batch `x`; gamma and
/// beta follow, so that the network answers as before.
pub(crate) fn center(
    graph: &mut Graph,
    parameters: &mut Parameters,
    tensors: &Tensors,
    x: &[f32],
    images: usize,
) {
    let tape = forward(&graph.model, x, images, Mode::Eval);
    for i in 0..graph.model.nodes().len() {
        let node = graph.model.node(NodeId(i)).clone();
        let Op::BatchNorm(bn) = &node.op else {
            continue;
        };
        if !tensors.contains_key(&format!("{}.mean", node.name)) {
            continue;
        }
        let input = node.inputs[0];
        let (mean, var) = moments(&graph.model.value(input).shape, tape.value(input));
        let moved = centered(bn, mean, var);
        let id = NodeId(i);
        for parameter in &mut parameters.all {
            if parameter.what == What::Weight(id) {
                parameter.value.clone_from(&moved.gamma);
            } else if parameter.what == What::Bias(id) {
                parameter.value.clone_from(&moved.beta);
            }
        }
        *graph.model.op_mut(id) = Op::BatchNorm(moved);
    }
}

/// `bn` with other statistics, the same map.
fn centered(bn: &BatchNorm, mean: Vec<f32>, var: Vec<f32>) -> BatchNorm {
    let mut out = bn.clone();
    for c in 0..mean.len() {
        let s = bn.gamma[c] / (bn.var[c] + bn.eps).sqrt();
        out.gamma[c] = s * (var[c] + bn.eps).sqrt();
        out.beta[c] = bn.beta[c] + s * (mean[c] - bn.mean[c]);
    }
    (out.mean, out.var) = (mean, var);
    out
}
