//! A quantized network that learns: its float twin, and what moves in it.
//!
//! Every parameter is learned in a unit of its own, so that one rate fits all: `s = s0 (1 + u)` for
//! the scale of a channel and the step of a grid, `b = b0 + d v` for a bias, `d` being the standard
//! deviation of its channel.

use std::collections::BTreeMap;

use exbit_grad::loss::{probabilities, soft_cross_entropy};
use exbit_grad::{Adam, Gradients, Mode, Wanted, backward, forward, infer, infer_with};
use exbit_kernels::Grid;
use exbit_model::{FakeQuant, Model, NodeId, Op, ValueId};

use super::{BATCH, FIRST};
use crate::Result;
use crate::prepare::Network;
use crate::quantized::{FakeQuantized, Quantized, QuantizedLayer, set_layer};
use crate::samples::Samples;
use crate::sensitivity::kl_sum;

pub(super) struct Student {
    fake: FakeQuantized,
    layers: BTreeMap<NodeId, Layer>,
    steps: BTreeMap<ValueId, Step>,
}

/// A layer as it was, and what was learned.
struct Layer {
    start: QuantizedLayer,
    /// `d`, one a channel.
    deviation: Vec<f32>,
    /// `u`, one a channel.
    scale: (Vec<f32>, Adam),
    /// `v`, one a channel.
    bias: (Vec<f32>, Adam),
}

/// An activation grid as it was, and what was learned of its step.
struct Step {
    start: Grid,
    /// `u`.
    scale: (Vec<f32>, Adam),
}

/// The furthest that `u` goes: beyond, another scale should have been chosen at first.
const FURTHEST: f32 = 0.5;

/// `n` parameters that begin at zero.
fn zeros(n: usize) -> (Vec<f32>, Adam) {
    (vec![0.0; n], Adam::new(n))
}

impl Student {
    pub(super) fn new(network: &Network, start: &Quantized, samples: &Samples) -> Result<Self> {
        let mut deviations = deviations(network, samples)?;
        let layer = |(&id, layer): (&NodeId, &QuantizedLayer)| {
            let channels = layer.bias.len();
            let deviation = deviations.remove(&network.model.node(id).output);
            let layer = Layer {
                start: layer.clone(),
                deviation: deviation.unwrap_or_else(|| vec![0.0; channels]),
                scale: zeros(channels),
                bias: zeros(channels),
            };
            (id, layer)
        };
        let step = |(&v, &start): (&ValueId, &Grid)| {
            (
                v,
                Step {
                    start,
                    scale: zeros(1),
                },
            )
        };
        Ok(Self {
            fake: FakeQuantized::new(network, start)?,
            layers: start.layers.iter().map(layer).collect(),
            steps: start.grids.iter().map(step).collect(),
        })
    }

    /// Mean `KL(p_float, p)` over a few of `samples`, nats.
    pub(super) fn divergence(&self, network: &Network, samples: &Samples) -> Result<f64> {
        let (mut sum, mut images) = (0.0, 0);
        for batch in samples.thinned(FIRST).batches(BATCH) {
            let batch = batch?;
            let [float, own] = [&network.model, &self.fake.model];
            let [float, own] = [float, own].map(|model| infer(model, &batch.x, batch.images));
            sum += kl_sum(&float, &own, float.len() / batch.images);
            images += batch.images;
        }
        Ok(sum / images.max(1) as f64)
    }

    /// One step of `rate` on the images of `x`, whose logits should be `teacher`. Gives the sum of
    /// `KL(p_teacher, p)` over them before it.
    pub(super) fn learn(&mut self, x: &[f32], images: usize, teacher: &[f32], rate: f32) -> f64 {
        let model = &self.fake.model;
        let classes = teacher.len() / images;
        let tape = forward(model, x, images, Mode::Eval);
        let divergence = kl_sum(teacher, tape.output(), classes);
        let targets = probabilities(teacher, classes);
        let (_, mut seed) = soft_cross_entropy(tape.output(), &targets, classes);
        seed.iter_mut().for_each(|g| *g /= images as f32);
        let wanted = Wanted {
            parameters: true,
            values: Vec::new(),
            rounded: false,
        };
        let cotangent = [vec![(model.output(), seed)]];
        let gradients = backward(model, &tape, &cotangent, &wanted).remove(0);
        drop(tape);
        for (id, layer) in &mut self.layers {
            let node = self.fake.layers[id];
            layer.step(&gradients, node, rate);
            set_layer(&mut self.fake.model, node, &layer.now());
        }
        for (value, step) in &mut self.steps {
            let node = self.fake.sites[value];
            step.step(&gradients, node, rate);
            if let Op::FakeQuant(FakeQuant {
                scale, step: own, ..
            }) = self.fake.model.op_mut(node)
            {
                (*scale, *own) = (step.now().scale, step.now().scale);
            }
        }
        divergence
    }

    pub(super) fn quantized(&self) -> Quantized {
        Quantized {
            layers: self.layers.iter().map(|(&id, l)| (id, l.now())).collect(),
            grids: self.steps.iter().map(|(&v, s)| (v, s.now())).collect(),
        }
    }
}

impl Layer {
    fn step(&mut self, gradients: &Gradients, node: NodeId, rate: f32) {
        let Some(g) = gradients.node(node) else {
            return;
        };
        let start = &self.start.weight;
        let row = start.codes.len() / start.scale.len().max(1);
        let (u, adam) = &mut self.scale;
        adam.step(u, rate, |c| {
            let row = c * row..(c + 1) * row;
            let terms = g.weight[row.clone()].iter().zip(&start.codes[row]);
            start.scale[c] * terms.map(|(g, &q)| g * f32::from(q)).sum::<f32>()
        });
        u.iter_mut().for_each(|u| *u = u.clamp(-FURTHEST, FURTHEST));
        let deviation = &self.deviation;
        let (v, adam) = &mut self.bias;
        adam.step(v, rate, |c| g.bias[c] * deviation[c]);
    }

    fn now(&self) -> QuantizedLayer {
        let mut now = self.start.clone();
        let scales = now.weight.scale.iter_mut().zip(&self.scale.0);
        scales.for_each(|(s, u)| *s *= 1.0 + u);
        let learned = self.bias.0.iter().zip(&self.deviation);
        let biases = now.bias.iter_mut().zip(learned);
        biases.for_each(|(b, (v, d))| *b += v * d);
        now
    }
}

impl Step {
    fn step(&mut self, gradients: &Gradients, node: NodeId, rate: f32) {
        if let Some(g) = gradients.node(node) {
            let start = self.start.scale;
            let (u, adam) = &mut self.scale;
            adam.step(u, rate, |_| (g.weight[0] + g.weight[1]) * start);
            u[0] = u[0].clamp(-FURTHEST, FURTHEST);
        }
    }

    fn now(&self) -> Grid {
        Grid {
            scale: self.start.scale * (1.0 + self.scale.0[0]),
            ..self.start
        }
    }
}

/// Standard deviation of each channel of every value, over a batch.
fn deviations(network: &Network, samples: &Samples) -> Result<BTreeMap<ValueId, Vec<f32>>> {
    let mut found = BTreeMap::new();
    let few = samples.thinned(BATCH);
    let Some(batch) = few.batches(BATCH).next() else {
        return Ok(found);
    };
    let batch = batch?;
    infer_with(&network.model, &batch.x, batch.images, |id, y| {
        found.insert(id, deviation(&network.model, id, y, batch.images));
    });
    Ok(found)
}

/// Of each channel of `y`, which holds value `id` of `images` images.
fn deviation(model: &Model, id: ValueId, y: &[f32], images: usize) -> Vec<f32> {
    let shape = &model.value(id).shape;
    let positions: usize = shape[1..].iter().product();
    let mut sums = vec![[0.0f64; 2]; shape[0]];
    for (i, plane) in y.chunks_exact(positions).enumerate() {
        let [sum, squares] = &mut sums[i % shape[0]];
        for &y in plane {
            *sum += f64::from(y);
            *squares += f64::from(y).powi(2);
        }
    }
    let n = (images * positions) as f64;
    let root = |[sum, squares]: &[f64; 2]| (squares / n - (sum / n).powi(2)).max(0.0).sqrt() as f32;
    sums.iter().map(root).collect()
}
