//! The graph while a file is read: nodes are only appended, and what in the end nobody reads is
//! left out.
//!
//! What exporters write in a roundabout way is put plainly here: a Reshape to the same shape and a
//! Transpose that undoes another give no node, a bias in a node of its own joins its layer, and an
//! image whose channels come last but are moved to the front at once has them there.
//! Each rule gives the same numbers, and a graph without such detours passes unchanged.

use std::collections::HashSet;

use super::{MAX_RANK, malformed, unsupported};
use crate::tensor::element_count;
use crate::{Conv, Linear, Model, Op, Pool, Result, ValueId, Window};

/// The most entries of one value of one image: 1 GiB of floats.
const MAX_ENTRIES: usize = 1 << 28;

/// Nodes and the shapes of the values that they give; node `i` gives value `i + 1`.
pub(super) struct Draft {
    shapes: Vec<Vec<usize>>,
    nodes: Vec<DraftNode>,
}

/// A node of a [`Draft`].
pub(super) struct DraftNode {
    name: String,
    pub(super) op: Op,
    pub(super) inputs: Vec<ValueId>,
}

impl Draft {
    /// A graph whose input has `shape`.
    pub(super) fn new(shape: Vec<usize>) -> Result<Self> {
        bounded(&shape)?;
        Ok(Self {
            shapes: vec![shape],
            nodes: Vec::new(),
        })
    }

    pub(super) fn shape(&self, value: ValueId) -> &[usize] {
        &self.shapes[value.0]
    }

    /// The node that gives `value`; `None` for the input.
    pub(super) fn producer(&self, value: ValueId) -> Option<&DraftNode> {
        self.nodes.get(value.0.checked_sub(1)?)
    }

    /// Appends a node, or finds the value that it would give.
    pub(super) fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|&v| self.shape(v)).collect();
        let shape = op.output_shape(&shapes)?;
        bounded(&shape)?;
        if let (
            Op::Conv(Conv { window, .. }) | Op::MaxPool(window) | Op::AvgPool(Pool { window, .. }),
            &[c, h, w],
        ) = (&op, shapes[0])
        {
            // What is computed lies in memory with its padding.
            let [top, left, bottom, right] = window.pads;
            bounded(&[c, top + h + bottom, left + w + right])?;
        }
        if !op.parameters().into_iter().flatten().all(|x| x.is_finite()) {
            return Err(malformed(
                "a weight, scale or bias is infinite, no number, or made from the size of the batch",
            ));
        }
        let mut node = DraftNode {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
        };
        if let [x] = node.inputs.as_mut_slice() {
            (node.op, *x) = self.straightened(node.op, *x);
            if let Some(value) = self.without(&node.op, *x) {
                return Ok(value);
            }
        }
        self.shapes.push(shape);
        self.nodes.push(node);
        Ok(ValueId(self.nodes.len()))
    }

    /// `op` of `x` said with fewer nodes: of two Reshapes the second is enough, and the mean over
    /// width and then height is the mean over both.
    fn straightened(&self, op: Op, x: ValueId) -> (Op, ValueId) {
        let Some(before) = self.producer(x) else {
            return (op, x);
        };
        match (&before.op, &op) {
            (Op::Reshape { .. }, Op::Reshape { .. }) => (op, before.inputs[0]),
            (Op::AvgPool(first), Op::AvgPool(second)) => {
                let source = before.inputs[0];
                let [_, h, w] = *self.shape(source) else {
                    return (op, x);
                };
                let over = |kernel| Window {
                    kernel,
                    ..Window::square(1, 1, 0)
                };
                let both = [first.window, second.window] == [over([1, w]), over([h, 1])];
                if both {
                    (Op::GlobalAvgPool, source)
                } else {
                    (op, x)
                }
            }
            _ => (op, x),
        }
    }

    /// The value that already is `op` of `x`, if moving entries about is all that it does.
    fn without(&self, op: &Op, x: ValueId) -> Option<ValueId> {
        if let Op::Reshape { shape } = op {
            return (self.shape(x) == shape).then_some(x);
        }
        let Op::Transpose { perm } = op else {
            return None;
        };
        if in_order(perm.iter().copied()) {
            return Some(x);
        }
        let before = self.producer(x)?;
        let Op::Transpose { perm: first } = &before.op else {
            return None;
        };
        in_order(perm.iter().map(|&i| first[i])).then(|| before.inputs[0])
    }

    /// Makes what is added to a layer its bias, and what is added to a product part of its Affine,
    /// where nobody else reads the layer or the product. `reads` counts the readers of each value;
    /// the answer says which nodes are done with.
    fn join_shifts(&mut self, reads: &[usize]) -> Vec<bool> {
        let mut joined = vec![false; self.nodes.len()];
        for i in 0..self.nodes.len() {
            let (before, rest) = self.nodes.split_at_mut(i);
            let DraftNode {
                op: Op::Affine(affine),
                inputs,
                name,
            } = &mut rest[0]
            else {
                continue;
            };
            let source = inputs[0].0;
            let only_shifts = affine.scale.iter().all(|&s| s == 1.0);
            if source == 0 || reads[i + 1] == 0 || reads[source] != 1 || !only_shifts {
                continue;
            }
            let layer = &mut before[source - 1];
            if let Op::Conv(Conv {
                bias: bias @ None, ..
            })
            | Op::Linear(Linear {
                bias: bias @ None, ..
            }) = &mut layer.op
            {
                *bias = Some(std::mem::take(&mut affine.shift));
                joined[i] = true;
            } else if let Op::Affine(product) = &mut layer.op
                && product.shift.iter().all(|&t| t == 0.0)
                && product.scale.iter().any(|&s| s != 1.0)
            {
                product.shift = std::mem::take(&mut affine.shift);
                layer.name = std::mem::take(name);
                joined[i] = true;
            }
        }
        joined
    }

    /// Which nodes turn an image of (N, H, W, C) into (N, C, H, W), where all that read the input
    /// do: the image is taken as they give it then. What has more than four channels last is no
    /// image but features, and stays. `reads` counts the readers of each value.
    fn join_turns(&mut self, reads: &[usize]) -> Vec<bool> {
        let reader = |i: usize| reads[i + 1] > 0 && self.nodes[i].inputs.contains(&ValueId(0));
        let readers: Vec<usize> = (0..self.nodes.len()).filter(|&i| reader(i)).collect();
        let turn = Op::Transpose {
            perm: vec![2, 0, 1],
        };
        let mut joined = vec![false; self.nodes.len()];
        if let &[h, w, c @ 1..=4] = self.shapes[0].as_slice()
            && readers.len() == reads[0]
            && readers.iter().all(|&i| self.nodes[i].op == turn)
        {
            self.shapes[0] = vec![c, h, w];
            readers.into_iter().for_each(|i| joined[i] = true);
        }
        joined
    }

    /// The finished model: what `output` needs, under names that differ.
    pub(super) fn finish(mut self, name: &str, input: &str, output: ValueId) -> Result<Model> {
        let mut reads = vec![0usize; self.shapes.len()];
        reads[output.0] = 1;
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if reads[i + 1] > 0 {
                node.inputs.iter().for_each(|v| reads[v.0] += 1);
            }
        }
        let mut joined = self.join_shifts(&reads);
        let turned = self.join_turns(&reads);
        joined.iter_mut().zip(turned).for_each(|(j, t)| *j |= t);
        let mut model = Model::new(name, input, self.shapes[0].clone());
        let mut ids = vec![model.input(); self.shapes.len()];
        let mut taken = HashSet::from([input.to_owned()]);
        for (i, node) in self.nodes.into_iter().enumerate() {
            if joined[i] {
                ids[i + 1] = ids[node.inputs[0].0];
            } else if reads[i + 1] > 0 {
                let inputs: Vec<ValueId> = node.inputs.iter().map(|v| ids[v.0]).collect();
                let name = unused(&node.name, i, &mut taken);
                ids[i + 1] = model.push(name, node.op, &inputs)?;
            }
        }
        model.set_output(ids[output.0]);
        Ok(model)
    }
}

fn in_order(mut axes: impl Iterator<Item = usize>) -> bool {
    let mut expected = 0..;
    axes.all(|axis| expected.next() == Some(axis))
}

/// `name`, or `name.index` where another node or the input is called that already.
pub(super) fn unused(name: &str, index: usize, taken: &mut HashSet<String>) -> String {
    let mut unique = name.to_owned();
    while unique.is_empty() || !taken.insert(unique.clone()) {
        unique = format!("{unique}.{index}");
    }
    unique
}

fn bounded(shape: &[usize]) -> Result<()> {
    if shape.len() + 1 > MAX_RANK {
        return Err(unsupported(format!("a value of more than {MAX_RANK} axes")));
    }
    match element_count(shape).filter(|n| (1..=MAX_ENTRIES).contains(n)) {
        Some(_) => Ok(()),
        None => Err(unsupported(format!(
            "a value of {shape:?}; supported: 1 to 2^28 entries"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;

    #[test]
    fn detours_and_dead_ends_are_left_out() {
        let mut draft = Draft::new(vec![2, 3, 4]).unwrap();
        let x = ValueId(0);
        let turn = |perm: [usize; 3]| Op::Transpose {
            perm: perm.to_vec(),
        };
        let there = draft.push("there", turn([1, 2, 0]), &[x]).unwrap();
        assert_eq!(draft.push("back", turn([2, 0, 1]), &[there]), Ok(x));
        assert_eq!(draft.push("still", turn([0, 1, 2]), &[there]), Ok(there));
        assert_eq!(
            draft.push(
                "same",
                Op::Reshape {
                    shape: vec![2, 3, 4]
                },
                &[x]
            ),
            Ok(x)
        );
        let relu = Op::Activation(Activation::Relu);
        let y = draft.push("x", relu.clone(), &[x]).unwrap();
        let z = draft.push("x", relu, &[y]).unwrap();
        let model = draft.finish("m", "x", z).unwrap();
        let names: Vec<_> = model.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["x.1", "x.2"]);
    }

    #[test]
    fn an_image_with_channels_last_that_is_turned_at_once_is_taken_with_channels_first() {
        let turn = |perm: [usize; 3]| Op::Transpose {
            perm: perm.to_vec(),
        };
        let model = |perm: [usize; 3], read_as_it_is: bool| {
            let mut draft = Draft::new(vec![4, 5, 3]).unwrap();
            let turned = draft.push("turn", turn(perm), &[ValueId(0)]).unwrap();
            let mut y = draft.push("mean", Op::GlobalAvgPool, &[turned]).unwrap();
            if read_as_it_is {
                let flat = Op::Reshape { shape: vec![60] };
                let z = draft.push("flat", flat, &[ValueId(0)]).unwrap();
                let flat = Op::Reshape { shape: vec![3] };
                y = draft.push("vector", flat, &[y]).unwrap();
                y = draft.push("join", Op::Concat { axis: 0 }, &[y, z]).unwrap();
            }
            draft.finish("m", "x", y).unwrap()
        };
        let mut twice = Draft::new(vec![4, 5, 3]).unwrap();
        let [a, b] = ["a", "b"].map(|name| twice.push(name, turn([2, 0, 1]), &[ValueId(0)]));
        let sum = twice.push("sum", Op::Add, &[a.unwrap(), b.unwrap()]);
        let dead = Op::Reshape { shape: vec![60] };
        twice.push("dead", dead, &[ValueId(0)]).unwrap();
        let twice = twice.finish("m", "x", sum.unwrap()).unwrap();
        assert_eq!(twice.value(twice.input()).shape, [3, 4, 5]);
        assert_eq!(twice.nodes()[0].inputs, [twice.input(); 2]);
        let absorbed = model([2, 0, 1], false);
        assert_eq!(absorbed.value(absorbed.input()).shape, [3, 4, 5]);
        assert_eq!(absorbed.nodes().len(), 1);
        for kept in [model([2, 1, 0], false), model([2, 0, 1], true)] {
            assert_eq!(kept.value(kept.input()).shape, [4, 5, 3]);
            assert_eq!(kept.nodes()[0].name, "turn");
        }
    }

    #[test]
    fn values_have_a_limit() {
        assert!(Draft::new(vec![1 << 20, 1 << 20]).is_err());
        let mut draft = Draft::new(vec![1, 4, 4]).unwrap();
        let pads = [1 << 40, 0, 0, 0];
        let pad = Op::Pad(crate::Pad { pads, value: 0.0 });
        assert!(draft.push("pad", pad, &[ValueId(0)]).is_err());
        assert!(
            draft
                .push("shape", Op::Reshape { shape: vec![1; 20] }, &[ValueId(0)])
                .is_err()
        );
    }
}
