//! The closed set of operations, with what each needs and the shape that it gives.
//!
//! Shapes leave out the batch: `(C, H, W)` for images, `(F)` for vectors, any rank between a
//! Reshape and a Transpose. Every op treats the images of a batch alike and apart (BatchNorm in
//! training mode is the one exception, and that is the trainer's business).

use crate::tensor::element_count;
use crate::{Error, ErrorKind, Result, Tensor};

/// One operation, with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// 2-d convolution (cross-correlation), `(C, H, W) -> (Cout, H', W')`.
    Conv(Conv),
    /// `y = W x + b`, `(F) -> (Out)`.
    Linear(Linear),
    /// Per-channel normalisation over the outermost axis.
    BatchNorm(BatchNorm),
    /// `y = scale[c] * x + shift[c]` over the outermost axis: Mul and Add by constants.
    Affine(Affine),
    /// An element-wise function.
    Activation(Activation),
    /// The sum of two values of one shape.
    Add,
    /// Concatenation of two or more values along `axis` (batch not counted).
    Concat {
        /// The axis, counted without the batch: 0 is channels.
        axis: usize,
    },
    /// Spatial padding by a constant, `(C, H, W) -> (C, H + .., W + ..)`.
    Pad(Pad),
    /// Maximum over a window; padding never wins.
    MaxPool(Window),
    /// Mean over a window.
    AvgPool(Pool),
    /// Mean over all positions of a channel, `(C, H, W) -> (C, 1, 1)`.
    GlobalAvgPool,
    /// The same entries in another shape (row-major order is kept).
    Reshape {
        /// The shape afterwards, without the batch.
        shape: Vec<usize>,
    },
    /// Axes permuted: axis `i` of the output is axis `perm[i]` of the input (batch not counted).
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Softmax along `axis` (batch not counted).
    Softmax {
        /// The axis, counted without the batch.
        axis: usize,
    },
    /// A number rounded to a quantizer's grid: put there by calibration, reconstruction and
    /// training, or imported as QuantizeLinear and DequantizeLinear.
    FakeQuant(FakeQuant),
}

/// A 2-d convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// `(Cout, Cin / groups, kh, kw)`.
    pub weight: Tensor,
    /// `(Cout)`, or absent.
    pub bias: Option<Vec<f32>>,
    /// Geometry of the window; its `kernel` equals the weight's last two axes.
    pub window: Window,
    /// Number of groups; `Cin` for a depthwise convolution.
    pub groups: usize,
}

/// The geometry of a sliding window, `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Extent.
    pub kernel: [usize; 2],
    /// Step between outputs.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Padding `[top, left, bottom, right]`.
    pub pads: [usize; 4],
}

/// Average pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Geometry (dilation is 1).
    pub window: Window,
    /// Whether padding counts in the divisor.
    pub count_include_pad: bool,
}

/// A fully connected layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `(Out, F)`.
    pub weight: Tensor,
    /// `(Out)`, or absent.
    pub bias: Option<Vec<f32>>,
}

/// Batch normalisation, `y = gamma (x - mean) / sqrt(var + eps) + beta`, all per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Scale.
    pub gamma: Vec<f32>,
    /// Shift.
    pub beta: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance (biased).
    pub var: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

/// Per-channel `scale * x + shift`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// One per entry of the outermost axis.
    pub scale: Vec<f32>,
    /// One per entry of the outermost axis.
    pub shift: Vec<f32>,
}

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, lo), hi)`; ReLU6 is `Clip { lo: 0, hi: 6 }`. Either end may be infinite.
    Clip {
        /// Lower end.
        lo: f32,
        /// Upper end.
        hi: f32,
    },
    /// `x` where positive, `slope * x` elsewhere.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `clip(alpha x + beta, 0, 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * clip(x / 6 + 1/2, 0, 1)`.
    HardSwish,
}

/// Spatial padding by a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pad {
    /// `[top, left, bottom, right]`.
    pub pads: [usize; 4],
    /// What is put there.
    pub value: f32,
}

/// A per-tensor quantizer: `scale * (rne(clip(x / step + zero, 0, levels)) - zero)`, `rne` rounding
/// half to even. Codes are unsigned; a signed tensor has its zero in the middle. `step` makes the
/// codes and `scale` reads them: one number, but where training keeps them apart (PDQ's beta and
/// alpha).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FakeQuant {
    /// Distance between neighbours of the grid that is given.
    pub scale: f32,
    /// Distance between neighbours of the grid that the input is rounded to.
    pub step: f32,
    /// The code of 0.0, a whole number in `[0, levels]`.
    pub zero: f32,
    /// The largest code, `2^bits - 1`.
    pub levels: f32,
}

impl Activation {
    /// The function of one number.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Activation::Relu => x.max(0.0),
            Activation::Clip { lo, hi } => x.max(lo).min(hi),
            Activation::LeakyRelu { .. } if x > 0.0 => x,
            Activation::LeakyRelu { slope } => slope * x,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        }
    }
}

impl Window {
    /// The output extents `[height, width]` on an input of `height` x `width`, or `None` where the
    /// window does not fit.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.pads;
        let extent = |size: usize, before: usize, after: usize, axis: usize| {
            let taps = self.kernel[axis].checked_sub(1)?;
            let span = taps.checked_mul(self.dilation[axis])?.checked_add(1)?;
            let padded = size.checked_add(before)?.checked_add(after)?;
            Some(padded.checked_sub(span)?.checked_div(self.stride[axis])? + 1)
        };
        Some([
            extent(height, top, bottom, 0)?,
            extent(width, left, right, 1)?,
        ])
    }

    /// A `kernel` x `kernel` window with stride `stride` and `pad` on every side.
    pub fn square(kernel: usize, stride: usize, pad: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [pad; 4],
        }
    }
}

impl Op {
    /// The operator's short name, as in ONNX where ONNX has one.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::Linear(_) => "Linear",
            Op::BatchNorm(_) => "BatchNorm",
            Op::Affine(_) => "Affine",
            Op::Activation(Activation::Relu) => "Relu",
            Op::Activation(Activation::Clip { .. }) => "Clip",
            Op::Activation(Activation::LeakyRelu { .. }) => "LeakyRelu",
            Op::Activation(Activation::Sigmoid) => "Sigmoid",
            Op::Activation(Activation::HardSigmoid { .. }) => "HardSigmoid",
            Op::Activation(Activation::HardSwish) => "HardSwish",
            Op::Add => "Add",
            Op::Concat { .. } => "Concat",
            Op::Pad(_) => "Pad",
            Op::MaxPool(_) => "MaxPool",
            Op::AvgPool(_) => "AvgPool",
            Op::GlobalAvgPool => "GlobalAvgPool",
            Op::Reshape { .. } => "Reshape",
            Op::Transpose { .. } => "Transpose",
            Op::Softmax { .. } => "Softmax",
            Op::FakeQuant(_) => "FakeQuant",
        }
    }

    /// The shape of the result on inputs of `shapes` (without the batch).
    ///
    /// # Errors
    /// `Mismatch` when the inputs do not fit the op, naming both.
    pub fn output_shape(&self, shapes: &[&[usize]]) -> Result<Vec<usize>> {
        infer(self, shapes).ok_or_else(|| {
            let message = format!("{} cannot take inputs of shape {shapes:?}", self.describe());
            Error::new(ErrorKind::Mismatch, "", message)
        })
    }

    fn describe(&self) -> String {
        match self.weight() {
            Some(w) => format!("{} with a weight of {:?}", self.name(), w.shape()),
            None => self.name().to_owned(),
        }
    }
}

/// `None` where shapes do not fit; every length is checked here, once, so that execution need not.
fn infer(op: &Op, shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let arity_fits = match op {
        Op::Add => shapes.len() == 2,
        Op::Concat { .. } => shapes.len() >= 2,
        Op::Conv(_)
        | Op::Linear(_)
        | Op::BatchNorm(_)
        | Op::Affine(_)
        | Op::Activation(_)
        | Op::Pad(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Softmax { .. }
        | Op::FakeQuant(_) => shapes.len() == 1,
    };
    let x = *shapes.first().filter(|_| arity_fits)?;
    let fits = |n: usize| (x.first() == Some(&n)).then(|| x.to_vec());
    match op {
        Op::Conv(conv) => conv_shape(conv, x),
        Op::Linear(linear) => {
            let &[out, features] = linear.weight.shape() else {
                return None;
            };
            let bias_fits = linear.bias.as_ref().is_none_or(|b| b.len() == out);
            (x == [features] && bias_fits).then(|| vec![out])
        }
        Op::BatchNorm(bn) => {
            let n = bn.gamma.len();
            let same = [&bn.beta, &bn.mean, &bn.var].iter().all(|v| v.len() == n);
            fits(n).filter(|_| same)
        }
        Op::Affine(a) => fits(a.scale.len()).filter(|_| a.shift.len() == a.scale.len()),
        Op::Activation(_) | Op::FakeQuant(_) => Some(x.to_vec()),
        Op::Add => (x == shapes[1]).then(|| x.to_vec()),
        Op::Concat { axis } => concat_shape(*axis, shapes),
        Op::Pad(pad) => {
            let &[c, h, w] = x else { return None };
            let [top, left, bottom, right] = pad.pads;
            let h = h.checked_add(top)?.checked_add(bottom)?;
            Some(vec![c, h, w.checked_add(left)?.checked_add(right)?])
        }
        Op::MaxPool(window) | Op::AvgPool(Pool { window, .. }) => {
            let &[c, h, w] = x else { return None };
            let [ho, wo] = window.output(h, w)?;
            Some(vec![c, ho, wo])
        }
        Op::GlobalAvgPool => matches!(x, [_, h, w] if h * w > 0).then(|| vec![x[0], 1, 1]),
        Op::Reshape { shape } => {
            (element_count(shape)? == element_count(x)?).then(|| shape.clone())
        }
        Op::Transpose { perm } => {
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            let valid = sorted.into_iter().eq(0..x.len());
            valid.then(|| perm.iter().map(|&axis| x[axis]).collect())
        }
        Op::Softmax { axis } => (*axis < x.len()).then(|| x.to_vec()),
    }
}

fn conv_shape(conv: &Conv, x: &[usize]) -> Option<Vec<usize>> {
    let &[c, h, w] = x else { return None };
    let &[out, cin, kh, kw] = conv.weight.shape() else {
        return None;
    };
    let grouped = conv.groups > 0 && out % conv.groups == 0 && cin.checked_mul(conv.groups)? == c;
    let bias_fits = conv.bias.as_ref().is_none_or(|b| b.len() == out);
    if !grouped || !bias_fits || conv.window.kernel != [kh, kw] || out * cin == 0 {
        return None;
    }
    let [ho, wo] = conv.window.output(h, w)?;
    Some(vec![out, ho, wo])
}

fn concat_shape(axis: usize, shapes: &[&[usize]]) -> Option<Vec<usize>> {
    let mut out = shapes[0].to_vec();
    out.get(axis)?;
    for s in &shapes[1..] {
        let others_equal =
            s.len() == out.len() && (0..out.len()).all(|i| i == axis || s[i] == out[i]);
        out[axis] = out[axis].checked_add(*s.get(axis).filter(|_| others_equal)?)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_round_down() {
        assert_eq!(Window::square(3, 2, 1).output(32, 31), Some([16, 16]));
        assert_eq!(Window::square(3, 1, 0).output(2, 8), None);
        let dilated = Window {
            dilation: [2, 2],
            ..Window::square(3, 1, 2)
        };
        assert_eq!(dilated.output(8, 8), Some([8, 8]));
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let relu = Op::Activation(Activation::Relu);
        assert_eq!(relu.output_shape(&[&[4, 2, 2]]), Ok(vec![4, 2, 2]));
        assert!(Op::Add.output_shape(&[&[4], &[5]]).is_err());
        assert!(Op::Add.output_shape(&[&[4]]).is_err());
        assert!(
            Op::Transpose { perm: vec![0, 0] }
                .output_shape(&[&[4, 5]])
                .is_err()
        );
        let concat = Op::Concat { axis: 0 };
        assert_eq!(
            concat.output_shape(&[&[4, 2, 2], &[3, 2, 2]]),
            Ok(vec![7, 2, 2])
        );
        assert!(concat.output_shape(&[&[4, 2, 2], &[3, 2, 1]]).is_err());
    }
}
