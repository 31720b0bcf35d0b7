//! Lowering: a network and the numbers that quantization chose, written as a Program.
//!
//! Every stage becomes one step (a Shuffle that moves nothing becomes none). Shapes turn from
//! `(C, H, W)` to `[H, W, C]`, weights from `(Cout, Cin, kh, kw)` to `[Cout, kh, kw, Cin]`.
//! `raise` is the way back.

mod raise;
mod shuffle;

pub use raise::raise;
pub(crate) use shuffle::permute;

use exbit_engine::{self as engine, Exit, Format, Input, Program, Step, StepKind};
use exbit_kernels::regrid_table;
use exbit_model::data::Preprocess;
use exbit_model::{Activation, NodeId, Op, Pool, ValueId, Window};

use crate::prepare::{Network, Stage, StageKind};
use crate::quantized::{Quantized, QuantizedLayer, affine_layer, conv_shape};

/// How the pixels that `preprocess` gives enter a Program.
pub fn input_of(preprocess: &Preprocess) -> Input {
    let (scale, shift) = preprocess.affine();
    Input {
        scale,
        shift,
        preprocess: preprocess.to_toml(),
    }
}

/// The Program of `network` with the numbers of `quantized`; pixels enter through `input`.
///
/// # Panics
/// When `quantized` lacks a layer or a site of `network`: both come from one preparation, which
/// has a stage for every answer.
pub fn lower(network: &Network, quantized: &Quantized, input: Input) -> Program {
    let mut program = Program {
        name: network.model.name().to_owned(),
        input,
        values: Vec::new(),
        steps: Vec::new(),
        packed: Vec::new(),
        output: 0,
        exits: Vec::new(),
        policy: engine::Policy::Never,
        classes: Vec::new(),
        notes: Vec::new(),
    };
    let mut slots = vec![None; network.model.values().len()];
    let first = network.model.input();
    slots[first.0] = Some(push_value(&mut program, network, quantized, first));
    for stage in &network.stages {
        let inputs: Vec<usize> = stage.inputs.iter().map(|&v| slot(&slots, v)).collect();
        let Some(kind) = step_kind(network, quantized, stage) else {
            slots[stage.output.0] = Some(inputs[0]);
            continue;
        };
        let output = push_value(&mut program, network, quantized, stage.output);
        slots[stage.output.0] = Some(output);
        let name = network.model.node(stage.node).name.clone();
        program.steps.push(Step {
            name,
            kind,
            inputs,
            output,
        });
    }
    program.output = slot(&slots, network.model.output());
    let exit = |&v: &ValueId| Exit {
        name: network.model.value(v).name.clone(),
        value: slot(&slots, v),
    };
    program.exits = network.model.exits().iter().map(exit).collect();
    program
}

/// Where value `v` of the network stands in the Program.
fn slot(slots: &[Option<usize>], v: ValueId) -> usize {
    slots[v.0].expect("stages are in order, and every answer ends one")
}

fn push_value(
    program: &mut Program,
    network: &Network,
    quantized: &Quantized,
    value: ValueId,
) -> usize {
    let format = match network.is_real(value) {
        true => Format::Real,
        false => Format::Codes(quantized.grid(network, value)),
    };
    let shape = memory_shape(&network.model.value(value).shape);
    program.values.push(engine::Value { shape, format });
    program.values.len() - 1
}

/// `(C, H, W)` as `[H, W, C]`; anything else as one row of entries.
pub(crate) fn memory_shape(shape: &[usize]) -> [usize; 3] {
    match *shape {
        [c, h, w] => [h, w, c],
        _ => [1, 1, shape.iter().product()],
    }
}

/// `None` for a Shuffle that leaves every code where it is.
fn step_kind(network: &Network, quantized: &Quantized, stage: &Stage) -> Option<StepKind> {
    let model = &network.model;
    let op = &model.node(stage.node).op;
    Some(match &stage.kind {
        StageKind::Layer(activation) => {
            StepKind::Conv(conv(op, &layer(op, stage.node, quantized), *activation))
        }
        StageKind::Add(activation) => StepKind::Add {
            activation: engine_activation(*activation),
        },
        StageKind::Table(activation) => {
            let from = quantized.grid(network, stage.inputs[0]);
            let to = quantized.grid(network, stage.output);
            let code = |c: u8| to.code(activation.apply(from.value(c)));
            StepKind::Table {
                codes: (0..=from.bits.levels()).map(code).collect(),
            }
        }
        StageKind::Round => {
            let from = quantized.grid(network, stage.inputs[0]);
            let table = regrid_table(from, quantized.grid(network, stage.output));
            StepKind::Table {
                codes: table[..=usize::from(from.bits.levels())].to_vec(),
            }
        }
        StageKind::AvgPool => average(op, &model.value(stage.inputs[0]).shape),
        StageKind::MaxPool => StepKind::MaxPool(engine_window(&window(op))),
        StageKind::Concat => StepKind::Concat,
        StageKind::Pad => {
            let Op::Pad(pad) = op else { return None };
            let code = quantized.grid(network, stage.inputs[0]).code(pad.value);
            StepKind::Pad {
                pads: pad.pads,
                code,
            }
        }
        StageKind::PadChannels { before, value } => StepKind::PadChannels {
            before: *before,
            code: quantized.grid(network, stage.inputs[0]).code(*value),
        },
        StageKind::Shuffle(_) if is_still(network, stage) => return None,
        StageKind::Shuffle(chain) => StepKind::Shuffle {
            views: shuffle::step_views(
                model,
                chain,
                model.value(stage.inputs[0]).shape.iter().product(),
            ),
        },
    })
}

/// Whether a stage leaves every code where it is, so that it is no step.
pub(crate) fn is_still(network: &Network, stage: &Stage) -> bool {
    let shape = |v: ValueId| memory_shape(&network.model.value(v).shape);
    match &stage.kind {
        StageKind::Shuffle(chain) => {
            shuffle::views(&network.model, chain).is_empty()
                && shape(stage.inputs[0]) == shape(stage.output)
        }
        StageKind::Layer(_)
        | StageKind::Add(_)
        | StageKind::Table(_)
        | StageKind::AvgPool
        | StageKind::Round
        | StageKind::MaxPool
        | StageKind::Concat
        | StageKind::Pad
        | StageKind::PadChannels { .. } => false,
    }
}

/// The layer's numbers; a lone affine map makes its own.
pub(crate) fn layer(op: &Op, node: NodeId, quantized: &Quantized) -> QuantizedLayer {
    if let Op::Affine(a) = op {
        return affine_layer(&a.scale, &a.shift);
    }
    quantized.layers[&node].clone()
}

fn conv(op: &Op, layer: &QuantizedLayer, activation: Option<Activation>) -> engine::Conv {
    let ([out, cin, kh, kw], groups) = conv_shape(op);
    let taps = kh * kw;
    let mut codes = Vec::with_capacity(layer.weight.codes.len());
    for row in layer.weight.codes.chunks_exact(cin * taps) {
        codes.extend((0..taps).flat_map(|t| (0..cin).map(move |c| row[c * taps + t])));
    }
    engine::Conv {
        weights: engine::Weights {
            bits: layer.weight.bits,
            shape: [out, kh, kw, cin],
            codes,
            scale: layer.weight.scale.clone(),
        },
        bias: layer.bias.clone(),
        window: engine_window(&window(op)),
        groups,
        activation: engine_activation(activation),
    }
}

fn average(op: &Op, input: &[usize]) -> StepKind {
    if let Op::AvgPool(Pool {
        window,
        count_include_pad,
    }) = op
    {
        let window = engine_window(window);
        return StepKind::AvgPool {
            window,
            count_include_pad: *count_include_pad,
        };
    }
    let whole = Window {
        kernel: [input[1], input[2]],
        ..Window::square(1, 1, 0)
    };
    StepKind::AvgPool {
        window: engine_window(&whole),
        count_include_pad: true,
    }
}

/// The window of an op that has one; 1x1 for the others.
pub(crate) fn window(op: &Op) -> Window {
    if let Op::Conv(conv) = op {
        return conv.window;
    }
    if let Op::MaxPool(window) | Op::AvgPool(Pool { window, .. }) = op {
        return *window;
    }
    Window::square(1, 1, 0)
}

fn engine_window(w: &Window) -> engine::Window {
    engine::Window {
        kernel: w.kernel,
        stride: w.stride,
        dilation: w.dilation,
        pads: w.pads,
    }
}

/// The same function, as the engine names it.
///
/// # Panics
/// For a sigmoid, which preparing never takes into a stage: it is a table.
pub(crate) fn engine_activation(activation: Option<Activation>) -> engine::Activation {
    match activation {
        None => engine::Activation::NONE,
        Some(Activation::Sigmoid) => unreachable!("a sigmoid inside a stage"),
        Some(Activation::Relu) => engine::Activation::Clip {
            lo: 0.0,
            hi: f32::INFINITY,
        },
        Some(Activation::Clip { lo, hi }) => engine::Activation::Clip { lo, hi },
        Some(Activation::LeakyRelu { slope }) => engine::Activation::LeakyRelu { slope },
        Some(Activation::HardSigmoid { alpha, beta }) => {
            engine::Activation::HardSigmoid { alpha, beta }
        }
        Some(Activation::HardSwish) => engine::Activation::HardSwish,
    }
}
