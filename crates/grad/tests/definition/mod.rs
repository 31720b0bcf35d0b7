//! What a model computes, in `f64` and in plain loops: the definition that the fast paths and
//! their gradients are compared with. Nothing here is shared with them.

use exbit_grad::Mode;
use exbit_model::{Activation, Conv, Model, Op, ValueId, Window};

/// The parameters of every node, `[weight, bias]`, as `Gradients` gives their gradients.
pub(crate) type Parameters = Vec<[Vec<f64>; 2]>;

/// The parameters of `model`.
pub(crate) fn parameters(model: &Model) -> Parameters {
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let of = |op: &Op| match op {
        Op::Conv(c) => [
            wide(c.weight.data()),
            wide(c.bias.as_deref().unwrap_or(&[])),
        ],
        Op::Linear(l) => [
            wide(l.weight.data()),
            wide(l.bias.as_deref().unwrap_or(&[])),
        ],
        Op::BatchNorm(bn) => [wide(&bn.gamma), wide(&bn.beta)],
        Op::Affine(a) => [wide(&a.scale), wide(&a.shift)],
        Op::FakeQuant(q) => [wide(&[q.scale]), vec![]],
        Op::Activation(_)
        | Op::Add
        | Op::Concat { .. }
        | Op::Pad(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Softmax { .. } => [vec![], vec![]],
    };
    model.nodes().iter().map(|n| of(&n.op)).collect()
}

/// Every value of `images` images.
pub(crate) fn values(
    model: &Model,
    parameters: &Parameters,
    x: &[f64],
    images: usize,
    mode: Mode,
) -> Vec<Vec<f64>> {
    let mut values = vec![x.to_vec()];
    for (node, [weight, bias]) in model.nodes().iter().zip(parameters) {
        let xs: Vec<&[f64]> = node
            .inputs
            .iter()
            .map(|id| values[id.0].as_slice())
            .collect();
        let shape = |id: &ValueId| model.value(*id).shape.clone();
        let shapes: Vec<Vec<usize>> = node.inputs.iter().map(shape).collect();
        let out = shape(&node.output);
        let y = match &node.op {
            Op::Conv(c) => conv(c, [weight, bias], xs[0], &shapes[0], &out, images),
            Op::Linear(_) => linear([weight, bias], xs[0], out[0]),
            Op::BatchNorm(bn) => {
                let (mean, var) = match mode {
                    Mode::Eval => (wide(&bn.mean), wide(&bn.var)),
                    Mode::Train => statistics(xs[0], &out),
                };
                let inverse = var.iter().map(|v| 1.0 / (v + f64::from(bn.eps)).sqrt());
                let inverse: Vec<f64> = inverse.collect();
                per_channel(xs[0], &out, |c, x| {
                    (x - mean[c]) * inverse[c] * weight[c] + bias[c]
                })
            }
            Op::Affine(_) => per_channel(xs[0], &out, |c, x| weight[c] * x + bias[c]),
            Op::Activation(a) => xs[0].iter().map(|&x| activation(*a, x)).collect(),
            Op::Add => xs[0].iter().zip(xs[1]).map(|(a, b)| a + b).collect(),
            Op::Concat { axis } => concat(*axis, &xs, &shapes, images),
            Op::Pad(p) => at_each(&out, images, |n, c, y, x| {
                let [top, left, ..] = p.pads;
                pixel(
                    xs[0],
                    &shapes[0],
                    n,
                    c,
                    y as i64 - top as i64,
                    x as i64 - left as i64,
                )
                .unwrap_or(f64::from(p.value))
            }),
            Op::MaxPool(w) => at_each(&out, images, |n, c, y, x| {
                window(w, y, x, |iy, ix| pixel(xs[0], &shapes[0], n, c, iy, ix))
                    .into_iter()
                    .fold(f64::NEG_INFINITY, f64::max)
            }),
            Op::AvgPool(p) => at_each(&out, images, |n, c, y, x| {
                let w = &p.window;
                let taps = window(w, y, x, |iy, ix| pixel(xs[0], &shapes[0], n, c, iy, ix));
                let all = w.kernel[0] * w.kernel[1];
                let count = if p.count_include_pad { all } else { taps.len() };
                taps.iter().sum::<f64>() / count as f64
            }),
            Op::GlobalAvgPool => {
                let plane = shapes[0][1] * shapes[0][2];
                xs[0]
                    .chunks(plane)
                    .map(|p| p.iter().sum::<f64>() / plane as f64)
                    .collect()
            }
            Op::Reshape { .. } => xs[0].to_vec(),
            Op::Transpose { perm } => transpose(perm, xs[0], &shapes[0], images),
            Op::Softmax { axis } => softmax(*axis, xs[0], &out),
            Op::FakeQuant(q) => xs[0]
                .iter()
                .map(|x| {
                    let (scale, zero) = (weight[0], f64::from(q.zero));
                    let code = (x / scale + zero).clamp(0.0, f64::from(q.levels));
                    scale * (code.round_ties_even() - zero)
                })
                .collect(),
        };
        values.push(y);
    }
    values
}

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&v| f64::from(v)).collect()
}

/// Entry `(n, c, y, x)`, or `None` outside the image.
fn pixel(v: &[f64], shape: &[usize], n: usize, c: usize, y: i64, x: i64) -> Option<f64> {
    let inside = (0..shape[1] as i64).contains(&y) && (0..shape[2] as i64).contains(&x);
    let row = |y: usize| (n * shape[0] + c) * shape[1] + y;
    inside.then(|| v[row(y as usize) * shape[2] + x as usize])
}

/// `f(n, c, y, x)` at every place of an output.
fn at_each(
    shape: &[usize],
    images: usize,
    f: impl Fn(usize, usize, usize, usize) -> f64,
) -> Vec<f64> {
    let mut y = Vec::new();
    for n in 0..images {
        for c in 0..shape[0] {
            for row in 0..shape[1] {
                y.extend((0..shape[2]).map(|col| f(n, c, row, col)));
            }
        }
    }
    y
}

/// What `read` finds under each tap of the window of output `(y, x)`, where it finds anything.
fn window(w: &Window, y: usize, x: usize, read: impl Fn(i64, i64) -> Option<f64>) -> Vec<f64> {
    let mut found = Vec::new();
    for ky in 0..w.kernel[0] {
        for kx in 0..w.kernel[1] {
            let at = |axis: usize, out: usize, k: usize| {
                (out * w.stride[axis] + k * w.dilation[axis]) as i64 - w.pads[axis] as i64
            };
            found.extend(read(at(0, y, ky), at(1, x, kx)));
        }
    }
    found
}

fn conv(
    op: &Conv,
    [weight, bias]: [&Vec<f64>; 2],
    x: &[f64],
    shape: &[usize],
    out: &[usize],
    images: usize,
) -> Vec<f64> {
    let (cin, w) = (op.weight.shape()[1], &op.window);
    let taps = w.kernel[0] * w.kernel[1];
    at_each(out, images, |n, o, y, ox| {
        let mut sum = bias.get(o).copied().unwrap_or(0.0);
        let group = o / (out[0] / op.groups);
        for c in 0..cin {
            let read = |iy, ix| Some(pixel(x, shape, n, group * cin + c, iy, ix).unwrap_or(0.0));
            let pixels = window(w, y, ox, read);
            let kernel = &weight[(o * cin + c) * taps..][..taps];
            sum += pixels.iter().zip(kernel).map(|(p, k)| p * k).sum::<f64>();
        }
        sum
    })
}

fn linear([weight, bias]: [&Vec<f64>; 2], x: &[f64], out: usize) -> Vec<f64> {
    let features = weight.len() / out;
    let mut y = Vec::new();
    for x in x.chunks(features) {
        for o in 0..out {
            let row = &weight[o * features..(o + 1) * features];
            let dot: f64 = row.iter().zip(x).map(|(w, x)| w * x).sum();
            y.push(dot + bias.get(o).copied().unwrap_or(0.0));
        }
    }
    y
}

fn per_channel(x: &[f64], shape: &[usize], f: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let inner: usize = shape[1..].iter().product();
    x.iter()
        .enumerate()
        .map(|(i, &x)| f(i / inner % shape[0], x))
        .collect()
}

/// Mean and biased variance of each channel.
pub(crate) fn statistics(x: &[f64], shape: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let inner: usize = shape[1..].iter().product();
    let of = |c: usize| -> Vec<f64> {
        (0..x.len())
            .filter(|i| i / inner % shape[0] == c)
            .map(|i| x[i])
            .collect()
    };
    let moments = |c: usize| {
        let x = of(c);
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        (
            mean,
            x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64,
        )
    };
    (0..shape[0]).map(moments).unzip()
}

fn activation(a: Activation, x: f64) -> f64 {
    match a {
        Activation::Relu => x.max(0.0),
        Activation::Clip { lo, hi } => x.max(f64::from(lo)).min(f64::from(hi)),
        Activation::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::HardSigmoid { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
    }
}

fn concat(axis: usize, xs: &[&[f64]], shapes: &[Vec<usize>], images: usize) -> Vec<f64> {
    let outer: usize = images * shapes[0][..axis].iter().product::<usize>();
    let mut y = Vec::new();
    for o in 0..outer {
        for (x, shape) in xs.iter().zip(shapes) {
            let run: usize = shape[axis..].iter().product();
            y.extend_from_slice(&x[o * run..(o + 1) * run]);
        }
    }
    y
}

fn transpose(perm: &[usize], x: &[f64], shape: &[usize], images: usize) -> Vec<f64> {
    let len: usize = shape.iter().product();
    let mut y = vec![0.0; x.len()];
    for i in 0..images * len {
        // The index of entry i, axis by axis, from the last.
        let mut index = vec![0; shape.len()];
        let mut rest = i % len;
        for axis in (0..shape.len()).rev() {
            index[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        let place = perm
            .iter()
            .fold(0, |place, &axis| place * shape[axis] + index[axis]);
        y[i / len * len + place] = x[i];
    }
    y
}

fn softmax(axis: usize, x: &[f64], shape: &[usize]) -> Vec<f64> {
    let inner: usize = shape[axis + 1..].iter().product();
    let run = inner * shape[axis];
    let sum = |i: usize| -> f64 {
        (0..shape[axis])
            .map(|j| x[i / run * run + i % inner + j * inner].exp())
            .sum()
    };
    (0..x.len()).map(|i| x[i].exp() / sum(i)).collect()
}
