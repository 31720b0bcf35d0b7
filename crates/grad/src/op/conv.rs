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
//! A 1x1 convolution of stride 1 needs no laying out: its planes are rows as they stand.

mod rounded;

use exbit_kernels::bf16::Bf16;
use exbit_kernels::lanes::sums;
use exbit_kernels::shifted::{ROUND, Rows, Shifts, Term, dots, product};
use exbit_model::Conv;

use super::flat::Layout;
use super::{Seen, Site, Wants};
use crate::scratch::take;

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

/// The plane of a pointwise convolution's image is a row as it stands.
fn is_direct(op: &Conv, e: &Extents) -> bool {
    let w = op.window;
    let pointwise = w.kernel == [1; 2] && w.stride == [1; 2] && w.pads == [0; 4];
    pointwise && op.groups == 1 && e.in_plane().is_multiple_of(ROUND)
}

pub(super) fn forward(op: &Conv, site: &Site, x: &[f32], y: &mut [f32], images: usize) {
    let e = Extents::new(op, site);
    if e.in_len() == 0 || e.out_len() == 0 {
        return;
    }
    if is_direct(op, &e) {
        return forward_direct(op, &e, x, y);
    }
    let layout = Layout::new(&op.window, e.input, e.output, images);
    let len = layout.outputs();
    let stride = len.next_multiple_of(ROUND);
    let mut planes = take(e.cin * layout.phases.len() * layout.len);
    let mut laid = take(e.cout * stride);
    let terms = forward_terms(&e, &layout);
    for group in 0..e.groups {
        put_input(&e, &layout, group, x, &mut planes);
        let c = Rows::new(&mut *laid, e.cout, stride);
        let shifts = Shifts {
            data: &planes,
            terms: &terms,
            len,
        };
        let weight = Rows::new(weight(op, &e, group), e.cout, e.cin * e.taps);
        product(c, bias(op, &e, group), weight, shifts);
        for (o, laid) in laid.chunks_exact(stride).enumerate() {
            let y = &mut y[(group * e.cout + o) * e.out_plane()..];
            layout.get_output(laid, y, e.out_len());
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
    if is_direct(op, &e) {
        return backward_direct(op, &e, seen, dys, wants);
    }
    let layout = Layout::new(&op.window, e.input, e.output, seen.images);
    if layout.phases.len() < op.window.stride[0] * op.window.stride[1] {
        wants.of_input().for_each(|(_, dx)| dx.fill(0.0));
    }
    if let Some(bf16) = Bf16::detect().filter(|_| wants.rounded) {
        return rounded::backward(bf16, op, (&e, &layout), seen, dys, wants);
    }
    let rows: Vec<usize> = forward_terms(&e, &layout)
        .iter()
        .map(|term| term.b)
        .collect();
    let terms = backward_terms(&e, e.cout, &layout);
    let mut x = take(e.cin * layout.phases.len() * layout.len);
    let mut dy = take(e.cout * layout.len);
    for group in 0..e.groups {
        if !wants.parameters.is_empty() {
            put_input(&e, &layout, group, seen.xs[0], &mut x);
        }
        for (c, all) in dys.iter().enumerate() {
            put_output(&e, &layout, group, all, &mut dy);
            if let Some(gradient) = wants.parameters.get_mut(c) {
                let dw = &mut gradient.weight[group * e.weights()..][..e.weights()];
                let dy = Rows::new(&dy[layout.lead..], e.cout, layout.len);
                dots(dw, dy, &x, &rows, layout.outputs());
            }
            if let Some(dx) = &mut wants.dxs[0][c] {
                let dx = &mut dx[group * e.cin * e.in_plane()..];
                put_gradient(&e, &layout, dx, |phase, laid| {
                    let shifts = Shifts {
                        data: &dy,
                        terms: &terms[phase],
                        len: layout.inputs(),
                    };
                    let weight = Rows::new(weight(op, &e, group), e.cin, e.taps);
                    product(laid, &[], weight, shifts);
                });
            }
        }
    }
}

/// The weights of a group.
fn weight<'a>(op: &'a Conv, e: &Extents, group: usize) -> &'a [f32] {
    &op.weight.data()[group * e.weights()..][..e.weights()]
}

/// The biases of a group; nothing where there are none.
fn bias<'a>(op: &'a Conv, e: &Extents, group: usize) -> &'a [f32] {
    op.bias
        .as_ref()
        .map_or(&[], |bias| &bias[group * e.cout..][..e.cout])
}

/// Every phase of every input channel of a group, laid out.
fn put_input(e: &Extents, layout: &Layout, group: usize, x: &[f32], planes: &mut [f32]) {
    for (i, plane) in planes.chunks_exact_mut(layout.len).enumerate() {
        input_phase(e, layout, group, i, x, plane);
    }
}

/// Plane `i` of those: a phase of an input channel.
fn input_phase(e: &Extents, layout: &Layout, group: usize, i: usize, x: &[f32], plane: &mut [f32]) {
    let (c, phase) = (i / layout.phases.len(), i % layout.phases.len());
    let x = &x[(group * e.cin + c) * e.in_plane()..];
    layout.put_phase(layout.phases[phase], x, e.in_len(), plane);
}

/// Every output channel of a group, laid out.
fn put_output(e: &Extents, layout: &Layout, group: usize, y: &[f32], planes: &mut [f32]) {
    for (o, plane) in planes.chunks_exact_mut(layout.len).enumerate() {
        let y = &y[(group * e.cout + o) * e.out_plane()..];
        layout.put_output(y, e.out_len(), plane);
    }
}

/// The row of every weight of an output channel among the planes of the input.
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

/// For each phase, the row of every weight of an input channel among the planes of the output, of
/// which there are `planes`.
fn backward_terms(e: &Extents, planes: usize, layout: &Layout) -> Vec<Vec<Term>> {
    let mut terms = vec![Vec::new(); layout.phases.len()];
    for o in 0..planes {
        for (t, tap) in layout.taps.iter().enumerate() {
            let b = (o * layout.len + layout.lead).wrapping_add_signed(-tap.shift);
            terms[tap.phase].push(Term {
                a: o * e.cin * e.taps + t,
                b,
            });
        }
    }
    terms
}

/// The gradient of a group's input: `make` puts the rows of each phase, laid out.
fn put_gradient(
    e: &Extents,
    layout: &Layout,
    dx: &mut [f32],
    make: impl Fn(usize, Rows<&mut [f32]>),
) {
    let stride = layout.inputs().next_multiple_of(ROUND);
    let mut laid = take(e.cin * stride);
    for (i, phase) in layout.phases.iter().enumerate() {
        make(i, Rows::new(&mut *laid, e.cin, stride));
        for (c, laid) in laid.chunks_exact(stride).enumerate() {
            layout.get_phase(*phase, laid, &mut dx[c * e.in_plane()..], e.in_len());
        }
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

fn forward_direct(op: &Conv, e: &Extents, x: &[f32], y: &mut [f32]) {
    let plane = e.in_plane();
    let terms: Vec<Term> = (0..e.cin).map(|c| Term { a: c, b: c * plane }).collect();
    for (x, y) in x
        .chunks_exact(e.in_len())
        .zip(y.chunks_exact_mut(e.out_len()))
    {
        let weight = Rows::new(op.weight.data(), e.cout, e.cin);
        let shifts = Shifts {
            data: x,
            terms: &terms,
            len: plane,
        };
        product(Rows::new(y, e.cout, plane), bias(op, e, 0), weight, shifts);
    }
}

fn backward_direct(op: &Conv, e: &Extents, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let plane = e.in_plane();
    let rows: Vec<usize> = (0..e.cin).map(|c| c * plane).collect();
    let terms: Vec<Term> = (0..e.cout)
        .map(|o| Term {
            a: o * e.cin,
            b: o * plane,
        })
        .collect();
    for i in 0..seen.images {
        let dy = |c: usize| &dys[c][i * e.out_len()..][..e.out_len()];
        let x = &seen.xs[0][i * e.in_len()..][..e.in_len()];
        for (c, gradient) in wants.parameters.iter_mut().enumerate() {
            dots(
                &mut gradient.weight,
                Rows::new(dy(c), e.cout, plane),
                x,
                &rows,
                plane,
            );
        }
        for (c, dx) in wants.of_input() {
            let dx = Rows::new(&mut dx[i * e.in_len()..][..e.in_len()], e.cin, plane);
            let shifts = Shifts {
                data: dy(c),
                terms: &terms,
                len: plane,
            };
            product(dx, &[], Rows::new(op.weight.data(), e.cin, 1), shifts);
        }
    }
}
