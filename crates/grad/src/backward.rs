//! The walk in reverse: gradients of several losses over one tape.
//!
//! A pass goes through a range of nodes from last to first, tile by tile. Gradients that no other
//! pass needs live in scratch buffers of one tile; those that cross passes, belong to a seed or
//! are wanted are kept for the whole batch. A BatchNorm on batch statistics heads its pass: the
//! pass ends by summing its part of the reduction, and the next begins by pulling the gradient
//! through it.

use std::ops::Range;

use exbit_model::{Model, NodeId, Op, ValueId};

use crate::forward::in_parallel;
use crate::op::norm::{self, Sums};
use crate::op::{self, Seen, Site, Wants, zero_parameters};
use crate::scratch::{Scratch, take};
use crate::split::{block, into_blocks, passes, tiles};
use crate::tape::Tape;

/// The seeds of one loss: its gradient with respect to some values, each of all images.
pub type Cotangent = Vec<(ValueId, Vec<f32>)>;

/// Which gradients to give back.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of every parameter.
    pub parameters: bool,
    /// Those of these values.
    pub values: Vec<ValueId>,
}

/// The gradient of one node's parameters, summed over images, each as long as the parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeGradient {
    /// Of the weight; a BatchNorm's gamma, an Affine's or a FakeQuant's scale.
    pub weight: Vec<f32>,
    /// Of the bias; a BatchNorm's beta, an Affine's shift. Empty where there is none.
    pub bias: Vec<f32>,
}

/// The gradients of one loss.
#[derive(Clone, Debug)]
pub struct Gradients {
    values: Vec<Option<Vec<f32>>>,
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
    kept: Vec<Option<Vec<f32>>>,
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
        let mut kept: Vec<Option<Vec<f32>>> = vec![None; cotangents.len() * count];
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
                    empty => *empty = Some(seed.clone()),
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
            self.kept[slot].get_or_insert_with(|| vec![0.0; len]);
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
        let blocks = into_blocks(kept.iter_mut().flatten(), images);
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
                let zeros = || vec![0.0; self.tape.value(*id).len()];
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

/// What one block of images adds in one pass.
struct BlockResult {
    written: Vec<bool>,
    /// Cotangent, node, gradient.
    parameters: Vec<(usize, usize, NodeGradient)>,
    /// Of the BatchNorm that heads the pass, for each cotangent.
    sums: Vec<Option<Sums>>,
}

/// A gradient of one tile.
#[derive(Debug, Default)]
enum Slot<'t> {
    #[default]
    Absent,
    Kept(&'t mut [f32]),
    Local(Scratch),
}

impl Slot<'_> {
    fn read(&self) -> &[f32] {
        match self {
            Slot::Absent => &[],
            Slot::Kept(g) => g,
            Slot::Local(g) => g,
        }
    }

    fn write(&mut self) -> &mut [f32] {
        match self {
            Slot::Absent => &mut [],
            Slot::Kept(g) => g,
            Slot::Local(g) => g,
        }
    }
}

/// One block of images on its way through one pass.
struct BlockWork<'w, 'a> {
    walk: &'w Walk<'a>,
    sites: Vec<Site<'a>>,
    nodes: Range<usize>,
    written: Vec<bool>,
    parameters: Vec<Vec<NodeGradient>>,
    sums: Vec<Option<Sums>>,
}

impl<'w, 'a> BlockWork<'w, 'a> {
    fn new(walk: &'w Walk<'a>, nodes: Range<usize>) -> Self {
        let zeros = |i: usize| {
            let zero = || zero_parameters(&walk.model.nodes()[i].op).filter(|_| !walk.waits(i));
            let active = walk.active(ValueId(i + 1));
            match walk.wanted.parameters {
                true => active.iter().filter_map(|_| zero()).collect(),
                false => Vec::new(),
            }
        };
        Self {
            walk,
            sites: nodes.clone().map(|i| walk.site(i)).collect(),
            parameters: nodes.clone().map(zeros).collect(),
            nodes,
            written: walk.written.clone(),
            sums: vec![None; walk.cotangents()],
        }
    }

    fn into_result(self) -> BlockResult {
        let mut parameters = Vec::new();
        for (i, of) in self.nodes.zip(self.parameters) {
            let active = self.walk.active(ValueId(i + 1));
            parameters.extend(
                active
                    .into_iter()
                    .zip(of)
                    .map(|(c, gradient)| (c, i, gradient)),
            );
        }
        BlockResult {
            written: self.written,
            parameters,
            sums: self.sums,
        }
    }

    /// Takes one tile, images `tile` of the block that starts with image `first`.
    fn tile(
        &mut self,
        parts: &mut [(usize, &mut [f32])],
        tile: Range<usize>,
        first: usize,
        pending: Option<&Pending>,
    ) {
        self.written.copy_from_slice(&self.walk.written);
        let mut slots: Vec<Slot> = Vec::new();
        slots.resize_with(self.written.len(), Slot::default);
        for (slot, part) in parts {
            let value = *slot % self.walk.model.values().len();
            let len = self.walk.model.values()[value].len();
            slots[*slot] = Slot::Kept(&mut part[tile.start * len..tile.end * len]);
        }
        let images = first + tile.start..first + tile.end;
        if let Some(pending) = pending {
            self.pull_batch_norm(&mut slots, pending, images.clone());
        }
        for i in self.nodes.clone().rev() {
            if self.walk.waits(i) {
                self.reduce_batch_norm(&slots, i, images.clone());
            } else {
                self.node(&mut slots, i, images.clone());
            }
        }
    }

    /// A value of the given images.
    fn seen(&self, value: ValueId, images: &Range<usize>) -> &'a [f32] {
        let len = self.walk.model.value(value).len();
        &self.walk.tape.value(value)[images.start * len..images.end * len]
    }

    /// Node `i`'s gradients, from that of its output.
    fn node(&mut self, slots: &mut [Slot], i: usize, images: Range<usize>) {
        let walk = self.walk;
        let node = &walk.model.nodes()[i];
        let active = walk.active(node.output);
        if active.is_empty() {
            return;
        }
        let outs: Vec<Slot> = active
            .iter()
            .map(|&c| std::mem::take(&mut slots[walk.slot(c, node.output)]))
            .collect();
        let dys: Vec<&[f32]> = outs.iter().map(Slot::read).collect();
        let xs: Vec<&[f32]> = node
            .inputs
            .iter()
            .map(|id| self.seen(*id, &images))
            .collect();
        let seen = Seen {
            xs: &xs,
            y: self.seen(node.output, &images),
            images: images.len(),
        };
        let mut targets: Vec<Vec<Option<Target>>> = Vec::with_capacity(xs.len());
        for id in &node.inputs {
            let of_input = active.iter().map(|&c| {
                let slot = walk.slot(c, *id);
                let len = self.seen(*id, &images).len();
                walk.active[slot].then(|| open(slots, &mut self.written, slot, len))
            });
            targets.push(of_input.collect());
        }
        let mut dxs: Vec<Vec<Option<&mut [f32]>>> = targets
            .iter_mut()
            .map(|of| {
                of.iter_mut()
                    .map(|t| t.as_mut().map(|t| t.gradient.write()))
                    .collect()
            })
            .collect();
        let own = i - self.nodes.start;
        let mut wants = Wants {
            dxs: &mut dxs,
            parameters: &mut self.parameters[own],
        };
        op::backward(&self.sites[own], seen, &dys, &mut wants);
        targets
            .into_iter()
            .flatten()
            .flatten()
            .for_each(|target| close(slots, target));
        for (c, out) in active.into_iter().zip(outs) {
            if matches!(out, Slot::Kept(_)) {
                slots[walk.slot(c, node.output)] = out;
            }
        }
    }

    fn reduce_batch_norm(&mut self, slots: &[Slot], i: usize, images: Range<usize>) {
        let site = &self.sites[i - self.nodes.start];
        let node = &self.walk.model.nodes()[i];
        let Op::BatchNorm(op) = &node.op else { return };
        for c in self.walk.active(node.output) {
            let dy = slots[self.walk.slot(c, node.output)].read();
            let x = self.seen(node.inputs[0], &images);
            let sums = self.sums[c].get_or_insert_with(|| Sums::new(site.output[0]));
            norm::reduce(op, site, [x, dy], sums);
        }
    }

    fn pull_batch_norm(&mut self, slots: &mut [Slot], pending: &Pending, images: Range<usize>) {
        let walk = self.walk;
        let (node, site) = (&walk.model.nodes()[pending.node], walk.site(pending.node));
        let Op::BatchNorm(op) = &node.op else { return };
        for c in walk.active(node.inputs[0]) {
            let (from, to) = (walk.slot(c, node.output), walk.slot(c, node.inputs[0]));
            let Some(sums) = &pending.sums[c] else {
                continue;
            };
            let x = self.seen(node.inputs[0], &images);
            let mut target = open(slots, &mut self.written, to, x.len());
            let batch = walk.tape.images;
            let dy = slots[from].read();
            norm::pull(op, &site, batch, sums, [x, dy], target.gradient.write());
            close(slots, target);
        }
    }
}

/// Where an op writes an input's gradient: the value's own place when it is the first to write
/// there, else a place beside it, to be added.
#[derive(Debug)]
struct Target<'t> {
    slot: usize,
    is_first: bool,
    gradient: Slot<'t>,
}

fn open<'t>(slots: &mut [Slot<'t>], written: &mut [bool], slot: usize, len: usize) -> Target<'t> {
    let is_first = !std::mem::replace(&mut written[slot], true);
    let own = if is_first {
        std::mem::take(&mut slots[slot])
    } else {
        Slot::Absent
    };
    let gradient = if matches!(own, Slot::Absent) {
        Slot::Local(take(len))
    } else {
        own
    };
    Target {
        slot,
        is_first,
        gradient,
    }
}

fn close<'t>(slots: &mut [Slot<'t>], target: Target<'t>) {
    if target.is_first {
        slots[target.slot] = target.gradient;
    } else {
        add(slots[target.slot].write(), target.gradient.read());
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut()
        .zip(part)
        .for_each(|(sum, part)| *sum += part);
}
