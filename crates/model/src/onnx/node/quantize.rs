//! A quantizer written as QuantizeLinear, perhaps Clip, and DequantizeLinear: a FakeQuant.

use super::super::call::Call;
use super::super::proto::data_type as t;
use super::super::read::{Bound, Codes};
use super::super::{malformed, unsupported};
use crate::{FakeQuant, Op, Result, ValueId};

pub(super) fn quantize<'a>(call: &mut Call<'_, 'a>) -> Result<Bound<'a>> {
    let value = call.value(0)?;
    let (scale, zero, kind) = grid(call)?;
    let (lo, hi) = if kind == t::UINT8 {
        (0, 255)
    } else {
        (-128, 127)
    };
    Ok(Bound::Codes(Codes {
        value,
        scale,
        zero,
        lo,
        hi,
    }))
}

/// Narrows the range of codes.
pub(super) fn clip<'a>(call: &mut Call<'_, 'a>) -> Result<Bound<'a>> {
    let mut codes = codes(call)?;
    let mut end = |i: usize| {
        call.ints(i)
            .map(|list| list.and_then(|list| list.first().copied()))
    };
    codes.lo = codes.lo.max(end(1)?.unwrap_or(i64::MIN));
    codes.hi = codes.hi.min(end(2)?.unwrap_or(i64::MAX));
    Ok(Bound::Codes(codes))
}

pub(super) fn dequantize(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let Codes {
        value,
        scale: step,
        zero,
        lo,
        hi,
    } = codes(call)?;
    let (scale, zero_again, _) = grid(call)?;
    if zero_again != zero {
        return Err(unsupported(
            "another zero point than its QuantizeLinear has",
        ));
    }
    if !(lo..=hi).contains(&zero) || lo == hi {
        return Err(unsupported(format!(
            "codes from {lo} to {hi} with zero at {zero}"
        )));
    }
    let (zero, levels) = ((zero - lo) as f32, (hi - lo) as f32);
    call.push(
        Op::FakeQuant(FakeQuant {
            scale,
            step,
            zero,
            levels,
        }),
        &[value],
    )
}

fn codes(call: &Call<'_, '_>) -> Result<Codes> {
    match call.bound(0) {
        Some(Bound::Codes(codes)) => Ok(*codes),
        _ => Err(unsupported("supported: on what a QuantizeLinear gives")),
    }
}

/// Scale, zero point and type of the codes.
fn grid(call: &mut Call<'_, '_>) -> Result<(f32, i64, i32)> {
    call.attributes.ignore(&["axis"]);
    let scale = call.scalar(1)?.ok_or_else(|| malformed("no scale"))?;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(malformed(format!("a scale of {scale}")));
    }
    let kind = match call.bound(2) {
        None => return Ok((scale, 0, t::UINT8)),
        Some(Bound::Stored(tensor)) => tensor.data_type.unwrap_or(0),
        Some(_) => {
            return Err(unsupported(
                "a computed zero point; supported: a stored one",
            ));
        }
    };
    let zero = call.ints(2)?.unwrap_or_default();
    match (zero.as_slice(), kind) {
        (&[zero], t::UINT8 | t::INT8) => Ok((scale, zero, kind)),
        _ => Err(unsupported(format!(
            "{} zero points of type {kind}; supported: one, uint8 or int8",
            zero.len()
        ))),
    }
}
