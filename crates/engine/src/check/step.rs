//! Whether a step can be run: shapes that fit, weights that have their bits, numbers that are
//! finite.

use exbit_kernels::{Activation, Bits, ConvShape, Epilogue, Grid, Window, every, magnitude};

use super::{Check, MAX_BYTES, MAX_EXTENT, require};
use crate::{Conv, StepKind, Value, Weights};

/// The most taps of a mean, whose divisors are kept in a table.
const MAX_MEAN: usize = 1 << 18;

/// Whether a step of `kind` makes `output` from `inputs`, all of which have codes.
pub(super) fn check_kind(kind: &StepKind, inputs: &[&Value], output: &Value) -> Check {
    let shapes = || {
        let from: Vec<_> = inputs.iter().map(|v| v.shape).collect();
        format!("cannot make shape {:?} from {from:?}", output.shape)
    };
    match (kind, inputs) {
        (StepKind::Conv(conv), [x, rest @ ..]) if rest.len() <= 1 => {
            require(rest.iter().all(|r| r.shape == output.shape), shapes)?;
            require(conv_shape(conv, x, output).is_some(), shapes)?;
            check_conv(conv, x, rest.first().copied(), output)
        }
        (StepKind::MaxPool(window), [x]) => {
            require(pooled(*window, x.shape) == Some(output.shape), shapes)?;
            same_grid(x, output)
        }
        (StepKind::AvgPool { window, .. }, [x]) => {
            require(pooled(*window, x.shape) == Some(output.shape), shapes)?;
            require(window.area() <= MAX_MEAN, || {
                "its window is too large".into()
            })?;
            finite(x.grid().map(|grid| Epilogue::mean(grid, 1, output.grid())))
        }
        (StepKind::Add { activation }, [a, b]) => {
            require(a.shape == output.shape && b.shape == output.shape, shapes)?;
            sound(activation)?;
            let grids = a.grid().zip(b.grid());
            finite(grids.map(|(a, b)| Epilogue::add(a, b, *activation, output.grid())))
        }
        (StepKind::Concat, [_, ..]) => check_concat(inputs, output, shapes),
        (StepKind::Table { codes }, [x]) => {
            require(x.shape == output.shape, shapes)?;
            check_table(codes, x, output)
        }
        (StepKind::Pad { pads, code }, [x]) => {
            require(padded(*pads, x.shape) == Some(output.shape), shapes)?;
            check_filling(*code, x, output)
        }
        (StepKind::PadChannels { before, code }, [x]) => {
            let [h, w, channels] = x.shape;
            let least = before.checked_add(channels).unwrap_or(usize::MAX);
            let fits = output.shape[..2] == [h, w] && least <= output.shape[2];
            require(fits, shapes)?;
            check_filling(*code, x, output)
        }
        (StepKind::Shuffle { views }, [x]) => {
            let (from, to) = (x.shape, output.shape);
            require(views_fit(views, x.len(), output.len()), || {
                format!("its views do not lead from {from:?} to {to:?}")
            })?;
            same_grid(x, output)
        }
        (
            StepKind::Conv(_)
            | StepKind::MaxPool(_)
            | StepKind::AvgPool { .. }
            | StepKind::Add { .. }
            | StepKind::Concat
            | StepKind::Table { .. }
            | StepKind::Pad { .. }
            | StepKind::PadChannels { .. }
            | StepKind::Shuffle { .. },
            _,
        ) => Err(format!(
            "reads {} values, which is not what it takes",
            inputs.len()
        )),
    }
}

fn check_table(codes: &[u8], x: &Value, output: &Value) -> Check {
    let (from, to) = (levels(x)?, levels(output)?);
    let fits = codes.len() == usize::from(from) + 1 && codes.iter().all(|&c| c <= to);
    require(fits, || {
        "its table does not lead from codes to codes".into()
    })
}

/// Whether `code` can be put beside those of `x`.
fn check_filling(code: u8, x: &Value, output: &Value) -> Check {
    require(code <= levels(output)?, || {
        format!("code {code} is beyond its bits")
    })?;
    same_grid(x, output)
}

fn sound(activation: &Activation) -> Check {
    require(activation.is_sound(), || {
        format!("its activation is {activation:?}")
    })
}

/// The shape that a padding makes; `None` where pads are too large.
fn padded([top, left, bottom, right]: [usize; 4], [h, w, c]: [usize; 3]) -> Option<[usize; 3]> {
    let small = [top, left, bottom, right].iter().all(|&p| p <= MAX_EXTENT);
    small.then_some([top + h + bottom, left + w + right, c])
}

/// The extents of a convolution from `x` to `output`; `None` where they do not fit.
pub(crate) fn conv_shape(conv: &Conv, x: &Value, output: &Value) -> Option<ConvShape> {
    let ([h, w, channels], [_, _, out]) = (x.shape, output.shape);
    let [rows, kh, kw, width] = conv.weights.shape;
    let grouped = conv.groups > 0
        && out.checked_rem(conv.groups) == Some(0)
        && width.checked_mul(conv.groups) == Some(channels);
    let fits = grouped && rows == out && conv.window.kernel == [kh, kw];
    let [oh, ow] = extents(conv.window, h, w).filter(|_| fits)?;
    let [top, left, bottom, right] = conv.window.pads;
    let padded = (top + h + bottom)
        .checked_mul(left + w + right)?
        .checked_mul(channels)?;
    let shape = ConvShape {
        input: x.shape,
        output: output.shape,
        window: conv.window,
        groups: conv.groups,
    };
    // Some kernels hold it in 16 bits.
    ([oh, ow, out] == output.shape && padded <= MAX_BYTES / 2).then_some(shape)
}

fn check_conv(conv: &Conv, x: &Value, residual: Option<&Value>, output: &Value) -> Check {
    let (weights, out) = (&conv.weights, output.shape[2]);
    let lengths = (weights.scale.len(), conv.bias.len());
    require(lengths == (out, out), || {
        format!(
            "{} scales and {} biases for {out} channels",
            lengths.0, lengths.1
        )
    })?;
    sound(&conv.activation)?;
    finite(x.grid().map(|grid| epilogue(conv, grid, residual, output)))
}

/// The codes of `weights` of a shape that fits, which meet those of `x`.
pub(super) fn check_codes(weights: &Weights, x: &Value) -> Check {
    let (lo, hi) = weights.bits.weight_range();
    let count = weights
        .shape
        .iter()
        .try_fold(1usize, |n, &e| n.checked_mul(e));
    require(count == Some(weights.codes.len()), || {
        format!(
            "{} weights for shape {:?}",
            weights.codes.len(),
            weights.shape
        )
    })?;
    let zero = weights.bits.get() > 1;
    let in_range = |code: i8| (lo <= code) & (code <= hi) & (zero | (code != 0));
    // Every code of eight bits is in range.
    let all = weights.bits == Bits::EIGHT || every(&weights.codes, in_range);
    require(all, || {
        format!("a weight code is beyond {} bits", weights.bits)
    })?;
    let levels = u64::from(levels(x)?);
    let fits = |sum: u64| sum.checked_mul(levels).is_some_and(|n| n < 1 << 31);
    let row = weights.codes.len() / weights.shape[0];
    // Mostly rows of the largest code would fit, which saves a look at the codes.
    let bound = (row as u64).checked_mul(u64::from(lo.unsigned_abs()));
    let mut rows = weights.codes.chunks_exact(row);
    require(
        bound.is_some_and(fits) || rows.all(|row| fits(magnitude(row))),
        || "its sums may overflow 32 bits".into(),
    )
}

/// The folded constants of a convolution of codes on `grid`.
pub(crate) fn epilogue(
    conv: &Conv,
    grid: Grid,
    residual: Option<&Value>,
    output: &Value,
) -> Epilogue {
    let residual = residual.and_then(Value::grid);
    let Conv {
        weights,
        bias,
        activation,
        ..
    } = conv;
    Epilogue::conv(
        grid,
        &weights.scale,
        bias,
        residual,
        *activation,
        output.grid(),
    )
}

fn check_concat(inputs: &[&Value], output: &Value, shapes: impl FnOnce() -> String) -> Check {
    let [h, w, channels] = output.shape;
    let same = inputs.iter().all(|x| x.shape[..2] == [h, w]);
    let sum: usize = inputs.iter().map(|x| x.shape[2]).sum();
    require(same && sum == channels, shapes)?;
    levels(output).map(drop)
}

/// The output shape of a pool every window of which holds a tap.
fn pooled(window: Window, [h, w, channels]: [usize; 3]) -> Option<[usize; 3]> {
    let [oh, ow] = extents(window, h, w)?;
    let holds = |axis, out, size| (0..out).all(|o| !window.taps(axis, o, size).is_empty());
    (holds(0, oh, h) && holds(1, ow, w)).then_some([oh, ow, channels])
}

/// The output extents of a window whose numbers are so small that nothing can overflow.
fn extents(window: Window, h: usize, w: usize) -> Option<[usize; 2]> {
    let Window {
        kernel,
        stride,
        dilation,
        pads,
    } = window;
    let all = kernel.iter().chain(&stride).chain(&dilation).chain(&pads);
    window
        .output(h, w)
        .filter(|_| all.into_iter().all(|&e| e <= MAX_EXTENT))
}

/// Whether the chain of views leads from `len` entries to `out` entries without losing any.
fn views_fit(views: &[(Vec<usize>, Vec<usize>)], len: usize, out: usize) -> bool {
    let fits = |(shape, axes): &(Vec<usize>, Vec<usize>)| {
        let count = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        count == Some(len) && sorted.into_iter().eq(0..shape.len())
    };
    let table = len.checked_mul(4).is_some_and(|bytes| bytes <= MAX_BYTES);
    len == out && table && !views.is_empty() && views.iter().all(fits)
}

fn levels(value: &Value) -> std::result::Result<u8, String> {
    let grid = value.grid().ok_or("this step cannot write real numbers")?;
    Ok(grid.bits.levels())
}

fn same_grid(x: &Value, output: &Value) -> Check {
    require(x.format == output.format, || {
        format!(
            "keeps the grid {:?}, but its output has {:?}",
            x.format, output.format
        )
    })
}

fn finite(epilogue: Option<Epilogue>) -> Check {
    require(epilogue.is_some_and(|e| e.is_finite()), || {
        "a scale or bias is not a number of reasonable size".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_must_keep_every_entry() {
        let views = vec![(vec![4, 2, 3], vec![0, 2, 1])];
        assert!(views_fit(&views, 24, 24));
        assert!(!views_fit(&views, 24, 23));
        assert!(!views_fit(&[(vec![4, 6], vec![0, 0])], 24, 24));
        assert!(!views_fit(&[(vec![usize::MAX, 2], vec![0, 1])], 24, 24));
        assert!(!views_fit(&[], 24, 24));
    }

    #[test]
    fn a_pool_without_a_tap_is_refused() {
        assert_eq!(pooled(Window::square(2, 2, 1), [4, 4, 3]), Some([3, 3, 3]));
        assert_eq!(pooled(Window::square(1, 1, 1), [4, 4, 3]), None);
    }

    #[test]
    fn activations_must_be_numbers() {
        use exbit_kernels::Activation;
        let (lo, hi) = (f32::NAN, 1.0);
        assert!(!Activation::Clip { lo, hi }.is_sound());
        assert!(!Activation::Clip { lo: 2.0, hi }.is_sound());
        assert!(Activation::NONE.is_sound());
    }
}
