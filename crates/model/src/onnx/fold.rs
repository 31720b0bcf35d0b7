//! The evaluation of nodes that read nothing but constants: what exporters write to compute a
//! padding or a shape, and the last transposition of a weight.

use super::array::{Array, joint_dims};
use super::call::{Call, axis_of, flatten_axis};
use super::constant::{Constant, Entry, Move, binary, int_of, unary};
use super::node::shape::slice_ranges;
use super::proto::data_type as t;
use super::{malformed, unsupported};
use crate::Result;

/// The value of a node all of whose inputs are constants.
pub(super) fn evaluate(call: &mut Call<'_, '_>) -> Result<Constant> {
    match call.op() {
        "Identity" => call.required(0),
        "Dropout" => {
            call.attributes.ignore(&["ratio", "seed", "is_test"]);
            call.required(0)
        }
        "Shape" => {
            let dims = call
                .required(0)?
                .dims()
                .iter()
                .map(|&n| Entry::Int(n as i64))
                .collect();
            shape(call, dims)
        }
        "Size" => {
            let len = call.required(0)?.len() as i64;
            Ok(Constant::Ints(Array::new(
                Vec::new(),
                vec![Entry::Int(len)],
            )?))
        }
        "Cast" => cast(call),
        "ConstantOfShape" => constant_of_shape(call),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Expand" => moved(call),
        "Concat" => concat(call),
        "Slice" => slice(call),
        "Gather" => gather(call),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Equal" | "Greater" | "Less" => {
            call.attributes.ignore(&["fmod"]);
            let (a, b) = (call.required(0)?, call.required(1)?);
            binary(call.op(), a, b)
        }
        "Max" | "Min" => {
            let mut out = call.required(0)?;
            for i in 1..call.input_count() {
                out = binary(call.op(), out, call.required(i)?)?;
            }
            Ok(out)
        }
        "Clip" => clip(call),
        "Neg" | "Abs" | "Ceil" | "Floor" | "Sqrt" => {
            let x = call.required(0)?;
            unary(call.op(), x)
        }
        "Where" => choose(call),
        _ => Err(unsupported(
            "it reads only constants; supported there: Shape, Size, Cast, Constant, \
             ConstantOfShape, Identity, Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Expand, \
             Concat, Slice, Gather, Where, Equal, Greater, Less, Add, Sub, Mul, Div, Mod, Max, \
             Min, Clip, Neg, Abs, Ceil, Floor, Sqrt",
        )),
    }
}

/// The value of a Shape node on something of extents `dims`.
pub(super) fn shape(call: &Call<'_, '_>, dims: Vec<Entry>) -> Result<Constant> {
    let rank = dims.len() as i64;
    let bound = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let start = bound(call.attributes.int("start", 0)?);
    let end = bound(call.attributes.int("end", rank)?);
    Ok(Constant::Ints(Array::list(
        dims[start..end.max(start)].to_vec(),
    )))
}

/// The value of a Constant node that lists numbers; one that holds a tensor is read like any other.
pub(super) fn listed(call: &Call<'_, '_>) -> Result<Constant> {
    let int = |v: &i64| Entry::Int(*v);
    if let Some(list) = call.attributes.ints("value_ints")? {
        return Ok(Constant::Ints(Array::list(list.iter().map(int).collect())));
    }
    if let Some(list) = call.attributes.floats("value_floats") {
        return Ok(Constant::Floats(Array::list(list.to_vec())));
    }
    if let Some(v) = call.attributes.float("value_float")? {
        return Ok(Constant::Floats(Array::new(Vec::new(), vec![v])?));
    }
    if call.attributes.has("value_int") {
        let v = call.attributes.int("value_int", 0)?;
        return Ok(Constant::Ints(Array::new(Vec::new(), vec![Entry::Int(v)])?));
    }
    let supported = "value, value_int, value_ints, value_float, value_floats";
    Err(unsupported(format!(
        "a constant given in another way than {supported}"
    )))
}

fn cast(call: &mut Call<'_, '_>) -> Result<Constant> {
    let to = call.attributes.int("to", 0)?;
    let x = call.required(0)?;
    let Ok(to) = i32::try_from(to) else {
        return Err(malformed("a cast to no type"));
    };
    match (x, to) {
        (x, t::FLOAT | t::DOUBLE | t::FLOAT16 | t::BFLOAT16) => {
            x.into_floats().map(Constant::Floats)
        }
        (Constant::Ints(a), t::BOOL) => {
            let truth = |v| {
                if let Entry::Int(i) = v {
                    Entry::Int((i != 0).into())
                } else {
                    v
                }
            };
            a.map(|v| Ok(truth(v))).map(Constant::Ints)
        }
        (Constant::Ints(a), t::INT32 | t::INT64) => Ok(Constant::Ints(a)),
        (Constant::Floats(a), t::INT32 | t::INT64) => a.map(|v| Ok(int_of(v))).map(Constant::Ints),
        (_, other) => Err(unsupported(format!(
            "a cast to type {other}; supported: the float types, int32, int64, bool"
        ))),
    }
}

fn constant_of_shape(call: &mut Call<'_, '_>) -> Result<Constant> {
    let dims = call.extents(0)?;
    match call.attributes.tensor("value") {
        None => Array::filled(dims, 0.0).map(Constant::Floats),
        Some(tensor) => match call.decode(tensor)? {
            Constant::Floats(a) => {
                let value = a
                    .only()
                    .ok_or_else(|| malformed("a value that is not one number"))?;
                Array::filled(dims, value).map(Constant::Floats)
            }
            Constant::Ints(a) => {
                let value = a
                    .only()
                    .ok_or_else(|| malformed("a value that is not one number"))?;
                Array::filled(dims, value).map(Constant::Ints)
            }
        },
    }
}

fn moved(call: &mut Call<'_, '_>) -> Result<Constant> {
    let x = call.required(0)?;
    let rank = x.dims().len();
    let signed = |dims: &[usize]| dims.iter().map(|&n| n as i64).collect::<Vec<_>>();
    let how = match call.op() {
        "Reshape" => {
            let allow_zero = call.attributes.flag("allowzero", false)?;
            Move::Reshape(call.ints(1)?.unwrap_or_default(), allow_zero)
        }
        "Flatten" => {
            let axis = flatten_axis(call.attributes.int("axis", 1)?, rank)?;
            let outer: usize = x.dims()[..axis].iter().product();
            Move::Reshape(
                vec![
                    outer as i64,
                    x.dims()[axis..].iter().product::<usize>() as i64,
                ],
                true,
            )
        }
        "Squeeze" => Move::Reshape(signed(&squeezed(x.dims(), call.axes()?.as_deref())?), true),
        "Unsqueeze" => {
            let axes = call.axes()?.ok_or_else(|| malformed("no axes"))?;
            Move::Reshape(signed(&unsqueezed(x.dims(), &axes)?), true)
        }
        "Transpose" => Move::Transpose(call.permutation(rank)?),
        _ => Move::Broadcast(joint_dims(x.dims(), &call.extents(1)?)),
    };
    x.moved(&how)
}

/// `dims` without `axes`, or without every axis of extent 1.
pub(super) fn squeezed(dims: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>> {
    let mut gone = vec![false; dims.len()];
    match axes {
        None => gone
            .iter_mut()
            .zip(dims)
            .for_each(|(gone, &n)| *gone = n == 1),
        Some(axes) => {
            for &axis in axes {
                let axis = axis_of(axis, dims.len())?;
                if dims[axis] != 1 {
                    return Err(malformed(format!("squeezes axis {axis} of {dims:?}")));
                }
                gone[axis] = true;
            }
        }
    }
    Ok(dims
        .iter()
        .zip(gone)
        .filter(|(_, gone)| !gone)
        .map(|(&n, _)| n)
        .collect())
}

/// `dims` with an extent of 1 put in at each of `axes` (counted in the result).
pub(super) fn unsqueezed(dims: &[usize], axes: &[i64]) -> Result<Vec<usize>> {
    if axes.len() > super::MAX_RANK {
        return Err(unsupported(format!("more than {} axes", super::MAX_RANK)));
    }
    let rank = dims.len() + axes.len();
    let mut new = vec![false; rank];
    for &axis in axes {
        if std::mem::replace(&mut new[axis_of(axis, rank)?], true) {
            return Err(malformed(format!("axis {axis} twice")));
        }
    }
    let mut rest = dims.iter();
    Ok(new
        .into_iter()
        .filter_map(|new| if new { Some(1) } else { rest.next().copied() })
        .collect())
}

fn concat(call: &mut Call<'_, '_>) -> Result<Constant> {
    let parts = (0..call.input_count())
        .map(|i| call.required(i))
        .collect::<Result<Vec<_>>>()?;
    let rank = parts.first().map_or(0, |p| p.dims().len());
    let axis = axis_of(call.attributes.int("axis", 1)?, rank)?;
    let (mut floats, mut ints) = (Vec::new(), Vec::new());
    for part in &parts {
        match part {
            Constant::Floats(a) => floats.push(a),
            Constant::Ints(a) => ints.push(a),
        }
    }
    match (floats.is_empty(), ints.is_empty()) {
        (false, true) => Array::concatenated(&floats, axis).map(Constant::Floats),
        (true, false) => Array::concatenated(&ints, axis).map(Constant::Ints),
        _ => Err(malformed("real beside whole numbers")),
    }
}

fn slice(call: &mut Call<'_, '_>) -> Result<Constant> {
    let mut x = call.required(0)?;
    let dims: Vec<_> = x.dims().iter().map(|&n| Some(n)).collect();
    for range in slice_ranges(call, &dims)? {
        x = x.moved(&Move::Take(range.axis, range.picks()))?;
    }
    Ok(x)
}

fn gather(call: &mut Call<'_, '_>) -> Result<Constant> {
    let x = call.required(0)?;
    let axis = axis_of(call.attributes.int("axis", 0)?, x.dims().len())?;
    let extent = x.dims()[axis];
    let Constant::Ints(indices) = call.required(1)? else {
        return Err(malformed("indices that are not whole numbers"));
    };
    let mut picks = Vec::with_capacity(indices.data().len());
    for &index in indices.data() {
        let Entry::Int(index) = index else {
            return Err(unsupported("an index from the batch"));
        };
        picks.push(axis_of(index, extent)?);
    }
    let mut dims = x.dims()[..axis].to_vec();
    dims.extend_from_slice(indices.dims());
    dims.extend_from_slice(&x.dims()[axis + 1..]);
    let taken = x.moved(&Move::Take(axis, picks))?;
    taken.moved(&Move::Reshape(
        dims.into_iter().map(|n| n as i64).collect(),
        true,
    ))
}

fn clip(call: &mut Call<'_, '_>) -> Result<Constant> {
    let mut x = call.required(0)?;
    for (i, op) in [(1, "Max"), (2, "Min")] {
        if let Some(bound) = call.owned(i)? {
            x = binary(op, x, bound)?;
        }
    }
    Ok(x)
}

fn choose(call: &mut Call<'_, '_>) -> Result<Constant> {
    let (Constant::Ints(mask), Constant::Ints(a), Constant::Ints(b)) =
        (call.required(0)?, call.required(1)?, call.required(2)?)
    else {
        return Err(unsupported(
            "a choice between real numbers; supported: whole numbers",
        ));
    };
    let yes = mask.zip(&a, |mask, a| {
        Ok(match mask {
            Entry::Int(0) => None,
            Entry::Int(_) => Some(a),
            Entry::Batch | Entry::Unknown => Some(Entry::Unknown),
        })
    })?;
    let b = b.map(|v| Ok(Some(v)))?;
    yes.zip(&b, |a, b| Ok(a.or(b).unwrap_or(Entry::Unknown)))
        .map(Constant::Ints)
}
