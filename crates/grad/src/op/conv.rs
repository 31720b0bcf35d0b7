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

use super::flat::{Layout, Tap};
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
    let taps = forward_taps(&e, &layout);
    for group in 0..e.groups {
        put_input(&e, &layout, group, x, &mut planes);
        let c = Rows::new(&mut *laid, e.cout, stride);
        let shifts = taps.read(&planes, len);
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
    if let Some(bf16) = wants.rounded.then(Bf16::detect).flatten() {
        return rounded::backward(bf16, op, (&e, &layout), seen, dys, wants);
    }
    let taps = forward_taps(&e, &layout);
    let back = backward_taps(&e, e.cout, &layout);
    let mut x = take(e.cin * layout.phases.len() * layout.len);
    let mut dy = take(e.cout * layout.len);
    for group in 0..e.groups {
        if !wants.parameters.is_empty() {
            put_input(&e, &layout, group, seen.xs[0], &mut x);
        }
        for (c, all) in dys.iter().enumerate() {
            put_output(&e, &layout, group, all, &mut dy);
            if let Some(gradient) = wants.parameters.get_mut(c) {
                let dw = weight_gradient(&mut gradient.weight, &e, group);
                let dy = Rows::new(&dy[layout.lead..], e.cout, layout.len);
                dots(dw, dy, taps.read(&x, layout.outputs()));
            }
            if let Some(dx) = &mut wants.dxs[0][c] {
                let dx = &mut dx[group * e.cin * e.in_plane()..];
                put_gradient(&e, &layout, dx, |phase, laid| {
                    let shifts = back[phase].read(&dy, layout.inputs());
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

/// The gradient of those, from that of all.
fn weight_gradient<'a>(all: &'a mut [f32], e: &Extents, group: usize) -> Rows<&'a mut [f32]> {
    let own = &mut all[group * e.weights()..][..e.weights()];
    Rows::new(own, e.cout, e.cin * e.taps)
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

/// The rows that weights read among planes laid out alike.
struct Taps {
    /// Of the first plane.
    terms: Vec<Term>,
    planes: usize,
    apart: Term,
}

impl Taps {
    fn read<'a, T>(&'a self, data: &'a [T], len: usize) -> Shifts<'a, T> {
        Shifts {
            data,
            taps: &self.terms,
            planes: self.planes,
            apart: self.apart,
            len,
        }
    }
}

/// What the weights of an output channel read among the planes of the input.
fn forward_taps(e: &Extents, layout: &Layout) -> Taps {
    let term = |(a, tap): (usize, &Tap)| Term {
        a,
        b: (tap.phase * layout.len + layout.lead).wrapping_add_signed(tap.shift),
    };
    Taps {
        terms: layout.taps.iter().enumerate().map(term).collect(),
        planes: e.cin,
        apart: Term {
            a: e.taps,
            b: layout.phases.len() * layout.len,
        },
    }
}

/// For each phase, what the weights of an input channel read among the planes of the output, of
/// which there are `planes`.
fn backward_taps(e: &Extents, planes: usize, layout: &Layout) -> Vec<Taps> {
    let of_phase = |phase: usize| Taps {
        terms: (layout.taps.iter().enumerate())
            .filter(|(_, tap)| tap.phase == phase)
            .map(|(a, tap)| Term {
                a,
                b: layout.lead.wrapping_add_signed(-tap.shift),
            })
            .collect(),
        planes,
        apart: Term {
            a: e.cin * e.taps,
            b: layout.len,
        },
    };
    (0..layout.phases.len()).map(of_phase).collect()
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

/// The one row of each plane of an image that is read as it stands; weights lie `apart`.
fn whole_planes(planes: usize, apart: usize, e: &Extents) -> Taps {
    Taps {
        terms: vec![Term { a: 0, b: 0 }],
        planes,
        apart: Term {
            a: apart,
            b: e.in_plane(),
        },
    }
}

fn forward_direct(op: &Conv, e: &Extents, x: &[f32], y: &mut [f32]) {
    let (plane, taps) = (e.in_plane(), whole_planes(e.cin, 1, e));
    for (x, y) in x
        .chunks_exact(e.in_len())
        .zip(y.chunks_exact_mut(e.out_len()))
    {
        let weight = Rows::new(op.weight.data(), e.cout, e.cin);
        let y = Rows::new(y, e.cout, plane);
        product(y, bias(op, e, 0), weight, taps.read(x, plane));
    }
}

fn backward_direct(op: &Conv, e: &Extents, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let plane = e.in_plane();
    let (taps, back) = (whole_planes(e.cin, 1, e), whole_planes(e.cout, e.cin, e));
    for i in 0..seen.images {
        let dy = |c: usize| &dys[c][i * e.out_len()..][..e.out_len()];
        let x = &seen.xs[0][i * e.in_len()..][..e.in_len()];
        for (c, gradient) in wants.parameters.iter_mut().enumerate() {
            let dw = weight_gradient(&mut gradient.weight, e, 0);
            dots(dw, Rows::new(dy(c), e.cout, plane), taps.read(x, plane));
        }
        for (c, dx) in wants.of_input() {
            let dx = Rows::new(&mut dx[i * e.in_len()..][..e.in_len()], e.cin, plane);
            let weight = Rows::new(op.weight.data(), e.cin, 1);
            product(dx, &[], weight, back.read(dy(c), plane));
        }
    }
}
