//! Whether a Program can run: every index, length, shape, grid and number, so that nothing after
//! this checks again. Programs come from files that anyone may have written.

use exbit_kernels::{Bits, ConvShape, Epilogue, Grid, Window, every, magnitude};

use crate::error::{Error, ErrorKind, Result};
use crate::exit::MOST_EXITS;
use crate::memory;
use crate::{Conv, Format, Program, Step, StepKind, Value, Weights};

/// The most values a Program may have: placing them takes time quadratic in their number.
const MAX_VALUES: usize = 10_000;
/// The largest extent of an axis or of a window.
const MAX_EXTENT: usize = 1 << 22;
/// The largest arena, and the most memory that one step may take for its own tables.
const MAX_BYTES: usize = 1 << 30;
/// The most taps of a mean, whose divisors are kept in a table.
const MAX_MEAN: usize = 1 << 18;

pub(crate) type Check = std::result::Result<(), String>;

impl Value {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no entries; never so in a Program that has passed [`Program::check`].
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    pub(crate) fn grid(&self) -> Option<Grid> {
        match self.format {
            Format::Codes(grid) => Some(grid),
            Format::Real => None,
        }
    }
}

impl Program {
    /// Whether this Program can run: shapes follow from each other, indices, lengths and numbers
    /// are sound, no sum can overflow 32 bits, and its arena is at most 1 GiB.
    ///
    /// # Errors
    /// `Mismatch` at the first place where it cannot.
    pub fn check(&self) -> Result<()> {
        self.check_frame()?;
        (0..self.steps.len()).try_for_each(|i| self.check_codes(i))
    }

    /// [`Program::check`] of step `i` of a Program whose frame has passed: its codes of weights.
    pub(crate) fn check_codes(&self, i: usize) -> Result<()> {
        let step = &self.steps[i];
        let StepKind::Conv(conv) = &step.kind else {
            return Ok(());
        };
        check_codes(&conv.weights, &self.values[step.inputs[0]]).map_err(|message| {
            let place = format!("step {i} ({})", step.name);
            Error::new(ErrorKind::Mismatch, place, message)
        })
    }

    /// [`Program::check`] of all but the codes of weights.
    pub(crate) fn check_frame(&self) -> Result<()> {
        let at = |place: &str, check: Check| {
            check.map_err(|message| Error::new(ErrorKind::Mismatch, place, message))
        };
        at("program", self.check_counts())?;
        self.check_exits()?;
        self.policy.check(self.exits.len())?;
        for (i, value) in self.values.iter().enumerate() {
            let real = i == self.output || self.exits.iter().any(|e| e.value == i);
            at(&format!("value {i}"), check_value(value, real))?;
        }
        at("input", self.check_input())?;
        let mut written = vec![false; self.values.len()];
        written[0] = true;
        for (i, step) in self.steps.iter().enumerate() {
            let place = format!("step {i} ({})", step.name);
            at(&place, self.check_step(step, &mut written))?;
        }
        match written.iter().position(|&w| !w) {
            Some(value) => at("program", Err(format!("no step writes value {value}"))),
            None => at("program", self.check_arena()),
        }
    }

    /// The bytes that value `v` takes in the arena, with what kernels may read past its end.
    pub(crate) fn arena_len(&self, v: usize) -> usize {
        match self.values[v].format {
            Format::Codes(_) => self.values[v].len().next_multiple_of(64) + exbit_kernels::SLACK,
            Format::Real => 0,
        }
    }

    fn check_counts(&self) -> Check {
        let count = self.values.len();
        require((1..=MAX_VALUES).contains(&count), || {
            format!("{count} values; 1 to {MAX_VALUES} are possible")
        })?;
        require(self.steps.len() + 1 == count, || {
            format!(
                "{} steps cannot write the {count} values but the input",
                self.steps.len()
            )
        })?;
        require(self.exits.len() <= MOST_EXITS, || {
            format!("{} exits; {MOST_EXITS} at most", self.exits.len())
        })?;
        require(self.output < count, || {
            format!("its output is value {} of {count}", self.output)
        })
    }

    fn check_input(&self) -> Check {
        let channels = self.values[0].shape[2];
        let (scale, shift) = (&self.input.scale, &self.input.shift);
        require(scale.len() == channels && shift.len() == channels, || {
            format!(
                "{} scales and {} shifts for {channels} channels",
                scale.len(),
                shift.len()
            )
        })?;
        require(scale.iter().chain(shift).all(|v| v.is_finite()), || {
            "a scale or shift is not a finite number".into()
        })?;
        require(self.values[0].grid().is_some(), || {
            "the input must have codes".into()
        })?;
        let answers = self.values[self.output].len();
        require(
            self.classes.is_empty() || self.classes.len() == answers,
            || format!("{} class names for {answers} answers", self.classes.len()),
        )
    }

    fn check_arena(&self) -> Check {
        let sizes: Vec<usize> = (0..self.values.len()).map(|v| self.arena_len(v)).collect();
        let (_, total) = memory::place(&sizes, &memory::lifetimes(self));
        require(total <= MAX_BYTES, || {
            format!("its arena would take {total} bytes")
        })
    }

    fn check_step(&self, step: &Step, written: &mut [bool]) -> Check {
        for &v in &step.inputs {
            require(written.get(v) == Some(&true), || {
                format!("reads value {v}, which no earlier step writes")
            })?;
            require(self.values[v].grid().is_some(), || {
                format!("reads value {v}, which has no codes")
            })?;
        }
        require(written.get(step.output) == Some(&false), || {
            format!("writes value {}, which it cannot", step.output)
        })?;
        written[step.output] = true;
        let inputs: Vec<&Value> = step.inputs.iter().map(|&v| &self.values[v]).collect();
        check_kind(&step.kind, &inputs, &self.values[step.output])
    }
}

fn check_value(value: &Value, is_output: bool) -> Check {
    let [h, w, c] = value.shape;
    require(
        value.shape.iter().all(|e| (1..=MAX_EXTENT).contains(e)),
        || format!("its shape is {h}x{w}x{c}; extents are 1 to {MAX_EXTENT}"),
    )?;
    let len = value
        .shape
        .iter()
        .try_fold(1usize, |n, &e| n.checked_mul(e));
    require(len.is_some_and(|n| n <= MAX_BYTES), || {
        format!("{h}x{w}x{c} entries are too many")
    })?;
    match value.format {
        Format::Real => require(is_output, || {
            "only the output and exits may be real numbers".into()
        }),
        Format::Codes(Grid { bits, scale, zero }) => {
            require(scale.is_normal() && scale > 0.0, || {
                format!("its scale is {scale}")
            })?;
            require(zero <= bits.levels(), || {
                format!("zero is code {zero} of {bits} bits")
            })
        }
    }
}

/// Whether a step of `kind` makes `output` from `inputs`, all of which have codes.
fn check_kind(kind: &StepKind, inputs: &[&Value], output: &Value) -> Check {
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
            let folded = x.grid().map(|grid| Epilogue::mean(grid, 1, output.grid()));
            finite(folded)
        }
        (StepKind::Add { activation }, [a, b]) => {
            require(a.shape == output.shape && b.shape == output.shape, shapes)?;
            require(activation.is_sound(), || {
                format!("its activation is {activation:?}")
            })?;
            let grids = a.grid().zip(b.grid());
            finite(grids.map(|(a, b)| Epilogue::add(a, b, *activation, output.grid())))
        }
        (StepKind::Concat, [_, ..]) => check_concat(inputs, output, shapes),
        (StepKind::Table { codes }, [x]) => {
            require(x.shape == output.shape, shapes)?;
            let (from, to) = (levels(x)?, levels(output)?);
            let fits = codes.len() == usize::from(from) + 1 && codes.iter().all(|&c| c <= to);
            require(fits, || {
                "its table does not lead from codes to codes".into()
            })
        }
        (StepKind::Pad { pads, code }, [x]) => {
            let [top, left, bottom, right] = *pads;
            require(pads.iter().all(|&p| p <= MAX_EXTENT), shapes)?;
            let [h, w, c] = x.shape;
            require(
                output.shape == [top + h + bottom, left + w + right, c],
                shapes,
            )?;
            require(*code <= levels(output)?, || {
                format!("code {code} is beyond its bits")
            })?;
            same_grid(x, output)
        }
        (StepKind::Shuffle { views }, [x]) => {
            require(views_fit(views, x.len(), output.len()), || {
                format!(
                    "views {views:?} do not lead from {:?} to {:?}",
                    x.shape, output.shape
                )
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
            | StepKind::Shuffle { .. },
            _,
        ) => Err(format!(
            "reads {} values, which is not what it takes",
            inputs.len()
        )),
    }
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
    require(conv.activation.is_sound(), || {
        format!("its activation is {:?}", conv.activation)
    })?;
    finite(x.grid().map(|grid| epilogue(conv, grid, residual, output)))
}

/// The codes of `weights` of a shape that fits, which meet those of `x`.
fn check_codes(weights: &Weights, x: &Value) -> Check {
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

/// `message` where something does not hold.
pub(crate) fn require(holds: bool, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(message()) }
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
