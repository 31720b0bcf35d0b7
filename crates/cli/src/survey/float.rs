//! The rows of a float network.

use exbit_engine::{Flow, FlowStep};
use exbit_model::{Model, Node, NodeId, Op, ValueId, Window};

use super::{FLOAT, Row, Survey, finish, packed, window_text};

/// The rows of `model`: each node with those behind it that only change its result in place.
pub(crate) fn of_model(model: &Model) -> Survey {
    let mut taken = vec![false; model.nodes().len()];
    let mut rows = Vec::new();
    let mut flow = Flow {
        values: model.values().len(),
        steps: Vec::new(),
        output: model.output().0,
    };
    for (i, node) in model.nodes().iter().enumerate() {
        if std::mem::replace(&mut taken[i], true) {
            continue;
        }
        let mut row = row(model, NodeId(i), node);
        let mut output = node.output;
        while let Some(next) = follower(model, output) {
            taken[next.0] = true;
            let node = model.node(next);
            output = node.output;
            row.parameters += parameters(&node.op);
            row.shape.clone_from(&model.value(output).shape);
            if let Some(name) = follower_name(&node.op) {
                row.op = format!("{} {name}", row.op);
            }
        }
        let inputs = node.inputs.iter().map(|v| v.0).collect();
        flow.steps.push(FlowStep {
            inputs,
            output: output.0,
            over: Vec::new(),
        });
        rows.push(row);
    }
    let bytes = |v: &exbit_model::Value| packed(v.len() as u64, FLOAT);
    let bytes = |v: usize| bytes(model.value(ValueId(v)));
    let places = flow.places();
    // Values inside a row are not alive at any.
    let named = |v: &usize| *v == 0 || flow.steps.iter().any(|s| s.output == *v);
    let load = |moment: usize| places.alive(moment).filter(named).map(bytes).sum();
    let live_bytes: Vec<u64> = (0..=flow.steps.len()).map(load).collect();
    let sum = (0..flow.values).filter(named).map(bytes).sum();
    let shapes = [model.input(), model.output()].map(|v| model.value(v).shape.clone());
    finish(rows, &live_bytes, sum, shapes)
}

fn row(model: &Model, id: NodeId, node: &Node) -> Row {
    let weights = node.op.weight().map_or(0, |w| w.len() as u64);
    Row {
        name: node.name.clone(),
        op: describe(&node.op),
        shape: model.value(node.output).shape.clone(),
        macs: model.macs(id),
        parameters: parameters(&node.op),
        weights,
        weight_bits: node.op.weight().map(|_| FLOAT),
        input_bits: FLOAT,
        weight_bytes: packed(weights, FLOAT),
        memory_bytes: 0,
    }
}

/// The only reader of `value`, where it changes the value entry by entry or not at all.
fn follower(model: &Model, value: ValueId) -> Option<NodeId> {
    let &[next] = &model.consumers(value)[..] else {
        return None;
    };
    let in_place = matches!(
        model.node(next).op,
        Op::BatchNorm(_)
            | Op::Affine(_)
            | Op::Activation(_)
            | Op::Reshape { .. }
            | Op::FakeQuant(_)
    );
    (in_place && value != model.output()).then_some(next)
}

/// What is said of a follower; nothing of those that every network has or that compute nothing.
fn follower_name(op: &Op) -> Option<&'static str> {
    (!matches!(op, Op::Reshape { .. })).then(|| match op.name() {
        "BatchNorm" => "BN",
        name => name,
    })
}

fn parameters(op: &Op) -> u64 {
    op.parameters().iter().map(|p| p.len() as u64).sum()
}

fn describe(op: &Op) -> String {
    let windowed = |name: &str, w: &Window| format!("{name} {}", window_text(w.kernel, w.stride));
    match op {
        Op::Conv(conv) if conv.groups > 1 && conv.weight.shape()[1] == 1 => {
            windowed("Depthwise", &conv.window)
        }
        Op::Conv(conv) => windowed("Conv", &conv.window),
        Op::MaxPool(window) => windowed("MaxPool", window),
        Op::AvgPool(pool) => windowed("AvgPool", &pool.window),
        Op::Linear(_)
        | Op::BatchNorm(_)
        | Op::Affine(_)
        | Op::Activation(_)
        | Op::Add
        | Op::Concat { .. }
        | Op::Pad(_)
        | Op::GlobalAvgPool
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Softmax { .. }
        | Op::FakeQuant(_) => op.name().to_owned(),
    }
}
