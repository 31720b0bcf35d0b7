//! Cross-layer equalisation: two layers with only a positively homogeneous function between them
//! share one freedom per channel, `W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1)`; `S` is chosen
//! so that the ranges of channel `i` agree in both: `s_i = sqrt(r1_i / r2_i)`, `r` the largest
//! weight of the channel (Nagel et al., 2019, equation 11).
//!
//! Per-channel scales make the rows of `W1` indifferent to `S`, so what is left to gain is the
//! columns of `W2` and the ranges of the activation between. A ReLU6 is not homogeneous: the pair
//! is taken only where its upper end is never reached or is scaled away, i.e. not at all here; we
//! decided to leave clipped pairs alone rather than drop the clip, which changes the function.

use exbit_model::{Activation, Conv, Linear, Model, NodeId, Op, Tensor, ValueId};

/// Equalises every pair of layers of a folded model until nothing moves, at most `ROUNDS` times;
/// says how many pairs there are. The function stays the same up to float rounding.
pub fn equalize(model: &mut Model) -> usize {
    const ROUNDS: usize = 20;
    let pairs = pairs(model);
    for _ in 0..ROUNDS {
        let moved = pairs
            .iter()
            .map(|&(a, b)| equalize_pair(model, a, b))
            .fold(0.0, f32::max);
        if moved < 1e-3 {
            break;
        }
    }
    pairs.len()
}

/// Layers with nothing between but ReLU or LeakyReLU, each value read once.
fn pairs(model: &Model) -> Vec<(NodeId, NodeId)> {
    let mut pairs = Vec::new();
    for first in model.layers() {
        let mut value = model.node(first).output;
        while let Some(next) = only_reader(model, value) {
            let node = model.node(next);
            if node.op.weight().is_some() {
                pairs.push((first, next));
                break;
            }
            if !is_homogeneous(&node.op) {
                break;
            }
            value = node.output;
        }
    }
    pairs
}

/// `f(s x) = s f(x)` for every `s > 0`.
fn is_homogeneous(op: &Op) -> bool {
    matches!(
        op,
        Op::Activation(
            Activation::Relu
                | Activation::Clip {
                    lo: 0.0,
                    hi: f32::INFINITY
                }
                | Activation::LeakyRelu { .. }
        )
    )
}

fn only_reader(model: &Model, value: ValueId) -> Option<NodeId> {
    match model.consumers(value)[..] {
        [reader] if value != model.output() => Some(reader),
        _ => None,
    }
}

/// One step on one pair; the largest relative change.
fn equalize_pair(model: &mut Model, first: NodeId, second: NodeId) -> f32 {
    let (Some(w1), Some(w2)) = (weight(model, first), weight(model, second)) else {
        return 0.0;
    };
    let r1: Vec<f32> = (0..w1.shape()[0]).map(|c| largest(w1.row(c))).collect();
    let mut r2 = vec![0.0f32; r1.len()];
    let groups = groups(model, second);
    each_column(w2.shape(), groups, |channel, range| {
        r2[channel] = r2[channel].max(largest(&w2.data()[range]));
    });
    let factor = |(&a, &b): (&f32, &f32)| {
        if a > 0.0 && b > 0.0 {
            (a / b).sqrt()
        } else {
            1.0
        }
    };
    let s: Vec<f32> = r1.iter().zip(&r2).map(factor).collect();
    let shape = w2.shape().to_vec();
    if let Some((weight, bias)) = parameters(model, first) {
        for (c, &s) in s.iter().enumerate() {
            weight.row_mut(c).iter_mut().for_each(|w| *w /= s);
            bias[c] /= s;
        }
    }
    if let Some((weight, _)) = parameters(model, second) {
        let data = weight.data_mut();
        each_column(&shape, groups, |channel, range| {
            data[range].iter_mut().for_each(|w| *w *= s[channel]);
        });
    }
    s.iter().map(|s| (s - 1.0).abs()).fold(0.0, f32::max)
}

/// Calls `visit(input channel, range of its taps)` for every row of a weight.
fn each_column(
    shape: &[usize],
    groups: usize,
    mut visit: impl FnMut(usize, std::ops::Range<usize>),
) {
    let (rows, per_row) = (shape[0], shape[1]);
    let taps: usize = shape[2..].iter().product();
    for r in 0..rows {
        for i in 0..per_row {
            let channel = r / (rows / groups) * per_row + i;
            let start = (r * per_row + i) * taps;
            visit(channel, start..start + taps);
        }
    }
}

fn largest(entries: &[f32]) -> f32 {
    entries.iter().fold(0.0, |m, w| m.max(w.abs()))
}

fn weight(model: &Model, id: NodeId) -> Option<&Tensor> {
    model.node(id).op.weight()
}

fn groups(model: &Model, id: NodeId) -> usize {
    if let Op::Conv(conv) = &model.node(id).op {
        conv.groups
    } else {
        1
    }
}

fn parameters(model: &mut Model, id: NodeId) -> Option<(&mut Tensor, &mut Vec<f32>)> {
    if let Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias }) =
        model.op_mut(id)
    {
        let rows = weight.shape()[0];
        return Some((weight, bias.get_or_insert_with(|| vec![0.0; rows])));
    }
    None
}
