//! One block of images on its way through one pass: tile by tile, node by node in reverse.

use std::ops::Range;

use exbit_model::{Node, Op, ValueId};

use super::{NodeGradient, Pending, Walk, add};
use crate::op::norm::{self, Sums};
use crate::op::{self, Seen, Site, Wants, zero_parameters};
use crate::scratch::{Scratch, take};

/// What one block of images adds in one pass.
pub(super) struct BlockResult {
    pub(super) written: Vec<bool>,
    /// Cotangent, node, gradient.
    pub(super) parameters: Vec<(usize, usize, NodeGradient)>,
    /// Of the BatchNorm that heads the pass, for each cotangent.
    pub(super) sums: Vec<Option<Sums>>,
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
pub(super) struct BlockWork<'w, 'a> {
    walk: &'w Walk<'a>,
    sites: Vec<Site<'a>>,
    nodes: Range<usize>,
    written: Vec<bool>,
    parameters: Vec<Vec<NodeGradient>>,
    sums: Vec<Option<Sums>>,
}

impl<'w, 'a> BlockWork<'w, 'a> {
    pub(super) fn new(walk: &'w Walk<'a>, nodes: Range<usize>) -> Self {
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

    pub(super) fn into_result(self) -> BlockResult {
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
    pub(super) fn tile(
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
        let out = |c: &usize| std::mem::take(&mut slots[walk.slot(*c, node.output)]);
        let mut outs: Vec<Slot> = active.iter().map(out).collect();
        if op::passes_on(&node.op) {
            for (c, out) in active.into_iter().zip(outs) {
                self.pass_on(slots, node, c, out);
            }
            return;
        }
        let may_become_its = |(&c, out): (&usize, &Slot)| {
            let slot = walk.slot(c, node.inputs[0]);
            let is_free = !self.written[slot] && matches!(slots[slot], Slot::Absent);
            is_free && walk.active[slot] && matches!(out, Slot::Local(_))
        };
        if op::works_in_place(&node.op) && active.iter().zip(&outs).all(may_become_its) {
            self.in_place(i, images, &mut outs);
            for (c, out) in active.into_iter().zip(outs) {
                let slot = walk.slot(c, node.inputs[0]);
                slots[slot] = out;
                self.written[slot] = true;
            }
            return;
        }
        if !outs.is_empty() {
            self.call(slots, i, &active, &outs, images);
        }
        for (c, out) in active.into_iter().zip(outs) {
            if matches!(out, Slot::Kept(_)) {
                slots[walk.slot(c, node.output)] = out;
            }
        }
    }

    /// Turns the gradients `outs` of node `i`'s output into those of its input.
    fn in_place(&mut self, i: usize, images: Range<usize>, outs: &mut [Slot]) {
        let node = &self.walk.model.nodes()[i];
        let (x, y) = (
            self.seen(node.inputs[0], &images),
            self.seen(node.output, &images),
        );
        let seen = Seen {
            xs: &[x],
            y,
            images: images.len(),
        };
        let own = i - self.nodes.start;
        for (k, out) in outs.iter_mut().enumerate() {
            let gradient = self.parameters[own].get_mut(k);
            op::backward_in_place(&self.sites[own], seen, out.write(), gradient);
        }
    }

    /// Calls the backward function of node `i`, under the `active` cotangents.
    fn call(
        &mut self,
        slots: &mut [Slot],
        i: usize,
        active: &[usize],
        outs: &[Slot],
        images: Range<usize>,
    ) {
        let walk = self.walk;
        let node = &walk.model.nodes()[i];
        let xs: Vec<&[f32]> = node
            .inputs
            .iter()
            .map(|id| self.seen(*id, &images))
            .collect();
        let y = self.seen(node.output, &images);
        let mut targets: Vec<Vec<Option<Target>>> = Vec::with_capacity(xs.len());
        for (id, x) in node.inputs.iter().zip(&xs) {
            let of_input = active.iter().map(|&c| {
                let slot = walk.slot(c, *id);
                walk.active[slot].then(|| open(slots, &mut self.written, slot, x.len()))
            });
            targets.push(of_input.collect());
        }
        let mut dxs: Vec<Vec<Option<&mut [f32]>>> = Vec::with_capacity(xs.len());
        for of_input in &mut targets {
            dxs.push(
                of_input
                    .iter_mut()
                    .map(|t| t.as_mut().map(|t| t.gradient.write()))
                    .collect(),
            );
        }
        let own = i - self.nodes.start;
        let mut wants = Wants {
            dxs: &mut dxs,
            parameters: &mut self.parameters[own],
            rounded: walk.wanted.rounded,
        };
        let dys: Vec<&[f32]> = outs.iter().map(Slot::read).collect();
        let seen = Seen {
            xs: &xs,
            y,
            images: images.len(),
        };
        op::backward(&self.sites[own], seen, &dys, &mut wants);
        targets
            .into_iter()
            .flatten()
            .flatten()
            .for_each(|target| close(slots, target));
    }

    /// Hands `out`, the gradient of a node that gives it on unchanged, to each of its inputs: by
    /// adding where something is, and without a copy to the last.
    fn pass_on<'t>(&mut self, slots: &mut [Slot<'t>], node: &Node, c: usize, mut out: Slot<'t>) {
        let walk = self.walk;
        let to = node
            .inputs
            .iter()
            .map(|id| walk.slot(c, *id))
            .filter(|&slot| walk.active[slot]);
        let to: Vec<usize> = to.collect();
        for (nth, &slot) in to.iter().enumerate() {
            let is_last = nth + 1 == to.len();
            if self.written[slot] {
                add(slots[slot].write(), out.read());
            } else if is_last && matches!((&slots[slot], &out), (Slot::Absent, Slot::Local(_))) {
                slots[slot] = std::mem::take(&mut out);
                self.written[slot] = true;
            } else {
                let mut target = open(slots, &mut self.written, slot, out.read().len());
                target.gradient.write().copy_from_slice(out.read());
                close(slots, target);
            }
        }
        if matches!(out, Slot::Kept(_)) {
            slots[walk.slot(c, node.output)] = out;
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
