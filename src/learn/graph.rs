//! The network as it is trained: the float model with a quantizer wherever the integer network
//! rounds.
//!
//! A value that one layer alone reads gets that layer's quantizer. Every other value that becomes
//! codes (what residual sums, pools and several layers read) is a stream: eight bits, always, and
//! each layer that reads it has a quantizer of its own behind. So few bits are spent where
//! multiplications are, and sums keep what they need; the engine brings codes from the one grid to
//! the other by a table.
//!
//! Codes of what can be negative lie evenly about zero. HardSwish and LeakyReLU, which hardly are,
//! lose a bit by that; a learned offset (LSQ+) is not there.

use std::collections::{BTreeMap, BTreeSet};

use exbit_model::{Activation, FakeQuant, Model, Node, NodeId, Op, ValueId};

use crate::prepare::network::stages;
use crate::prepare::{Network, StageKind};
use crate::{Error, ErrorKind, Result};

/// A quantizer of an activation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Site {
    /// Its FakeQuant.
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Whether codes stand for negative numbers too.
    pub(crate) signed: bool,
    /// Entries of one image.
    pub(crate) entries: usize,
    /// What it rounds, in the model without quantizers.
    pub(crate) value: ValueId,
}

/// What a quantizer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The network's input: eight bits, scale and step as calibrated.
    Input,
    /// What is read otherwise than by one layer: eight bits, one learned step.
    Stream,
    /// What the first layer or the last one before an answer reads: eight bits.
    Edge,
    /// What a layer reads: bits may be learned.
    Layer,
}

/// A layer with weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layer {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) macs: u64,
    /// The quantizer of what it reads, in [`Graph::sites`].
    pub(crate) site: usize,
    /// Whether it is the first layer or the last one before an answer, and so of eight bits.
    pub(crate) is_edge: bool,
    /// Whether a BatchNorm takes its result, so that no scale of it shows.
    pub(crate) is_normed: bool,
}

/// A model with quantizers.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) model: Model,
    /// In running order.
    pub(crate) sites: Vec<Site>,
    /// In running order.
    pub(crate) layers: Vec<Layer>,
}

/// Where quantizers go: behind which values, and before which layers.
struct Places {
    behind: BTreeMap<ValueId, Role>,
    /// By the layer's node.
    before: BTreeMap<NodeId, Role>,
}

impl Graph {
    /// Puts quantizers into `model`; into its input only `with_input`, since a Program's input is
    /// codes already.
    ///
    /// # Errors
    /// `Unsupported` for an op that has no integer step where it stands, and for a model that
    /// rounds already.
    pub(crate) fn new(model: &Model, with_input: bool) -> Result<Self> {
        let rounds = |n: &&Node| matches!(n.op, Op::FakeQuant(_));
        if let Some(node) = model.nodes().iter().find(rounds) {
            let message = "rounds already (QuantizeLinear); training starts from a float network";
            let place = format!("node {}", node.name);
            return Err(Error::new(ErrorKind::Unsupported, place, message));
        }
        let never_negative = never_negative(model);
        let mut places = places(&stages(model.clone())?);
        if !with_input {
            places.behind.remove(&model.input());
        }
        let input = model.value(model.input());
        let mut graph = Self {
            model: Model::new(model.name(), input.name.clone(), input.shape.clone()),
            sites: Vec::new(),
            layers: Vec::new(),
        };
        let mut renamed = vec![graph.model.input(); model.values().len()];
        if let Some(&role) = places.behind.get(&model.input()) {
            renamed[0] = {
                let (from, kind) = (model.input(), (role, !never_negative[0]));
                let at = graph.model.input();
                graph.round(model, (from, at), kind, "input")?
            };
        }
        let last = answer_layers(model);
        for (i, node) in model.nodes().iter().enumerate() {
            let id = NodeId(i);
            let mut inputs: Vec<ValueId> = node.inputs.iter().map(|v| renamed[v.0]).collect();
            if let Some(&role) = places.before.get(&id) {
                let name = format!("{}.input", node.name);
                inputs[0] = {
                    let from = node.inputs[0];
                    let kind = (role, !never_negative[from.0]);
                    graph.round(model, (from, inputs[0]), kind, &name)?
                };
            }
            let y = graph.model.push(&node.name, node.op.clone(), &inputs)?;
            if node.op.weight().is_some() {
                let site = graph.site_of(inputs[0]);
                graph.layers.push(Layer {
                    node: NodeId(graph.model.nodes().len() - 1),
                    name: node.name.clone(),
                    macs: model.macs(id),
                    site: site.unwrap_or(0),
                    is_edge: graph.layers.is_empty() || last.contains(&id),
                    is_normed: is_normed(model, node.output),
                });
            }
            renamed[node.output.0] = match places.behind.get(&node.output) {
                Some(&role) => {
                    let name = format!("{}.codes", node.name);
                    {
                        let kind = (role, !never_negative[node.output.0]);
                        graph.round(model, (node.output, y), kind, &name)?
                    }
                }
                None => y,
            };
        }
        graph.model.set_output(renamed[model.output().0]);
        let exits = model.exits().iter().map(|v| renamed[v.0]).collect();
        graph.model.set_exits(exits)?;
        check_names(&graph.model)?;
        Ok(graph)
    }

    /// `model` as it is, without quantizers.
    pub(crate) fn plain(model: &Model) -> Self {
        let layer = |node: NodeId| Layer {
            node,
            name: model.node(node).name.clone(),
            macs: model.macs(node),
            site: 0,
            is_edge: false,
            is_normed: is_normed(model, model.node(node).output),
        };
        Self {
            model: model.clone(),
            sites: Vec::new(),
            layers: model.layers().into_iter().map(layer).collect(),
        }
    }

    /// The nodes on which the output depends: the others belong to exits alone.
    pub(crate) fn on_final_path(&self) -> Vec<bool> {
        let nodes = self.model.nodes();
        let mut on_path = vec![false; nodes.len()];
        let mut needed = vec![false; self.model.values().len()];
        needed[self.model.output().0] = true;
        for (i, node) in nodes.iter().enumerate().rev() {
            if needed[node.output.0] {
                on_path[i] = true;
                node.inputs.iter().for_each(|v| needed[v.0] = true);
            }
        }
        on_path
    }

    /// Rounds `at`, which stands for `value` of `model`.
    fn round(
        &mut self,
        model: &Model,
        (value, at): (ValueId, ValueId),
        (role, signed): (Role, bool),
        name: &str,
    ) -> Result<ValueId> {
        self.sites.push(Site {
            node: NodeId(self.model.nodes().len()),
            name: name.to_owned(),
            role,
            signed,
            entries: model.value(value).len(),
            value,
        });
        let quantizer = FakeQuant {
            scale: 1.0,
            step: 1.0,
            zero: 0.0,
            levels: 255.0,
        };
        Ok(self.model.push(name, Op::FakeQuant(quantizer), &[at])?)
    }

    /// The quantizer whose codes `value` holds, through ops that only move them.
    fn site_of(&self, mut value: ValueId) -> Option<usize> {
        loop {
            let node = self.model.producer(value)?;
            if let Some(site) = self.sites.iter().position(|s| s.node == node) {
                return Some(site);
            }
            value = self.model.node(node).inputs[0];
        }
    }
}

/// A run knows its numbers by the names of nodes: those of quantizers and exits are among them.
fn check_names(model: &Model) -> Result<()> {
    let mut seen = BTreeSet::new();
    match model.nodes().iter().find(|n| !seen.insert(&n.name)) {
        None => Ok(()),
        Some(node) => {
            let message = "two nodes of this name, of which one may be a quantizer or of an exit; \
                           give the network's own another name";
            let place = format!("node {}", node.name);
            Err(Error::new(ErrorKind::Unsupported, place, message))
        }
    }
}

/// The last layers: of the output, and of every exit.
fn answer_layers(model: &Model) -> Vec<NodeId> {
    let last = |mut value: ValueId| {
        loop {
            let node = model.producer(value)?;
            if model.node(node).op.weight().is_some() {
                return Some(node);
            }
            value = model.node(node).inputs[0];
        }
    };
    model.answers().filter_map(last).collect()
}

fn places(network: &Network) -> Places {
    let mut places = Places {
        behind: BTreeMap::new(),
        before: BTreeMap::new(),
    };
    let mut edges = answer_layers(&network.model);
    edges.extend(network.layers().first());
    for site in network.sites() {
        let moves = |kind: &StageKind| {
            matches!(
                kind,
                StageKind::MaxPool
                    | StageKind::Pad
                    | StageKind::PadChannels { .. }
                    | StageKind::Shuffle(_)
            )
        };
        let readers: Vec<(NodeId, bool)> = network
            .stages
            .iter()
            .filter(|s| !moves(&s.kind))
            .flat_map(|s| {
                let is_layer = |at: usize| {
                    let weighs = network.model.node(s.node).op.weight().is_some();
                    at == 0 && weighs && matches!(s.kind, StageKind::Layer(_))
                };
                let own = s.inputs.iter().enumerate();
                own.filter(|(_, v)| network.grid_of(**v) == Some(site))
                    .map(move |(at, _)| (s.node, is_layer(at)))
            })
            .collect();
        let role = |node: NodeId| match edges.contains(&node) {
            true => Role::Edge,
            false => Role::Layer,
        };
        if site == network.model.input() {
            places.behind.insert(site, Role::Input);
        } else if let [(node, true)] = readers[..] {
            places.behind.insert(site, role(node));
        } else {
            places.behind.insert(site, Role::Stream);
            let layers = readers.into_iter().filter(|(_, is_layer)| *is_layer);
            places
                .before
                .extend(layers.map(|(node, _)| (node, role(node))));
        }
    }
    places
}

/// Whether no entry of each value can be negative, as the ops say.
fn never_negative(model: &Model) -> Vec<bool> {
    let mut never = vec![false; model.values().len()];
    for node in model.nodes() {
        let inputs = node.inputs.iter().all(|v| never[v.0]);
        never[node.output.0] = match &node.op {
            Op::Activation(activation) => match *activation {
                Activation::Relu | Activation::Sigmoid | Activation::HardSigmoid { .. } => true,
                Activation::Clip { lo, .. } => lo >= 0.0,
                Activation::LeakyRelu { .. } | Activation::HardSwish => inputs,
            },
            Op::Softmax { .. } => true,
            Op::Pad(pad) => pad.value >= 0.0 && inputs,
            Op::Add
            | Op::Concat { .. }
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::FakeQuant(_) => inputs,
            Op::Conv(_) | Op::Linear(_) | Op::BatchNorm(_) | Op::Affine(_) => false,
        };
    }
    never
}

/// Whether BatchNorms alone read `value`.
fn is_normed(model: &Model, value: ValueId) -> bool {
    let readers = model.consumers(value);
    let norm = |id: &NodeId| matches!(model.node(*id).op, Op::BatchNorm(_));
    !readers.is_empty() && readers.iter().all(norm)
}
