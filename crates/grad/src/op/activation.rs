//! Element-wise functions. At a kink of ReLU and ReLU6 the gradient is 0, as in PyTorch.

use exbit_kernels::lanes::{map, map2, update};
use exbit_model::Activation;

use super::Seen;

pub(super) fn forward(op: Activation, x: &[f32], y: &mut [f32]) {
    match op {
        Activation::Relu => map(y, x, |x| x.max(0.0)),
        Activation::Clip { lo, hi } => map(y, x, |x| x.max(lo).min(hi)),
        Activation::LeakyRelu { slope } => map(y, x, |x| if x > 0.0 { x } else { slope * x }),
        Activation::Sigmoid => map(y, x, |x| 1.0 / (1.0 + (-x).exp())),
        Activation::HardSigmoid { alpha, beta } => {
            map(y, x, |x| (alpha * x + beta).clamp(0.0, 1.0));
        }
        Activation::HardSwish => map(y, x, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    }
}

/// Runs `$body` with `$v`, what the gradient depends on beside that of the output (`x` or `y`), and
/// `$f`, the gradient of the input from both. A macro, so that each loop is compiled with its
/// function.
macro_rules! with_slope {
    ($op:expr, $seen:expr, |$v:ident, $f:ident| $body:expr) => {
        match $op {
            Activation::Relu => {
                let ($v, $f) = ($seen.y, |g, y| if y > 0.0 { g } else { 0.0 });
                $body
            }
            Activation::Clip { lo, hi } => {
                let ($v, $f) = ($seen.y, |g, y| if y > lo && y < hi { g } else { 0.0 });
                $body
            }
            Activation::LeakyRelu { slope } => {
                let ($v, $f) = ($seen.xs[0], |g, x| if x > 0.0 { g } else { slope * g });
                $body
            }
            Activation::Sigmoid => {
                let ($v, $f) = ($seen.y, |g, y| g * y * (1.0 - y));
                $body
            }
            Activation::HardSigmoid { alpha, .. } => {
                let inside = |y: f32| y > 0.0 && y < 1.0;
                let ($v, $f) = ($seen.y, |g, y| if inside(y) { alpha * g } else { 0.0 });
                $body
            }
            Activation::HardSwish => {
                let slope = |x: f32| match x {
                    x if x <= -3.0 => 0.0,
                    x if x >= 3.0 => 1.0,
                    x => x / 3.0 + 0.5,
                };
                let ($v, $f) = ($seen.xs[0], |g, x| g * slope(x));
                $body
            }
        }
    };
}

/// `dx` from `dy`.
pub(super) fn backward(op: Activation, seen: Seen, dy: &[f32], dx: &mut [f32]) {
    with_slope!(op, seen, |v, f| map2(dx, dy, v, f));
}

/// Turns `g` from the gradient of the output into that of the input.
pub(super) fn backward_in_place(op: Activation, seen: Seen, g: &mut [f32]) {
    with_slope!(op, seen, |v, f| update(g, v, f));
}
