//! A number rounded to a quantizer's grid, by the one definition of rounding.
//!
//! Backwards, rounding is passed straight through: `dx = dy` in range, 0 outside. The scale's
//! gradient is LSQ's (Esser et al. 2020) without its gradient scaling: with `q` the code less the
//! zero, `dy (q - x / scale)` in range and `dy q` outside, summed over the tensor.

use exbit_kernels::clip_round;
use exbit_kernels::lanes::{map, map2, sums};
use exbit_model::FakeQuant;

use super::{Seen, Wants};

pub(super) fn forward(op: &FakeQuant, x: &[f32], y: &mut [f32]) {
    map(y, x, |x| op.scale * steps(op, x).0);
}

/// The code of `x` less the zero, and whether `x` is in range.
#[inline(always)]
fn steps(op: &FakeQuant, x: f32) -> (f32, bool) {
    let t = x / op.scale + op.zero;
    let code = f32::from(clip_round(t, 0.0, op.levels));
    (code - op.zero, t >= 0.0 && t <= op.levels)
}

pub(super) fn backward(op: &FakeQuant, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let x = seen.xs[0];
    for (c, dx) in wants.of_input() {
        map2(dx, x, dys[c], |x, dy| if steps(op, x).1 { dy } else { 0.0 });
    }
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let term = |x: f32, dy: f32| {
            let (q, inside) = steps(op, x);
            [dy * if inside { q - x / op.scale } else { q }]
        };
        let [sum] = sums(x, dy, term);
        gradient.weight[0] += sum;
    }
}
