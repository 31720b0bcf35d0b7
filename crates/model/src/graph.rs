//! The graph: values of known shape and the nodes between them, in an order that can be run.

use crate::{Error, ErrorKind, Op, Result};

/// Index of a value in [`Model::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Index of a node in [`Model::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A tensor that flows through the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its name in the file that it came from.
    pub name: String,
    /// Its shape, without the batch.
    pub shape: Vec<usize>,
}

impl Value {
    /// Entries for one image.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An operation applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name: the file's, or one made from the value that it gives.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it gives.
    pub output: ValueId,
}

/// A float network with one input and one output, and perhaps early exits before it.
///
/// Nodes stand in an order in which each reads only the input and earlier outputs. Shapes are
/// checked when a node is pushed, so a `Model` in hand is well formed.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    name: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    exits: Vec<ValueId>,
    output: ValueId,
}

impl Model {
    /// A model that so far gives back its input, of `shape` without the batch.
    pub fn new(name: impl Into<String>, input: impl Into<String>, shape: Vec<usize>) -> Self {
        let values = vec![Value {
            name: input.into(),
            shape,
        }];
        Self {
            name: name.into(),
            values,
            nodes: Vec::new(),
            exits: Vec::new(),
            output: ValueId(0),
        }
    }

    /// Appends a node and returns the value that it gives, which becomes the model's output.
    ///
    /// # Errors
    /// `Mismatch` when an input is unknown or the shapes do not fit the op; names the node.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let name = name.into();
        let mut shapes = Vec::with_capacity(inputs.len());
        for id in inputs {
            let value = self.values.get(id.0).ok_or_else(|| {
                Error::new(
                    ErrorKind::Mismatch,
                    format!("node {name}"),
                    "reads an unknown value",
                )
            })?;
            shapes.push(value.shape.as_slice());
        }
        let shape = op
            .output_shape(&shapes)
            .map_err(|e| e.within(format!("node {name}")))?;
        let output = ValueId(self.values.len());
        self.values.push(Value {
            name: name.clone(),
            shape,
        });
        self.nodes.push(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            output,
        });
        self.output = output;
        Ok(output)
    }

    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value that the network reads.
    pub fn input(&self) -> ValueId {
        ValueId(0)
    }

    /// The value that the network gives.
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// Numbers of an image as the network reads it.
    pub fn input_len(&self) -> usize {
        self.value(self.input()).len()
    }

    /// Numbers that the network answers an image with: its classes.
    pub fn output_len(&self) -> usize {
        self.value(self.output()).len()
    }

    /// Makes `value` the network's output.
    ///
    /// # Panics
    /// When `value` is not one of this model's.
    pub fn set_output(&mut self, value: ValueId) {
        assert!(value.0 < self.values.len(), "a value of this model");
        self.output = value;
    }

    /// The values that early exits answer with, in running order, each of the output's shape; the
    /// output is not among them.
    pub fn exits(&self) -> &[ValueId] {
        &self.exits
    }

    /// Makes `values` the answers of early exits.
    ///
    /// # Errors
    /// `Mismatch` when one is unknown, is not of the output's shape or the output itself, or they
    /// do not stand in running order.
    pub fn set_exits(&mut self, values: Vec<ValueId>) -> Result<()> {
        let shape = |id: ValueId| self.values.get(id.0).map(|v| &v.shape);
        let fits = |id: ValueId| shape(id) == shape(self.output) && id != self.output;
        if let Some((i, _)) = values.iter().enumerate().find(|(_, id)| !fits(**id)) {
            let message = "answers with another shape than the output's, or with the output";
            let place = format!("exit {}", i + 1);
            return Err(Error::new(ErrorKind::Mismatch, place, message));
        }
        if !values.is_sorted_by(|a, b| a < b) {
            let message = "exits must stand in running order, each once";
            return Err(Error::new(ErrorKind::Mismatch, "exits", message));
        }
        self.exits = values;
        Ok(())
    }

    /// What the exits answer with, then the output.
    pub fn answers(&self) -> impl Iterator<Item = ValueId> {
        self.exits.iter().copied().chain([self.output])
    }

    /// Whether `value` is an answer: the output or an exit's.
    pub fn is_answer(&self, value: ValueId) -> bool {
        value == self.output || self.exits.contains(&value)
    }

    /// Every value; the input is the first.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Every node, in running order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A value by its index.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// A node by its index.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The op of a node, to change its parameters in place. The shapes it was checked with must
    /// stay: change entries, not extents.
    pub fn op_mut(&mut self, id: NodeId) -> &mut Op {
        &mut self.nodes[id.0].op
    }

    /// The node that gives `value`, or `None` for the input.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        self.nodes
            .iter()
            .position(|n| n.output == value)
            .map(NodeId)
    }

    /// The nodes that read `value`, in running order.
    pub fn consumers(&self, value: ValueId) -> Vec<NodeId> {
        let reads = |(i, n): (usize, &Node)| n.inputs.contains(&value).then_some(NodeId(i));
        self.nodes.iter().enumerate().filter_map(reads).collect()
    }

    /// The nodes with weights (Conv and Linear), in running order: the layers of a Plan.
    pub fn layers(&self) -> Vec<NodeId> {
        let has_weight = |(i, n): (usize, &Node)| n.op.weight().map(|_| NodeId(i));
        self.nodes
            .iter()
            .enumerate()
            .filter_map(has_weight)
            .collect()
    }

    /// Multiply-accumulates of one image in `node`: 0 for ops without weights.
    pub fn macs(&self, node: NodeId) -> u64 {
        let node = self.node(node);
        let Some(weight) = node.op.weight() else {
            return 0;
        };
        let shape = &self.value(node.output).shape;
        let positions: usize = shape.iter().skip(1).product();
        weight.len() as u64 * positions as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Conv, Tensor, Window};

    fn conv(out: usize, cin: usize) -> Op {
        Op::Conv(Conv {
            weight: Tensor::zeros(vec![out, cin, 3, 3]),
            bias: None,
            window: Window::square(3, 1, 1),
            groups: 1,
        })
    }

    #[test]
    fn nodes_are_checked_as_they_are_pushed() {
        let mut m = Model::new("m", "x", vec![3, 8, 8]);
        let y = m.push("conv", conv(4, 3), &[m.input()]).unwrap();
        let z = m
            .push("relu", Op::Activation(Activation::Relu), &[y])
            .unwrap();
        assert_eq!(m.value(z).shape, [4, 8, 8]);
        assert_eq!(m.macs(NodeId(0)), 4 * 3 * 9 * 64);
        let error = m.push("bad", conv(4, 3), &[z]).unwrap_err();
        assert!(error.to_string().starts_with("node bad:"), "{error}");
        assert_eq!(m.consumers(y), [NodeId(1)]);
    }
}
