//! AdaRound over a block (Nagel et al., 2020; block-wise as in BRECQ, Li et al., 2021).
//!
//! Each weight may go to one of two neighbouring codes, `W_q = s (base + h(V))`, `h(V) = clip(1.2
//! sigmoid(V) - 0.1, 0, 1)`, and `V` is learned so that the block gives on `z` what the float block
//! gives on `x`:
//!
//! ```text
//! L = |y - y_q|^2 / |y - y_0|^2 + (k / n) sum_j (1 - |2 h(V_j) - 1|^b)
//! ```
//!
//! `b` falls from 20 to 2 by a cosine after a fifth of the iterations without the second term,
//! which drives every `h` to 0 or 1. Where we depart: the two neighbours are around the code that
//! the moments chose (`base` is that code or the one below it, so that the weight lies between them
//! if it can), and the first term is relative to the error `y_0` of that choice, so that one `k`
//! serves every block. Activations are rounded throughout; their gradient passes straight through.
//! The result is kept only if it is better than the start on images held out of the descent.

use exbit_grad::{Gradients, Mode, Wanted, backward, forward, infer};
use exbit_kernels::Bits;
use exbit_model::{Conv, Linear, Model, NodeId, Op};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::quantized::{QuantizedLayer, set_layer};

/// How long, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// Iterations a block.
    pub iterations: usize,
    /// Images an iteration.
    pub batch: usize,
    /// Step of Adam.
    pub rate: f32,
    /// Weight `k` of the term that drives `h` to 0 or 1.
    pub decision: f32,
    /// Seed of the order of images.
    pub seed: u64,
}

impl Default for Descent {
    /// 1000 iterations of 32 images.
    fn default() -> Self {
        Self {
            iterations: 1000,
            batch: 32,
            rate: 1e-2,
            decision: 1.0,
            seed: 0,
        }
    }
}

/// One layer under descent.
struct Soft {
    /// Its node in the rounded model.
    node: NodeId,
    bits: Bits,
    scale: Vec<f32>,
    /// The lower of the two codes of each weight.
    base: Vec<f32>,
    v: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// Images at the boundaries of a block: what it reads and what it should give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairs<'a> {
    pub(super) z: &'a [f32],
    pub(super) y: &'a [f32],
    pub(super) images: usize,
}

/// Improves the codes of `layers` (node in `rounded`, float weight, current choice), whose
/// dequantized weights stand in `rounded`. Gives the relative error on held-out images before and
/// after; `rounded` and `layers` hold the better of both.
pub(super) fn descend(
    rounded: &mut Model,
    layers: &mut [(NodeId, Vec<f32>, QuantizedLayer)],
    pairs: Pairs<'_>,
    how: &Descent,
) -> (f64, f64) {
    let held = (pairs.images / 8).clamp(1, 64);
    let train = pairs.images - held;
    let (zl, yl) = (pairs.z.len() / pairs.images, pairs.y.len() / pairs.images);
    let judge = |model: &Model| -> f64 {
        let (z, y) = (&pairs.z[train * zl..], &pairs.y[train * yl..]);
        squared_distance(y, &infer(model, z, held)) / power(y)
    };
    let before = judge(rounded);
    if train == 0 || layers.is_empty() || before == 0.0 {
        return (before, before);
    }
    let start = rounded.clone();
    let mut soft: Vec<Soft> = layers.iter().map(|(n, w, l)| Soft::new(*n, w, l)).collect();
    let weights: usize = soft.iter().map(|s| s.v.len()).sum();
    let unit = before * power(pairs.y) / pairs.images as f64;
    let mut random = ChaCha8Rng::seed_from_u64(how.seed);
    let batch = how.batch.min(train);
    let (mut z, mut y) = (vec![0.0; batch * zl], vec![0.0; batch * yl]);
    for t in 0..how.iterations {
        for b in 0..batch {
            let i = (random.next_u64() % train as u64) as usize;
            z[b * zl..(b + 1) * zl].copy_from_slice(&pairs.z[i * zl..(i + 1) * zl]);
            y[b * yl..(b + 1) * yl].copy_from_slice(&pairs.y[i * yl..(i + 1) * yl]);
        }
        soft.iter().for_each(|s| s.put(rounded));
        let gradients = gradients(rounded, &z, &y, batch, unit);
        let decision = Decision::at(t, how, weights);
        for s in &mut soft {
            if let Some(g) = gradients.node(s.node) {
                s.step(&g.weight, decision, how.rate, t + 1);
            }
        }
    }
    let mut found = Vec::new();
    for (s, (node, _, layer)) in soft.iter().zip(layers.iter()) {
        let mut layer = layer.clone();
        layer.weight.codes = s.codes();
        set_layer(rounded, *node, &layer);
        found.push(layer);
    }
    let after = judge(rounded);
    if after >= before {
        *rounded = start;
        return (before, before);
    }
    layers
        .iter_mut()
        .zip(found)
        .for_each(|((_, _, l), f)| *l = f);
    (before, after)
}

/// Of `|block(z) - y|^2 / (unit batch)`, the first term of the loss.
fn gradients(block: &Model, z: &[f32], y: &[f32], batch: usize, unit: f64) -> Gradients {
    let tape = forward(block, z, batch, Mode::Eval);
    let factor = (2.0 / (unit * batch as f64)) as f32;
    let pairs = tape.output().iter().zip(y);
    let seed = pairs.map(|(q, y)| factor * (q - y)).collect();
    let wanted = Wanted {
        parameters: true,
        values: Vec::new(),
        rounded: false,
    };
    backward(block, &tape, &[vec![(block.output(), seed)]], &wanted).remove(0)
}

/// The second term of the loss at one iteration.
#[derive(Clone, Copy)]
struct Decision {
    weight: f32,
    exponent: f32,
}

impl Decision {
    fn at(t: usize, how: &Descent, weights: usize) -> Self {
        let done = t as f32 / how.iterations as f32;
        let phase = ((done - 0.2) / 0.8).max(0.0);
        let exponent = 2.0 + 9.0 * (1.0 + (std::f32::consts::PI * phase).cos());
        let weight = if done < 0.2 {
            0.0
        } else {
            how.decision / weights as f32
        };
        Self { weight, exponent }
    }

    /// Derivative with respect to `h`.
    fn slope(self, h: f32) -> f32 {
        let u = 2.0 * h - 1.0;
        -2.0 * self.weight * self.exponent * u.abs().powf(self.exponent - 1.0) * u.signum()
    }
}

impl Soft {
    fn new(node: NodeId, weight: &[f32], layer: &QuantizedLayer) -> Self {
        let q = &layer.weight;
        let (lo, hi) = q.bits.weight_range();
        let row = weight.len() / q.scale.len();
        let mut base = Vec::with_capacity(weight.len());
        let mut v = Vec::with_capacity(weight.len());
        for (i, (&w, &code)) in weight.iter().zip(&q.codes).enumerate() {
            let u = w / q.scale[i / row];
            let code = f32::from(code);
            let below = (if u < code { code - 1.0 } else { code })
                .clamp(f32::from(lo), (f32::from(hi) - 1.0).max(f32::from(lo)));
            base.push(below);
            // Start at the weight itself, but on the side of the chosen code.
            let side = if code > below { 0.5..=0.98 } else { 0.02..=0.5 };
            let h = (u - below).clamp(*side.start(), *side.end());
            v.push(inverse_h(h));
        }
        let zeros = vec![0.0; v.len()];
        Self {
            node,
            bits: q.bits,
            scale: q.scale.clone(),
            base,
            v,
            mean: zeros.clone(),
            square: zeros,
        }
    }

    /// Puts the soft weights into `model`.
    fn put(&self, model: &mut Model) {
        if let Op::Conv(Conv { weight, .. }) | Op::Linear(Linear { weight, .. }) =
            model.op_mut(self.node)
        {
            let row = self.v.len() / self.scale.len();
            for (i, w) in weight.data_mut().iter_mut().enumerate() {
                *w = self.scale[i / row] * (self.base[i] + h(self.v[i]));
            }
        }
    }

    /// One step of Adam, `g` being the gradient of the soft weight.
    fn step(&mut self, g: &[f32], decision: Decision, rate: f32, t: usize) {
        const BETA1: f32 = 0.9;
        const BETA2: f32 = 0.999;
        let row = self.v.len() / self.scale.len();
        let (c1, c2) = (1.0 - BETA1.powi(t as i32), 1.0 - BETA2.powi(t as i32));
        for (i, &g) in g.iter().enumerate() {
            let sigmoid = 1.0 / (1.0 + (-self.v[i]).exp());
            let h = 1.2 * sigmoid - 0.1;
            if !(0.0..=1.0).contains(&h) {
                continue;
            }
            let inner = g * self.scale[i / row] + decision.slope(h);
            let d = inner * 1.2 * sigmoid * (1.0 - sigmoid);
            self.mean[i] = BETA1 * self.mean[i] + (1.0 - BETA1) * d;
            self.square[i] = BETA2 * self.square[i] + (1.0 - BETA2) * d * d;
            self.v[i] -= rate * (self.mean[i] / c1) / ((self.square[i] / c2).sqrt() + 1e-12);
        }
    }

    fn codes(&self) -> Vec<i8> {
        let code = |(&b, &v): (&f32, &f32)| {
            let up = f32::from(u8::from(h(v) >= 0.5));
            self.bits.weight_code(b + up)
        };
        self.base.iter().zip(&self.v).map(code).collect()
    }
}

/// `clip(1.2 sigmoid(v) - 0.1, 0, 1)`.
fn h(v: f32) -> f32 {
    (1.2 / (1.0 + (-v).exp()) - 0.1).clamp(0.0, 1.0)
}

/// The `v` of an `h` inside (0, 1).
fn inverse_h(h: f32) -> f32 {
    -(1.2 / (h + 0.1) - 1.0).ln()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

fn power(a: &[f32]) -> f64 {
    a.iter()
        .map(|a| f64::from(*a).powi(2))
        .sum::<f64>()
        .max(1e-30)
}
