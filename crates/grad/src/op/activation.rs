//! Element-wise functions. At a kink the gradient is 0, as in PyTorch's ReLU and ReLU6.

use exbit_kernels::lanes::{map, map2};
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

pub(super) fn backward(op: Activation, seen: Seen, dy: &[f32], dx: &mut [f32]) {
    let (x, y) = (seen.xs[0], seen.y);
    match op {
        Activation::Relu => map2(dx, y, dy, |y, dy| if y > 0.0 { dy } else { 0.0 }),
        Activation::Clip { lo, hi } => {
            map2(dx, x, dy, |x, dy| if x > lo && x < hi { dy } else { 0.0 });
        }
        Activation::LeakyRelu { slope } => {
            map2(dx, x, dy, |x, dy| if x > 0.0 { dy } else { slope * dy });
        }
        Activation::Sigmoid => map2(dx, y, dy, |y, dy| dy * y * (1.0 - y)),
        Activation::HardSigmoid { alpha, .. } => {
            let slope = |y, dy| if y > 0.0 && y < 1.0 { alpha * dy } else { 0.0 };
            map2(dx, y, dy, slope);
        }
        Activation::HardSwish => map2(dx, x, dy, |x, dy| match x {
            x if x <= -3.0 => 0.0,
            x if x >= 3.0 => dy,
            x => dy * (x / 3.0 + 0.5),
        }),
    }
}
