//! Products with a matrix whose rows are places in one buffer, and may overlap.
//!
//! A convolution over a plane with its padding around it, rows end to end, is such a product:
//! the row of a tap is the plane shifted by the tap's distance. So a window is never unfolded:
//!
//! ```text
//! c[m][p]  = start[m] + sum_k a[m][k] b[rows[k] + p]     values, and gradients of the input
//! d[m][k] += sum_p  y[m][p] b[rows[k] + p]               gradients of the weights
//! ```

mod dots;
mod product;
#[cfg(test)]
mod tests;

pub use dots::{dots, dots_halves};
pub use product::{product, product_pairs};

/// What the positions of a row are rounded up to: buffers must have room for it.
pub const ROUND: usize = 32;

/// One term of a [`product`]: a column of the left factor and the row that it multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Where the column's entry of row 0 is in the left factor.
    pub a: usize,
    /// Where the row begins in the right factor.
    pub b: usize,
}

/// Rows of equal distance in one buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rows<T> {
    /// The buffer.
    pub data: T,
    /// How many rows.
    pub count: usize,
    /// Distance between rows.
    pub stride: usize,
}

impl<T> Rows<T> {
    /// `count` rows in `data`, `stride` apart.
    pub fn new(data: T, count: usize, stride: usize) -> Self {
        Self {
            data,
            count,
            stride,
        }
    }

    /// Whether rows of `n` entries, the first at `start`, lie in `len`.
    fn fit(&self, start: usize, n: usize, len: usize) -> bool {
        let last = self.count.saturating_sub(1).checked_mul(self.stride);
        last.and_then(|at| at.checked_add(start)?.checked_add(n))
            .is_some_and(|end| end <= len)
    }
}

/// The right factor of a [`product`]: rows of `len` entries (rounded up to [`ROUND`]) in `data`.
#[derive(Clone, Copy, Debug)]
pub struct Shifts<'a, T = f32> {
    /// The buffer.
    pub data: &'a [T],
    /// Where each row begins, and what it is multiplied with.
    pub terms: &'a [Term],
    /// Positions of a row.
    pub len: usize,
}
