//! F1 to F5: one forward and one backward pass an image, every layer and every candidate at once.

use exbit_grad::{Mode, Wanted, backward, forward};
use exbit_kernels::Grid;
use exbit_model::{NodeId, Tensor, ValueId};
use rayon::prelude::*;

use super::{Metric, Sensitivity, Study, seed};
use crate::Result;
use crate::prepare::Network;
use crate::samples::Batch;
use crate::weights::{QuantizedWeight, WeightRange, quantize_weight};

/// Images whose gradients are held at once.
const BATCH: usize = 8;

/// Sums over images of one tensor.
#[derive(Clone, Debug)]
struct Sums {
    /// `sum_i g_ij^2` of a weight; of an activation only the sum over entries.
    squares: Vec<f64>,
    /// Per candidate.
    terms: Vec<Terms>,
}

/// Sums over images for one tensor and candidate.
#[derive(Clone, Copy, Debug, Default)]
struct Terms {
    /// `sum <g, d>`, `sum abs(<g, d>)`, `sum <g, d>^2`.
    dot: [f64; 3],
    /// `sum sum_j g_j^2 d_j^2`, where `d` depends on the image.
    diagonal: f64,
    /// `sum sum_j d_j^2`, likewise.
    error: f64,
}

impl Sums {
    /// None yet, of a tensor of `len` entries that has `choices`.
    fn new(len: usize, choices: usize) -> Self {
        Self {
            squares: vec![0.0; len],
            terms: vec![Terms::default(); choices],
        }
    }
}

impl Terms {
    fn add_dot(&mut self, dot: f64) {
        for (sum, term) in self.dot.iter_mut().zip([dot, dot.abs(), dot * dot]) {
            *sum += term;
        }
    }
}

pub(super) fn measure(
    study: &Study,
    metric: Metric,
    progress: &mut dyn FnMut(usize),
) -> Result<Sensitivity> {
    let Study {
        network,
        candidates,
        samples,
        seed,
        ..
    } = *study;
    let layers = network.layers();
    let weight = |&id: &NodeId| network.model.node(id).op.weight();
    let weights: Vec<&Tensor> = layers.iter().filter_map(weight).collect();
    let sites = network.sites();
    let (quantized, grids) = (weight_choices(study, &weights), site_choices(study, &sites));
    let of = |(w, choices): (&&Tensor, &Vec<_>)| Sums::new(w.len(), choices.len());
    let mut weight_sums: Vec<Sums> = weights.iter().zip(&quantized).map(of).collect();
    let mut site_sums: Vec<Sums> = grids.iter().map(|g| Sums::new(1, g.len())).collect();
    // The metric's own sums, and nothing more: dots cost a pass over the weights a candidate.
    let dots = matches!(metric, Metric::F1 | Metric::F2 | Metric::F3);
    let choice = candidates.activations.len() > 1;
    let mut images = 0;
    for batch in samples.batches(BATCH) {
        let batch = batch?;
        let wanted: &[ValueId] = if choice { &sites } else { &[] };
        let pass = |i: usize| gradients(network, &batch, i, images + i, metric, seed, wanted);
        let passes: Vec<Pass> = (0..batch.images).into_par_iter().map(pass).collect();
        weight_sums
            .par_iter_mut()
            .enumerate()
            .for_each(|(l, sums)| {
                for pass in &passes {
                    add_weight(sums, &pass.weights[l], weights[l], &quantized[l], dots);
                }
            });
        if choice {
            site_sums.par_iter_mut().enumerate().for_each(|(s, sums)| {
                for pass in &passes {
                    let (y, g) = &pass.sites[s];
                    add_site(sums, y, g, &grids[s]);
                }
            });
        }
        images += batch.images;
        progress(batch.images);
    }
    let n = images.max(1) as f64;
    let weights = (0..layers.len())
        .map(|l| weight_losses(metric, &weight_sums[l], weights[l], &quantized[l], n))
        .collect();
    let len = |s: &ValueId| network.model.value(*s).len() as f64;
    let sums = sites.iter().zip(&site_sums);
    let activations = sums
        .map(|(s, sums)| site_losses(metric, sums, len(s), n))
        .collect();
    Ok(Sensitivity {
        weights,
        activations,
    })
}

/// Each weight at each of its bit-widths.
fn weight_choices(study: &Study, weights: &[&Tensor]) -> Vec<Vec<QuantizedWeight>> {
    let of = |w: &&Tensor| {
        let at = |&b| quantize_weight(w, b, WeightRange::Mse, &[]);
        study.candidates.weights.iter().map(at).collect()
    };
    weights.iter().map(of).collect()
}

/// The grid of each site at each of its bit-widths.
fn site_choices(study: &Study, sites: &[ValueId]) -> Vec<Vec<Grid>> {
    let clipping = study.candidates.clipping;
    let of = |&s: &ValueId| {
        let at = |&b| study.calibration.grid(s, b, clipping);
        study.candidates.activations.iter().map(at).collect()
    };
    sites.iter().map(of).collect()
}

/// What one image gives: the gradient of each weight; each site with its gradient.
struct Pass {
    weights: Vec<Vec<f32>>,
    sites: Vec<(Vec<f32>, Vec<f32>)>,
}

fn gradients(
    network: &Network,
    batch: &Batch,
    i: usize,
    image: usize,
    metric: Metric,
    seed: u64,
    sites: &[ValueId],
) -> Pass {
    let model = &network.model;
    let len = model.input_len();
    let tape = forward(model, &batch.x[i * len..(i + 1) * len], 1, Mode::Eval);
    let cotangent = match metric {
        Metric::F1 | Metric::F2 => {
            seed::cross_entropy(tape.output(), batch.labels.as_ref().map(|l| l[i]))
        }
        Metric::F3 | Metric::F4 | Metric::F5 | Metric::F6 | Metric::Measured => {
            seed::fisher(tape.output(), seed, image)
        }
    };
    let seeds = [vec![(model.output(), cotangent)]];
    let wanted = Wanted {
        parameters: true,
        values: sites.to_vec(),
        rounded: false,
    };
    let gradients = backward(model, &tape, &seeds, &wanted).remove(0);
    let weight = |&id: &NodeId| {
        gradients
            .node(id)
            .map(|g| g.weight.clone())
            .unwrap_or_default()
    };
    let site = |&s: &ValueId| {
        (
            tape.value(s).to_vec(),
            gradients.value(s).map(<[f32]>::to_vec).unwrap_or_default(),
        )
    };
    Pass {
        weights: network.layers().iter().map(weight).collect(),
        sites: sites.iter().map(site).collect(),
    }
}

fn add_weight(sums: &mut Sums, g: &[f32], weight: &Tensor, at: &[QuantizedWeight], dots: bool) {
    if !dots {
        sums.squares
            .iter_mut()
            .zip(g)
            .for_each(|(s, &g)| *s += f64::from(g * g));
        return;
    }
    let n = weight.row_len();
    for (terms, q) in sums.terms.iter_mut().zip(at) {
        let mut dot = 0.0;
        for (c, &scale) in q.scale.iter().enumerate() {
            let row = c * n..(c + 1) * n;
            let entries = weight.data()[row.clone()]
                .iter()
                .zip(&q.codes[row.clone()])
                .zip(&g[row]);
            let sum: f32 = entries
                .map(|((&w, &code), &g)| g * (scale * f32::from(code) - w))
                .sum();
            dot += f64::from(sum);
        }
        terms.add_dot(dot);
    }
}

fn add_site(sums: &mut Sums, y: &[f32], g: &[f32], grids: &[Grid]) {
    const MAGIC: f32 = 12_582_912.0;
    sums.squares[0] += g.iter().map(|&g| f64::from(g * g)).sum::<f64>();
    for (terms, grid) in sums.terms.iter_mut().zip(grids) {
        let (inverse, zero) = (1.0 / grid.scale, f32::from(grid.zero));
        let (lo, hi) = (-zero, f32::from(grid.bits.levels()) - zero);
        let mut total = [0.0f64; 3];
        for (y, g) in y.chunks(1024).zip(g.chunks(1024)) {
            let mut part = [0.0f32; 3];
            for (&y, &g) in y.iter().zip(g) {
                // Adding and taking away 1.5 * 2^23 rounds half to even.
                let code = ((y * inverse).max(lo).min(hi) + MAGIC) - MAGIC;
                let d = grid.scale * code - y;
                let gd = g * d;
                part[0] += gd;
                part[1] += gd * gd;
                part[2] += d * d;
            }
            total
                .iter_mut()
                .zip(part)
                .for_each(|(t, p)| *t += f64::from(p));
        }
        terms.add_dot(total[0]);
        terms.diagonal += total[1];
        terms.error += total[2];
    }
}

/// The metric from sums over `n` images, per candidate, of a weight.
fn weight_losses(
    metric: Metric,
    sums: &Sums,
    weight: &Tensor,
    at: &[QuantizedWeight],
    n: f64,
) -> Vec<f64> {
    let trace: f64 = sums.squares.iter().sum::<f64>() / n;
    let loss = |(terms, q): (&Terms, &QuantizedWeight)| match metric {
        Metric::F1 => (terms.dot[0] / n).abs(),
        Metric::F2 => terms.dot[1] / n,
        Metric::F3 => 0.5 * terms.dot[2] / n,
        Metric::F4 => {
            0.5 * squared_errors(weight, q)
                .zip(&sums.squares)
                .map(|(e, s)| e * s)
                .sum::<f64>()
                / n
        }
        Metric::F5 => trace / weight.len() as f64 * squared_errors(weight, q).sum::<f64>(),
        Metric::F6 | Metric::Measured => unreachable!("not a Taylor metric"),
    };
    sums.terms.iter().zip(at).map(loss).collect()
}

fn site_losses(metric: Metric, sums: &Sums, len: f64, n: f64) -> Vec<f64> {
    let trace = sums.squares[0] / n;
    let loss = |terms: &Terms| match metric {
        Metric::F1 => (terms.dot[0] / n).abs(),
        Metric::F2 => terms.dot[1] / n,
        Metric::F3 => 0.5 * terms.dot[2] / n,
        Metric::F4 => 0.5 * terms.diagonal / n,
        Metric::F5 => trace / len * terms.error / n,
        Metric::F6 | Metric::Measured => unreachable!("not a Taylor metric"),
    };
    sums.terms.iter().map(loss).collect()
}

/// `(Q(w_j) - w_j)^2` for every entry.
fn squared_errors<'a>(
    weight: &'a Tensor,
    q: &'a QuantizedWeight,
) -> impl Iterator<Item = f64> + 'a {
    let n = weight.row_len();
    weight
        .data()
        .iter()
        .zip(&q.codes)
        .enumerate()
        .map(move |(i, (&w, &code))| {
            let d = f64::from(q.scale[i / n] * f32::from(code) - w);
            d * d
        })
}
