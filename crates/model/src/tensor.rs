//! A dense float tensor: a shape and its row-major entries. Weights and nothing more: arithmetic
//! lives in the crates that run a model.

use crate::{Error, ErrorKind, Result};

/// A dense, row-major `f32` tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` over `data`.
    ///
    /// # Errors
    /// `Mismatch` when the product of `shape` is not the length of `data` (or overflows).
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self> {
        if element_count(&shape) != Some(data.len()) {
            let message = format!("shape {shape:?} does not hold {} entries", data.len());
            return Err(Error::new(ErrorKind::Mismatch, "tensor", message));
        }
        Ok(Self { shape, data })
    }

    /// A tensor of `shape` filled with zeros.
    pub fn zeros(shape: Vec<usize>) -> Self {
        let data = vec![0.0; shape.iter().product()];
        Self { shape, data }
    }

    /// The extent of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The entries, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The entries, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The entries of the outermost index `i` (an output channel of a weight).
    pub fn row(&self, i: usize) -> &[f32] {
        let n = self.row_len();
        &self.data[i * n..(i + 1) * n]
    }

    /// The entries of the outermost index `i`, to change in place.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        let n = self.row_len();
        &mut self.data[i * n..(i + 1) * n]
    }

    /// The number of entries of one outermost index.
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }
}

/// The product of `shape`, or `None` on overflow.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_must_hold_its_entries() {
        assert!(Tensor::new(vec![2, 3], vec![0.0; 6]).is_ok());
        assert!(Tensor::new(vec![2, 3], vec![0.0; 5]).is_err());
        assert!(Tensor::new(vec![usize::MAX, 2], vec![]).is_err());
    }

    #[test]
    fn rows_are_outermost() {
        let t = Tensor::new(vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(t.row(1), [3.0, 4.0, 5.0]);
    }
}
