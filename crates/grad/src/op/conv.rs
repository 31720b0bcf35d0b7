//! 2-d convolution as a matrix product over unfolded windows (im2col): per image and group,
//! `Y = W X~`, `dX~ = W^T dY`, `dW = dY X~^T`, where column `(y, x)` of `X~` holds the window that
//! output `(y, x)` reads. A 1x1 convolution of stride 1 is its own unfolding.

use std::ops::Range;

use exbit_kernels::{Matrix, MatrixMut, gemm};
use exbit_model::{Conv, Window};

use super::{Seen, Site, Wants};
use crate::scratch::{Scratch, take};

/// Extents of one group of one image.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    window: Window,
    groups: usize,
    /// Input channels of a group, height, width.
    input: [usize; 3],
    /// Output channels of a group, height, width.
    output: [usize; 3],
}

impl Geometry {
    fn new(op: &Conv, site: &Site) -> Self {
        let (x, y, groups) = (site.inputs[0], site.output, op.groups);
        let input = [x[0] / groups, x[1], x[2]];
        Self {
            window: op.window,
            groups,
            input,
            output: [y[0] / groups, y[1], y[2]],
        }
    }

    fn in_len(&self) -> usize {
        self.input.iter().product()
    }

    fn out_len(&self) -> usize {
        self.output.iter().product()
    }

    fn positions(&self) -> usize {
        self.output[1] * self.output[2]
    }

    /// Rows of the unfolding: taps of one window.
    fn taps(&self) -> usize {
        self.input[0] * self.window.kernel[0] * self.window.kernel[1]
    }

    fn is_pointwise(&self) -> bool {
        let w = self.window;
        w.kernel == [1; 2] && w.stride == [1; 2] && w.pads == [0; 4]
    }

    /// The weights of group `g`: `(out, taps)`.
    fn weight<'a>(&self, op: &'a Conv, g: usize) -> Matrix<'a> {
        let len = self.output[0] * self.taps();
        Matrix::new(
            &op.weight.data()[g * len..(g + 1) * len],
            self.output[0],
            self.taps(),
        )
    }
}

pub(super) fn forward(op: &Conv, site: &Site, x: &[f32], y: &mut [f32], images: usize) {
    let geo = Geometry::new(op, site);
    if let Some(bias) = &op.bias {
        let channels = y.chunks_exact_mut(geo.positions().max(1));
        channels
            .zip(bias.iter().cycle())
            .for_each(|(y, &b)| y.fill(b));
    }
    let keep = if op.bias.is_some() { 1.0 } else { 0.0 };
    let mut unfolded = columns(&geo);
    for i in 0..images * geo.groups {
        let x = &x[i * geo.in_len()..][..geo.in_len()];
        let y = &mut y[i * geo.out_len()..][..geo.out_len()];
        let x = unfold(&geo, x, &mut unfolded);
        let y = MatrixMut::new(y, geo.output[0], geo.positions());
        gemm(y, keep, geo.weight(op, i % geo.groups), x);
    }
}

pub(super) fn backward(op: &Conv, site: &Site, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let geo = Geometry::new(op, site);
    let mut unfolded = columns(&geo);
    for i in 0..seen.images * geo.groups {
        let (group, out) = (i % geo.groups, i * geo.out_len()..(i + 1) * geo.out_len());
        let dy = |c: usize| Matrix::new(&dys[c][out.clone()], geo.output[0], geo.positions());
        if !wants.parameters.is_empty() {
            let x = unfold(
                &geo,
                &seen.xs[0][i * geo.in_len()..][..geo.in_len()],
                &mut unfolded,
            );
            for (c, gradient) in wants.parameters.iter_mut().enumerate() {
                let len = geo.output[0] * geo.taps();
                let dw = &mut gradient.weight[group * len..(group + 1) * len];
                gemm(
                    MatrixMut::new(dw, geo.output[0], geo.taps()),
                    1.0,
                    dy(c),
                    x.t(),
                );
            }
        }
        for (c, dx) in wants.of_input() {
            let dx = &mut dx[i * geo.in_len()..][..geo.in_len()];
            let weight = geo.weight(op, group).t();
            if geo.is_pointwise() {
                let dx = MatrixMut::new(dx, geo.taps(), geo.positions());
                gemm(dx, 0.0, weight, dy(c));
            } else {
                let columns = MatrixMut::new(&mut unfolded, geo.taps(), geo.positions());
                gemm(columns, 0.0, weight, dy(c));
                fold(&geo, &unfolded, dx);
            }
        }
    }
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let channels = gradient.bias.len().max(1);
        for (i, dy) in dy.chunks_exact(geo.positions().max(1)).enumerate() {
            if let Some(bias) = gradient.bias.get_mut(i % channels) {
                *bias += dy.iter().sum::<f32>();
            }
        }
    }
}

fn columns(geo: &Geometry) -> Scratch {
    take(if geo.is_pointwise() {
        0
    } else {
        geo.taps() * geo.positions()
    })
}

/// Output positions along `axis` whose tap `at` falls on the input, of `size` entries.
fn inside(window: &Window, axis: usize, at: usize, size: usize, outputs: usize) -> Range<usize> {
    let (pad, stride) = (window.pads[axis], window.stride[axis]);
    let tap = at * window.dilation[axis];
    let first = pad.saturating_sub(tap).div_ceil(stride).min(outputs);
    let end = (size + pad)
        .saturating_sub(tap)
        .div_ceil(stride)
        .clamp(first, outputs);
    first..end
}

/// The unfolding of one group of one image, `(taps, positions)`; `x` itself where it is that.
fn unfold<'a>(geo: &Geometry, x: &'a [f32], columns: &'a mut [f32]) -> Matrix<'a> {
    let (taps, positions) = (geo.taps(), geo.positions());
    if geo.is_pointwise() {
        return Matrix::new(x, taps, positions);
    }
    columns.fill(0.0);
    each_run(geo, |place, from, run| {
        let to = &mut columns[place..place + run];
        let step = geo.window.stride[1];
        if step == 1 {
            to.copy_from_slice(&x[from..from + run]);
        } else {
            to.iter_mut()
                .zip(x[from..].iter().step_by(step))
                .for_each(|(to, x)| *to = *x);
        }
    });
    Matrix::new(columns, taps, positions)
}

/// The transpose of [`unfold`]: every entry of the unfolding added to where it was read.
fn fold(geo: &Geometry, columns: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    each_run(geo, |place, to, run| {
        let from = &columns[place..place + run];
        dx[to..]
            .iter_mut()
            .step_by(geo.window.stride[1])
            .zip(from)
            .for_each(|(dx, g)| *dx += g);
    });
}

/// Calls `f(place in the unfolding, place in x, length)` for every run of outputs in a row whose
/// tap is on the input; the places in `x` are a stride apart.
fn each_run(geo: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let (w, [channels, h, width], [_, ho, wo]) = (&geo.window, geo.input, geo.output);
    let mut row = 0;
    for c in 0..channels {
        for ky in 0..w.kernel[0] {
            let ys = inside(w, 0, ky, h, ho);
            for kx in 0..w.kernel[1] {
                let xs = inside(w, 1, kx, width, wo);
                for oy in ys.clone() {
                    let iy = oy * w.stride[0] + ky * w.dilation[0] - w.pads[0];
                    let ix = xs.start * w.stride[1] + kx * w.dilation[1];
                    if !xs.is_empty() {
                        let from = (c * h + iy) * width + ix - w.pads[1];
                        f((row * ho + oy) * wo + xs.start, from, xs.len());
                    }
                }
                row += 1;
            }
        }
    }
}
