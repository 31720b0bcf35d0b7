//! 2-d convolution, without unfolding windows: a product with shifted rows (see `flat`).
//!
//! With `X[c][t]` the row of input channel `c` under tap `t`, and `dY` laid out alike,
//!
//! ```text
//! Y[o]      = sum_{c,t} W[o][c][t] X[c][t]
//! dX[c][p]  = sum_{o,t of phase p} W[o][c][t] dY[o][-t]
//! dW[o][c][t] = dY[o] . X[c][t]
//! ```
//!
//! A 1x1 convolution of stride 1 is a matrix product as it stands.

use exbit_kernels::lanes::sums;
use exbit_kernels::shifted::{ROUND, Rows, Term, dots, product};
use exbit_kernels::{Matrix, MatrixMut, gemm};
use exbit_model::Conv;

use super::flat::Layout;
use super::{Seen, Site, Wants};
use crate::scratch::{Scratch, take};

/// Channels of one group and the planes on both sides.
#[derive(Clone, Copy, Debug)]
struct Extents {
    groups: usize,
    cin: usize,
    cout: usize,
    taps: usize,
    input: [usize; 2],
    output: [usize; 2],
}

impl Extents {
    fn new(op: &Conv, site: &Site) -> Self {
        let (x, y, groups) = (site.inputs[0], site.output, op.groups);
        Self {
            groups,
            cin: x[0] / groups,
            cout: y[0] / groups,
            taps: op.window.kernel[0] * op.window.kernel[1],
            input: [x[1], x[2]],
            output: [y[1], y[2]],
        }
    }

    fn in_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn out_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Entries of one image.
    fn in_len(&self) -> usize {
        self.groups * self.cin * self.in_plane()
    }

    fn out_len(&self) -> usize {
        self.groups * self.cout * self.out_plane()
    }

    /// Weights of one group.
    fn weights(&self) -> usize {
        self.cout * self.cin * self.taps
    }
}

fn is_pointwise(op: &Conv) -> bool {
    let w = op.window;
    w.kernel == [1; 2] && w.stride == [1; 2] && w.pads == [0; 4] && op.groups == 1
}

pub(super) fn forward(op: &Conv, site: &Site, x: &[f32], y: &mut [f32], images: usize) {
    let e = Extents::new(op, site);
    if e.in_len() == 0 || e.out_len() == 0 {
        return;
    }
    if is_pointwise(op) {
        return forward_pointwise(op, &e, x, y);
    }
    let layout = Layout::new(&op.window, e.input, e.output, images);
    let x = put_input(&e, &layout, x);
    let n = layout.outputs();
    let stride = n.next_multiple_of(ROUND);
    let mut laid = take(e.cout * stride);
    let terms = forward_terms(&e, &layout);
    for group in 0..e.groups {
        let c = Rows {
            data: &mut *laid,
            count: e.cout,
            stride,
        };
        product(
            c,
            weight(op, &e, group, e.cin * e.taps, e.cout),
            group_of(&x, &e, group),
            &terms,
            n,
        );
        for (o, laid) in laid.chunks_exact(stride).enumerate() {
            let channel = group * e.cout + o;
            let bias = op.bias.as_ref().map_or(0.0, |bias| bias[channel]);
            let y = &mut y[channel * e.out_plane()..];
            layout.get_output(laid, bias, y, e.out_len());
        }
    }
}

pub(super) fn backward(op: &Conv, site: &Site, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let e = Extents::new(op, site);
    if e.in_len() == 0 || e.out_len() == 0 {
        wants.of_input().for_each(|(_, dx)| dx.fill(0.0));
        return;
    }
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        add_bias_gradient(&e, dy, &mut gradient.bias);
    }
    if is_pointwise(op) {
        return backward_pointwise(op, &e, seen, dys, wants);
    }
    let layout = Layout::new(&op.window, e.input, e.output, seen.images);
    let x = (!wants.parameters.is_empty()).then(|| put_input(&e, &layout, seen.xs[0]));
    for (c, dy) in dys.iter().enumerate() {
        let dy = put_output(&e, &layout, dy);
        if let (Some(x), Some(gradient)) = (&x, wants.parameters.get_mut(c)) {
            add_weight_gradient(&e, &layout, x, &dy, &mut gradient.weight);
        }
        if let Some(dx) = &mut wants.dxs[0][c] {
            input_gradient(op, &e, &layout, &dy, dx);
        }
    }
}

/// The weights of a group as the left factor of a product.
fn weight<'a>(
    op: &'a Conv,
    e: &Extents,
    group: usize,
    stride: usize,
    count: usize,
) -> Rows<&'a [f32]> {
    Rows {
        data: &op.weight.data()[group * e.weights()..][..e.weights()],
        count,
        stride,
    }
}

/// The planes of a group among those of all input channels.
fn group_of<'a>(x: &'a Scratch, e: &Extents, group: usize) -> &'a [f32] {
    let len = x.len() / e.groups;
    &x[group * len..(group + 1) * len]
}

/// Every phase of every input channel, laid out.
fn put_input(e: &Extents, layout: &Layout, x: &[f32]) -> Scratch {
    let mut planes = take(e.groups * e.cin * layout.phases.len() * layout.len);
    for (i, plane) in planes.chunks_exact_mut(layout.len).enumerate() {
        let (channel, phase) = (i / layout.phases.len(), i % layout.phases.len());
        layout.put_phase(
            layout.phases[phase],
            &x[channel * e.in_plane()..],
            e.in_len(),
            plane,
        );
    }
    planes
}

/// Every output channel, laid out.
fn put_output(e: &Extents, layout: &Layout, y: &[f32]) -> Scratch {
    let mut planes = take(e.groups * e.cout * layout.len);
    for (channel, plane) in planes.chunks_exact_mut(layout.len).enumerate() {
        layout.put_output(&y[channel * e.out_plane()..], e.out_len(), plane);
    }
    planes
}

fn forward_terms(e: &Extents, layout: &Layout) -> Vec<Term> {
    let mut terms = Vec::with_capacity(e.cin * e.taps);
    for c in 0..e.cin {
        for tap in &layout.taps {
            let plane = (c * layout.phases.len() + tap.phase) * layout.len;
            let b = (plane + layout.lead).wrapping_add_signed(tap.shift);
            terms.push(Term { a: terms.len(), b });
        }
    }
    terms
}

fn input_gradient(op: &Conv, e: &Extents, layout: &Layout, dy: &Scratch, dx: &mut [f32]) {
    if layout.phases.len() < op.window.stride[0] * op.window.stride[1] {
        dx.fill(0.0);
    }
    let n = layout.inputs();
    let stride = n.next_multiple_of(ROUND);
    let mut laid = take(e.cin * stride);
    for (index, phase) in layout.phases.iter().enumerate() {
        let mut terms = Vec::new();
        for o in 0..e.cout {
            for (t, tap) in layout
                .taps
                .iter()
                .enumerate()
                .filter(|(_, tap)| tap.phase == index)
            {
                let b = (o * layout.len + layout.lead).wrapping_add_signed(-tap.shift);
                terms.push(Term {
                    a: o * e.cin * e.taps + t,
                    b,
                });
            }
        }
        for group in 0..e.groups {
            let c = Rows {
                data: &mut *laid,
                count: e.cin,
                stride,
            };
            product(
                c,
                weight(op, e, group, e.taps, e.cin),
                group_of(dy, e, group),
                &terms,
                n,
            );
            for (c, laid) in laid.chunks_exact(stride).enumerate() {
                let dx = &mut dx[(group * e.cin + c) * e.in_plane()..];
                layout.get_phase(*phase, laid, dx, e.in_len());
            }
        }
    }
}

fn add_weight_gradient(e: &Extents, layout: &Layout, x: &Scratch, dy: &Scratch, dw: &mut [f32]) {
    let rows: Vec<usize> = forward_terms(e, layout).iter().map(|term| term.b).collect();
    for (group, dw) in dw.chunks_exact_mut(e.weights()).enumerate() {
        let dy = &group_of(dy, e, group)[layout.lead..];
        let dy = Rows {
            data: dy,
            count: e.cout,
            stride: layout.len,
        };
        dots(dw, dy, group_of(x, e, group), &rows, layout.outputs());
    }
}

fn add_bias_gradient(e: &Extents, dy: &[f32], db: &mut [f32]) {
    if db.is_empty() {
        return;
    }
    for dy in dy.chunks_exact(e.out_len()) {
        for (db, dy) in db.iter_mut().zip(dy.chunks_exact(e.out_plane())) {
            *db += sums(dy, dy, |dy, _| [dy])[0];
        }
    }
}

fn forward_pointwise(op: &Conv, e: &Extents, x: &[f32], y: &mut [f32]) {
    let weight = Matrix::new(op.weight.data(), e.cout, e.cin);
    for (x, y) in x
        .chunks_exact(e.in_len())
        .zip(y.chunks_exact_mut(e.out_len()))
    {
        let keep = op.bias.as_ref().map_or(0.0, |bias| {
            let channels = y.chunks_exact_mut(e.out_plane()).zip(bias);
            channels.for_each(|(y, bias)| y.fill(*bias));
            1.0
        });
        let x = Matrix::new(x, e.cin, e.in_plane());
        gemm(MatrixMut::new(y, e.cout, e.out_plane()), keep, weight, x);
    }
}

fn backward_pointwise(op: &Conv, e: &Extents, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let weight = Matrix::new(op.weight.data(), e.cout, e.cin);
    for i in 0..seen.images {
        let dy = |c: usize| {
            Matrix::new(
                &dys[c][i * e.out_len()..][..e.out_len()],
                e.cout,
                e.out_plane(),
            )
        };
        let x = Matrix::new(
            &seen.xs[0][i * e.in_len()..][..e.in_len()],
            e.cin,
            e.in_plane(),
        );
        for (c, gradient) in wants.parameters.iter_mut().enumerate() {
            gemm(
                MatrixMut::new(&mut gradient.weight, e.cout, e.cin),
                1.0,
                dy(c),
                x.t(),
            );
        }
        for (c, dx) in wants.of_input() {
            let dx = &mut dx[i * e.in_len()..][..e.in_len()];
            gemm(
                MatrixMut::new(dx, e.cin, e.in_plane()),
                0.0,
                weight.t(),
                dy(c),
            );
        }
    }
}
