//! Running a model: with every value kept, or with none kept longer than it is needed.

use std::ops::Range;

use exbit_model::{Model, Op, ValueId};
use rayon::prelude::*;

use crate::op::{self, Site, norm::Moments};
use crate::scratch::{Scratch, copy, take};
use crate::split::{block, into_blocks, passes, tiles};
use crate::tape::{Mode, Statistics, Tape};

/// Runs `images` images through `model` and keeps every value.
///
/// # Panics
/// When `x` is not `images` times the model's input.
pub fn forward(model: &Model, x: &[f32], images: usize, mode: Mode) -> Tape {
    check_input(model, x, images);
    let mut tape = Tape {
        images,
        output: model.output(),
        values: vec![Scratch::default(); model.values().len()],
        statistics: vec![None; model.nodes().len()],
    };
    tape.values[0] = copy(x);
    let waits = mode == Mode::Train;
    if waits {
        input_statistics(model, &mut tape);
    }
    for nodes in passes(model, waits) {
        let moments = run_pass(model, nodes.clone(), &mut tape, waits);
        for (value, moments) in nodes.map(|i| ValueId(i + 1)).zip(moments) {
            keep_statistics(model, value, &moments, &mut tape);
        }
    }
    tape
}

/// Mean and biased variance of each channel of `x`, images of `shape`: what a BatchNorm in
/// [`Mode::Train`] takes them for.
pub fn moments(shape: &[usize], x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut moments = Moments::new(shape);
    moments.add(x);
    moments.mean_and_variance()
}

fn check_input(model: &Model, x: &[f32], images: usize) {
    let len = model.input_len();
    assert_eq!(x.len(), images * len, "{images} images of {len} entries");
    // `Model::push` numbers values so; the walks below split the list of values by it.
    let in_order = model
        .nodes()
        .iter()
        .enumerate()
        .all(|(i, n)| n.output == ValueId(i + 1));
    assert!(in_order, "value i + 1 is node i's");
}

fn feeds_batch_norm(model: &Model, value: ValueId) -> bool {
    let reads = |n: &exbit_model::Node| n.inputs[0] == value && matches!(n.op, Op::BatchNorm(_));
    model.nodes().iter().any(reads)
}

fn input_statistics(model: &Model, tape: &mut Tape) {
    if feeds_batch_norm(model, model.input()) {
        let shape = &model.value(model.input()).shape;
        let mut moments = Moments::new(shape);
        moments.add(&tape.values[0]);
        keep_statistics(model, model.input(), &moments, tape);
    }
}

fn keep_statistics(model: &Model, value: ValueId, moments: &Moments, tape: &mut Tape) {
    for (i, node) in model.nodes().iter().enumerate() {
        if node.inputs[0] == value && matches!(node.op, Op::BatchNorm(_)) && moments.any() {
            let (mean, var) = moments.mean_and_variance();
            tape.statistics[i] = Some(Statistics { mean, var });
        }
    }
}

/// Runs `nodes` over all images; gives the moments of the values that a BatchNorm waits for.
fn run_pass(model: &Model, nodes: Range<usize>, tape: &mut Tape, waits: bool) -> Vec<Moments> {
    let images = tape.images;
    let site = |i: usize| Site::new(model, i, tape.statistics[i].as_ref());
    let sites: Vec<Site> = nodes.clone().map(site).collect();
    let watches = |i: usize| waits && feeds_batch_norm(model, ValueId(i + 1));
    let watched = nodes.clone().map(watches).collect();
    let (before, now) = tape.values.split_at_mut(nodes.start + 1);
    let now = &mut now[..nodes.len()];
    for (value, site) in now.iter_mut().zip(&sites) {
        *value = take(images * site.output_len());
    }
    let pass = Pass {
        model,
        nodes,
        sites,
        watched,
        before,
        images,
    };
    let blocks = into_blocks(now.iter_mut().map(|value| &mut **value), images);
    let parts = in_parallel(blocks, |(index, mut outputs)| {
        pass.block(index, &mut outputs)
    });
    let merge = |mut sum: Vec<Moments>, part: Vec<Moments>| {
        sum.iter_mut().zip(&part).for_each(|(s, p)| s.merge(p));
        sum
    };
    parts.into_iter().reduce(merge).unwrap_or_default()
}

/// What every block of a pass reads.
struct Pass<'a> {
    model: &'a Model,
    nodes: Range<usize>,
    sites: Vec<Site<'a>>,
    /// Whether a BatchNorm waits for the node's output.
    watched: Vec<bool>,
    /// The values of earlier passes.
    before: &'a [Scratch],
    images: usize,
}

impl Pass<'_> {
    /// Runs block `index` into its part of each node's output; gives the moments of each.
    fn block(&self, index: usize, outputs: &mut [&mut [f32]]) -> Vec<Moments> {
        let first = index * block(self.images);
        let n = block(self.images).min(self.images - first);
        let watch = |(site, &watched): (&Site, &bool)| match watched {
            true => Moments::new(site.output),
            false => Moments::default(),
        };
        let mut moments: Vec<Moments> = self.sites.iter().zip(&self.watched).map(watch).collect();
        for tile in tiles(self.model, self.nodes.clone(), n) {
            for (i, site) in self.sites.iter().enumerate() {
                let (done, rest) = outputs.split_at_mut(i);
                let ids = &self.model.nodes()[self.nodes.start + i].inputs;
                let xs: Vec<&[f32]> = ids
                    .iter()
                    .map(|id| self.input(*id, done, first, &tile))
                    .collect();
                let len = site.output_len();
                let y = &mut rest[0][tile.start * len..tile.end * len];
                op::forward(site, &xs, y, tile.len());
                if self.watched[i] {
                    moments[i].add(y);
                }
            }
        }
        moments
    }

    /// A value of the tile, from this pass's outputs (of the block that starts with image `first`)
    /// or an earlier one's.
    fn input<'b>(
        &'b self,
        id: ValueId,
        done: &'b [&mut [f32]],
        first: usize,
        tile: &Range<usize>,
    ) -> &'b [f32] {
        let len = self.model.value(id).len();
        match id.0.checked_sub(self.nodes.start + 1) {
            Some(own) => &done[own][tile.start * len..tile.end * len],
            None => &self.before[id.0][(first + tile.start) * len..(first + tile.end) * len],
        }
    }
}

/// `f` of each item with its index, over threads; on this one when there is but one item.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: Vec<T>,
    f: impl Fn((usize, T)) -> R + Sync + Send,
) -> Vec<R> {
    if items.len() <= 1 {
        return items.into_iter().enumerate().map(f).collect();
    }
    items.into_par_iter().enumerate().map(f).collect()
}

/// The output of `images` images, BatchNorm on its running statistics. Needs the memory of a few
/// images at a time beside the output.
///
/// # Panics
/// When `x` is not `images` times the model's input.
pub fn infer(model: &Model, x: &[f32], images: usize) -> Vec<f32> {
    check_input(model, x, images);
    let (x_len, y_len) = (model.input_len(), model.output_len());
    let sites: Vec<Site> = (0..model.nodes().len())
        .map(|i| Site::new(model, i, None))
        .collect();
    let last_use = last_uses(model);
    let mut y = vec![0.0; images * y_len];
    let mut rest = y.as_mut_slice();
    let mut parts = Vec::new();
    for tile in tiles(model, 0..model.nodes().len(), images) {
        let (part, tail) = rest.split_at_mut(tile.len() * y_len);
        parts.push((tile, part));
        rest = tail;
    }
    in_parallel(parts, |(_, (tile, part))| {
        let n = tile.len();
        let x = &x[tile.start * x_len..tile.end * x_len];
        let mut values: Vec<Scratch> = Vec::with_capacity(sites.len());
        for (i, site) in sites.iter().enumerate() {
            let node = &model.nodes()[i];
            let read = |id: &ValueId| if id.0 == 0 { x } else { &*values[id.0 - 1] };
            let xs: Vec<&[f32]> = node.inputs.iter().map(read).collect();
            let mut out = take(n * site.output_len());
            op::forward(site, &xs, &mut out, n);
            values.push(out);
            for id in &node.inputs {
                if id.0 > 0 && last_use[id.0] == i {
                    values[id.0 - 1] = Scratch::default();
                }
            }
        }
        let id = model.output().0;
        part.copy_from_slice(if id == 0 { x } else { &values[id - 1] });
    });
    y
}

/// The index of the last node that reads each value; past the end for the output.
fn last_uses(model: &Model) -> Vec<usize> {
    let mut last = vec![0; model.values().len()];
    for (i, node) in model.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|id| last[id.0] = i);
    }
    last[model.output().0] = model.nodes().len();
    last
}

/// Runs `images` images as [`infer`] does, and shows every value of all images once, the input
/// first, in running order; a value is freed after its last use.
///
/// # Panics
/// When `x` is not `images` times the model's input.
pub fn infer_with(model: &Model, x: &[f32], images: usize, mut visit: impl FnMut(ValueId, &[f32])) {
    check_input(model, x, images);
    visit(model.input(), x);
    let last_use = last_uses(model);
    let mut values = vec![Scratch::default(); model.values().len()];
    for (i, node) in model.nodes().iter().enumerate() {
        let site = Site::new(model, i, None);
        let len = site.output_len();
        let mut y = take(images * len);
        in_parallel(
            into_blocks([&mut *y].into_iter(), images),
            |(index, mut outputs)| {
                let first = index * block(images);
                for tile in tiles(model, i..i + 1, block(images).min(images - first)) {
                    let (n, at) = (tile.len(), first + tile.start);
                    let read = |id: &ValueId| {
                        let len = model.value(*id).len();
                        &(if id.0 == 0 { x } else { &values[id.0] })[at * len..][..n * len]
                    };
                    let xs: Vec<&[f32]> = node.inputs.iter().map(read).collect();
                    op::forward(
                        &site,
                        &xs,
                        &mut outputs[0][tile.start * len..tile.end * len],
                        n,
                    );
                }
            },
        );
        visit(node.output, &y);
        values[node.output.0] = y;
        for id in &node.inputs {
            if last_use[id.0] == i {
                values[id.0] = Scratch::default();
            }
        }
    }
}
