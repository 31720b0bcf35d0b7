//! Pooling: over windows, and over all positions.

use super::super::call::{Call, image_axis};
use super::super::read::Bound;
use super::super::{malformed, unsupported};
use super::shape::along;
use super::window::{checked, kernel_shape, span, window};
use crate::{Op, Pool, Result, ValueId, Window};

pub(super) fn max_pool(call: &mut Call<'_, '_>) -> Result<ValueId> {
    call.attributes.ignore(&["storage_order"]);
    let (x, before) = match call.bound(0) {
        Some(&Bound::Padded { value, pads }) => (value, pads),
        _ => (call.value(0)?, [0; 4]),
    };
    // Minus infinity never wins, just as MaxPool's own padding: one window does both.
    let (window, size) = geometry(call, x, before)?;
    let pads = std::array::from_fn(|i| window.pads[i] + before[i]);
    let (window, _) = rounded_up(call, Window { pads, ..window }, size)?;
    call.push(Op::MaxPool(checked(window)?), &[x])
}

pub(super) fn average_pool(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let (window, size) = geometry(call, x, [0; 4])?;
    if window.dilation != [1; 2] {
        return Err(unsupported(format!(
            "dilations {:?}; supported: 1",
            window.dilation
        )));
    }
    let mut count_include_pad = call.attributes.flag("count_include_pad", false)?;
    let padded = window.pads != [0; 4];
    let (window, added) = rounded_up(call, window, size)?;
    if added && count_include_pad {
        // Positions that rounding up adds never count. Without other padding, nothing counts.
        if padded {
            return Err(unsupported(
                "ceil_mode together with count_include_pad and pads; supported: two of the three",
            ));
        }
        count_include_pad = false;
    }
    let window = checked(window)?;
    call.push(
        Op::AvgPool(Pool {
            window,
            count_include_pad,
        }),
        &[x],
    )
}

pub(super) fn global_average(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    call.push(Op::GlobalAvgPool, &[x])
}

pub(super) fn global_max(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let [_, h, w] = call.shape(x)[..] else {
        return Err(unsupported(
            "an input that is no image; supported: (N, C, H, W)",
        ));
    };
    let window = Window {
        kernel: [h, w],
        ..Window::square(1, 1, 0)
    };
    call.push(Op::MaxPool(window), &[x])
}

/// The mean over height and width of an image, wherever they lie, or over other axes one by one.
pub(super) fn reduce_mean(call: &mut Call<'_, '_>) -> Result<ValueId> {
    call.attributes.ignore(&["noop_with_empty_axes"]);
    let x = call.value(0)?;
    let keep = call.attributes.flag("keepdims", true)?;
    let mut shape = call.shape(x);
    let listed = call.axes()?.unwrap_or_default();
    if listed.is_empty() {
        return Err(unsupported(
            "a mean over all axes; supported: each image alone",
        ));
    }
    let axes = listed.iter().map(|&axis| image_axis(axis, shape.len() + 1));
    let mut axes = axes.collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    axes.dedup();
    let kept: Vec<usize> = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let mut mean = x;
    if let (&[first, second], &[channel]) = (axes.as_slice(), kept.as_slice()) {
        let perm = vec![channel, first, second];
        mean = call.push(Op::Transpose { perm }, &[mean])?;
        mean = call.push(Op::GlobalAvgPool, &[mean])?;
    } else {
        for &axis in &axes {
            mean = along(call, mean, axis, |spatial| {
                let mut window = Window::square(1, 1, 0);
                window.kernel[spatial] = shape[axis];
                Op::AvgPool(Pool {
                    window,
                    count_include_pad: false,
                })
            })?;
        }
    }
    axes.iter().for_each(|&axis| shape[axis] = 1);
    if !keep {
        shape = kept.iter().map(|&axis| shape[axis]).collect();
    }
    call.push(Op::Reshape { shape }, &[mean])
}

/// The window of a pooling node over `x` already padded by `before`, and the extents of `x`.
fn geometry(call: &Call<'_, '_>, x: ValueId, before: [usize; 4]) -> Result<(Window, [usize; 2])> {
    let kernel = kernel_shape(call)?.ok_or_else(|| malformed("no kernel_shape"))?;
    let [_, h, w] = call.shape(x)[..] else {
        return Err(unsupported(format!(
            "an input of {} axes; supported: (N, C, H, W)",
            call.shape(x).len() + 1
        )));
    };
    let padded = [h + before[0] + before[2], w + before[1] + before[3]];
    let window = window(call, kernel, padded)?;
    for axis in [0, 1] {
        let pads = [
            window.pads[axis] + before[axis],
            window.pads[axis + 2] + before[axis + 2],
        ];
        let reaches = [h, w][axis] >= window.dilation[axis] || pads == [0; 2];
        if pads.iter().any(|&n| n >= span(&window, axis)) || !reaches {
            return Err(unsupported("a window that may lie in the padding alone"));
        }
    }
    Ok((window, [h, w]))
}

/// The same window with `ceil_mode` made part of its pads, and whether that added any.
///
/// Rounding up adds one output where the last step leaves positions over, unless that window would
/// begin beyond the image and its leading padding.
fn rounded_up(call: &Call<'_, '_>, mut window: Window, size: [usize; 2]) -> Result<(Window, bool)> {
    if !call.attributes.flag("ceil_mode", false)? {
        return Ok((window, false));
    }
    let mut added = false;
    for axis in [0, 1] {
        let [before, after] = [window.pads[axis], window.pads[axis + 2]];
        let (stride, span) = (window.stride[axis], span(&window, axis));
        let Some(slack) = (before + size[axis] + after).checked_sub(span) else {
            continue;
        };
        let begin = slack.div_ceil(stride) * stride;
        if slack % stride != 0 && begin < before + size[axis] {
            window.pads[axis + 2] += begin - slack;
            added = true;
        }
    }
    Ok((window, added))
}
