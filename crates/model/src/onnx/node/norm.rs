//! BatchNormalization and Softmax.

use super::super::call::{Call, image_axis};
use super::super::{malformed, unsupported};
use crate::{BatchNorm, Op, Result, ValueId};

pub(super) fn batch_norm(call: &mut Call<'_, '_>) -> Result<ValueId> {
    call.attributes.ignore(&["momentum"]);
    if call.attributes.flag("training_mode", false)? {
        return Err(unsupported(
            "training_mode is on; supported: inference (export in eval mode)",
        ));
    }
    let x = call.value(0)?;
    let channels = call.shape(x).first().copied().unwrap_or(0);
    let mut list = |i: usize| {
        let list = call.list(i, channels)?;
        list.ok_or_else(|| malformed(format!("input {i} is missing")))
    };
    let (gamma, beta, mean, var) = (list(1)?, list(2)?, list(3)?, list(4)?);
    let eps = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    if var.iter().any(|v| v + eps <= 0.0) {
        return Err(malformed("a variance below zero"));
    }
    call.push(
        Op::BatchNorm(BatchNorm {
            gamma,
            beta,
            mean,
            var,
            eps,
        }),
        &[x],
    )
}

/// From opset 13, along one axis; before, along all axes from `axis` on taken together.
pub(super) fn softmax(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let shape = call.shape(x);
    let together = call.opset() < 13;
    let default = if together { 1 } else { -1 };
    let axis = image_axis(call.attributes.int("axis", default)?, shape.len() + 1)?;
    let inner: usize = shape[axis + 1..].iter().product();
    if !together || inner == 1 {
        return call.push(Op::Softmax { axis }, &[x]);
    }
    let outer = shape[..axis].iter().product();
    let flat = call.push(
        Op::Reshape {
            shape: vec![outer, shape[axis] * inner],
        },
        &[x],
    )?;
    let y = call.push(Op::Softmax { axis: 1 }, &[flat])?;
    call.push(Op::Reshape { shape }, &[y])
}
