//! Stored tensors: the bytes or lists of a `TensorProto` as a [`Constant`].
//!
//! Every float type becomes `f32`, every whole-number type (and bool) an [`Entry`]. The entries
//! that the extents promise are counted against what is really there before any memory is taken,
//! and against a [`Budget`], so that a small file cannot ask for a large model.

use std::borrow::Cow;

use super::array::Array;
use super::constant::{Constant, Entry};
use super::external::Folder;
use super::proto::{EXTERNAL, TensorProto, data_type as t};
use super::{malformed, unsupported};
use crate::Result;
use crate::tensor::element_count;

/// How many more floats a file may make us hold. A file that shares or folds its weights holds
/// more entries than bytes; one that asks for many times its length is hostile.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// For a file of `len` bytes.
    pub(super) fn new(len: usize) -> Self {
        Self {
            left: len.saturating_mul(4).saturating_add(1 << 20),
        }
    }

    /// Another `len` bytes belong to the model.
    pub(super) fn extend(&mut self, len: usize) {
        self.left = self.left.saturating_add(len.saturating_mul(4));
    }

    /// Takes `count` entries from what is left.
    pub(super) fn charge(&mut self, count: usize) -> Result<()> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| {
            unsupported("the file asks for many times more memory than its own length")
        })?;
        Ok(())
    }
}

/// The entries of `tensor`; external data is looked for in `folder`.
pub(super) fn decode(
    tensor: &TensorProto,
    folder: &mut Folder,
    budget: &mut Budget,
) -> Result<Constant> {
    let kind = tensor.data_type.unwrap_or(0);
    let width = entry_bytes(kind).ok_or_else(|| {
        let supported = "float, double, float16, bfloat16, the 8- to 64-bit integers and bool";
        unsupported(format!(
            "{} has data type {kind}; supported: {supported}",
            name(tensor)
        ))
    })?;
    let extent = |&d| {
        usize::try_from(d).map_err(|_| {
            malformed(format!(
                "{} has a negative extent in {:?}",
                name(tensor),
                tensor.dims
            ))
        })
    };
    let dims = tensor.dims.iter().map(extent).collect::<Result<Vec<_>>>()?;
    let bytes = element_count(&dims).and_then(|n| Some((n, n.checked_mul(width)?)));
    let (count, bytes) =
        bytes.ok_or_else(|| malformed(format!("{} is too large: {dims:?}", name(tensor))))?;
    let wrong = |have: String| {
        malformed(format!(
            "{} of {dims:?} needs {count} entries, has {have}",
            name(tensor)
        ))
    };

    let raw = if tensor.data_location == Some(EXTERNAL) {
        Some(Cow::Owned(folder.read(tensor, bytes, budget)?))
    } else {
        let listed = listed_len(tensor, kind);
        if listed != 0 && listed != count {
            return Err(wrong(listed.to_string()));
        }
        let raw = tensor.raw_data.as_ref().filter(|_| listed == 0);
        raw.map(|raw| Cow::Borrowed(raw.as_ref()))
    };
    match &raw {
        Some(raw) if raw.len() != bytes => return Err(wrong(format!("{} bytes", raw.len()))),
        None if listed_len(tensor, kind) != count => return Err(wrong("none".to_owned())),
        Some(_) | None => {}
    }
    let floats = matches!(kind, t::FLOAT | t::DOUBLE | t::FLOAT16 | t::BFLOAT16);
    // An `Entry` takes as much as four floats: `Constant::cost`.
    budget.charge(if floats {
        count
    } else {
        count.saturating_mul(4)
    })?;
    let from = |e: crate::Error| e.within(name(tensor));
    if floats {
        let data = raw.map_or_else(|| floats_listed(tensor, kind), |raw| floats_raw(&raw, kind));
        return Array::new(dims, data).map(Constant::Floats).map_err(from);
    }
    let data = match raw {
        Some(raw) => integers_raw(&raw, kind),
        None => integers_listed(tensor, kind),
    };
    let data = data?.into_iter().map(Entry::Int).collect();
    Array::new(dims, data).map(Constant::Ints).map_err(from)
}

fn name(tensor: &TensorProto) -> String {
    match tensor.name.as_deref() {
        None | Some("") => "a constant".to_owned(),
        Some(name) => format!("tensor {name}"),
    }
}

fn entry_bytes(kind: i32) -> Option<usize> {
    match kind {
        t::UINT8 | t::INT8 | t::BOOL => Some(1),
        t::UINT16 | t::INT16 | t::FLOAT16 | t::BFLOAT16 => Some(2),
        t::FLOAT | t::INT32 | t::UINT32 => Some(4),
        t::DOUBLE | t::INT64 | t::UINT64 => Some(8),
        _ => None,
    }
}

/// How many entries are in the list that belongs to `kind`.
fn listed_len(tensor: &TensorProto, kind: i32) -> usize {
    match kind {
        t::FLOAT => tensor.float_data.len(),
        t::DOUBLE => tensor.double_data.len(),
        t::INT64 => tensor.int64_data.len(),
        t::UINT32 | t::UINT64 => tensor.uint64_data.len(),
        _ => tensor.int32_data.len(),
    }
}

fn floats_listed(tensor: &TensorProto, kind: i32) -> Vec<f32> {
    // Half-precision entries are listed as their bits.
    let bits = tensor.int32_data.iter().map(|&v| v as u16);
    match kind {
        t::FLOAT => tensor.float_data.clone(),
        t::DOUBLE => tensor.double_data.iter().map(|&v| v as f32).collect(),
        t::FLOAT16 => bits.map(half).collect(),
        _ => bits.map(brain).collect(),
    }
}

fn floats_raw(raw: &[u8], kind: i32) -> Vec<f32> {
    match kind {
        t::FLOAT => entries(raw, f32::from_le_bytes),
        t::DOUBLE => entries(raw, |b| f64::from_le_bytes(b) as f32),
        t::FLOAT16 => entries(raw, |b| half(u16::from_le_bytes(b))),
        _ => entries(raw, |b| brain(u16::from_le_bytes(b))),
    }
}

fn integers_listed(tensor: &TensorProto, kind: i32) -> Result<Vec<i64>> {
    match kind {
        t::INT64 => Ok(tensor.int64_data.clone()),
        t::UINT32 | t::UINT64 => tensor.uint64_data.iter().map(|&v| signed(v)).collect(),
        _ => Ok(tensor.int32_data.iter().map(|&v| i64::from(v)).collect()),
    }
}

fn integers_raw(raw: &[u8], kind: i32) -> Result<Vec<i64>> {
    Ok(match kind {
        t::UINT8 | t::BOOL => raw.iter().map(|&v| i64::from(v)).collect(),
        t::INT8 => entries(raw, |b| i64::from(i8::from_le_bytes(b))),
        t::UINT16 => entries(raw, |b| i64::from(u16::from_le_bytes(b))),
        t::INT16 => entries(raw, |b| i64::from(i16::from_le_bytes(b))),
        t::INT32 => entries(raw, |b| i64::from(i32::from_le_bytes(b))),
        t::UINT32 => entries(raw, |b| i64::from(u32::from_le_bytes(b))),
        t::INT64 => entries(raw, i64::from_le_bytes),
        _ => {
            return entries(raw, |b| signed(u64::from_le_bytes(b)))
                .into_iter()
                .collect();
        }
    })
}

fn entries<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks().0.iter().map(|&bytes| read(bytes)).collect()
}

fn signed(v: u64) -> Result<i64> {
    i64::try_from(v).map_err(|_| unsupported(format!("the integer {v} is too large")))
}

/// The value of a bfloat16: the upper half of an `f32`.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The value of an IEEE binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    match (bits >> 10) & 0x1f {
        0 => sign * fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        exponent => sign * (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tensor: &TensorProto) -> Result<Constant> {
        decode(tensor, &mut Folder::none(), &mut Budget::new(1000))
    }

    fn raw(kind: i32, dims: &[i64], bytes: &[u8]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(kind),
            raw_data: Some(bytes.to_vec().into()),
            ..Default::default()
        }
    }

    #[test]
    fn small_floats_become_f32() {
        let cases: [(u16, f32); 7] = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x8000, -0.0),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in cases {
            assert_eq!(half(bits).to_bits(), value.to_bits(), "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
        assert_eq!(brain(0xc040), -3.0);
    }

    #[test]
    fn every_type_is_read_from_bytes() {
        let int = |v| Constant::Ints(Array::new(vec![1], vec![Entry::Int(v)]).unwrap());
        let float = |v| Constant::Floats(Array::new(vec![1], vec![v]).unwrap());
        let cases: [(i32, &[u8], Constant); 13] = [
            (t::FLOAT, &1.5f32.to_le_bytes(), float(1.5)),
            (t::DOUBLE, &1.5f64.to_le_bytes(), float(1.5)),
            (t::FLOAT16, &[0, 0x3e], float(1.5)),
            (t::BFLOAT16, &[0xc0, 0x3f], float(1.5)),
            (t::UINT8, &[255], int(255)),
            (t::INT8, &[255], int(-1)),
            (t::BOOL, &[1], int(1)),
            (t::UINT16, &[255, 255], int(65535)),
            (t::INT16, &[255, 255], int(-1)),
            (t::INT32, &[255; 4], int(-1)),
            (t::UINT32, &[255; 4], int(0xffff_ffff)),
            (t::INT64, &[255; 8], int(-1)),
            (t::UINT64, &[7, 0, 0, 0, 0, 0, 0, 0], int(7)),
        ];
        for (kind, bytes, expected) in cases {
            assert_eq!(read(&raw(kind, &[1], bytes)), Ok(expected), "type {kind}");
        }
    }

    #[test]
    fn lists_are_read_too() {
        let listed = TensorProto {
            dims: vec![2],
            data_type: Some(t::FLOAT16),
            int32_data: vec![0x3c00, 0xc000],
            ..Default::default()
        };
        let expected = Array::new(vec![2], vec![1.0, -2.0]).unwrap();
        assert_eq!(read(&listed), Ok(Constant::Floats(expected)));
    }

    #[test]
    fn what_the_extents_promise_must_be_there() {
        let four = 1f32.to_le_bytes();
        assert!(read(&raw(t::FLOAT, &[2], &four)).is_err());
        assert!(read(&raw(t::FLOAT, &[-1], &four)).is_err());
        assert!(read(&raw(t::FLOAT, &[i64::MAX, i64::MAX], &four)).is_err());
        assert!(read(&raw(8, &[1], &four)).is_err(), "strings");
        assert!(
            read(&TensorProto {
                raw_data: None,
                ..raw(t::FLOAT, &[1], &[])
            })
            .is_err()
        );
        let mut budget = Budget { left: 3 };
        let tensor = raw(t::UINT8, &[4], &[0; 4]);
        assert!(decode(&tensor, &mut Folder::none(), &mut budget).is_err());
    }
}
