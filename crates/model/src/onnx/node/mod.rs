//! What each operator of a file becomes: one small function per operator, by family.
//!
//! Each takes its node as a [`Call`], checks everything that it relies on, pushes ops and says
//! what the node's first output is. Files of one family share the arithmetic of windows, axes or
//! constants.

mod dense;
mod elementwise;
mod norm;
mod pad;
mod pool;
mod quantize;
pub(super) mod shape;
mod window;

use super::call::Call;
use super::read::Bound;
use super::{malformed, unsupported};
use crate::Result;

/// The operators that may read computed values, for messages.
pub(super) const SUPPORTED: &str = "Conv, Gemm, MatMul, BatchNormalization, Relu, Clip, Max and \
    Min with a constant, LeakyRelu, Sigmoid, HardSigmoid, HardSwish, Add, Sum, Sub, Mul and Div with a \
    constant, Concat, Pad, MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, ReduceMean, Flatten, Reshape, \
    Squeeze, Unsqueeze, Transpose, Slice, Expand, Softmax, Identity, Dropout, Cast, \
    QuantizeLinear with DequantizeLinear, and shape arithmetic";

/// Turns a node that reads computed values into ops.
pub(super) fn convert<'a>(call: &mut Call<'_, 'a>) -> Result<Bound<'a>> {
    let value = match call.op() {
        "Conv" => window::conv(call)?,
        "MaxPool" => pool::max_pool(call)?,
        "AveragePool" => pool::average_pool(call)?,
        "GlobalAveragePool" => pool::global_average(call)?,
        "GlobalMaxPool" => pool::global_max(call)?,
        "ReduceMean" => pool::reduce_mean(call)?,
        "Gemm" => dense::gemm(call)?,
        "MatMul" => dense::matmul(call)?,
        "BatchNormalization" => norm::batch_norm(call)?,
        "Softmax" => norm::softmax(call)?,
        "Relu" | "LeakyRelu" | "Sigmoid" | "HardSigmoid" | "HardSwish" => {
            elementwise::activation(call)?
        }
        "Clip" if matches!(call.bound(0), Some(Bound::Codes(_))) => {
            return quantize::clip(call);
        }
        "Clip" => elementwise::clip(call)?,
        "Max" | "Min" => elementwise::extremum(call)?,
        "Add" | "Sub" | "Mul" | "Div" => elementwise::arithmetic(call)?,
        "Sum" => elementwise::sum(call)?,
        "Concat" => shape::concat(call)?,
        "Reshape" => shape::reshape(call)?,
        "Flatten" => shape::flatten(call)?,
        "Squeeze" => shape::squeeze(call)?,
        "Unsqueeze" => shape::unsqueeze(call)?,
        "Transpose" => shape::transpose(call)?,
        "Slice" => shape::slice(call)?,
        "Expand" => shape::expand(call)?,
        "Cast" => shape::cast(call)?,
        "Pad" => return pad::pad(call),
        "QuantizeLinear" => return quantize::quantize(call),
        "DequantizeLinear" => quantize::dequantize(call)?,
        "Identity" => {
            return call
                .bound(0)
                .cloned()
                .ok_or_else(|| malformed("input 0 is missing"));
        }
        "Dropout" => {
            call.attributes.ignore(&["ratio", "seed", "is_test"]);
            if call.scalar(2)?.is_some_and(|training| training != 0.0) {
                return Err(unsupported("training_mode is on; supported: inference"));
            }
            call.value(0)?
        }
        _ => {
            return Err(unsupported(format!(
                "this operator is outside the supported set: {SUPPORTED}"
            )));
        }
    };
    Ok(Bound::Value(value))
}
