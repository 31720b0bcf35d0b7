//! Operators that only move entries: Reshape and its kin, Transpose, Concat, Slice.

use super::super::call::{Call, axis_of, flatten_axis, image_axis};
use super::super::constant::Entry;
use super::super::fold::{squeezed, unsqueezed};
use super::super::proto::data_type as t;
use super::super::{malformed, unsupported};
use crate::tensor::element_count;
use crate::{Op, Result, ValueId, Window};

pub(super) fn concat(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let values = (0..call.input_count())
        .map(|i| call.value(i))
        .collect::<Result<Vec<_>>>()?;
    let rank = values.first().map_or(0, |&v| call.shape(v).len()) + 1;
    let axis = image_axis(call.attributes.int("axis", 1)?, rank)?;
    if let [only] = values.as_slice() {
        return Ok(*only);
    }
    call.push(Op::Concat { axis }, &values)
}

pub(super) fn reshape(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let allow_zero = call.attributes.flag("allowzero", false)?;
    let target = call.entries(1)?.ok_or_else(|| malformed("no shape"))?;
    let shape = target_shape(&target, &call.shape(x), call.import.batch, allow_zero)?;
    call.push(Op::Reshape { shape }, &[x])
}

/// What `target` makes of an image of `from`. Its first entry must be the batch in one of its
/// guises: the batch's own size, "as before", or "what remains" where the others fill an image.
fn target_shape(
    target: &[Entry],
    from: &[usize],
    batch: Option<i64>,
    allow_zero: bool,
) -> Result<Vec<usize>> {
    let mixes = || {
        let target: Vec<String> = target.iter().map(Entry::to_string).collect();
        unsupported(format!(
            "a shape of [{}] for images of {from:?}; supported: shapes whose first axis is \
             the batch",
            target.join(", ")
        ))
    };
    let [first, rest @ ..] = target else {
        return Err(mixes());
    };
    let mut shape = Vec::with_capacity(rest.len());
    let mut hole = None;
    for (axis, &entry) in rest.iter().enumerate() {
        shape.push(match entry {
            Entry::Int(0) if !allow_zero => *from.get(axis).ok_or_else(mixes)?,
            Entry::Int(-1) if hole.is_none() => {
                hole = Some(axis);
                1
            }
            Entry::Int(n) if n > 0 => n as usize,
            Entry::Int(_) | Entry::Batch | Entry::Unknown => return Err(mixes()),
        });
    }
    let whole = element_count(from).unwrap_or(0);
    let others = element_count(&shape).filter(|&n| n > 0).ok_or_else(mixes)?;
    let keeps_batch = match *first {
        Entry::Batch => true,
        Entry::Int(0) => !allow_zero,
        Entry::Int(-1) => hole.is_none() && others == whole,
        Entry::Int(n) => Some(n) == batch,
        Entry::Unknown => false,
    };
    if let Some(hole) = hole {
        shape[hole] = whole / others;
    }
    if !keeps_batch || element_count(&shape) != Some(whole) {
        return Err(mixes());
    }
    Ok(shape)
}

pub(super) fn flatten(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let shape = call.shape(x);
    let rank = shape.len() + 1;
    let axis = flatten_axis(call.attributes.int("axis", 1)?, rank)?;
    let (outer, inner) = match axis.checked_sub(1) {
        Some(split) => shape.split_at(split),
        None => (&[0][..], &shape[..]),
    };
    if element_count(outer) != Some(1) {
        return Err(unsupported(format!(
            "axis {axis} of {rank} joins other axes with the batch; supported: axis 1"
        )));
    }
    let shape = vec![inner.iter().product()];
    call.push(Op::Reshape { shape }, &[x])
}

pub(super) fn squeeze(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let shape = call.shape(x);
    let axes = match call.axes()? {
        None if call.import.batch == Some(1) => {
            return Err(unsupported("it removes the batch; supported: given axes"));
        }
        None => None,
        Some(axes) => Some(image_axes(&axes, shape.len() + 1)?),
    };
    let shape = squeezed(&shape, axes.as_deref())?;
    call.push(Op::Reshape { shape }, &[x])
}

pub(super) fn unsqueeze(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let shape = call.shape(x);
    let axes = call.axes()?.ok_or_else(|| malformed("no axes"))?;
    let axes = image_axes(&axes, shape.len() + 1 + axes.len())?;
    let shape = unsqueezed(&shape, &axes)?;
    call.push(Op::Reshape { shape }, &[x])
}

fn image_axes(axes: &[i64], rank: usize) -> Result<Vec<i64>> {
    axes.iter()
        .map(|&axis| Ok(image_axis(axis, rank)? as i64))
        .collect()
}

pub(super) fn transpose(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let rank = call.shape(x).len() + 1;
    let perm = call.permutation(rank)?;
    let [0, perm @ ..] = perm.as_slice() else {
        return Err(unsupported(format!(
            "perm {perm:?}; supported: the batch stays first"
        )));
    };
    let perm = perm
        .iter()
        .map(|&axis| image_axis(axis as i64, rank))
        .collect::<Result<_>>()?;
    call.push(Op::Transpose { perm }, &[x])
}

/// A broadcast that changes nothing, which is all that can be said of a computed value.
pub(super) fn expand(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let target = call.entries(1)?.ok_or_else(|| malformed("no shape"))?;
    let mut own = vec![Entry::Batch];
    own.extend(call.shape(x).iter().map(|&n| Entry::Int(n as i64)));
    let kept = |(own, wanted): (&Entry, &Entry)| *wanted == Entry::Int(1) || own == wanted;
    if target.len() > own.len() || !own.iter().rev().zip(target.iter().rev()).all(kept) {
        return Err(unsupported(
            "it repeats entries; supported: a shape that stays",
        ));
    }
    Ok(x)
}

/// A cast between float types.
pub(super) fn cast(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let to = call.attributes.int("to", 0)?;
    let floats = [t::FLOAT, t::DOUBLE, t::FLOAT16, t::BFLOAT16];
    if floats.iter().all(|&kind| i64::from(kind) != to) {
        return Err(unsupported(format!(
            "a cast to type {to}; supported: the float types"
        )));
    }
    call.value(0)
}

/// A part of one axis: `count` entries from `start` on, `step` apart.
pub(in crate::onnx) struct Range {
    pub(in crate::onnx) axis: usize,
    start: usize,
    step: i64,
    count: usize,
}

impl Range {
    /// The indices.
    pub(in crate::onnx) fn picks(&self) -> Vec<usize> {
        (0..self.count)
            .map(|i| (self.start as i64 + i as i64 * self.step) as usize)
            .collect()
    }
}

/// What a Slice takes from extents `dims`; an extent of `None` is the batch, which must stay.
pub(in crate::onnx) fn slice_ranges(
    call: &mut Call<'_, '_>,
    dims: &[Option<usize>],
) -> Result<Vec<Range>> {
    let mut list = |name: &'static str, i: usize| match call.attributes.ints(name)? {
        Some(list) => Ok(Some(list.to_vec())),
        None => call.ints(i),
    };
    let missing = || malformed("no starts or no ends");
    let starts = list("starts", 1)?.ok_or_else(missing)?;
    let ends = list("ends", 2)?.ok_or_else(missing)?;
    let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || starts.len() > dims.len() {
        return Err(malformed(
            "starts, ends, axes and steps of different length",
        ));
    }
    let mut ranges = Vec::with_capacity(starts.len());
    for (i, &axis) in axes.iter().enumerate() {
        let axis = axis_of(axis, dims.len())?;
        let Some(extent) = dims[axis] else {
            if starts[i] == 0 && steps[i] == 1 && ends[i] >= i64::from(i32::MAX) {
                continue;
            }
            return Err(unsupported(
                "it takes a part of the batch; supported: each image alone",
            ));
        };
        ranges.push(range(axis, extent as i64, [starts[i], ends[i], steps[i]])?);
    }
    Ok(ranges)
}

fn range(axis: usize, extent: i64, [start, end, step]: [i64; 3]) -> Result<Range> {
    let counted = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
    let (start, span) = match step {
        0 => return Err(malformed("a step of 0")),
        1.. => {
            let start = counted(start).clamp(0, extent);
            (start, counted(end).clamp(0, extent) - start)
        }
        _ => {
            let start = counted(start).clamp(0, (extent - 1).max(0));
            (start, start - counted(end).clamp(-1, extent - 1))
        }
    };
    let count = (span.max(0) as u64).div_ceil(step.unsigned_abs()) as usize;
    Ok(Range {
        axis,
        start: start as usize,
        step,
        count,
    })
}

/// Every n-th entry from the first, along any axis: a maximum over windows of one entry.
pub(super) fn slice(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let mut x = call.value(0)?;
    let mut dims = vec![None];
    dims.extend(call.shape(x).iter().map(|&n| Some(n)));
    for range in slice_ranges(call, &dims)? {
        let axis = range.axis - 1;
        let extent = call.shape(x)[axis];
        let step = match (range.start, range.count, range.step) {
            (0, 1, _) => extent,
            (0, n, 1..) if n == extent.div_ceil(range.step as usize) => range.step as usize,
            _ => {
                return Err(unsupported(format!(
                    "it cuts axis {} of {extent} to {} from {} on; supported: every n-th entry \
                     from the first",
                    range.axis, range.count, range.start
                )));
            }
        };
        if step > 1 {
            x = every_nth(call, x, axis, step)?;
        }
    }
    Ok(x)
}

fn every_nth(call: &mut Call<'_, '_>, x: ValueId, axis: usize, step: usize) -> Result<ValueId> {
    let mut source = x;
    let mut stride = [1; 2];
    // Exporters write one Slice per axis: the second joins the first.
    if let Some(before) = call.import.draft.producer(x)
        && let Op::MaxPool(window) = before.op
        && (Window {
            stride: [1; 2],
            ..window
        }) == Window::square(1, 1, 0)
        && axis > 0
    {
        (source, stride) = (before.inputs[0], window.stride);
    }
    along(call, source, axis, |spatial| {
        let mut stride = stride;
        stride[spatial] *= step;
        Op::MaxPool(Window {
            stride,
            ..Window::square(1, 1, 0)
        })
    })
}

/// A spatial op along any axis: `op` gets 0 for height, 1 for width. Where the axis is neither,
/// the entries are looked at as (outer, axis, inner), with the axis as height.
pub(super) fn along(
    call: &mut Call<'_, '_>,
    x: ValueId,
    axis: usize,
    op: impl Fn(usize) -> Op,
) -> Result<ValueId> {
    let mut shape = call.shape(x);
    if shape.len() == 3 && axis > 0 {
        return call.push(op(axis - 1), &[x]);
    }
    let view = vec![
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    ];
    let x = call.push(Op::Reshape { shape: view }, &[x])?;
    let y = call.push(op(0), &[x])?;
    shape[axis] = call.shape(y)[1];
    call.push(Op::Reshape { shape }, &[y])
}
