//! Folding: the same function with fewer nodes, so that what is left is what integers will run.
//!
//! - BatchNorm (running statistics) is an affine map per channel; an affine map after a Conv or
//!   Linear goes into its weights: `w' = s w`, `b' = s b + t`.
//! - An affine map before a Linear, or before a Conv that does not pad, goes into it as well.
//! - ReLU and Clip that follow each other are one clip.
//! - A pad of zeros before a Conv is the Conv's own padding.
//! - A Softmax at the end is dropped, and a Reshape there that leaves one row of numbers: a Program
//!   gives logits, as a layer made them.

use exbit_model::{Activation, Affine, Conv, Linear, Model, Node, Op, Result, ValueId};

/// `model`, folded. Layers keep their names; logits stay within float rounding of the original's.
///
/// # Errors
/// None on a well-formed model; the type is that of rebuilding a graph.
pub fn fold(model: &Model) -> Result<Model> {
    let mut nodes: Vec<Option<Node>> = model.nodes().iter().cloned().map(Some).collect();
    let mut answers: Vec<ValueId> = model.answers().collect();
    for i in 0..nodes.len() {
        let Some(node) = nodes[i].as_mut() else {
            continue;
        };
        simplify(&mut node.op);
        let Some(node) = nodes[i].clone() else {
            continue;
        };
        if let (Op::Softmax { .. }, Some(answer)) =
            (&node.op, answers.iter_mut().find(|v| **v == node.output))
        {
            *answer = node.inputs[0];
            nodes[i] = None;
            continue;
        }
        let before = nodes
            .iter()
            .position(|n| n.as_ref().is_some_and(|n| n.output == node.inputs[0]));
        let alone = |j: usize, nodes: &[Option<Node>]| {
            let value = nodes[j].as_ref().map(|n| n.output);
            let reads = nodes.iter().flatten().flat_map(|n| &n.inputs);
            !answers.iter().any(|&v| Some(v) == value)
                && reads.filter(|&&v| Some(v) == value).count() == 1
        };
        let Some(before) = before.filter(|&j| alone(j, &nodes)) else {
            continue;
        };
        let Some(mut earlier) = nodes[before].take() else {
            continue;
        };
        let mut later = node.clone();
        if absorb_next(&mut earlier.op, &later.op) {
            earlier.output = later.output;
            nodes[i] = Some(earlier);
        } else if absorb_previous(&earlier.op, &mut later.op) {
            later.inputs.clone_from(&earlier.inputs);
            nodes[i] = Some(later);
        } else {
            nodes[before] = Some(earlier);
        }
    }
    take_rows(model, &mut nodes, &mut answers);
    rebuild(model, nodes.into_iter().flatten(), &answers)
}

/// Answers that are reshaped rows are taken as the rows: of one axis that is not 1, whose order no
/// Reshape changes.
fn take_rows(model: &Model, nodes: &mut [Option<Node>], answers: &mut [ValueId]) {
    let maker = |nodes: &[Option<Node>], value: ValueId| {
        let made = |n: &Node| n.output == value;
        nodes.iter().position(|n| n.as_ref().is_some_and(made))
    };
    let is_row = |value: ValueId| {
        let shape = &model.value(value).shape;
        shape.iter().filter(|&&extent| extent != 1).count() <= 1
    };
    for a in 0..answers.len() {
        let answer = answers[a];
        let Some(at) = maker(nodes, answer) else {
            continue;
        };
        let row = match &nodes[at] {
            Some(Node {
                op: Op::Reshape { .. },
                inputs,
                ..
            }) => inputs[0],
            _ => continue,
        };
        if !is_row(row) || maker(nodes, row).is_none() {
            continue;
        }
        answers[a] = row;
        let read = nodes.iter().flatten().any(|n| n.inputs.contains(&answer));
        if !read && !answers.contains(&answer) {
            nodes[at] = None;
        }
    }
}

/// BatchNorm as an affine map, ReLU as a clip.
fn simplify(op: &mut Op) {
    if let Op::BatchNorm(bn) = op {
        let scale: Vec<f32> = (0..bn.gamma.len())
            .map(|c| (f64::from(bn.gamma[c]) / f64::from(bn.var[c] + bn.eps).sqrt()) as f32)
            .collect();
        let shift = (0..scale.len())
            .map(|c| bn.beta[c] - bn.mean[c] * scale[c])
            .collect();
        *op = Op::Affine(Affine { scale, shift });
    } else if let Op::Activation(Activation::Relu) = op {
        *op = Op::Activation(Activation::Clip {
            lo: 0.0,
            hi: f32::INFINITY,
        });
    }
}

/// Puts `next` into `op`, whose result it alone reads; whether that was possible.
fn absorb_next(op: &mut Op, next: &Op) -> bool {
    match (op, next) {
        (Op::Conv(conv), Op::Affine(a)) => {
            scale_rows(conv.weight.data_mut(), &mut conv.bias, a);
            true
        }
        (Op::Linear(linear), Op::Affine(a)) => {
            scale_rows(linear.weight.data_mut(), &mut linear.bias, a);
            true
        }
        (Op::Affine(first), Op::Affine(a)) => {
            for c in 0..a.scale.len() {
                first.scale[c] *= a.scale[c];
                first.shift[c] = first.shift[c] * a.scale[c] + a.shift[c];
            }
            true
        }
        (
            Op::Activation(Activation::Clip { lo, hi }),
            Op::Activation(Activation::Clip {
                lo: next_lo,
                hi: next_hi,
            }),
        ) => {
            (*lo, *hi) = (
                lo.max(*next_lo).min(*next_hi),
                hi.min(*next_hi).max(*next_lo),
            );
            true
        }
        (Op::Reshape { shape }, Op::Reshape { shape: next }) => {
            shape.clone_from(next);
            true
        }
        _ => false,
    }
}

/// Puts `op` into `next`, the only reader of its result; whether that was possible.
fn absorb_previous(op: &Op, next: &mut Op) -> bool {
    match (op, next) {
        (Op::Pad(pad), Op::Conv(conv)) if pad.value == 0.0 => {
            for (own, more) in conv.window.pads.iter_mut().zip(pad.pads) {
                *own += more;
            }
            true
        }
        (Op::Affine(a), Op::Conv(conv)) if conv.window.pads == [0; 4] => {
            let rows = conv.weight.shape()[0];
            let (per_group, taps) = (
                rows / conv.groups,
                conv.window.kernel[0] * conv.window.kernel[1],
            );
            let first = |row: usize| row / per_group * conv.weight.shape()[1];
            let firsts: Vec<usize> = (0..rows).map(first).collect();
            scale_columns(conv.weight.data_mut(), &mut conv.bias, a, taps, &firsts);
            true
        }
        (Op::Affine(a), Op::Linear(linear)) => {
            let rows = linear.weight.shape()[0];
            scale_columns(
                linear.weight.data_mut(),
                &mut linear.bias,
                a,
                1,
                &vec![0; rows],
            );
            true
        }
        _ => false,
    }
}

/// `scale * (W x + b) + shift`, for a weight whose rows are output channels.
fn scale_rows(weight: &mut [f32], bias: &mut Option<Vec<f32>>, a: &Affine) {
    let rows = a.scale.len();
    let bias = bias.get_or_insert_with(|| vec![0.0; rows]);
    for (c, row) in weight.chunks_exact_mut(weight.len() / rows).enumerate() {
        row.iter_mut().for_each(|w| *w *= a.scale[c]);
        bias[c] = bias[c] * a.scale[c] + a.shift[c];
    }
}

/// `W (scale * x + shift) + b`: row `r` reads input channels from `firsts[r]`, `taps` entries each.
fn scale_columns(
    weight: &mut [f32],
    bias: &mut Option<Vec<f32>>,
    a: &Affine,
    taps: usize,
    firsts: &[usize],
) {
    let rows = firsts.len();
    let bias = bias.get_or_insert_with(|| vec![0.0; rows]);
    for (r, row) in weight.chunks_exact_mut(weight.len() / rows).enumerate() {
        for (i, taps) in row.chunks_exact_mut(taps).enumerate() {
            let channel = firsts[r] + i;
            bias[r] += a.shift[channel] * taps.iter().sum::<f32>();
            taps.iter_mut().for_each(|w| *w *= a.scale[channel]);
        }
    }
}

/// A model of `nodes`, in their order, under the old names, that gives `answers`: of its exits,
/// then its own.
fn rebuild(model: &Model, nodes: impl Iterator<Item = Node>, answers: &[ValueId]) -> Result<Model> {
    let input = model.value(model.input());
    let mut folded = Model::new(model.name(), input.name.clone(), input.shape.clone());
    let mut renamed = vec![None; model.values().len()];
    renamed[model.input().0] = Some(folded.input());
    for node in nodes {
        let inputs: Vec<ValueId> = node.inputs.iter().filter_map(|v| renamed[v.0]).collect();
        renamed[node.output.0] = Some(folded.push(node.name, node.op, &inputs)?);
    }
    let renamed = |v: &ValueId| renamed[v.0].unwrap_or(folded.input());
    let mut answers: Vec<ValueId> = answers.iter().map(renamed).collect();
    if let Some(output) = answers.pop() {
        folded.set_output(output);
    }
    folded.set_exits(answers)?;
    Ok(folded)
}

/// Every layer of `model` has a bias afterwards (zeros where it had none).
pub(crate) fn with_biases(mut model: Model) -> Model {
    for id in model.layers() {
        let (Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias })) =
            model.op_mut(id)
        else {
            continue;
        };
        bias.get_or_insert_with(|| vec![0.0; weight.shape()[0]]);
    }
    model
}
