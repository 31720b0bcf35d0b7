//! How images are cut: into blocks, which run in parallel and own a part of every sum over
//! images, and those into tiles, which stay in cache while they go from node to node.

use std::ops::Range;

use exbit_model::{Model, Op, Tensor};

/// Blocks of one batch: fixed, so that sums do not depend on the number of threads.
const BLOCKS: usize = 16;

/// Floats of the largest value of a tile: with its neighbours it should fit the cache of a core.
const TILE: usize = 1 << 16;

/// Images of one block of a batch of `images`.
pub(crate) fn block(images: usize) -> usize {
    images.div_ceil(BLOCKS).max(1)
}

/// The tiles of a block of `images` that goes through `nodes`.
pub(crate) fn tiles(
    model: &Model,
    nodes: Range<usize>,
    images: usize,
) -> impl Iterator<Item = Range<usize>> + Clone {
    let len = |value: usize| model.values()[value].len();
    let largest = nodes.map(|i| len(i + 1)).max().unwrap_or(0);
    let step = (TILE / largest.max(1)).clamp(1, images.max(1));
    (0..images)
        .step_by(step)
        .map(move |at| at..images.min(at + step))
}

/// Weights of one pass: every block holds a gradient of them.
const WEIGHTS: usize = 1 << 20;

/// The nodes cut into passes. A pass ends before each BatchNorm that needs the whole batch, around
/// each Linear (its weights are best read once for a whole block), and when it has many weights.
pub(crate) fn passes(model: &Model, batch_norm_waits: bool) -> Vec<Range<usize>> {
    let mut cuts = vec![0];
    let mut weights = 0;
    for (i, node) in model.nodes().iter().enumerate() {
        let alone = matches!(node.op, Op::Linear(_));
        weights += node.op.weight().map_or(0, Tensor::len);
        if weights > WEIGHTS {
            cuts.push(i);
            weights = node.op.weight().map_or(0, Tensor::len);
        }
        if alone || (batch_norm_waits && matches!(node.op, Op::BatchNorm(_))) {
            cuts.push(i);
        }
        if alone {
            cuts.push(i + 1);
        }
    }
    cuts.push(model.nodes().len());
    cuts.dedup();
    cuts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// `values`, each of `images` images, cut into blocks: entry `[block][value]`.
pub(crate) fn into_blocks<'a>(
    values: impl Iterator<Item = &'a mut [f32]>,
    images: usize,
) -> Vec<Vec<&'a mut [f32]>> {
    let block = block(images);
    let mut blocks: Vec<Vec<&mut [f32]>> = (0..images.div_ceil(block)).map(|_| vec![]).collect();
    for value in values {
        let len = value.len() / images.max(1);
        let mut rest = value;
        for (i, out) in blocks.iter_mut().enumerate() {
            let n = block.min(images - i * block);
            let (head, tail) = rest.split_at_mut(n * len);
            out.push(head);
            rest = tail;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_image_once() {
        for images in [1, 5, 16, 17, 33] {
            let mut value: Vec<f32> = vec![0.0; images * 3];
            let blocks = into_blocks([&mut *value].into_iter(), images);
            assert!(blocks.len() <= BLOCKS);
            assert_eq!(blocks.iter().map(|b| b[0].len()).sum::<usize>(), images * 3);
        }
    }
}
