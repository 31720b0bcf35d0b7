//! Whether a Program can run: every index, length, shape, grid and number, so that nothing after
//! this checks again. Programs come from files that anyone may have written.

mod step;

use exbit_kernels::Grid;

use crate::error::{Error, ErrorKind, Result};
use crate::exit::MOST_EXITS;
use crate::{Format, Program, Step, StepKind, Value};
use step::{check_codes, check_kind};
pub(crate) use step::{conv_shape, epilogue};

/// The most values a Program may have: placing them takes time quadratic in their number.
const MAX_VALUES: usize = 10_000;
/// The largest extent of an axis or of a window.
const MAX_EXTENT: usize = 1 << 22;
/// The largest arena, the most memory of all steps' weights and tables, and of an image's answers.
const MAX_BYTES: usize = 1 << 30;

/// A mean's epilogue, with its two vectors of one number.
const BYTES_OF_A_MEAN: usize = 192;

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
    /// are sound, no sum can overflow 32 bits, and its arena, its packed weights, its answers and
    /// the padded input of a layer, which each thread holds, are at most 1 GiB each.
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
        let mut tables = 0;
        for (i, step) in self.steps.iter().enumerate() {
            let place = format!("step {i} ({})", step.name);
            at(&place, self.check_step(step, &mut written))?;
            tables = self.table_bytes(step).saturating_add(tables);
            let fits = require(tables <= MAX_BYTES, || {
                format!("packed weights and tables up to it may take more than {MAX_BYTES} bytes")
            });
            at(&place, fits)?;
        }
        match written.iter().position(|&w| !w) {
            Some(value) => at("program", Err(format!("no step writes value {value}"))),
            None => at("program", self.check_arena()),
        }
    }

    /// About the bytes of the tables and packed weights that `step`, which has passed its check,
    /// runs with.
    fn table_bytes(&self, step: &Step) -> usize {
        match &step.kind {
            StepKind::AvgPool { window, .. } => window.area() * BYTES_OF_A_MEAN,
            // The table is made anew for each view, an entry in as many divisions as axes: what
            // takes the time of so many tables counts as them.
            StepKind::Shuffle { views } => {
                let axes = views.iter().map(|(_, axes)| 1 + axes.len()).sum::<usize>();
                let entries = self.values[step.output].len();
                axes.saturating_mul(entries)
                    .saturating_mul(size_of::<u32>())
            }
            StepKind::Concat => step.inputs.len() * 256,
            StepKind::Table { .. } => 256,
            StepKind::Conv(conv) => {
                let [x, y] = [step.inputs[0], step.output].map(|v| &self.values[v]);
                conv_shape(conv, x, y).map_or(0, |shape| shape.most_packed_bytes())
            }
            StepKind::MaxPool(_)
            | StepKind::Add { .. }
            | StepKind::Pad { .. }
            | StepKind::PadChannels { .. } => 0,
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
        })?;
        let ascend = self.packed.is_sorted_by(|a, b| a < b);
        let known = self.packed.last().is_none_or(|&last| last < count);
        require(ascend && known, || {
            format!("its packed values are no ascending list of its {count} values")
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
        // With a byte for each code: no step then works on more than that, packed or not.
        let (_, total) = self.arrange(&[]);
        require(total <= MAX_BYTES, || {
            format!("its arena would take {total} bytes")
        })?;
        let answers = self.values[self.output].len() * size_of::<f32>();
        let answers = answers.saturating_mul(self.exits.len() + 1);
        require(answers <= MAX_BYTES, || {
            format!("its answers would take {answers} bytes")
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

/// `message` where something does not hold.
pub(crate) fn require(holds: bool, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(message()) }
}
