//! A tensor known when the file is read, and arithmetic on two of them.
//!
//! The one number that is not known is the size of the batch. It is carried as [`Entry::Batch`]
//! through the arithmetic that leaves it as it is (times one, plus zero); all other arithmetic on
//! it gives [`Entry::Unknown`], which is an error where it is needed and nowhere else.

use super::array::Array;
use super::malformed;
use crate::Result;

/// A whole number of shape arithmetic. Booleans are 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Entry {
    Int(i64),
    /// The number of images.
    Batch,
    /// Something computed from the number of images.
    Unknown,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entry::Int(n) => write!(f, "{n}"),
            Entry::Batch => f.write_str("N"),
            Entry::Unknown => f.write_str("?"),
        }
    }
}

/// A tensor that does not depend on the network's input. In `Floats`, NaN is also what became of
/// a number computed from the batch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Floats(Array<f32>),
    Ints(Array<Entry>),
}

impl Constant {
    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Constant::Floats(a) => a.dims(),
            Constant::Ints(a) => a.dims(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Constant::Floats(a) => a.data().len(),
            Constant::Ints(a) => a.data().len(),
        }
    }

    /// What it takes in memory, counted in floats.
    pub(super) fn cost(&self) -> usize {
        match self {
            Constant::Floats(a) => a.data().len(),
            Constant::Ints(a) => 4 * a.data().len(),
        }
    }

    /// As real numbers.
    pub(super) fn into_floats(self) -> Result<Array<f32>> {
        match self {
            Constant::Floats(a) => Ok(a),
            Constant::Ints(a) => a.map(|v| Ok(float_of(v))),
        }
    }

    /// Rearranged.
    pub(super) fn moved(&self, how: &Move) -> Result<Self> {
        Ok(match self {
            Constant::Floats(a) => Constant::Floats(how.apply(a)?),
            Constant::Ints(a) => Constant::Ints(how.apply(a)?),
        })
    }
}

/// A rearrangement of entries, whatever they are.
pub(super) enum Move {
    Reshape(Vec<i64>, bool),
    Transpose(Vec<usize>),
    Take(usize, Vec<usize>),
    Broadcast(Vec<usize>),
}

impl Move {
    fn apply<T: Copy>(&self, a: &Array<T>) -> Result<Array<T>> {
        match self {
            Move::Reshape(dims, allow_zero) => a.reshaped(dims, *allow_zero),
            Move::Transpose(perm) => a.transposed(perm),
            Move::Take(axis, picks) => a.take(*axis, picks),
            Move::Broadcast(dims) => a.broadcast(dims),
        }
    }
}

pub(super) fn float_of(v: Entry) -> f32 {
    match v {
        Entry::Int(i) => i as f32,
        Entry::Batch | Entry::Unknown => f32::NAN,
    }
}

pub(super) fn int_of(v: f32) -> Entry {
    if v.is_nan() {
        Entry::Unknown
    } else {
        Entry::Int(v as i64)
    }
}

/// `op` entry by entry, the shapes broadcast.
pub(super) fn binary(op: &str, a: Constant, b: Constant) -> Result<Constant> {
    let compares = matches!(op, "Equal" | "Greater" | "Less");
    match (a, b) {
        (Constant::Ints(a), Constant::Ints(b)) => {
            a.zip(&b, |a, b| combine_ints(op, a, b)).map(Constant::Ints)
        }
        (Constant::Floats(a), Constant::Floats(b)) if compares => {
            let truth = |a: f32, b: f32| match op {
                _ if a.is_nan() || b.is_nan() => Entry::Unknown,
                "Equal" => Entry::Int((a == b).into()),
                "Greater" => Entry::Int((a > b).into()),
                _ => Entry::Int((a < b).into()),
            };
            a.zip(&b, |a, b| Ok(truth(a, b))).map(Constant::Ints)
        }
        (Constant::Floats(a), Constant::Floats(b)) => a
            .zip(&b, |a, b| Ok(combine_floats(op, a, b)))
            .map(Constant::Floats),
        _ => Err(malformed("real and whole numbers together")),
    }
}

fn combine_ints(op: &str, a: Entry, b: Entry) -> Result<Entry> {
    use Entry::{Batch, Int};
    let (x, y) = match (a, b) {
        (Int(x), Int(y)) => (x, y),
        _ => {
            return Ok(match (op, a, b) {
                ("Add", Batch, Int(0)) | ("Add", Int(0), Batch) | ("Sub", Batch, Int(0)) => Batch,
                ("Mul", Batch, Int(1)) | ("Mul", Int(1), Batch) | ("Div", Batch, Int(1)) => Batch,
                ("Sub", Batch, Batch) => Int(0),
                ("Div" | "Equal", Batch, Batch) => Int(1),
                // An exporter's test for "not given": no batch is negative.
                ("Equal", Batch, Int(n)) | ("Equal", Int(n), Batch) if n < 0 => Int(0),
                _ => Entry::Unknown,
            });
        }
    };
    let value = match op {
        "Add" => x.checked_add(y),
        "Sub" => x.checked_sub(y),
        "Mul" => x.checked_mul(y),
        "Div" => x.checked_div(y),
        "Mod" => x
            .checked_rem(y)
            .and_then(|r| r.checked_add(y)?.checked_rem(y)),
        "Max" => Some(x.max(y)),
        "Min" => Some(x.min(y)),
        "Equal" => Some((x == y).into()),
        "Greater" => Some((x > y).into()),
        _ => Some((x < y).into()),
    };
    value
        .map(Int)
        .ok_or_else(|| malformed(format!("{op} of {x} and {y}")))
}

fn combine_floats(op: &str, a: f32, b: f32) -> f32 {
    match op {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Mod" => a % b,
        // NaN stands for "unknown" and must stay.
        _ if a.is_nan() || b.is_nan() => f32::NAN,
        "Max" => a.max(b),
        _ => a.min(b),
    }
}

/// `op` of each entry.
pub(super) fn unary(op: &str, x: Constant) -> Result<Constant> {
    match x {
        Constant::Floats(a) => {
            let f: fn(f32) -> f32 = match op {
                "Neg" => |v| -v,
                "Abs" => f32::abs,
                "Ceil" => f32::ceil,
                "Floor" => f32::floor,
                _ => f32::sqrt,
            };
            a.map(|v| Ok(f(v))).map(Constant::Floats)
        }
        Constant::Ints(a) => {
            let f = |v: Entry| match (v, op) {
                (Entry::Int(i), "Neg") => i.checked_neg().map(Entry::Int),
                (Entry::Int(i), "Abs") => i.checked_abs().map(Entry::Int),
                (Entry::Batch | Entry::Unknown, "Neg" | "Abs") => Some(Entry::Unknown),
                _ => None,
            };
            let bad = || malformed(format!("{op} of whole numbers"));
            a.map(|v| f(v).ok_or_else(bad)).map(Constant::Ints)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Entry::{Batch, Int, Unknown};
    use super::*;

    #[test]
    fn arithmetic_knows_what_it_does_not_know() {
        let cases = [
            ("Mul", Batch, Int(1), Some(Batch)),
            ("Mul", Batch, Int(4), Some(Unknown)),
            ("Add", Int(0), Batch, Some(Batch)),
            ("Sub", Int(0), Batch, Some(Unknown)),
            ("Div", Batch, Batch, Some(Int(1))),
            ("Equal", Batch, Int(-1), Some(Int(0))),
            ("Equal", Batch, Int(1), Some(Unknown)),
            ("Div", Int(-7), Int(2), Some(Int(-3))),
            ("Mod", Int(-7), Int(4), Some(Int(1))),
            ("Div", Int(7), Int(0), None),
            ("Div", Int(i64::MIN), Int(-1), None),
            ("Mod", Int(i64::MIN), Int(-1), None),
            ("Mul", Int(i64::MAX), Int(2), None),
        ];
        for (op, a, b, expected) in cases {
            assert_eq!(
                combine_ints(op, a, b).ok(),
                expected,
                "{op} of {a:?} and {b:?}"
            );
        }
        assert_eq!(int_of(float_of(Batch)), Unknown);
        assert_eq!(int_of(combine_floats("Max", float_of(Batch), 0.0)), Unknown);
    }
}
