//! F6: the error of each layer's result, weighted by the gradient there.
//!
//! For weights the error of the result is the layer run with `Q_b(W) - W` and no bias; for an
//! activation it is the activation's own error. Squares are taken entry by entry, so errors of
//! different entries never cancel: the diagonal of the Fisher matrix of results.

use exbit_grad::{Mode, Wanted, backward, forward, infer};
use exbit_model::{Conv, Linear, Model, NodeId, Op, Tensor, ValueId};
use rayon::prelude::*;

use super::{Candidates, Sensitivity, Study, seed};
use crate::Result;
use crate::prepare::Network;
use crate::samples::Batch;
use crate::weights::{WeightRange, quantize_weight};

pub(super) fn measure(study: &Study, progress: &mut dyn FnMut(usize)) -> Result<Sensitivity> {
    let Study {
        network,
        calibration,
        candidates,
        samples,
        seed,
    } = *study;
    const BATCH: usize = 8;
    let (layers, sites) = (network.layers(), network.sites());
    let errors = layers
        .iter()
        .map(|&id| error_layers(&network.model, id, candidates))
        .collect::<Result<Vec<Vec<Model>>>>()?;
    let mut weights = vec![vec![0.0; candidates.weights.len()]; layers.len()];
    let mut activations = vec![vec![0.0; candidates.activations.len()]; sites.len()];
    let mut images = 0;
    for batch in samples.batches(BATCH) {
        let batch = batch?;
        let pass = |i: usize| {
            let (tape, gradients) = walk(network, &batch, i, images + i, seed, &layers, &sites);
            let weight = |(&id, errors): (&NodeId, &Vec<Model>)| -> Vec<f64> {
                let node = network.model.node(id);
                let g = gradients.value(node.output).unwrap_or_default();
                let x = tape.value(node.inputs[0]);
                errors
                    .iter()
                    .map(|layer| weighted(g, &infer(layer, x, 1)))
                    .collect()
            };
            let site = |&s: &ValueId| -> Vec<f64> {
                let (y, g) = (tape.value(s), gradients.value(s).unwrap_or_default());
                let loss = |&bits| {
                    let grid = calibration.grid(s, bits, candidates.clipping);
                    let e: Vec<f32> = y.iter().map(|&y| grid.value(grid.code(y)) - y).collect();
                    weighted(g, &e)
                };
                candidates.activations.iter().map(loss).collect()
            };
            let weights: Vec<_> = layers.iter().zip(&errors).map(weight).collect();
            (weights, sites.iter().map(site).collect::<Vec<_>>())
        };
        let passes: Vec<_> = (0..batch.images).into_par_iter().map(pass).collect();
        for (w, a) in &passes {
            add(&mut weights, w);
            add(&mut activations, a);
        }
        images += batch.images;
        progress(batch.images);
    }
    let half_mean = |table: &mut Vec<Vec<f64>>| {
        table
            .iter_mut()
            .flatten()
            .for_each(|x| *x *= 0.5 / images.max(1) as f64);
    };
    half_mean(&mut weights);
    half_mean(&mut activations);
    Ok(Sensitivity {
        weights,
        activations,
    })
}

fn walk(
    network: &Network,
    batch: &Batch,
    i: usize,
    image: usize,
    seed: u64,
    layers: &[NodeId],
    sites: &[ValueId],
) -> (exbit_grad::Tape, exbit_grad::Gradients) {
    let model = &network.model;
    let len = model.input_len();
    let tape = forward(model, &batch.x[i * len..(i + 1) * len], 1, Mode::Eval);
    let seeds = [vec![(
        model.output(),
        seed::fisher(tape.output(), seed, image),
    )]];
    let results = layers.iter().map(|&id| model.node(id).output);
    let values = sites.iter().copied().chain(results).collect();
    let wanted = Wanted {
        parameters: false,
        values,
        rounded: false,
    };
    let gradients = backward(model, &tape, &seeds, &wanted).remove(0);
    (tape, gradients)
}

/// Per candidate, the layer alone with `Q_b(W) - W` for weight and no bias.
fn error_layers(model: &Model, id: NodeId, candidates: &Candidates) -> Result<Vec<Model>> {
    let node = model.node(id);
    let shape = &model.value(node.inputs[0]).shape;
    let layer = |&bits| -> Result<Model> {
        let mut alone = Model::new("error", "x", shape.clone());
        let mut op = node.op.clone();
        if let Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias }) = &mut op {
            let q = quantize_weight(weight, bits, WeightRange::Mse, &[]).dequantize(weight);
            let error = q
                .data()
                .iter()
                .zip(weight.data())
                .map(|(q, w)| q - w)
                .collect();
            *weight = Tensor::new(weight.shape().to_vec(), error)?;
            *bias = None;
        }
        let input = alone.input();
        alone.push("error", op, &[input])?;
        Ok(alone)
    };
    candidates.weights.iter().map(layer).collect()
}

/// `sum_k (g_k e_k)^2`.
fn weighted(g: &[f32], e: &[f32]) -> f64 {
    g.iter().zip(e).map(|(g, e)| f64::from(g * e).powi(2)).sum()
}

fn add(table: &mut [Vec<f64>], more: &[Vec<f64>]) {
    for (sum, term) in table.iter_mut().flatten().zip(more.iter().flatten()) {
        *sum += term;
    }
}
