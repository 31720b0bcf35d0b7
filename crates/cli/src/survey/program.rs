//! The rows of a Program.

use exbit::cost::work_to_exits;
use exbit_engine::{Activation, Format, Policy, Program, Step, StepKind, Value};

use super::{FLOAT, Row, Survey, finish, packed, window_text};

/// The rows of `program`, which has passed its check: its steps. MACs and BOPs in all are those of
/// an image that goes to the end where there are no exits.
pub(crate) fn of_program(program: &Program) -> Survey {
    let rows = program
        .steps
        .iter()
        .map(|step| row(program, step))
        .collect();
    let shapes = [0, program.output].map(|v| shape(&program.values[v]));
    let sum = program.activation_bytes().sum;
    let mut survey = finish(rows, &program.live_bytes(), sum, shapes);
    // Heads of exits are weights and memory, but no part of the work to the end.
    let totals = &mut survey.totals;
    if let Some(full) = work_to_exits(program, &Policy::Never).last() {
        totals.macs = full.macs;
        totals.bops_full = full.bops;
        totals.bops_edges_at_8 = full.bops_edges_at_8;
    }
    survey
}

fn row(program: &Program, step: &Step) -> Row {
    let output = &program.values[step.output];
    let [h, w, _] = output.shape;
    let mut row = Row {
        name: step.name.clone(),
        op: describe(program, step),
        shape: shape(output),
        macs: 0,
        parameters: 0,
        weights: 0,
        weight_bits: None,
        input_bits: step.inputs.first().map_or(0, |&v| bits(&program.values[v])),
        weight_bytes: 0,
        memory_bytes: 0,
    };
    if let StepKind::Conv(conv) = &step.kind {
        let bits = u64::from(conv.weights.bits.get());
        row.weights = conv.weights.codes.len() as u64;
        row.macs = row.weights * (h * w) as u64;
        row.parameters = row.weights + conv.bias.len() as u64;
        row.weight_bits = Some(bits);
        row.weight_bytes = packed(row.weights, bits);
    }
    row
}

fn bits(value: &Value) -> u64 {
    match value.format {
        Format::Codes(grid) => u64::from(grid.bits.get()),
        Format::Real => FLOAT,
    }
}

/// `[C, H, W]`, as a Model has it; a vector is `[F]`.
fn shape(value: &Value) -> Vec<usize> {
    match value.shape {
        [1, 1, f] => vec![f],
        [h, w, c] => vec![c, h, w],
    }
}

fn describe(program: &Program, step: &Step) -> String {
    match &step.kind {
        StepKind::Conv(conv) => {
            let [cout, kh, kw, cin] = conv.weights.shape;
            let positions = program.values[step.output].shape[..2]
                .iter()
                .product::<usize>();
            let name = match (conv.groups, positions) {
                (g, _) if g > 1 && g == cout && cin == 1 => "Depthwise",
                (1, 1) if [kh, kw] == [1, 1] => "Linear",
                _ => "Conv",
            };
            let window = match name {
                "Linear" => String::new(),
                _ => format!(" {}", window_text([kh, kw], conv.window.stride)),
            };
            let sum = if step.inputs.len() > 1 { " Add" } else { "" };
            format!("{name}{window}{sum}{}", activation(&conv.activation))
        }
        StepKind::MaxPool(window) => {
            format!("MaxPool {}", window_text(window.kernel, window.stride))
        }
        StepKind::AvgPool { window, .. } => {
            format!("AvgPool {}", window_text(window.kernel, window.stride))
        }
        StepKind::Add { activation: a } => format!("Add{}", activation(a)),
        StepKind::Concat => "Concat".into(),
        StepKind::Table { .. } => "Table".into(),
        StepKind::Pad { .. } | StepKind::PadChannels { .. } => "Pad".into(),
        StepKind::Shuffle { .. } => "Shuffle".into(),
    }
}

fn activation(activation: &Activation) -> &'static str {
    match activation {
        a if *a == Activation::NONE => "",
        Activation::Clip {
            lo: 0.0,
            hi: f32::INFINITY,
        } => " Relu",
        Activation::Clip { .. } => " Clip",
        Activation::LeakyRelu { .. } => " LeakyRelu",
        Activation::HardSwish => " HardSwish",
        Activation::HardSigmoid { .. } => " HardSigmoid",
    }
}
