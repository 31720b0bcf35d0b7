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
//! `dx = dy`, and `dscale + dstep` is LSQ's (Esser et al. 2020). In range means that the code was
//! not clipped, so that what rounds to the last code is in range.

use exbit_kernels::clip_round;
use exbit_kernels::lanes::{map, map_sums, map2, update, update_sums};
use exbit_model::FakeQuant;

use super::{Seen, Wants};
use crate::backward::NodeGradient;
use crate::scratch::copy;

/// The most neighbours between an end of the range and its estimate: where the zero is the largest
/// code, 256 numbers around half a step give one place.
const NEIGHBOURS: usize = 1024;

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

/// The least and the largest `x` that round to a code in range. Half a step beyond an end rounds to
/// the even neighbour: a range with an odd largest code leaves its upper half out.
fn range(op: &FakeQuant) -> (f32, f32) {
    let even = op.levels % 2.0 == 0.0;
    let past = |t: f32| {
        if even {
            t > op.levels + 0.5
        } else {
            t >= op.levels + 0.5
        }
    };
    // `place` grows with `x`: from an estimate some neighbours lead to the ends.
    let walk = |from: f32, go: &dyn Fn(f32) -> f32, on: &dyn Fn(f32) -> bool| {
        let mut at = from;
        for _ in 0..NEIGHBOURS {
            if !on(at) {
                break;
            }
            at = go(at);
        }
        at
    };
    let inside = |x: f32| place(op, x) >= -0.5;
    let lo = (-0.5 - op.zero) * op.step;
    let lo = walk(lo, &f32::next_up, &|x| !inside(x));
    let lo = walk(lo, &f32::next_down, &|x| inside(x.next_down()));
    let inside = |x: f32| !past(place(op, x));
    let hi = (op.levels + 0.5 - op.zero) * op.step;
    let hi = walk(hi, &f32::next_down, &|x| !inside(x));
    let hi = walk(hi, &f32::next_up, &|x| inside(x.next_up()));
    (lo, hi)
}

pub(super) fn backward(op: &FakeQuant, seen: Seen, dys: &[&[f32]], wants: &mut Wants) {
    let rule = rule(op);
    let Wants {
        dxs, parameters, ..
    } = wants;
    for (c, dy) in dys.iter().enumerate() {
        let gradient = parameters.get_mut(c);
        match (&mut dxs[0][c], gradient) {
            (Some(dx), Some(gradient)) => {
                let found = map_sums(dx, dy, seen.xs[0], seen.y, &rule);
                add_sums(op, found, gradient);
            }
            (Some(dx), None) => map2(dx, dy, seen.xs[0], |dy, x| rule(dy, x, 0.0).0),
            (None, Some(gradient)) => {
                let mut own = copy(dy);
                add_sums(
                    op,
                    update_sums(&mut own, seen.xs[0], seen.y, &rule),
                    gradient,
                );
            }
            (None, None) => {}
        }
    }
}

/// Turns `g` from the gradient of the output into that of the input.
pub(super) fn backward_in_place(
    op: &FakeQuant,
    seen: Seen,
    g: &mut [f32],
    gradient: Option<&mut NodeGradient>,
) {
    let rule = rule(op);
    match gradient {
        Some(gradient) => add_sums(op, update_sums(g, seen.xs[0], seen.y, &rule), gradient),
        None => update(g, seen.xs[0], |dy, x| rule(dy, x, 0.0).0),
    }
}

/// What an entry's `dy` becomes, and its terms of the sums, from `x` and `y`: of `dy scale q`,
/// which is `dy y` (no division for each entry); of `dy x` in range; of `dy` above the range and
/// below it.
fn rule(op: &FakeQuant) -> impl Fn(f32, f32, f32) -> (f32, [f32; SUMS]) + use<> {
    let ((lo, hi), slope) = (range(op), op.scale / op.step);
    move |dy, x, y| {
        let above = if x > hi { dy } else { 0.0 };
        let below = if x < lo { dy } else { 0.0 };
        let inside = dy - above - below;
        (inside * slope, [dy * y, inside * x, above, below])
    }
}

/// Adds the sums over a tile.
fn add_sums(op: &FakeQuant, sums: [f32; SUMS], gradient: &mut NodeGradient) {
    let [codes, inside, above, below] = sums;
    let terms = [
        codes / op.scale,
        -op.scale / (op.step * op.step) * inside,
        op.scale * above,
        op.scale * below,
    ];
    for (sum, term) in gradient.weight.iter_mut().zip(terms) {
        *sum += term;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_range_are_the_last_numbers_that_are_not_clipped() {
        for (zero, levels) in [
            (0.0, 3.0),
            (0.0, 4.0),
            (128.0, 255.0),
            (7.0, 7.0),
            (255.0, 255.0),
        ] {
            for step in [1.0, 0.37, 1e-6, 3e7] {
                let op = FakeQuant {
                    scale: 1.0,
                    step,
                    zero,
                    levels,
                };
                let clipped = |x: f32| {
                    let code = place(&op, x).round_ties_even();
                    code < 0.0 || code > levels
                };
                let (lo, hi) = range(&op);
                let ends = [lo.next_down(), lo, hi, hi.next_up()];
                assert_eq!(ends.map(clipped), [true, false, false, true], "{op:?}");
            }
        }
    }
}
