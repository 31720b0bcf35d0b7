//! Element-wise functions. At a kink the gradient is 0, as in PyTorch's ReLU and ReLU6.

use exbit_kernels::lanes::{map, update};
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

/// Turns `g` from the gradient of the output into that of the input.
pub(super) fn backward(op: Activation, seen: Seen, g: &mut [f32]) {
    let (x, y) = (seen.xs[0], seen.y);
    match op {
        Activation::Relu => update(g, y, |g, y| if y > 0.0 { g } else { 0.0 }),
        Activation::Clip { lo, hi } => {
            update(g, y, |g, y| if y > lo && y < hi { g } else { 0.0 });
        }
        Activation::LeakyRelu { slope } => {
            update(g, x, |g, x| if x > 0.0 { g } else { slope * g });
        }
        Activation::Sigmoid => update(g, y, |g, y| g * y * (1.0 - y)),
        Activation::HardSigmoid { alpha, .. } => {
            update(
                g,
                y,
                |g, y| if y > 0.0 && y < 1.0 { alpha * g } else { 0.0 },
            );
        }
        Activation::HardSwish => update(g, x, |g, x| match x {
            x if x <= -3.0 => 0.0,
            x if x >= 3.0 => g,
            x => g * (x / 3.0 + 0.5),
        }),
    }
}
