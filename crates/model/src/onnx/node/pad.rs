//! Pad, by a constant.

use super::super::call::{Call, axis_of};
use super::super::read::Bound;
use super::super::{malformed, unsupported};
use super::shape::along;
use super::window::MAX_PADS;
use crate::{Op, Pad, Result, ValueId};

/// Padding of no extent gives the input itself; padding by minus infinity waits for its MaxPool.
pub(super) fn pad<'a>(call: &mut Call<'_, 'a>) -> Result<Bound<'a>> {
    let x = call.value(0)?;
    let mode = call.attributes.text("mode", "constant")?;
    if mode != "constant" {
        return Err(unsupported(format!("mode {mode}; supported: constant")));
    }
    let amounts = amounts(call, call.shape(x).len() + 1)?;
    let [(0, 0), image @ ..] = amounts.as_slice() else {
        return Err(unsupported(
            "it pads the batch; supported: the axes of an image",
        ));
    };
    let value = match call.attributes.float("value")? {
        Some(value) => value,
        None => call.scalar(2)?.unwrap_or(0.0),
    };
    if image.iter().all(|&amount| amount == (0, 0)) {
        return Ok(Bound::Value(x));
    }
    let spatial = match *image {
        [(0, 0), (top, bottom), (left, right)] => Some([top, left, bottom, right]),
        _ => None,
    };
    if value == f32::NEG_INFINITY || value == f32::MIN {
        let pads = spatial.ok_or_else(|| unsupported("minus infinity outside height and width"))?;
        return Ok(Bound::Padded { value: x, pads });
    }
    if !value.is_finite() {
        return Err(unsupported(format!(
            "padding by {value}; supported: a finite number"
        )));
    }
    by_axis(call, x, image, value).map(Bound::Value)
}

/// How much to put before and after each axis of `rank`.
fn amounts(call: &mut Call<'_, '_>, rank: usize) -> Result<Vec<(usize, usize)>> {
    let pads = match call.attributes.ints("pads")? {
        Some(pads) => pads.to_vec(),
        None => call.ints(1)?.ok_or_else(|| malformed("no pads"))?,
    };
    let axes = match call.ints(3)? {
        Some(axes) => axes
            .iter()
            .map(|&a| axis_of(a, rank))
            .collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(malformed(format!(
            "{} pads for {} axes",
            pads.len(),
            axes.len()
        )));
    }
    let amount = |i: usize| {
        let within = (0..MAX_PADS).contains(&pads[i]).then_some(pads[i] as usize);
        let message = || format!("pads {pads:?}; supported: from 0 to {}", MAX_PADS - 1);
        within.ok_or_else(|| unsupported(message()))
    };
    let mut amounts = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        amounts[axis] = (amount(i)?, amount(i + axes.len())?);
    }
    Ok(amounts)
}

fn by_axis(
    call: &mut Call<'_, '_>,
    x: ValueId,
    image: &[(usize, usize)],
    value: f32,
) -> Result<ValueId> {
    let mut y = x;
    let mut rest = image.to_vec();
    if let [_, (top, bottom), (left, right)] = *image {
        let pads = [top, left, bottom, right];
        if pads != [0; 4] {
            y = call.push(Op::Pad(Pad { pads, value }), &[y])?;
        }
        rest.truncate(1);
    }
    for (axis, &(before, after)) in rest.iter().enumerate() {
        if (before, after) != (0, 0) {
            let rows = [before, 0, after, 0];
            let columns = [0, before, 0, after];
            y = along(call, y, axis, |spatial| {
                Op::Pad(Pad {
                    pads: if spatial == 0 { rows } else { columns },
                    value,
                })
            })?;
        }
    }
    Ok(y)
}
