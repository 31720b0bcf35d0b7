//! A number rounded to a quantizer's grid, by the one definition of rounding.
//!
//! Backwards, rounding is passed straight through: `dx = dy` in range, 0 outside. The scale's
//! gradient is LSQ's (Esser et al. 2020) without its gradient scaling: with `q` the code less the
//! zero, `dy (q - x / scale)` in range and `dy q` outside, summed over the tensor.

use exbit_kernels::clip_round;
use exbit_model::FakeQuant;

use super::{Seen, Wants};

pub(super) fn forward(op: &FakeQuant, x: &[f32], y: &mut [f32]) {
    y.iter_mut()
        .zip(x)
        .for_each(|(y, &x)| *y = op.scale * steps(op, x).0);
}

/// The code of `x` less the zero, and whether `x` is in range.
fn steps(op: &FakeQuant, x: f32) -> (f32, bool) {
    let t = x / op.scale + op.zero;
    let code = f32::from(clip_round(t, 0.0, op.levels));
    (code - op.zero, (0.0..=op.levels).contains(&t))
}

pub(super) fn backward(op: &FakeQuant, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let x = seen.xs[0];
    for (c, dx) in wants.of_input() {
        for (dx, (&x, &dy)) in dx.iter_mut().zip(x.iter().zip(dys[c])) {
            *dx = if steps(op, x).1 { dy } else { 0.0 };
        }
    }
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let term = |(&x, &dy): (&f32, &f32)| {
            let (q, inside) = steps(op, x);
            f64::from(dy * if inside { q - x / op.scale } else { q })
        };
        gradient.weight[0] += x.iter().zip(*dy).map(term).sum::<f64>() as f32;
    }
}
