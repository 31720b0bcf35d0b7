//! A folded model seen as the integer network will run it: stages, each one step of the Program,
//! and the values between them that become codes.
//!
//! A stage is a Conv or Linear with the residual sum and the activation that follow it, or one of
//! the ops that move codes. Which values are rounded is decided here and nowhere else: what lies
//! inside a stage (a convolution's result before its residual sum, say) never is.
//!
//! Where training has put a FakeQuant, that is the rounding: a stage takes in the one that alone
//! reads its result, any other is a stage of its own.

use exbit_model::{Activation, Model, Node, NodeId, Op, ValueId};

use crate::{Error, ErrorKind, Result};

/// A folded model and its stages.
#[derive(Clone, Debug)]
pub struct Network {
    /// The folded float model.
    pub model: Model,
    /// The stages, in running order.
    pub stages: Vec<Stage>,
    /// For each value of the model, the value whose grid its codes are on: itself where a stage
    /// rounds, an earlier one where a stage only moves codes, `None` inside stages.
    grids: Vec<Option<ValueId>>,
}

/// One step of the Program to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The first node: the one that gives the stage its name.
    pub node: NodeId,
    /// What the stage is.
    pub kind: StageKind,
    /// The values that it reads; the residual, where there is one, comes last.
    pub inputs: Vec<ValueId>,
    /// The value that it gives.
    pub output: ValueId,
}

/// What a stage is.
#[derive(Clone, Debug, PartialEq)]
pub enum StageKind {
    /// Conv, Linear or a lone Affine, then a residual sum (where there are two inputs), then the
    /// activation.
    Layer(Option<Activation>),
    /// A sum that no layer could take in, then the activation.
    Add(Option<Activation>),
    /// An element-wise function that no layer could take in.
    Table(Activation),
    /// Average pooling, a window or all positions.
    AvgPool,
    /// Codes brought to another grid: what a layer reads at fewer bits than others do.
    Round,
    /// Maximum pooling.
    MaxPool,
    /// Concatenation along channels.
    Concat,
    /// Padding of height and width that no layer could take in.
    Pad,
    /// Padding of channels: a Pad between two Reshape nodes.
    PadChannels {
        /// How many channels before those there are.
        before: usize,
        /// What is put there.
        value: f32,
    },
    /// A chain of Reshape and Transpose nodes.
    Shuffle(Vec<NodeId>),
}

impl Stage {
    /// The values that it adds, which are values of their own: where a layer takes in its sum, only
    /// the residual is.
    pub(crate) fn summed(&self) -> &[ValueId] {
        match self.kind {
            StageKind::Layer(_) => &self.inputs[1..],
            StageKind::Add(_) => &self.inputs[..],
            StageKind::Table(_)
            | StageKind::AvgPool
            | StageKind::Round
            | StageKind::MaxPool
            | StageKind::Concat
            | StageKind::Pad
            | StageKind::PadChannels { .. }
            | StageKind::Shuffle(_) => &[],
        }
    }
}

impl Network {
    /// The value whose grid the codes of `value` are on; `None` for values inside stages.
    pub fn grid_of(&self, value: ValueId) -> Option<ValueId> {
        self.grids[value.0]
    }

    /// The values that are rounded, in running order: the input first. The output is among them
    /// only where a later stage reads it; logits stay real numbers.
    pub fn sites(&self) -> Vec<ValueId> {
        let own = |v: ValueId| self.grids[v.0] == Some(v);
        let all = (0..self.grids.len()).map(ValueId);
        all.filter(|&v| own(v) && !self.is_real(v)).collect()
    }

    /// Whether `value` leaves the network as real numbers: the output or an exit's answer, where a
    /// stage that sums computes it and nothing else reads it.
    pub fn is_real(&self, value: ValueId) -> bool {
        let sums = |s: &Stage| {
            matches!(
                s.kind,
                StageKind::Layer(_) | StageKind::Add(_) | StageKind::AvgPool
            )
        };
        self.model.is_answer(value)
            && self.stages.iter().any(|s| s.output == value && sums(s))
            && !self.stages.iter().any(|s| s.inputs.contains(&value))
    }

    /// The layers: nodes with weights, in running order.
    pub fn layers(&self) -> Vec<NodeId> {
        self.model.layers()
    }

    /// The stage that computes layer `node`.
    pub fn stage_of(&self, node: NodeId) -> Option<&Stage> {
        self.stages.iter().find(|s| s.node == node)
    }
}

/// Finds the stages of a folded model.
///
/// # Errors
/// `Unsupported` for what has no integer step: a Softmax before the end, a concatenation along
/// another axis than channels.
pub(crate) fn stages(model: Model) -> Result<Network> {
    let mut taken = vec![false; model.nodes().len()];
    let mut stages = Vec::new();
    for (i, node) in model.nodes().iter().enumerate() {
        if taken[i] {
            continue;
        }
        let stage = stage_from(&model, NodeId(i), node)?;
        mark(&model, &stage, &mut taken);
        stages.push(stage);
    }
    // A stage that takes in a residual sum runs where the sum stood: after both its inputs.
    stages.sort_by_key(|s| s.output);
    let mut grids = vec![None; model.values().len()];
    grids[model.input().0] = Some(model.input());
    for stage in &stages {
        grids[stage.output.0] = match stage.kind {
            StageKind::MaxPool
            | StageKind::Pad
            | StageKind::PadChannels { .. }
            | StageKind::Shuffle(_) => grids[stage.inputs[0].0],
            StageKind::Layer(_)
            | StageKind::Add(_)
            | StageKind::Table(_)
            | StageKind::AvgPool
            | StageKind::Round
            | StageKind::Concat => Some(stage.output),
        };
    }
    Ok(Network {
        model,
        stages,
        grids,
    })
}

/// The only reader of `value`, where there is just one and the value is no answer.
fn only_reader(model: &Model, value: ValueId) -> Option<NodeId> {
    match model.consumers(value)[..] {
        [reader] if !model.is_answer(value) => Some(reader),
        _ => None,
    }
}

fn stage_from(model: &Model, id: NodeId, node: &Node) -> Result<Stage> {
    let mut inputs = node.inputs.clone();
    let mut output = node.output;
    let kind = match &node.op {
        Op::Conv(_) | Op::Linear(_) | Op::Affine(_) | Op::BatchNorm(_) => {
            take_norm(model, &mut output);
            if let Some(sum) = residual_sum(model, id, output) {
                let add = model.node(sum);
                inputs.extend(add.inputs.iter().filter(|&&v| v != output));
                output = add.output;
            }
            StageKind::Layer(take_activation(model, &mut output))
        }
        Op::Add => StageKind::Add(take_activation(model, &mut output)),
        Op::Activation(activation) => StageKind::Table(*activation),
        Op::AvgPool(_) | Op::GlobalAvgPool => StageKind::AvgPool,
        Op::FakeQuant(_) => StageKind::Round,
        Op::MaxPool(_) => StageKind::MaxPool,
        Op::Concat { axis: 0 } => StageKind::Concat,
        Op::Concat { .. } => return Err(no_step(node)),
        Op::Pad(_) => StageKind::Pad,
        Op::Reshape { .. } if let Some((kind, end)) = padded_channels(model, node) => {
            output = end;
            kind
        }
        Op::Reshape { .. } | Op::Transpose { .. } => {
            let mut chain = vec![id];
            while let Some(next) = only_reader(model, output) {
                if !matches!(
                    model.node(next).op,
                    Op::Reshape { .. } | Op::Transpose { .. }
                ) {
                    break;
                }
                chain.push(next);
                output = model.node(next).output;
            }
            StageKind::Shuffle(chain)
        }
        Op::Softmax { .. } => return Err(no_step(node)),
    };
    match kind {
        StageKind::Layer(_)
        | StageKind::Add(_)
        | StageKind::Table(_)
        | StageKind::AvgPool
        | StageKind::Concat => take_rounding(model, &mut output),
        StageKind::Round
        | StageKind::MaxPool
        | StageKind::Pad
        | StageKind::PadChannels { .. }
        | StageKind::Shuffle(_) => {}
    }
    Ok(Stage {
        node: id,
        kind,
        inputs,
        output,
    })
}

/// The padding of channels that begins with the Reshape `node`, as the import writes it, and its
/// result: `(C, H, W)` is looked at as `(1, C, H W)`, whose rows are padded, and back.
fn padded_channels(model: &Model, node: &Node) -> Option<(StageKind, ValueId)> {
    let next = |value| only_reader(model, value).map(|id| model.node(id));
    let rows = next(node.output)?;
    let back = next(rows.output)?;
    let (Op::Pad(pad), Op::Reshape { .. }) = (&rows.op, &back.op) else {
        return None;
    };
    let shape = |value: ValueId| &model.value(value).shape[..];
    let [channels, h, w] = *shape(node.inputs[0]) else {
        return None;
    };
    let [before, 0, after, 0] = pad.pads else {
        return None;
    };
    let as_rows = *shape(node.output) == [1, channels, h * w];
    let padded = *shape(back.output) == [before + channels + after, h, w];
    let value = pad.value;
    (as_rows && padded).then_some((StageKind::PadChannels { before, value }, back.output))
}

fn no_step(node: &Node) -> Error {
    let message = format!(
        "{} has no integer step here; supported are Softmax at the very end, Concat along channels",
        node.op.name()
    );
    Error::new(
        ErrorKind::Unsupported,
        format!("node {}", node.name),
        message,
    )
}

/// The normalisation that alone reads `output`, a layer's result, which moves on to its result.
/// Folding leaves none; a model in training still has them.
fn take_norm(model: &Model, output: &mut ValueId) {
    while let Some(next) = only_reader(model, *output).map(|id| model.node(id)) {
        if !matches!(next.op, Op::BatchNorm(_) | Op::Affine(_)) {
            return;
        }
        *output = next.output;
    }
}

/// The FakeQuant that alone reads `output`, which moves on to its result.
fn take_rounding(model: &Model, output: &mut ValueId) {
    if let Some(next) = only_reader(model, *output).map(|id| model.node(id))
        && matches!(next.op, Op::FakeQuant(_))
    {
        *output = next.output;
    }
}

/// The Add that alone reads `output`, the result of layer `id`, and whose other input is there
/// before the layer runs: of two convolutions that meet in a sum, the later one takes it in.
fn residual_sum(model: &Model, id: NodeId, output: ValueId) -> Option<NodeId> {
    let sum = only_reader(model, output)?;
    let add = model.node(sum);
    if add.op != Op::Add || add.inputs[0] == add.inputs[1] {
        return None;
    }
    let other = add.inputs.iter().copied().find(|&v| v != output)?;
    let ready = model.producer(other).is_none_or(|p| p < id);
    // A result that is itself inside an earlier stage cannot be read: it never is, since only the
    // later of two layers takes the sum in.
    ready.then_some(sum)
}

/// The activation that alone reads `output`, which moves on to its result. A sigmoid is no
/// polynomial: it stays a table of its own.
fn take_activation(model: &Model, output: &mut ValueId) -> Option<Activation> {
    let next = model.node(only_reader(model, *output)?);
    let Op::Activation(activation) = next.op else {
        return None;
    };
    if activation == Activation::Sigmoid {
        return None;
    }
    *output = next.output;
    Some(activation)
}

fn mark(model: &Model, stage: &Stage, taken: &mut [bool]) {
    if let StageKind::Shuffle(chain) = &stage.kind {
        chain.iter().for_each(|id| taken[id.0] = true);
        return;
    }
    let mut at = stage.node;
    taken[at.0] = true;
    while model.node(at).output != stage.output {
        let Some(next) = only_reader(model, model.node(at).output) else {
            return;
        };
        at = next;
        taken[at.0] = true;
    }
}
