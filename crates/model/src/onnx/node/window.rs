//! Sliding windows: their geometry as ONNX says it, and convolution.

use super::super::call::Call;
use super::super::{malformed, unsupported};
use crate::{Conv, Op, Result, Tensor, ValueId, Window};

/// One more than the largest padding and dilation: far above any network's.
pub(super) const MAX_PADS: i64 = 1 << 16;

/// One more than the largest kernel and stride: a window may cover the largest value.
const MAX_KERNEL: i64 = 1 << 29;

pub(super) fn conv(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let Some((dims, weight)) = call.floats(1)? else {
        return Err(malformed("no weight"));
    };
    let &[out, _, height, width] = dims.as_slice() else {
        let message = format!("a weight of {dims:?}; supported: 2-d, (Cout, Cin / group, kh, kw)");
        return Err(unsupported(message));
    };
    let kernel = [height, width];
    if kernel.contains(&0) {
        return Err(malformed(format!("a weight of {dims:?}")));
    }
    if let Some(said) = kernel_shape(call)?.filter(|said| *said != kernel) {
        return Err(malformed(format!(
            "kernel_shape {said:?} with a weight of {dims:?}"
        )));
    }
    let bias = call.list(2, out)?;
    let groups = call.attributes.int("group", 1)?;
    let groups = usize::try_from(groups).map_err(|_| malformed(format!("group {groups}")))?;
    let [.., h, w] = call.shape(x)[..] else {
        return Err(malformed("its input is no image"));
    };
    let window = checked(window(call, kernel, [h, w])?)?;
    let weight = Tensor::new(dims, weight)?;
    call.push(
        Op::Conv(Conv {
            weight,
            bias,
            window,
            groups,
        }),
        &[x],
    )
}

/// The attribute `kernel_shape`.
pub(super) fn kernel_shape(call: &Call<'_, '_>) -> Result<Option<[usize; 2]>> {
    let ints = call.attributes.ints("kernel_shape")?;
    ints.map(|ints| extents::<2>("kernel_shape", ints, 1..MAX_KERNEL))
        .transpose()
}

/// The window of `kernel` over an image of `size`, from strides, dilations, pads and auto_pad.
pub(super) fn window(call: &Call<'_, '_>, kernel: [usize; 2], size: [usize; 2]) -> Result<Window> {
    let list = |name: &'static str| call.attributes.ints(name);
    let stride = list("strides")?.map_or(Ok([1; 2]), |v| extents("strides", v, 1..MAX_KERNEL))?;
    let dilation =
        list("dilations")?.map_or(Ok([1; 2]), |v| extents("dilations", v, 1..MAX_PADS))?;
    let pads = list("pads")?.map_or(Ok([0; 4]), |v| extents("pads", v, 0..MAX_PADS))?;
    let window = Window {
        kernel,
        stride,
        dilation,
        pads,
    };
    let automatic = call.attributes.text("auto_pad", "NOTSET")?;
    if automatic != "NOTSET" && pads != [0; 4] {
        return Err(malformed(format!(
            "pads {pads:?} beside auto_pad {automatic}"
        )));
    }
    match automatic {
        "NOTSET" | "VALID" => Ok(window),
        "SAME_UPPER" | "SAME_LOWER" => {
            let total = [0, 1].map(|axis| same_padding(&window, size, axis));
            let less = total.map(|n| n / 2);
            let more = [total[0] - less[0], total[1] - less[1]];
            let (first, last) = if automatic == "SAME_UPPER" {
                (less, more)
            } else {
                (more, less)
            };
            Ok(Window {
                pads: [first[0], first[1], last[0], last[1]],
                ..window
            })
        }
        other => Err(unsupported(format!(
            "auto_pad {other}; supported: NOTSET, VALID, SAME_UPPER, SAME_LOWER"
        ))),
    }
}

/// The padding that gives `ceil(size / stride)` outputs.
fn same_padding(window: &Window, size: [usize; 2], axis: usize) -> usize {
    let stride = window.stride[axis];
    let needed = (size[axis].div_ceil(stride) - 1) * stride + span(window, axis);
    needed.saturating_sub(size[axis])
}

/// How many positions a window covers along `axis`.
pub(super) fn span(window: &Window, axis: usize) -> usize {
    (window.kernel[axis] - 1) * window.dilation[axis] + 1
}

fn extents<const N: usize>(
    name: &str,
    list: &[i64],
    allowed: std::ops::Range<i64>,
) -> Result<[usize; N]> {
    let list: [i64; N] = list.try_into().map_err(|_| {
        unsupported(format!(
            "{name} {list:?}; supported: {N} entries, for height and width"
        ))
    })?;
    if list.iter().any(|n| !allowed.contains(n)) {
        let (from, to) = (allowed.start, allowed.end - 1);
        return Err(unsupported(format!(
            "{name} {list:?}; supported: from {from} to {to}"
        )));
    }
    Ok(list.map(|n| n as usize))
}

/// `window`, unless what became of its pads is out of range.
pub(super) fn checked(window: Window) -> Result<Window> {
    if window.pads.iter().all(|&n| n < MAX_PADS as usize) {
        return Ok(window);
    }
    let (pads, to) = (window.pads, MAX_PADS - 1);
    Err(unsupported(format!(
        "pads of {pads:?} in all; supported: to {to}"
    )))
}
