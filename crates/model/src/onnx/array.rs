//! A dense array of any entry, with the operations that move entries without looking at them:
//! what exporters do to shapes and weights before the network proper.
//!
//! Each checks its arguments first and allocates after. None but `broadcast` and `take` can give
//! more entries than it was given, and those two stop at [`MAX_GROWN`].

use super::{MAX_RANK, malformed, unsupported};
use crate::Result;
use crate::tensor::element_count;

/// The most entries of an array that is larger than what it was made from.
pub(super) const MAX_GROWN: usize = 1 << 20;

/// A dense, row-major array; `dims` is empty for a scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array<T> {
    dims: Vec<usize>,
    data: Vec<T>,
}

impl<T: Copy> Array<T> {
    /// `data` as `dims`; `Malformed` unless the counts agree.
    pub(super) fn new(dims: Vec<usize>, data: Vec<T>) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(unsupported(format!(
                "a tensor of more than {MAX_RANK} axes"
            )));
        }
        // Without its zeros too, so that the extents beside one cannot be anything.
        let others = dims
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        let bounded = others.is_some_and(|n| n <= data.len().max(MAX_GROWN));
        if !bounded || element_count(&dims) != Some(data.len()) {
            return Err(malformed(format!(
                "{} entries cannot fill {dims:?}",
                data.len()
            )));
        }
        Ok(Self { dims, data })
    }

    /// A list.
    pub(super) fn list(data: Vec<T>) -> Self {
        Self {
            dims: vec![data.len()],
            data,
        }
    }

    /// `value` throughout `dims`.
    pub(super) fn filled(dims: Vec<usize>, value: T) -> Result<Self> {
        let count = grown(&dims)?;
        Self::new(dims, vec![value; count])
    }

    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub(super) fn data(&self) -> &[T] {
        &self.data
    }

    pub(super) fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The only entry, if there is just one.
    pub(super) fn only(&self) -> Option<T> {
        if let [value] = self.data.as_slice() {
            Some(*value)
        } else {
            None
        }
    }

    /// Each entry through `f`.
    pub(super) fn map<U: Copy>(&self, f: impl FnMut(T) -> Result<U>) -> Result<Array<U>> {
        let data = self.data.iter().copied().map(f).collect::<Result<_>>()?;
        Ok(Array {
            dims: self.dims.clone(),
            data,
        })
    }

    /// The same entries as `dims`, of which 0 keeps the axis (unless `allow_zero`) and one -1 is
    /// what remains.
    pub(super) fn reshaped(&self, dims: &[i64], allow_zero: bool) -> Result<Self> {
        let mut shape = Vec::with_capacity(dims.len());
        for (axis, &dim) in dims.iter().enumerate() {
            shape.push(match dim {
                0 if !allow_zero => *self.dims.get(axis).ok_or_else(|| {
                    malformed(format!(
                        "shape {dims:?} keeps axis {axis}, which is not there"
                    ))
                })?,
                -1 => 1,
                _ => usize::try_from(dim)
                    .map_err(|_| malformed(format!("a negative extent in {dims:?}")))?,
            });
        }
        if let Some(hole) = dims.iter().position(|&d| d == -1) {
            let others = element_count(&shape).filter(|&n| n > 0);
            let rest = others.map(|n| (self.data.len() / n, self.data.len() % n));
            let Some((rest, 0)) = rest else {
                return Err(malformed(format!(
                    "{} entries as {dims:?}",
                    self.data.len()
                )));
            };
            shape[hole] = rest;
        }
        Self::new(shape, self.data.clone())
    }

    /// Axis `i` of the result is axis `perm[i]`.
    pub(super) fn transposed(&self, perm: &[usize]) -> Result<Self> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.dims.len()) {
            return Err(malformed(format!(
                "{perm:?} does not permute {:?}",
                self.dims
            )));
        }
        let steps = strides(&self.dims);
        let dims: Vec<usize> = perm.iter().map(|&axis| self.dims[axis]).collect();
        let steps: Vec<usize> = perm.iter().map(|&axis| steps[axis]).collect();
        let mut data = Vec::with_capacity(self.data.len());
        let mut index = vec![0usize; dims.len()];
        let mut at = 0;
        for _ in 0..self.data.len() {
            data.push(self.data[at]);
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                at += steps[axis];
                if index[axis] < dims[axis] {
                    break;
                }
                at -= steps[axis] * dims[axis];
                index[axis] = 0;
            }
        }
        Ok(Self { dims, data })
    }

    /// The entries at `picks` of `axis`, in that order.
    pub(super) fn take(&self, axis: usize, picks: &[usize]) -> Result<Self> {
        let Some(&extent) = self.dims.get(axis) else {
            return Err(malformed(format!("axis {axis} of {:?}", self.dims)));
        };
        if let Some(bad) = picks.iter().find(|&&i| i >= extent) {
            return Err(malformed(format!("index {bad} of an axis of {extent}")));
        }
        let mut dims = self.dims.clone();
        dims[axis] = picks.len();
        let count = element_count(&dims).filter(|&n| n <= self.data.len().max(MAX_GROWN));
        let count = count.ok_or_else(|| unsupported(format!("folding a constant of {dims:?}")))?;
        let inner: usize = self.dims[axis + 1..].iter().product();
        let mut data = Vec::with_capacity(count);
        for block in self.data.chunks_exact((extent * inner).max(1)) {
            for &i in picks {
                data.extend_from_slice(&block[i * inner..(i + 1) * inner]);
            }
        }
        Self::new(dims, data)
    }

    /// The parts one after the other along `axis`.
    pub(super) fn concatenated(parts: &[&Self], axis: usize) -> Result<Self> {
        let mut dims = match parts.first() {
            Some(first) if axis < first.dims.len() => first.dims.clone(),
            _ => return Err(malformed(format!("concatenation along axis {axis}"))),
        };
        let extents = parts.iter().filter_map(|p| p.dims.get(axis));
        dims[axis] = extents.fold(0, |sum: usize, &n| sum.saturating_add(n));
        for part in parts {
            let fits = |(i, n): (usize, &usize)| i == axis || part.dims[i] == *n;
            if part.dims.len() != dims.len() || !dims.iter().enumerate().all(fits) {
                return Err(malformed(format!("{:?} beside {dims:?}", part.dims)));
            }
        }
        let outer: usize = dims[..axis].iter().product();
        let mut data = Vec::with_capacity(parts.iter().map(|p| p.data.len()).sum());
        for i in 0..outer {
            for part in parts {
                let n = part.data.len() / outer;
                data.extend_from_slice(&part.data[i * n..(i + 1) * n]);
            }
        }
        Self::new(dims, data)
    }

    /// Repeated along its axes of extent 1 (and along missing outer ones) until it is `dims`.
    pub(super) fn broadcast(&self, dims: &[usize]) -> Result<Self> {
        let missing = dims.len().checked_sub(self.dims.len());
        let missing = missing.ok_or_else(|| malformed("broadcast to fewer axes"))?;
        let mut out = Self {
            dims: vec![1; missing],
            data: self.data.clone(),
        };
        out.dims.extend_from_slice(&self.dims);
        for (axis, &n) in dims.iter().enumerate() {
            match out.dims[axis] {
                have if have == n => {}
                1 if n <= MAX_GROWN => out = out.take(axis, &vec![0; n])?,
                have => return Err(malformed(format!("an axis of {have} broadcast to {n}"))),
            }
        }
        Ok(out)
    }

    /// `f` entry by entry, both broadcast to one shape.
    pub(super) fn zip<U: Copy>(
        &self,
        other: &Self,
        f: impl Fn(T, T) -> Result<U>,
    ) -> Result<Array<U>> {
        let dims = joint_dims(&self.dims, &other.dims);
        let (a, b) = (self.broadcast(&dims)?, other.broadcast(&dims)?);
        let data = a
            .data
            .into_iter()
            .zip(b.data)
            .map(|(a, b)| f(a, b))
            .collect::<Result<_>>()?;
        Array::new(dims, data)
    }
}

/// The shape that `a` and `b` broadcast to, if there is one (`broadcast` checks).
pub(super) fn joint_dims(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let extent =
        |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (1, n) => n,
            (n, _) => n,
        })
        .collect()
}

/// The number of entries of `dims`, if folding may make that many.
fn grown(dims: &[usize]) -> Result<usize> {
    let count = element_count(dims).filter(|&n| n <= MAX_GROWN);
    count.ok_or_else(|| unsupported(format!("folding a constant of {dims:?}")))
}

fn strides(dims: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        steps[axis - 1] = steps[axis] * dims[axis];
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(dims: &[usize]) -> Array<i64> {
        Array::new(
            dims.to_vec(),
            (0..dims.iter().product::<usize>() as i64).collect(),
        )
        .unwrap()
    }

    #[test]
    fn reshape_fills_its_hole() {
        let a = counting(&[2, 3, 4]);
        assert_eq!(a.reshaped(&[0, -1], false).unwrap().dims(), [2, 12]);
        for bad in [&[5, -1][..], &[7], &[0, 0, 0, 0], &[-2, 12], &[0, -1]] {
            assert!(a.reshaped(bad, bad.len() == 2).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn entries_move_as_in_the_definition() {
        let a = counting(&[2, 3]);
        assert_eq!(a.transposed(&[1, 0]).unwrap().data(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(a.take(1, &[2, 0]).unwrap().data(), [2, 0, 5, 3]);
        assert!(a.take(1, &[3]).is_err() && a.transposed(&[0, 0]).is_err());
        let twice = Array::concatenated(&[&a, &a], 1).unwrap();
        assert_eq!(
            (twice.dims(), &twice.data()[..6]),
            (&[2, 6][..], &[0, 1, 2, 0, 1, 2][..])
        );
        assert!(Array::concatenated(&[&a, &counting(&[3, 3])], 1).is_err());
    }

    #[test]
    fn broadcasting_is_bounded() {
        let sum = counting(&[2, 1])
            .zip(&counting(&[3]), |a, b| Ok(10 * a + b))
            .unwrap();
        assert_eq!(
            (sum.dims(), sum.data()),
            (&[2, 3][..], &[0, 1, 2, 10, 11, 12][..])
        );
        assert!(counting(&[2]).zip(&counting(&[3]), |a, _| Ok(a)).is_err());
        assert!(counting(&[1]).broadcast(&[1 << 40]).is_err());
        assert!(counting(&[1, 1]).broadcast(&[1 << 15, 1 << 15]).is_err());
        assert!(Array::filled(vec![usize::MAX, 2], 0i64).is_err());
        assert!(Array::<i64>::new(vec![0, 1 << 40], Vec::new()).is_err());
    }

    #[test]
    fn empty_arrays_are_no_special_case() {
        let none = counting(&[0, 4]);
        assert!(none.transposed(&[1, 0]).unwrap().data().is_empty());
        assert!(
            Array::concatenated(&[&none, &none], 0)
                .unwrap()
                .data()
                .is_empty()
        );
        assert_eq!(none.take(1, &[1]).unwrap().dims(), [0, 1]);
    }
}
