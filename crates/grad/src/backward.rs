//! The walk in reverse: gradients of several losses over one tape.
//!
//! A pass goes through a range of nodes from last to first, tile by tile. Gradients that no other
//! pass needs live in scratch buffers of one tile; those that cross passes, belong to a seed or
//! are wanted are kept for the whole batch. A BatchNorm on batch statistics heads its pass: the
//! pass ends by summing its part of the reduction, and the next begins by pulling the gradient
//! through it.

mod block_work;

use std::ops::Range;

use exbit_kernels::lanes::update;
use exbit_model::{Model, NodeId, Op, ValueId};

use crate::forward::in_parallel;
use crate::op::norm::Sums;
use crate::op::{Site, zero_parameters};
use crate::scratch::{Scratch, copy, take};
use crate::split::{block, into_blocks, passes, tiles};
use crate::tape::Tape;
use block_work::{BlockResult, BlockWork};

/// The seeds of one loss: its gradient with respect to some values, each of all images.
pub type Cotangent = Vec<(ValueId, Vec<f32>)>;

/// Which gradients to give back.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of every parameter.
    pub parameters: bool,
    /// Those of these values.
    pub values: Vec<ValueId>,
    /// Whether convolutions may round what they multiply to bfloat16, and sum in floats, where the
    /// CPU has instructions for that: in about half of the time, to 8 bits of precision.
    pub rounded: bool,
}

/// The gradient of one node's parameters, summed over images, each as long as the parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeGradient {
    /// Of the weight; a BatchNorm's gamma, an Affine's scale. Of a FakeQuant four sums over the
    /// entries: `dy (code - zero)`; `-dy scale x / step^2` in range; `dy scale` above the range,
    /// and below it. The first two are the gradients of scale and step; with both tied, their sum
    /// is LSQ's. Of the others every rule for moving the range is made.
    pub weight: Vec<f32>,
    /// Of the bias; a BatchNorm's beta, an Affine's shift. Empty where there is none.
    pub bias: Vec<f32>,
}

/// The gradients of one loss.
#[derive(Clone, Debug)]
pub struct Gradients {
    values: Vec<Option<Scratch>>,
    nodes: Vec<Option<NodeGradient>>,
}

impl Gradients {
    /// The gradient of a value, of all images. `None` where it was not wanted; zeros where the
    /// loss does not depend on it.
    pub fn value(&self, id: ValueId) -> Option<&[f32]> {
        self.values[id.0].as_deref()
    }

    /// The gradient of a node's parameters. `None` where it has none or they were not wanted;
    /// zeros where the loss does not depend on them.
    pub fn node(&self, id: NodeId) -> Option<&NodeGradient> {
        self.nodes[id.0].as_ref()
    }
}

/// The gradients of several losses over one forward pass, in one walk: one result for each entry
/// of `cotangents`.
///
/// # Panics
/// When `tape` is not of this model, or a seed not as long as its value.
pub fn backward(
    model: &Model,
    tape: &Tape,
    cotangents: &[Cotangent],
    wanted: &Wanted,
) -> Vec<Gradients> {
    assert_eq!(
        tape.values.len(),
        model.values().len(),
        "a tape of this model"
    );
    let mut walk = Walk::new(model, tape, cotangents, wanted);
    let mut pending = None;
    for nodes in walk.passes().into_iter().rev() {
        pending = walk.pass(nodes, pending.as_ref());
    }
    if pending.is_some() {
        walk.pass(0..0, pending.as_ref());
    }
    walk.finish()
}

/// Whether a value's gradient leads to anything wanted.
fn useful(model: &Model, wanted: &Wanted) -> Vec<bool> {
    let mut useful = vec![false; model.values().len()];
    wanted.values.iter().for_each(|id| useful[id.0] = true);
    for node in model.nodes() {
        let own = wanted.parameters && zero_parameters(&node.op).is_some();
        useful[node.output.0] |= own || node.inputs.iter().any(|id| useful[id.0]);
    }
    useful
}

/// Whether a loss with these seeds depends on a value.
fn reached(model: &Model, seeds: &Cotangent) -> Vec<bool> {
    let mut reached = vec![false; model.values().len()];
    seeds.iter().for_each(|(id, _)| reached[id.0] = true);
    for node in model.nodes().iter().rev() {
        if reached[node.output.0] {
            node.inputs.iter().for_each(|id| reached[id.0] = true);
        }
    }
    reached
}

/// A BatchNorm whose sums are whole, and the sums of each cotangent.
struct Pending {
    node: usize,
    sums: Vec<Option<Sums>>,
}

/// The state between passes. Gradients of values are at `cotangent * values + value`.
struct Walk<'a> {
    model: &'a Model,
    tape: &'a Tape,
    wanted: &'a Wanted,
    /// Whether a value's gradient under a cotangent is both nonzero and of use.
    active: Vec<bool>,
    /// Gradients kept for the whole batch.
    kept: Vec<Option<Scratch>>,
    /// Whether anything has been written to a kept gradient.
    written: Vec<bool>,
    /// Of each cotangent and node.
    parameters: Vec<Vec<Option<NodeGradient>>>,
}

impl<'a> Walk<'a> {
    fn new(model: &'a Model, tape: &'a Tape, cotangents: &[Cotangent], wanted: &'a Wanted) -> Self {
        let count = model.values().len();
        let useful = useful(model, wanted);
        let mut active = Vec::with_capacity(cotangents.len() * count);
        let mut kept: Vec<Option<Scratch>> = vec![None; cotangents.len() * count];
        for (c, seeds) in cotangents.iter().enumerate() {
            let reached = reached(model, seeds);
            active.extend(reached.iter().zip(&useful).map(|(r, u)| *r && *u));
            for (id, seed) in seeds {
                assert_eq!(
                    seed.len(),
                    tape.value(*id).len(),
                    "a seed as long as its value"
                );
                match &mut kept[c * count + id.0] {
                    Some(sum) => add(sum, seed),
                    empty => *empty = Some(copy(seed)),
                }
            }
        }
        let written = kept.iter().map(Option::is_some).collect();
        let parameters = vec![vec![None; model.nodes().len()]; cotangents.len()];
        let mut walk = Self {
            model,
            tape,
            wanted,
            active,
            kept,
            written,
            parameters,
        };
        wanted.values.iter().for_each(|id| walk.keep(*id));
        walk.keep_what_crosses();
        walk
    }

    fn cotangents(&self) -> usize {
        self.parameters.len()
    }

    fn slot(&self, cotangent: usize, value: ValueId) -> usize {
        cotangent * self.model.values().len() + value.0
    }

    /// The cotangents under which `value` has a gradient.
    fn active(&self, value: ValueId) -> Vec<usize> {
        (0..self.cotangents())
            .filter(|&c| self.active[self.slot(c, value)])
            .collect()
    }

    /// Whether node `i` is a BatchNorm on batch statistics.
    fn waits(&self, i: usize) -> bool {
        self.tape.statistics[i].is_some()
    }

    fn site(&self, i: usize) -> Site<'a> {
        Site::new(self.model, i, self.tape.statistics[i].as_ref())
    }

    /// Keeps the gradients of `value` for the whole batch.
    fn keep(&mut self, value: ValueId) {
        let len = self.tape.value(value).len();
        for c in self.active(value) {
            let slot = self.slot(c, value);
            self.kept[slot].get_or_insert_with(|| take(len));
        }
    }

    /// Keeps what one pass writes and another reads. A waiting BatchNorm's input gradient is
    /// written in the pass before its own.
    fn keep_what_crosses(&mut self) {
        let mut before = 0;
        for nodes in self.passes() {
            for i in nodes.clone() {
                let node = &self.model.nodes()[i];
                let start = if self.waits(i) { before } else { nodes.start };
                node.inputs
                    .iter()
                    .filter(|id| id.0 <= start)
                    .for_each(|id| self.keep(*id));
                if self.waits(i) {
                    self.keep(node.output);
                }
            }
            before = nodes.start;
        }
    }

    fn passes(&self) -> Vec<Range<usize>> {
        passes(self.model, self.tape.statistics.iter().any(Option::is_some))
    }

    /// Walks `nodes` in reverse over all images, after pulling through the `pending` BatchNorm.
    /// Gives the BatchNorm that heads the pass, if it waits, with its sums.
    fn pass(&mut self, nodes: Range<usize>, pending: Option<&Pending>) -> Option<Pending> {
        let mut kept = std::mem::take(&mut self.kept);
        let slots: Vec<usize> = (0..kept.len()).filter(|&s| kept[s].is_some()).collect();
        let images = self.tape.images;
        let blocks = into_blocks(kept.iter_mut().flatten().map(|g| &mut **g), images);
        let walk = &*self;
        let results = in_parallel(blocks, |(index, parts)| {
            let first = index * block(images);
            let n = block(images).min(images - first);
            let mut work = BlockWork::new(walk, nodes.clone());
            let mut parts: Vec<(usize, &mut [f32])> = slots.iter().copied().zip(parts).collect();
            for tile in tiles(walk.model, nodes.clone(), n) {
                work.tile(&mut parts, tile, first, pending);
            }
            work
        });
        let results: Vec<_> = results.into_iter().map(BlockWork::into_result).collect();
        self.kept = kept;
        self.release(&nodes, pending);
        self.merge(nodes, results)
    }

    /// Drops kept gradients that nobody will read again.
    fn release(&mut self, nodes: &Range<usize>, pending: Option<&Pending>) {
        let own = nodes.clone().filter(|&i| !self.waits(i));
        let done: Vec<usize> = own.chain(pending.map(|p| p.node)).collect();
        for i in done {
            let value = ValueId(i + 1);
            if !self.wanted.values.contains(&value) {
                for c in 0..self.cotangents() {
                    let slot = self.slot(c, value);
                    self.kept[slot] = None;
                }
            }
        }
    }

    /// Sums what the blocks found, in their order.
    fn merge(&mut self, nodes: Range<usize>, results: Vec<BlockResult>) -> Option<Pending> {
        let mut sums: Vec<Option<Sums>> = vec![None; self.cotangents()];
        for result in results {
            self.written = result.written;
            for (c, i, part) in result.parameters {
                match &mut self.parameters[c][i] {
                    Some(sum) => {
                        add(&mut sum.weight, &part.weight);
                        add(&mut sum.bias, &part.bias);
                    }
                    empty => *empty = Some(part),
                }
            }
            for (sum, part) in sums.iter_mut().zip(result.sums) {
                match (sum, part) {
                    (Some(sum), Some(part)) => sum.merge(&part),
                    (sum, part) => *sum = part,
                }
            }
        }
        let head = nodes.clone().next().filter(|&i| self.waits(i))?;
        let site = self.site(head);
        if let (Op::BatchNorm(op), true) = (site.op, self.wanted.parameters) {
            for (of, sums) in self.parameters.iter_mut().zip(&sums) {
                of[head] = sums.as_ref().map(|s| s.gradient(op, &site));
            }
        }
        Some(Pending { node: head, sums })
    }

    fn finish(mut self) -> Vec<Gradients> {
        let mut all = Vec::with_capacity(self.cotangents());
        for c in 0..self.cotangents() {
            let mut values = vec![None; self.model.values().len()];
            for id in &self.wanted.values {
                let slot = self.slot(c, *id);
                let zeros = || copy(&vec![0.0; self.tape.value(*id).len()]);
                values[id.0] = Some(self.kept[slot].take().unwrap_or_else(zeros));
            }
            let mut nodes = std::mem::take(&mut self.parameters[c]);
            for (gradient, node) in nodes.iter_mut().zip(self.model.nodes()) {
                if gradient.is_none() && self.wanted.parameters {
                    *gradient = zero_parameters(&node.op);
                }
            }
            all.push(Gradients { values, nodes });
        }
        all
    }
}

/// `sum += part`.
fn add(sum: &mut [f32], part: &[f32]) {
    update(sum, part, |sum, part| sum + part);
}
