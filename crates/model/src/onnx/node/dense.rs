//! Fully connected layers: Gemm, and MatMul with a stored matrix.

use super::super::array::Array;
use super::super::call::Call;
use super::super::{malformed, unsupported};
use crate::{Linear, Op, Result, Tensor, ValueId};

/// `alpha * x * B + beta * C`, B transposed or not.
pub(super) fn gemm(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    if call.attributes.flag("transA", false)? {
        return Err(unsupported("transA; supported: one row per image"));
    }
    let transposed = call.attributes.flag("transB", false)?;
    let mut weight = matrix(call, transposed)?;
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let beta = call.attributes.float("beta")?.unwrap_or(1.0);
    if alpha != 1.0 {
        weight.data_mut().iter_mut().for_each(|w| *w *= alpha);
    }
    let out = weight.shape()[0];
    let bias = call
        .floats(2)?
        .map(|(dims, data)| match (data.as_slice(), data.len()) {
            (&[one], _) => Ok(vec![beta * one; out]),
            (_, n) if n == out && dims.last() == Some(&n) => {
                Ok(data.iter().map(|b| beta * b).collect())
            }
            _ => Err(malformed(format!("a bias of {dims:?} for {out} outputs"))),
        });
    let bias = bias.transpose()?;
    call.push(Op::Linear(Linear { weight, bias }), &[x])
}

pub(super) fn matmul(call: &mut Call<'_, '_>) -> Result<ValueId> {
    if call.is_data(0) && call.is_data(1) {
        return Err(unsupported(
            "a product of two computed values; supported: a stored matrix",
        ));
    }
    let x = call.value(0)?;
    let weight = matrix(call, false)?;
    let mut shape = call.shape(x);
    let features = shape.pop().unwrap_or(0);
    if shape.iter().any(|&n| n != 1) {
        return Err(unsupported(format!(
            "many rows in an image ({:?}); supported: one",
            call.shape(x)
        )));
    }
    shape.push(weight.shape()[0]);
    let row = call.push(
        Op::Reshape {
            shape: vec![features],
        },
        &[x],
    )?;
    let y = call.push(Op::Linear(Linear { weight, bias: None }), &[row])?;
    call.push(Op::Reshape { shape }, &[y])
}

/// Input 1 as `(Out, F)`; stored that way if `transposed`, else as `(F, Out)`.
fn matrix(call: &mut Call<'_, '_>, transposed: bool) -> Result<Tensor> {
    let Some((dims, data)) = call.floats(1)? else {
        return Err(malformed("no weight"));
    };
    if dims.len() != 2 {
        return Err(unsupported(format!(
            "a weight of {dims:?}; supported: a matrix"
        )));
    }
    let mut weight = Array::new(dims, data)?;
    if !transposed {
        weight = weight.transposed(&[1, 0])?;
    }
    Tensor::new(weight.dims().to_vec(), weight.into_data())
}
