//! The numbers that an op carries.

use crate::op::{Conv, Linear, Op};
use crate::tensor::Tensor;

impl Op {
    /// The weight tensor, of the ops that have one (Conv, Linear): what gets a bit-width.
    pub fn weight(&self) -> Option<&Tensor> {
        if let Op::Conv(Conv { weight, .. }) | Op::Linear(Linear { weight, .. }) = self {
            return Some(weight);
        }
        None
    }

    /// Every number that the op carries: first weight and bias, gamma and beta, or scale and shift
    /// (both or neither; a bias that is not there is empty), then running statistics.
    pub fn parameters(&self) -> Vec<&[f32]> {
        match self {
            Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias }) => {
                let bias = bias.as_deref().unwrap_or_default();
                vec![weight.data(), bias]
            }
            Op::BatchNorm(bn) => vec![&bn.gamma, &bn.beta, &bn.mean, &bn.var],
            Op::Affine(affine) => vec![&affine.scale, &affine.shift],
            Op::Activation(_)
            | Op::Add
            | Op::Concat { .. }
            | Op::Pad(_)
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Softmax { .. }
            | Op::FakeQuant(_) => Vec::new(),
        }
    }
}
