//! `y = W x + b`. For images as rows: `Y = X W^T`, `dX = dY W`, `dW = dY^T X`.

use exbit_kernels::{Matrix, MatrixMut, gemm};
use exbit_model::Linear;

use super::{Seen, Wants};

fn extents(op: &Linear) -> (usize, usize) {
    (op.weight.shape()[0], op.weight.row_len())
}

pub(super) fn forward(op: &Linear, x: &[f32], y: &mut [f32], images: usize) {
    let (out, features) = extents(op);
    let weight = Matrix::new(op.weight.data(), out, features);
    let keep = op.bias.as_ref().map_or(0.0, |bias| {
        y.chunks_exact_mut(out.max(1))
            .for_each(|y| y.copy_from_slice(bias));
        1.0
    });
    let x = Matrix::new(x, images, features);
    gemm(MatrixMut::new(y, images, out), keep, x, weight.t());
}

pub(super) fn backward(op: &Linear, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let (out, features) = extents(op);
    let n = seen.images;
    for (c, dx) in wants.of_input() {
        let weight = Matrix::new(op.weight.data(), out, features);
        gemm(
            MatrixMut::new(dx, n, features),
            0.0,
            Matrix::new(dys[c], n, out),
            weight,
        );
    }
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let x = Matrix::new(seen.xs[0], n, features);
        let dw = MatrixMut::new(&mut gradient.weight, out, features);
        gemm(dw, 1.0, Matrix::new(dy, n, out).t(), x);
        for dy in dy.chunks_exact(out.max(1)) {
            gradient
                .bias
                .iter_mut()
                .zip(dy)
                .for_each(|(b, dy)| *b += dy);
        }
    }
}
