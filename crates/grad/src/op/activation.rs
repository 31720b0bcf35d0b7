//! Element-wise functions. At a kink the gradient is 0, as in PyTorch's ReLU and ReLU6.

use exbit_model::Activation;

use super::Seen;

pub(super) fn forward(op: Activation, x: &[f32], y: &mut [f32]) {
    match op {
        Activation::Relu => map(x, y, |x| x.max(0.0)),
        Activation::Clip { lo, hi } => map(x, y, |x| x.max(lo).min(hi)),
        Activation::LeakyRelu { slope } => map(x, y, |x| if x > 0.0 { x } else { slope * x }),
        Activation::Sigmoid => map(x, y, |x| 1.0 / (1.0 + (-x).exp())),
        Activation::HardSigmoid { alpha, beta } => {
            map(x, y, |x| (alpha * x + beta).clamp(0.0, 1.0));
        }
        Activation::HardSwish => map(x, y, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    }
}

pub(super) fn backward(op: Activation, seen: Seen, dy: &[f32], dx: &mut [f32]) {
    let (x, y) = (seen.xs[0], seen.y);
    match op {
        Activation::Relu => pull(y, dy, dx, |y, dy| if y > 0.0 { dy } else { 0.0 }),
        Activation::Clip { lo, hi } => {
            pull(x, dy, dx, |x, dy| if x > lo && x < hi { dy } else { 0.0 });
        }
        Activation::LeakyRelu { slope } => {
            pull(x, dy, dx, |x, dy| if x > 0.0 { dy } else { slope * dy });
        }
        Activation::Sigmoid => pull(y, dy, dx, |y, dy| dy * y * (1.0 - y)),
        Activation::HardSigmoid { alpha, .. } => {
            pull(
                y,
                dy,
                dx,
                |y, dy| if y > 0.0 && y < 1.0 { alpha * dy } else { 0.0 },
            );
        }
        Activation::HardSwish => pull(x, dy, dx, |x, dy| match x {
            x if x <= -3.0 => 0.0,
            x if x >= 3.0 => dy,
            x => dy * (x / 3.0 + 0.5),
        }),
    }
}

fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
}

/// `dx = f(at, dy)`, `at` the input or the output, whichever the derivative is a function of.
fn pull(at: &[f32], dy: &[f32], dx: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    dx.iter_mut()
        .zip(at.iter().zip(dy))
        .for_each(|(dx, (&at, &dy))| *dx = f(at, dy));
}
