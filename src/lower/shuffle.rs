//! A chain of Reshape and Transpose nodes as permuted views of memory.
//!
//! Codes of a `(C, H, W)` value lie as `[H, W, C]`, those of any other in the order of its own
//! axes. A chain is therefore: bring `[H, W, C]` to `(C, H, W)` where it starts at an image,
//! permute as each Transpose says, and bring `(C, H, W)` to `[H, W, C]` where it ends at one.

use exbit_model::{Model, NodeId, Op};

/// The views of a step that does what `chain` does, whose input has `len` entries: one at least,
/// for where nothing moves, lines begin elsewhere.
pub(super) fn step_views(
    model: &Model,
    chain: &[NodeId],
    len: usize,
) -> Vec<(Vec<usize>, Vec<usize>)> {
    let views = views(model, chain);
    match views.is_empty() {
        true => vec![(vec![len], vec![0])],
        false => views,
    }
}

/// The views of `chain`; those that move nothing are left out.
pub(super) fn views(model: &Model, chain: &[NodeId]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let Some((&first, &last)) = chain.first().zip(chain.last()) else {
        return Vec::new();
    };
    let mut views = Vec::new();
    if let [c, h, w] = model.value(model.node(first).inputs[0]).shape[..] {
        views.push((vec![h, w, c], vec![2, 0, 1]));
    }
    for &id in chain {
        let node = model.node(id);
        if let Op::Transpose { perm } = &node.op {
            views.push((model.value(node.inputs[0]).shape.clone(), perm.clone()));
        }
    }
    if let [c, h, w] = model.value(model.node(last).output).shape[..] {
        views.push((vec![c, h, w], vec![1, 2, 0]));
    }
    let views: Vec<_> = views
        .into_iter()
        .filter(|(shape, perm)| moves(shape, perm))
        .collect();
    if is_identity(&views) {
        Vec::new()
    } else {
        views
    }
}

/// Whether permuting moves any entry: axes of extent 1 do not count.
fn moves(shape: &[usize], perm: &[usize]) -> bool {
    let kept: Vec<usize> = perm
        .iter()
        .copied()
        .filter(|&axis| shape[axis] != 1)
        .collect();
    !kept.is_sorted()
}

/// Whether the whole chain puts every entry back where it was, by running it on indices.
fn is_identity(views: &[(Vec<usize>, Vec<usize>)]) -> bool {
    let Some((shape, _)) = views.first() else {
        return true;
    };
    let start: Vec<usize> = (0..shape.iter().product()).collect();
    views
        .iter()
        .fold(start.clone(), |at, (shape, perm)| permute(&at, shape, perm))
        == start
}

/// The entries of a row-major array of `shape`, its axes permuted: output axis `i` is axis
/// `perm[i]` of the input.
pub(crate) fn permute<T: Copy>(x: &[T], shape: &[usize], perm: &[usize]) -> Vec<T> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let mut out = Vec::with_capacity(x.len());
    let mut index = vec![0; perm.len()];
    for _ in 0..x.len() {
        let at: usize = perm
            .iter()
            .zip(&index)
            .map(|(&axis, &i)| strides[axis] * i)
            .sum();
        out.push(x[at]);
        for (i, &axis) in index.iter_mut().zip(perm).rev() {
            *i += 1;
            if *i < shape[axis] {
                break;
            }
            *i = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permuting_is_a_transpose() {
        let x: Vec<u32> = (0..6).collect();
        assert_eq!(permute(&x, &[2, 3], &[1, 0]), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn a_channel_shuffle_is_one_chain_and_a_plain_flatten_is_none() {
        let mut m = Model::new("m", "x", vec![6, 2, 2]);
        let a = m
            .push(
                "a",
                Op::Reshape {
                    shape: vec![2, 3, 2, 2],
                },
                &[m.input()],
            )
            .unwrap();
        let b = m
            .push(
                "b",
                Op::Transpose {
                    perm: vec![1, 0, 2, 3],
                },
                &[a],
            )
            .unwrap();
        m.push(
            "c",
            Op::Reshape {
                shape: vec![6, 2, 2],
            },
            &[b],
        )
        .unwrap();
        let chain: Vec<NodeId> = (0..3).map(NodeId).collect();
        let views = views(&m, &chain);
        // Channels 0..6 of position 0 end up interleaved: 0 3 1 4 2 5.
        let codes: Vec<usize> = (0..24).collect();
        let out = views
            .iter()
            .fold(codes, |at, (shape, perm)| permute(&at, shape, perm));
        assert_eq!(out[..6], [0, 3, 1, 4, 2, 5]);
        let mut m = Model::new("m", "x", vec![6, 1, 1]);
        m.push("flat", Op::Reshape { shape: vec![6] }, &[m.input()])
            .unwrap();
        assert!(super::views(&m, &[NodeId(0)]).is_empty());
    }
}
