//! One node as the conversions see it: its inputs resolved, its attributes, and the graph that its
//! ops are pushed to.

use std::rc::Rc;

use super::attributes::Attributes;
use super::constant::{Constant, Entry};
use super::proto::{NodeProto, TensorProto};
use super::read::{Bound, Import};
use super::{malformed, unsupported};
use crate::{Op, Result, ValueId};

/// A node in the middle of its conversion.
pub(super) struct Call<'r, 'a> {
    pub(super) node: &'a NodeProto,
    pub(super) attributes: Attributes<'a>,
    pub(super) import: &'r mut Import<'a>,
}

impl<'r, 'a> Call<'r, 'a> {
    pub(super) fn new(node: &'a NodeProto, import: &'r mut Import<'a>) -> Self {
        Self {
            node,
            attributes: Attributes::new(node),
            import,
        }
    }

    /// The operator's name.
    pub(super) fn op(&self) -> &'a str {
        &self.node.op_type
    }

    /// The version of the operators.
    pub(super) fn opset(&self) -> i64 {
        self.import.opset
    }

    /// The number of input slots, absent ones in between counted.
    pub(super) fn input_count(&self) -> usize {
        self.node.input.len()
    }

    /// The name of input `i`, if it is there.
    pub(super) fn input(&self, i: usize) -> Option<&'a str> {
        self.node
            .input
            .get(i)
            .map(String::as_str)
            .filter(|name| !name.is_empty())
    }

    /// What input `i` is, if it is there.
    pub(super) fn bound(&self, i: usize) -> Option<&Bound<'a>> {
        self.import.bound.get(self.input(i)?)
    }

    /// Input `i` as a value of the network.
    pub(super) fn value(&self, i: usize) -> Result<ValueId> {
        match self.bound(i) {
            Some(Bound::Value(id)) => Ok(*id),
            Some(Bound::Padded { .. }) => Err(unsupported(
                "it reads a Pad by minus infinity; supported after that: MaxPool",
            )),
            Some(Bound::Codes(_)) => Err(unsupported(
                "it reads quantized codes; supported after QuantizeLinear: Clip, DequantizeLinear",
            )),
            Some(Bound::Stored(_) | Bound::Folded(_)) => Err(unsupported(format!(
                "input {i} is a constant; supported: a computed value"
            ))),
            None => Err(malformed(format!("input {i} is missing"))),
        }
    }

    /// Whether input `i` depends on the network's input.
    pub(super) fn is_data(&self, i: usize) -> bool {
        self.bound(i).is_some_and(Bound::is_data)
    }

    /// Input `i` as a constant, if it is there.
    pub(super) fn constant(&mut self, i: usize) -> Result<Option<Rc<Constant>>> {
        match self.bound(i).cloned() {
            None => Ok(None),
            Some(Bound::Stored(tensor)) => self.decode(tensor).map(|c| Some(Rc::new(c))),
            Some(Bound::Folded(constant)) => Ok(Some(constant)),
            Some(Bound::Value(_) | Bound::Padded { .. } | Bound::Codes(_)) => Err(unsupported(
                format!("input {i} is computed from the network's input; supported: a constant"),
            )),
        }
    }

    /// Input `i` as a constant of our own; `Malformed` if it is not there.
    pub(super) fn required(&mut self, i: usize) -> Result<Constant> {
        self.owned(i)?
            .ok_or_else(|| malformed(format!("input {i} is missing")))
    }

    /// Input `i` as a constant of our own, if it is there.
    pub(super) fn owned(&mut self, i: usize) -> Result<Option<Constant>> {
        let Some(constant) = self.constant(i)? else {
            return Ok(None);
        };
        if Rc::strong_count(&constant) > 1 {
            self.import.budget.charge(constant.cost())?;
        }
        Ok(Some(Rc::unwrap_or_clone(constant)))
    }

    /// The entries of a stored tensor.
    pub(super) fn decode(&mut self, tensor: &TensorProto) -> Result<Constant> {
        super::tensor::decode(tensor, &mut self.import.folder, &mut self.import.budget)
    }

    /// Input `i` as real numbers with their extents, if it is there.
    pub(super) fn floats(&mut self, i: usize) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(constant) = self.owned(i)? else {
            return Ok(None);
        };
        let array = constant.into_floats()?;
        Ok(Some((array.dims().to_vec(), array.into_data())))
    }

    /// Input `i` as a list of `count` real numbers.
    pub(super) fn list(&mut self, i: usize, count: usize) -> Result<Option<Vec<f32>>> {
        let Some((dims, data)) = self.floats(i)? else {
            return Ok(None);
        };
        if data.len() == count {
            return Ok(Some(data));
        }
        Err(malformed(format!(
            "input {i} of {dims:?} where {count} entries belong"
        )))
    }

    /// Input `i` as one real number, if it is there.
    pub(super) fn scalar(&mut self, i: usize) -> Result<Option<f32>> {
        Ok(self.list(i, 1)?.map(|data| data[0]))
    }

    /// Input `i` as whole numbers that may depend on the batch, if it is there.
    pub(super) fn entries(&mut self, i: usize) -> Result<Option<Vec<Entry>>> {
        match self.constant(i)?.as_deref() {
            None => Ok(None),
            Some(Constant::Ints(a)) => Ok(Some(a.data().to_vec())),
            Some(Constant::Floats(_)) => Err(malformed(format!("input {i} is not whole numbers"))),
        }
    }

    /// Input `i` as whole numbers, if it is there.
    pub(super) fn ints(&mut self, i: usize) -> Result<Option<Vec<i64>>> {
        let known = |v: Entry| match v {
            Entry::Int(v) => Ok(v),
            Entry::Batch | Entry::Unknown => Err(unsupported(format!(
                "input {i} is computed from the size of the batch; supported: known numbers"
            ))),
        };
        self.entries(i)?
            .map(|list| list.into_iter().map(known).collect())
            .transpose()
    }

    /// Input `i` as extents.
    pub(super) fn extents(&mut self, i: usize) -> Result<Vec<usize>> {
        let list = self
            .ints(i)?
            .ok_or_else(|| malformed(format!("input {i} is missing")))?;
        let extent =
            |&n| usize::try_from(n).map_err(|_| malformed(format!("negative extents {list:?}")));
        list.iter().map(extent).collect()
    }

    /// The axes of a node that has them as an attribute or, in later versions, as input 1.
    pub(super) fn axes(&mut self) -> Result<Option<Vec<i64>>> {
        match self.attributes.ints("axes")? {
            Some(axes) => Ok(Some(axes.to_vec())),
            None => self.ints(1),
        }
    }

    /// A Transpose's permutation of `rank` axes; without one, the axes are reversed.
    pub(super) fn permutation(&self, rank: usize) -> Result<Vec<usize>> {
        match self.attributes.ints("perm")? {
            Some(perm) => perm.iter().map(|&axis| axis_of(axis, rank)).collect(),
            None => Ok((0..rank).rev().collect()),
        }
    }

    /// The shape of a value, without the batch.
    pub(super) fn shape(&self, value: ValueId) -> Vec<usize> {
        self.import.draft.shape(value).to_vec()
    }

    /// Appends `op` to the network, under the name of this node.
    pub(super) fn push(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let [name, output] = [
            self.node.name.as_deref(),
            self.node.output.first().map(|s| &**s),
        ];
        let name = name
            .filter(|n| !n.is_empty())
            .or(output)
            .unwrap_or_default();
        self.import.draft.push(name, op, inputs)
    }
}

/// Axis `axis` of `rank`, negative ones counted from the end.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 {
        axis.saturating_add(rank as i64)
    } else {
        axis
    };
    let found = usize::try_from(counted).ok().filter(|&i| i < rank);
    found.ok_or_else(|| malformed(format!("axis or index {axis} of {rank}")))
}

/// The axis of a Flatten: one past the end is allowed, and -1 still is the last axis.
pub(super) fn flatten_axis(axis: i64, rank: usize) -> Result<usize> {
    match axis == rank as i64 {
        true => Ok(rank),
        false => axis_of(axis, rank),
    }
}

/// Axis `axis` of a value, counted without the batch; `rank` counts the batch.
pub(super) fn image_axis(axis: i64, rank: usize) -> Result<usize> {
    let axis = axis_of(axis, rank)?;
    axis.checked_sub(1).ok_or_else(|| {
        unsupported("it works across the images of a batch; supported: each image alone")
    })
}
