//! Element-wise operators: activations, and arithmetic with constants.
//!
//! Exporters spell some ops out; what they mean is recognised here (a bias added to a layer or a
//! product in a node of its own, in `draft`):
//! - Relu or Clip before Clip is one Clip;
//! - `x * HardSigmoid(x)` and `x * Clip(x + 3, 0, 6) / 6`, in any order, are HardSwish.

use super::super::call::Call;
use super::super::{malformed, unsupported};
use crate::{Activation, Affine, Op, Result, ValueId};

pub(super) fn activation(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let float = |name, default| Ok(call.attributes.float(name)?.unwrap_or(default));
    let kind = match call.op() {
        "Relu" => Activation::Relu,
        "LeakyRelu" => Activation::LeakyRelu {
            slope: float("alpha", 0.01)?,
        },
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid {
            alpha: float("alpha", 0.2)?,
            beta: float("beta", 0.5)?,
        },
        _ => Activation::HardSwish,
    };
    call.push(Op::Activation(kind), &[x])
}

pub(super) fn clip(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let x = call.value(0)?;
    let lo = call
        .attributes
        .float("min")?
        .map_or_else(|| call.scalar(1), |v| Ok(Some(v)))?;
    let hi = call
        .attributes
        .float("max")?
        .map_or_else(|| call.scalar(2), |v| Ok(Some(v)))?;
    clipped(
        call,
        x,
        lo.unwrap_or(f32::NEG_INFINITY),
        hi.unwrap_or(f32::INFINITY),
    )
}

/// Max or Min with one constant: an end of a Clip.
pub(super) fn extremum(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let (data, constant) = if call.is_data(0) { (0, 1) } else { (1, 0) };
    let x = call.value(data)?;
    let bound = (call.input_count() == 2)
        .then(|| call.scalar(constant))
        .transpose()?
        .flatten();
    let Some(bound) = bound else {
        return Err(unsupported("supported: one computed value and one number"));
    };
    match call.op() {
        "Max" => clipped(call, x, bound, f32::INFINITY),
        _ => clipped(call, x, f32::NEG_INFINITY, bound),
    }
}

fn clipped(call: &mut Call<'_, '_>, x: ValueId, lo: f32, hi: f32) -> Result<ValueId> {
    // Extreme finite ends are how exporters without infinity write "no end".
    let lo = if lo == f32::MIN {
        f32::NEG_INFINITY
    } else {
        lo
    };
    let hi = if hi == f32::MAX { f32::INFINITY } else { hi };
    if lo.partial_cmp(&hi) != Some(std::cmp::Ordering::Less) {
        return Err(unsupported(format!(
            "clips to [{lo}, {hi}]; supported: a range"
        )));
    }
    if (lo, hi) == (f32::NEG_INFINITY, f32::INFINITY) {
        return Ok(x);
    }
    let (mut x, mut lo, mut hi) = (x, lo, hi);
    while let Some(before) = call.import.draft.producer(x)
        && let Some(first) = range(&before.op)
        && lo.max(first.0) < hi.min(first.1)
    {
        (x, lo, hi) = (before.inputs[0], lo.max(first.0), hi.min(first.1));
    }
    call.push(Op::Activation(Activation::Clip { lo, hi }), &[x])
}

/// What an op clips to, if that is all that it does.
fn range(op: &Op) -> Option<(f32, f32)> {
    if let Op::Activation(Activation::Clip { lo, hi }) = op {
        return Some((*lo, *hi));
    }
    (op == &Op::Activation(Activation::Relu)).then_some((0.0, f32::INFINITY))
}

/// An Add of any number of values.
pub(super) fn sum(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let mut total = call.value(0)?;
    for i in 1..call.input_count() {
        let next = call.value(i)?;
        total = call.push(Op::Add, &[total, next])?;
    }
    Ok(total)
}

pub(super) fn arithmetic(call: &mut Call<'_, '_>) -> Result<ValueId> {
    if call.input_count() != 2 {
        return Err(malformed(format!(
            "{} inputs; it has two",
            call.input_count()
        )));
    }
    let (data, constant) = match (call.is_data(0), call.is_data(1)) {
        (true, true) => return of_two_values(call),
        (true, false) => (0, 1),
        (false, _) => (1, 0),
    };
    let x = call.value(data)?;
    let shape = call.shape(x);
    let Some((dims, entries)) = call.floats(constant)? else {
        return Err(malformed(format!("input {constant} is missing")));
    };
    let axis = broadcast_axis(&dims, &shape)?;
    let n = *shape
        .get(axis)
        .ok_or_else(|| unsupported("arithmetic on single numbers"))?;
    call.import.budget.charge(n)?;
    let entries = if entries.len() == 1 {
        vec![entries[0]; n]
    } else {
        entries
    };
    let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
    let each = |f: fn(f32) -> f32| entries.iter().map(|&c| f(c)).collect();
    let affine = match (call.op(), constant) {
        ("Add", _) => Affine {
            scale: ones,
            shift: entries,
        },
        ("Sub", 1) => Affine {
            scale: ones,
            shift: each(|c| -c),
        },
        ("Sub", _) => Affine {
            scale: vec![-1.0; n],
            shift: entries,
        },
        ("Mul", _) => Affine {
            scale: entries,
            shift: zeros,
        },
        ("Div", 1) if entries.iter().all(|&c| c != 0.0) => Affine {
            scale: each(|c| 1.0 / c),
            shift: zeros,
        },
        _ => {
            return Err(unsupported(
                "supported: division by a constant other than 0",
            ));
        }
    };
    if axis == 0 {
        return push_affine(call, x, affine);
    }
    let rest = (0..shape.len()).filter(|&i| i != axis);
    let perm: Vec<usize> = std::iter::once(axis).chain(rest).collect();
    let mut back = vec![0; perm.len()];
    perm.iter()
        .enumerate()
        .for_each(|(i, &axis)| back[axis] = i);
    let turned = call.push(Op::Transpose { perm }, &[x])?;
    let y = call.push(Op::Affine(affine), &[turned])?;
    call.push(Op::Transpose { perm: back }, &[y])
}

/// The axis of `shape` (without the batch) that a constant of `dims` varies along; 0 for a number.
fn broadcast_axis(dims: &[usize], shape: &[usize]) -> Result<usize> {
    let wrong = || {
        unsupported(format!(
            "a constant of {dims:?} with images of {shape:?}; supported: one number, or one per \
             entry of one axis"
        ))
    };
    let skipped = (shape.len() + 1)
        .checked_sub(dims.len())
        .ok_or_else(wrong)?;
    let mut varies = (0..dims.len()).filter(|&i| dims[i] != 1);
    let Some(axis) = varies.next() else {
        return Ok(0);
    };
    let image_axis = (axis + skipped).checked_sub(1).ok_or_else(wrong)?;
    if varies.next().is_some() || shape[image_axis] != dims[axis] {
        return Err(wrong());
    }
    Ok(image_axis)
}

fn push_affine(call: &mut Call<'_, '_>, x: ValueId, affine: Affine) -> Result<ValueId> {
    // The division by 6 of a HardSwish that was spelled out.
    if let Some(before) = call.import.draft.producer(x)
        && let Op::Affine(first) = &before.op
        && is_hard_swish(call, before.inputs[0])
    {
        let one = |(a, b): (&f32, &f32)| (a * b - 1.0).abs() < 1e-6;
        let mut shifts = first.shift.iter().chain(&affine.shift);
        if first.scale.iter().zip(&affine.scale).all(one) && shifts.all(|&t| t == 0.0) {
            return Ok(before.inputs[0]);
        }
    }
    call.push(Op::Affine(affine), &[x])
}

fn is_hard_swish(call: &Call<'_, '_>, x: ValueId) -> bool {
    let producer = call.import.draft.producer(x);
    producer.is_some_and(|node| node.op == Op::Activation(Activation::HardSwish))
}

fn of_two_values(call: &mut Call<'_, '_>) -> Result<ValueId> {
    let (a, b) = (call.value(0)?, call.value(1)?);
    match call.op() {
        "Add" => return call.push(Op::Add, &[a, b]),
        "Mul" => {}
        _ => {
            return Err(unsupported(
                "of two computed values; supported: with a constant",
            ));
        }
    }
    for (x, gate) in [(a, b), (b, a)] {
        let Some(times) = hard_gate(call, x, gate) else {
            continue;
        };
        let y = call.push(Op::Activation(Activation::HardSwish), &[x])?;
        if times == 1.0 {
            return Ok(y);
        }
        let n = call.shape(x).first().copied().unwrap_or(0);
        call.import.budget.charge(n)?;
        let scaled = Affine {
            scale: vec![times; n],
            shift: vec![0.0; n],
        };
        return call.push(Op::Affine(scaled), &[y]);
    }
    Err(unsupported(
        "a product of two computed values; supported: by a constant, and x * HardSigmoid(x) with \
         slope 1/6 (HardSwish)",
    ))
}

/// `k` where `gate` is `k * clip(x / 6 + 1/2, 0, 1)`, else `None`.
fn hard_gate(call: &Call<'_, '_>, x: ValueId, gate: ValueId) -> Option<f32> {
    let last = call.import.draft.producer(gate)?;
    if let Op::Activation(Activation::HardSigmoid { alpha, beta }) = last.op {
        let fits = near(alpha, 1.0 / 6.0) && near(beta, 0.5) && last.inputs[0] == x;
        return fits.then_some(1.0);
    }
    if is_affine(&last.op, 1.0 / 6.0, 0.0) {
        return is_sixfold(call, x, last.inputs[0])?.then_some(1.0);
    }
    is_sixfold(call, x, gate)?.then_some(6.0)
}

/// Whether `gate` is `clip(x + 3, 0, 6)`.
fn is_sixfold(call: &Call<'_, '_>, x: ValueId, gate: ValueId) -> Option<bool> {
    let clip = call.import.draft.producer(gate)?;
    let sum = call.import.draft.producer(*clip.inputs.first()?)?;
    let fits = range(&clip.op) == Some((0.0, 6.0)) && is_affine(&sum.op, 1.0, 3.0);
    Some(fits && sum.inputs[0] == x)
}

/// Whether an op is `scale * x + shift` in every channel.
fn is_affine(op: &Op, scale: f32, shift: f32) -> bool {
    let Op::Affine(a) = op else { return false };
    a.scale.iter().all(|&s| near(s, scale)) && a.shift.iter().all(|&t| near(t, shift))
}

fn near(a: f32, b: f32) -> bool {
    (a - b).abs() < 1e-5
}
