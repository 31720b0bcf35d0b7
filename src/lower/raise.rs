//! The way back from a Program: its numbers, by the network that it was lowered from.

use std::collections::BTreeMap;

use exbit_engine::{self as engine, Format, Program, StepKind};
use exbit_model::Op;

use super::window;
use crate::QuantizedWeight;
use crate::prepare::{Network, StageKind};
use crate::quantized::{Quantized, QuantizedLayer, conv_shape};

/// What `program` has of the layers and sites of `network`, by name and shape: the numbers that
/// [`lower`](super::lower) wrote, where it wrote that network; a lone affine map is a layer here.
/// What it does not have is absent.
pub fn raise(network: &Network, program: &Program) -> Quantized {
    let mut found = Quantized {
        layers: BTreeMap::new(),
        grids: BTreeMap::new(),
    };
    if let Some(Format::Codes(grid)) = program.values.first().map(|v| v.format) {
        found.grids.insert(network.model.input(), grid);
    }
    for stage in &network.stages {
        let node = network.model.node(stage.node);
        let Some(step) = program.steps.iter().find(|s| s.name == node.name) else {
            continue;
        };
        if let (StepKind::Conv(conv), StageKind::Layer(_)) = (&step.kind, &stage.kind)
            && let Some(layer) = layer(&node.op, conv)
        {
            found.layers.insert(stage.node, layer);
        }
        let is_site = network.grid_of(stage.output) == Some(stage.output);
        if let (true, Format::Codes(grid)) = (is_site, program.values[step.output].format) {
            found.grids.insert(stage.output, grid);
        }
    }
    found
}

/// The numbers of `conv`, codes as `op` has its weight; `None` where it is of another shape.
fn layer(op: &Op, conv: &engine::Conv) -> Option<QuantizedLayer> {
    let ([out, cin, kh, kw], groups) = conv_shape(op);
    let weights = &conv.weights;
    let same = weights.shape == [out, kh, kw, cin] && conv.groups == groups;
    if !same || conv.window != super::engine_window(&window(op)) {
        return None;
    }
    let taps = kh * kw;
    let mut codes = Vec::with_capacity(weights.codes.len());
    for row in weights.codes.chunks_exact(cin * taps) {
        codes.extend((0..cin).flat_map(|c| (0..taps).map(move |t| row[t * cin + c])));
    }
    Some(QuantizedLayer {
        weight: QuantizedWeight {
            bits: weights.bits,
            codes,
            scale: weights.scale.clone(),
        },
        bias: conv.bias.clone(),
    })
}
