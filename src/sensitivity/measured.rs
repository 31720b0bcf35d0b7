//! The measured metric: quantize one tensor, run the network, see how far its answer moves.
//!
//! `KL(p_float, p_b)` rather than the loss against labels: both have the same expectation where the
//! network is calibrated, and the divergence is free of the noise of the labels. We decided this.

use exbit_grad::infer;
use exbit_kernels::Bits;
use exbit_model::{Conv, Linear, Model, NodeId, Op, ValueId};

use super::seed::softmax;
use super::{Candidates, Sensitivity, Study};
use crate::Result;
use crate::prepare::Network;
use crate::quantized::fake_quant;
use crate::samples::Samples;
use crate::weights::{WeightRange, quantize_weight};

/// How often all images are read.
pub(super) fn passes(study: &Study) -> usize {
    let Candidates {
        weights,
        activations,
        ..
    } = study.candidates;
    let layers = study.network.layers().len() * weights.len();
    match activations.len() {
        // Nothing is to be chosen.
        0 | 1 => layers,
        many => layers + study.network.sites().len() * many,
    }
}

/// Adds to the rows `done` those that are missing; `keep` gets the table after each new row.
pub(super) fn measure(
    study: &Study,
    mut done: Sensitivity,
    keep: &mut dyn FnMut(&Sensitivity) -> Result<()>,
    progress: &mut dyn FnMut(usize),
) -> Result<Sensitivity> {
    let Study {
        network,
        calibration,
        candidates,
        samples,
        seed: _,
    } = *study;
    let choice = candidates.activations.len() > 1;
    let rows = |table: &[Vec<f64>]| table.iter().map(Vec::len).sum::<usize>();
    let sites = if choice { rows(&done.activations) } else { 0 };
    progress(samples.images() * (rows(&done.weights) + sites));
    let float = answers(&network.model, samples)?;
    for &id in network.layers().iter().skip(done.weights.len()) {
        let loss =
            |&bits: &Bits| distance(&float, &quantized(network, id, bits), samples, progress);
        let row = candidates.weights.iter().map(loss);
        done.weights.push(row.collect::<Result<_>>()?);
        keep(&done)?;
    }
    for &site in network.sites().iter().skip(done.activations.len()) {
        let loss = |&bits: &Bits| {
            if !choice {
                return Ok(0.0);
            }
            let grid = calibration.grid(site, bits, candidates.clipping);
            let model = insert_after(&network.model, site, fake_quant(grid))?;
            distance(&float, &model, samples, progress)
        };
        let row = candidates.activations.iter().map(loss);
        done.activations.push(row.collect::<Result<_>>()?);
        if choice {
            keep(&done)?;
        }
    }
    Ok(done)
}

/// The model with the weight of one layer rounded to `bits`.
fn quantized(network: &Network, id: NodeId, bits: Bits) -> Model {
    let mut model = network.model.clone();
    if let Op::Conv(Conv { weight, .. }) | Op::Linear(Linear { weight, .. }) = model.op_mut(id) {
        *weight = quantize_weight(weight, bits, WeightRange::Mse, &[]).dequantize(weight);
    }
    model
}

/// Mean `KL(p_float, p)` of `model`'s answers over `samples`, nats an image; reports the images of
/// each batch.
///
/// # Errors
/// As reading `samples`.
pub fn divergence(
    network: &Network,
    model: &Model,
    samples: &Samples,
    progress: &mut dyn FnMut(usize),
) -> Result<f64> {
    distance(&answers(&network.model, samples)?, model, samples, progress)
}

/// Images that are run at once.
const BATCH: usize = 32;

/// The logits of each batch.
fn answers(model: &Model, samples: &Samples) -> Result<Vec<Vec<f32>>> {
    let batches = samples.batches(BATCH);
    let answer = batches.map(|b| b.map(|b| infer(model, &b.x, b.images)));
    answer.collect()
}

/// Mean divergence of `model`'s answers from `float`.
fn distance(
    float: &[Vec<f32>],
    model: &Model,
    samples: &Samples,
    progress: &mut dyn FnMut(usize),
) -> Result<f64> {
    let (mut sum, mut images) = (0.0, 0);
    for (batch, float) in samples.batches(BATCH).zip(float) {
        let batch = batch?;
        let other = infer(model, &batch.x, batch.images);
        let classes = float.len() / batch.images.max(1);
        sum += kl_sum(float, &other, classes);
        images += batch.images;
        progress(batch.images);
    }
    Ok(sum / images.max(1) as f64)
}

/// The sum of [`kl`] over rows of logits, `(images, classes)`.
pub(crate) fn kl_sum(p: &[f32], q: &[f32], classes: usize) -> f64 {
    let rows = p.chunks_exact(classes).zip(q.chunks_exact(classes));
    rows.map(|(p, q)| kl(p, q)).sum()
}

/// `sum_k p_k log(p_k / q_k)` of two rows of logits.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (softmax(p), softmax(q));
    let term = |(&p, &q): (&f64, &f64)| {
        if p > 0.0 {
            p * (p / q.max(1e-300)).ln()
        } else {
            0.0
        }
    };
    p.iter().zip(&q).map(term).sum()
}

/// The model with `op` put behind `value`: every reader of `value` reads the result instead.
///
/// # Errors
/// `Mismatch` when `op` changes the shape.
pub fn insert_after(model: &Model, value: ValueId, op: Op) -> Result<Model> {
    let input = model.value(model.input());
    let mut out = Model::new(model.name(), input.name.clone(), input.shape.clone());
    let mut renamed = vec![out.input(); model.values().len()];
    if value == model.input() {
        renamed[value.0] = out.push("inserted", op.clone(), &[out.input()])?;
    }
    for node in model.nodes() {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| renamed[v.0]).collect();
        let mut result = out.push(node.name.clone(), node.op.clone(), &inputs)?;
        if node.output == value {
            result = out.push("inserted", op.clone(), &[result])?;
        }
        renamed[node.output.0] = result;
    }
    out.set_output(renamed[model.output().0]);
    Ok(out)
}
