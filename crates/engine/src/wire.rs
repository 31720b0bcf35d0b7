//! The JSON description inside a Program's file, and the way between it and a [`Program`]. Keys
//! are short because small networks are small: the description counts in the size of the file.

use exbit_kernels::{Activation, Bits, Grid, Window, pack};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::file::{Bulk, Floats, Rest};
use crate::{Conv, Exit, Format, Input, Policy, Program, Step, StepKind, Value, Weights};

/// Everything that is neither a float nor a code.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    name: String,
    preprocess: String,
    /// `[height, width, channels, bits, zero]`; 0 bits for real numbers.
    values: Vec<[usize; 5]>,
    steps: Vec<StepEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    packed: Vec<usize>,
    output: usize,
    /// Name, value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exits: Vec<(String, usize)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<(String, String)>,
}

/// Name, kind, inputs, output.
#[derive(Serialize, Deserialize)]
struct StepEntry(String, KindEntry, Vec<usize>, usize);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindEntry {
    /// Bits, groups, window, activation.
    Conv(u8, usize, WindowEntry, ActivationEntry),
    MaxPool(WindowEntry),
    /// Window, whether padding counts.
    AvgPool(WindowEntry, bool),
    Add(ActivationEntry),
    Concat,
    Table,
    Pad([usize; 4], u8),
    PadChannels(usize, u8),
    Shuffle(Vec<(Vec<usize>, Vec<usize>)>),
}

/// A policy by which somebody may leave; thresholds are the last of the reals, one for each exit.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PolicyEntry {
    MaxSoftmax,
    Entropy,
    Patience(usize),
}

/// Kernel, stride, dilation, pads, joined.
#[derive(Serialize, Deserialize)]
struct WindowEntry([usize; 10]);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActivationEntry {
    Clip,
    LeakyRelu,
    HardSwish,
    HardSigmoid,
}

/// The description of `program`, which has passed its check; the rest goes to `bulk`.
pub(crate) fn describe(program: &Program, bulk: &mut Bulk) -> Description {
    bulk.reals.extend(&program.input.scale);
    bulk.reals.extend(&program.input.shift);
    Description {
        name: program.name.clone(),
        preprocess: program.input.preprocess.clone(),
        values: program
            .values
            .iter()
            .map(|value| describe_value(value, bulk))
            .collect(),
        steps: program
            .steps
            .iter()
            .map(|step| describe_step(step, bulk))
            .collect(),
        packed: program.packed.clone(),
        output: program.output,
        exits: program
            .exits
            .iter()
            .map(|exit| (exit.name.clone(), exit.value))
            .collect(),
        policy: describe_policy(&program.policy, bulk),
        classes: program.classes.clone(),
        notes: program.notes.clone(),
    }
}

fn describe_policy(policy: &Policy, bulk: &mut Bulk) -> Option<PolicyEntry> {
    match policy {
        Policy::Never => None,
        Policy::MaxSoftmax(thresholds) => {
            bulk.reals.extend(thresholds);
            Some(PolicyEntry::MaxSoftmax)
        }
        Policy::Entropy(thresholds) => {
            bulk.reals.extend(thresholds);
            Some(PolicyEntry::Entropy)
        }
        Policy::Patience(patience) => Some(PolicyEntry::Patience(*patience)),
    }
}

fn describe_value(value: &Value, bulk: &mut Bulk) -> [usize; 5] {
    let [h, w, c] = value.shape;
    match value.format {
        Format::Real => [h, w, c, 0, 0],
        Format::Codes(grid) => {
            bulk.reals.push(grid.scale);
            [
                h,
                w,
                c,
                usize::from(grid.bits.get()),
                usize::from(grid.zero),
            ]
        }
    }
}

fn describe_step(step: &Step, bulk: &mut Bulk) -> StepEntry {
    let kind = match &step.kind {
        StepKind::Conv(conv) => {
            let weights = &conv.weights;
            pack(weights.bits, &weights.codes, &mut bulk.weights);
            bulk.scales.extend(&weights.scale);
            bulk.biases.extend(&conv.bias);
            let activation = describe_activation(conv.activation, bulk);
            KindEntry::Conv(
                weights.bits.get(),
                conv.groups,
                conv.window.into(),
                activation,
            )
        }
        StepKind::MaxPool(window) => KindEntry::MaxPool((*window).into()),
        StepKind::AvgPool {
            window,
            count_include_pad,
        } => KindEntry::AvgPool((*window).into(), *count_include_pad),
        StepKind::Add { activation } => KindEntry::Add(describe_activation(*activation, bulk)),
        StepKind::Concat => KindEntry::Concat,
        StepKind::Table { codes } => {
            bulk.tables.extend(codes);
            KindEntry::Table
        }
        StepKind::Pad { pads, code } => KindEntry::Pad(*pads, *code),
        StepKind::PadChannels { before, code } => KindEntry::PadChannels(*before, *code),
        StepKind::Shuffle { views } => KindEntry::Shuffle(views.clone()),
    };
    StepEntry(step.name.clone(), kind, step.inputs.clone(), step.output)
}

fn describe_activation(activation: Activation, bulk: &mut Bulk) -> ActivationEntry {
    match activation {
        Activation::Clip { lo, hi } => {
            bulk.reals.extend([lo, hi]);
            ActivationEntry::Clip
        }
        Activation::LeakyRelu { slope } => {
            bulk.reals.push(slope);
            ActivationEntry::LeakyRelu
        }
        Activation::HardSwish => ActivationEntry::HardSwish,
        Activation::HardSigmoid { alpha, beta } => {
            bulk.reals.extend([alpha, beta]);
            ActivationEntry::HardSigmoid
        }
    }
}

/// The Program that `description` and `rest` hold, without codes of weights; not yet checked.
pub(crate) fn program(description: Description, rest: &mut Rest<'_>) -> Result<Program> {
    let Description {
        name,
        preprocess,
        values,
        steps,
        packed,
        output,
        exits,
        policy,
        classes,
        notes,
    } = description;
    let malformed = |message: &str| Error::new(ErrorKind::Malformed, "description", message);
    let &[_, _, channels, ..] = values
        .first()
        .ok_or_else(|| malformed("there are no values"))?;
    let (scale, shift) = (rest.reals.take(channels)?, rest.reals.take(channels)?);
    let input = Input {
        scale,
        shift,
        preprocess,
    };
    let values: Vec<Value> = values
        .into_iter()
        .enumerate()
        .map(|(i, entry)| value(entry, &mut rest.reals).map_err(|e| e.within(format!("value {i}"))))
        .collect::<Result<_>>()?;
    let steps = steps
        .into_iter()
        .enumerate()
        .map(|(i, entry)| {
            let place = format!("step {i} ({})", entry.0);
            step(entry, &values, rest).map_err(|e| e.within(place))
        })
        .collect::<Result<_>>()?;
    let exits: Vec<Exit> = exits
        .into_iter()
        .map(|(name, value)| Exit { name, value })
        .collect();
    let policy = match policy {
        None => Policy::Never,
        Some(PolicyEntry::MaxSoftmax) => Policy::MaxSoftmax(rest.reals.take(exits.len())?),
        Some(PolicyEntry::Entropy) => Policy::Entropy(rest.reals.take(exits.len())?),
        Some(PolicyEntry::Patience(patience)) => Policy::Patience(patience),
    };
    Ok(Program {
        name,
        input,
        values,
        steps,
        packed,
        output,
        exits,
        policy,
        classes,
        notes,
    })
}

fn value([h, w, c, bits, zero]: [usize; 5], reals: &mut Floats<'_>) -> Result<Value> {
    let malformed = |message| Error::new(ErrorKind::Malformed, "", message);
    let format = match u8::try_from(bits).ok().and_then(Bits::new) {
        Some(bits) => {
            let zero = u8::try_from(zero).map_err(|_| malformed(format!("zero is code {zero}")))?;
            Format::Codes(Grid {
                bits,
                scale: reals.one()?,
                zero,
            })
        }
        None if [bits, zero] == [0, 0] => Format::Real,
        None => return Err(malformed(format!("{bits} bits; 1 to 8 are possible"))),
    };
    Ok(Value {
        shape: [h, w, c],
        format,
    })
}

fn step(entry: StepEntry, values: &[Value], rest: &mut Rest<'_>) -> Result<Step> {
    let malformed = |message: String| Error::new(ErrorKind::Malformed, "", message);
    let StepEntry(name, kind, inputs, output) = entry;
    let shape = |v: Option<&usize>| -> Result<&Value> {
        v.and_then(|&v| values.get(v))
            .ok_or_else(|| malformed("names a value that is not".into()))
    };
    let kind = match kind {
        KindEntry::Conv(bits, groups, window, activation) => {
            let bits = Bits::new(bits)
                .ok_or_else(|| malformed(format!("{bits} bits; 1 to 8 are possible")))?;
            let (x, y) = (shape(inputs.first())?, shape(Some(&output))?);
            let width = x.shape[2].checked_div(groups).unwrap_or(0);
            conv(
                bits,
                [y.shape[2], width],
                groups,
                window.into(),
                activation,
                rest,
            )?
        }
        KindEntry::MaxPool(window) => StepKind::MaxPool(window.into()),
        KindEntry::AvgPool(window, count_include_pad) => StepKind::AvgPool {
            window: window.into(),
            count_include_pad,
        },
        KindEntry::Add(entry) => StepKind::Add {
            activation: activation(entry, &mut rest.reals)?,
        },
        KindEntry::Concat => StepKind::Concat,
        KindEntry::Table => match shape(inputs.first())?.format {
            Format::Codes(grid) => {
                let count = usize::from(grid.bits.levels()) + 1;
                StepKind::Table {
                    codes: rest.tables.take(count)?.to_vec(),
                }
            }
            Format::Real => return Err(malformed("reads real numbers".into())),
        },
        KindEntry::Pad(pads, code) => StepKind::Pad { pads, code },
        KindEntry::PadChannels(before, code) => StepKind::PadChannels { before, code },
        KindEntry::Shuffle(views) => StepKind::Shuffle { views },
    };
    Ok(Step {
        name,
        kind,
        inputs,
        output,
    })
}

fn conv(
    bits: Bits,
    [out, width]: [usize; 2],
    groups: usize,
    window: Window,
    entry: ActivationEntry,
    rest: &mut Rest<'_>,
) -> Result<StepKind> {
    let shape = [out, window.kernel[0], window.kernel[1], width];
    let weights = Weights {
        bits,
        shape,
        codes: Vec::new(),
        scale: rest.scales.take(out)?,
    };
    let bias = rest.biases.take(out)?;
    let activation = activation(entry, &mut rest.reals)?;
    Ok(StepKind::Conv(Conv {
        weights,
        bias,
        window,
        groups,
        activation,
    }))
}

fn activation(entry: ActivationEntry, reals: &mut Floats<'_>) -> Result<Activation> {
    Ok(match entry {
        ActivationEntry::Clip => Activation::Clip {
            lo: reals.one()?,
            hi: reals.one()?,
        },
        ActivationEntry::LeakyRelu => Activation::LeakyRelu {
            slope: reals.one()?,
        },
        ActivationEntry::HardSwish => Activation::HardSwish,
        ActivationEntry::HardSigmoid => Activation::HardSigmoid {
            alpha: reals.one()?,
            beta: reals.one()?,
        },
    })
}

impl From<Window> for WindowEntry {
    fn from(window: Window) -> Self {
        let ([a, b], [c, d], [e, f]) = (window.kernel, window.stride, window.dilation);
        let [g, h, i, j] = window.pads;
        Self([a, b, c, d, e, f, g, h, i, j])
    }
}

impl From<WindowEntry> for Window {
    fn from(WindowEntry([a, b, c, d, e, f, g, h, i, j]): WindowEntry) -> Self {
        Self {
            kernel: [a, b],
            stride: [c, d],
            dilation: [e, f],
            pads: [g, h, i, j],
        }
    }
}
