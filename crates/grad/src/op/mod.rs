//! The ops, each with a forward and a backward function on plain slices, for a tile of images.
//!
//! A backward function *overwrites* the input gradients that it is asked for and *adds* to the
//! parameter gradients; the walks add where a value has several readers. `dys[c]` is the gradient
//! of the output under cotangent `c`; what all cotangents share is computed once.

use exbit_model::{Model, Op, Pool};

use crate::backward::NodeGradient;
use crate::tape::Statistics;

mod activation;
mod add;
mod concat;
mod conv;
mod fake_quant;
mod flat;
mod linear;
pub(crate) mod norm;
mod pad;
mod pool;
mod shape;
mod softmax;

/// A node where it stands: its op, and the shapes (without the batch) around it.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) op: &'a Op,
    pub(crate) inputs: Vec<&'a [usize]>,
    pub(crate) output: &'a [usize],
    /// Of the batch, for a BatchNorm that normalises by it.
    pub(crate) statistics: Option<&'a Statistics>,
}

impl<'a> Site<'a> {
    pub(crate) fn new(model: &'a Model, node: usize, statistics: Option<&'a Statistics>) -> Self {
        let node = &model.nodes()[node];
        let shape = |id: &exbit_model::ValueId| model.value(*id).shape.as_slice();
        Self {
            op: &node.op,
            inputs: node.inputs.iter().map(shape).collect(),
            output: shape(&node.output),
            statistics,
        }
    }

    /// Entries of the output for one image.
    pub(crate) fn output_len(&self) -> usize {
        self.output.iter().product()
    }
}

/// What the forward pass of a tile saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) xs: &'a [&'a [f32]],
    pub(crate) y: &'a [f32],
    pub(crate) images: usize,
}

/// Where gradients go. `dxs[i][c]` is input `i`'s under cotangent `c`, or absent where nobody
/// wants it; `parameters[c]` the node's, or the slice is empty.
#[derive(Debug)]
pub(crate) struct Wants<'a, 'b> {
    pub(crate) dxs: &'a mut [Vec<Option<&'b mut [f32]>>],
    pub(crate) parameters: &'a mut [NodeGradient],
    /// Whether factors may be rounded to bfloat16.
    pub(crate) rounded: bool,
}

impl Wants<'_, '_> {
    /// The wanted gradients of the only input, each with its cotangent.
    fn of_input(&mut self) -> impl Iterator<Item = (usize, &mut [f32])> {
        let dxs = self.dxs[0].iter_mut().enumerate();
        dxs.filter_map(|(c, dx)| dx.as_deref_mut().map(|dx| (c, dx)))
    }
}

/// `y` from `xs`, for `images` images.
pub(crate) fn forward(site: &Site, xs: &[&[f32]], y: &mut [f32], images: usize) {
    let x = xs[0];
    match site.op {
        Op::Conv(op) => conv::forward(op, site, x, y, images),
        Op::Linear(op) => linear::forward(op, x, y, images),
        Op::BatchNorm(op) => norm::forward_batch_norm(op, site, x, y),
        Op::Affine(op) => norm::forward_affine(&op.scale, &op.shift, site.output, x, y),
        Op::Activation(op) => activation::forward(*op, x, y),
        Op::Add => add::forward(xs, y),
        Op::Concat { axis } => concat::forward(*axis, site, xs, y),
        Op::Pad(op) => pad::forward(op, site, x, y),
        Op::MaxPool(window) => pool::forward_max(window, site, x, y),
        Op::AvgPool(Pool {
            window,
            count_include_pad,
        }) => {
            pool::forward_mean(window, *count_include_pad, site, x, y);
        }
        Op::GlobalAvgPool => pool::forward_global(site, x, y),
        Op::Reshape { .. } => y.copy_from_slice(x),
        Op::Transpose { perm } => shape::forward_transpose(perm, site, x, y),
        Op::Softmax { axis } => softmax::forward(*axis, site, x, y),
        Op::FakeQuant(op) => fake_quant::forward(op, x, y),
    }
}

/// The gradients that `wants` asks for, from those of the output.
///
/// A BatchNorm on batch statistics is not differentiated here: it needs sums over the whole batch
/// first (`norm::reduce`).
pub(crate) fn backward(site: &Site, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    match site.op {
        Op::Conv(op) => conv::backward(op, site, seen, dys, wants),
        Op::Linear(op) => linear::backward(op, seen, dys, wants),
        Op::BatchNorm(op) => norm::backward_batch_norm(op, site, seen, dys, wants),
        Op::Affine(op) => norm::backward_affine(op, site, seen, dys, wants),
        Op::Activation(op) => {
            wants
                .of_input()
                .for_each(|(c, dx)| activation::backward(*op, seen, dys[c], dx));
        }
        Op::Add | Op::Reshape { .. } => debug_assert!(passes_on(site.op), "not called"),
        Op::Concat { axis } => concat::backward(*axis, site, dys, wants),
        Op::Pad(op) => wants
            .of_input()
            .for_each(|(c, dx)| pad::backward(op, site, dys[c], dx)),
        Op::MaxPool(w) => {
            wants
                .of_input()
                .for_each(|(c, dx)| pool::backward_max(w, site, seen, dys[c], dx));
        }
        Op::AvgPool(Pool {
            window,
            count_include_pad: all,
        }) => wants
            .of_input()
            .for_each(|(c, dx)| pool::backward_mean(window, *all, site, dys[c], dx)),
        Op::GlobalAvgPool => {
            wants
                .of_input()
                .for_each(|(c, dx)| pool::backward_global(site, dys[c], dx));
        }
        Op::Transpose { perm } => {
            wants
                .of_input()
                .for_each(|(c, dx)| shape::backward_transpose(perm, site, dys[c], dx));
        }
        Op::Softmax { axis } => {
            wants
                .of_input()
                .for_each(|(c, dx)| softmax::backward(*axis, site, seen, dys[c], dx));
        }
        Op::FakeQuant(op) => fake_quant::backward(op, seen, dys, wants),
    }
}

/// Whether the gradient of each input is that of the output, unchanged: the walks hand it on
/// without a call.
pub(crate) fn passes_on(op: &Op) -> bool {
    matches!(op, Op::Add | Op::Reshape { .. })
}

/// Whether [`backward_in_place`] can be called.
pub(crate) fn works_in_place(op: &Op) -> bool {
    matches!(op, Op::Activation(_) | Op::FakeQuant(_))
}

/// Turns `g` from the gradient of the output into that of the input; what the parameters gain goes
/// to `gradient`, where they are wanted.
pub(crate) fn backward_in_place(
    site: &Site,
    seen: Seen,
    g: &mut [f32],
    gradient: Option<&mut NodeGradient>,
) {
    if let Op::Activation(op) = site.op {
        activation::backward_in_place(*op, seen, g);
    } else if let Op::FakeQuant(op) = site.op {
        fake_quant::backward_in_place(op, seen, g, gradient);
    } else {
        debug_assert!(works_in_place(site.op), "not called");
    }
}

/// Zeros of the lengths of a node's parameters, or `None` for a node without any.
pub(crate) fn zero_parameters(op: &Op) -> Option<NodeGradient> {
    let zeros = |weight: usize, bias: usize| {
        Some(NodeGradient {
            weight: vec![0.0; weight],
            bias: vec![0.0; bias],
        })
    };
    if let Op::FakeQuant(_) = op {
        return zeros(fake_quant::SUMS, 0);
    }
    // Running statistics, which a BatchNorm has besides, have none.
    match op.parameters()[..] {
        [weight, bias, ..] => zeros(weight.len(), bias.len()),
        _ => None,
    }
}
