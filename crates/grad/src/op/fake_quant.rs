//! A number rounded to a quantizer's grid, by the one definition of rounding.
//!
//! Backwards, rounding is passed straight through. With `q` the code less the zero:
//!
//! ```text
//! dx     = dy scale / step               in range, 0 outside
//! dscale = sum(dy q)
//! dstep  = sum(-dy scale x / step^2)     in range
//! ```
//!
//! and two sums for those who move the range itself: of `dy scale` above it and below it. These are
//! PDQ's gradients (McQueen, Saxena and Roy 2023) without their scaling; with scale and step tied,
//! `dx = dy`, and `dscale + dstep` is LSQ's (Esser et al. 2020). In range means that the code was not
//! clipped, so that what rounds to the last code is in range.

use exbit_kernels::clip_round;
use exbit_kernels::lanes::{map, map2, sums};
use exbit_model::FakeQuant;

use super::{Seen, Wants};

/// Sums that the gradient has.
pub(crate) const SUMS: usize = 4;

pub(super) fn forward(op: &FakeQuant, x: &[f32], y: &mut [f32]) {
    let FakeQuant { scale, zero, .. } = *op;
    map(y, x, |x| {
        scale * (f32::from(clip_round(place(op, x), 0.0, op.levels)) - zero)
    });
}

/// Where `x` lies among the codes.
#[inline(always)]
fn place(op: &FakeQuant, x: f32) -> f32 {
    x / op.step + op.zero
}

/// The last places that round to a code in range: half a step beyond the ends, as half rounds to
/// even. A range with an odd largest code leaves its upper half out.
#[derive(Clone, Copy)]
struct Range {
    lo: f32,
    hi: f32,
}

impl Range {
    fn new(op: &FakeQuant) -> Self {
        let even = op.levels % 2.0 == 0.0;
        let hi = op.levels + 0.5;
        Self {
            lo: -0.5,
            hi: if even { hi } else { hi.next_down() },
        }
    }
}

pub(super) fn backward(op: &FakeQuant, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let x = seen.xs[0];
    let (op, range) = (*op, Range::new(op));
    let slope = op.scale / op.step;
    for (c, dx) in wants.of_input() {
        map2(dx, x, dys[c], |x, dy| {
            let t = place(&op, x);
            if t >= range.lo && t <= range.hi {
                dy * slope
            } else {
                0.0
            }
        });
    }
    let step_slope = -op.scale / (op.step * op.step);
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let term = |x: f32, dy: f32| {
            let t = place(&op, x);
            let q = f32::from(clip_round(t, 0.0, op.levels)) - op.zero;
            let above = if t > range.hi { dy } else { 0.0 };
            let below = if t < range.lo { dy } else { 0.0 };
            [dy * q, (dy - above - below) * x, above, below]
        };
        let [q, inside, above, below] = sums(x, dy, term);
        let terms = [q, step_slope * inside, op.scale * above, op.scale * below];
        for (sum, term) in gradient.weight.iter_mut().zip(terms) {
            *sum += term;
        }
    }
}
