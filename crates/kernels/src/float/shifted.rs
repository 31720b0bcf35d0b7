//! Products with a matrix whose rows are places in one buffer, and may overlap.
//!
//! A convolution over a plane with its padding around it, rows end to end, is such a product:
//! the row of a tap is the plane shifted by the tap's distance. So a window is never unfolded:
//!
//! ```text
//! c[m][p]  = start[m] + sum_k a[m][k] b[k][p]     values, and gradients of the input
//! d[m][k] += sum_p  y[m][p] b[k][p]               gradients of the weights
//! ```

mod dots;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiled;

pub use dots::{dots, dots_halves};
pub use product::{product, product_pairs};

/// What the positions of a row are rounded up to: buffers must have room for it.
pub const ROUND: usize = 32;

/// One `k`: a column of the left factor (or of its gradient) and the row that goes with it.
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

/// The right factor: rows of `len` entries (rounded up to [`ROUND`]) in `data`, the same ones in
/// each of some planes.
#[derive(Clone, Copy, Debug)]
pub struct Shifts<'a, T = f32> {
    /// The buffer.
    pub data: &'a [T],
    /// The terms of the first plane.
    pub taps: &'a [Term],
    /// How many planes.
    pub planes: usize,
    /// The distances from a term of one plane to that of the next.
    pub apart: Term,
    /// Positions of a row.
    pub len: usize,
}

impl<T> Shifts<'_, T> {
    /// Checks that every row lies in the buffer; gives the largest place in a row of the left
    /// factor, where there is any.
    ///
    /// # Panics
    /// When one does not, or a place is beyond all numbers.
    fn check(&self) -> Option<usize> {
        let last = self.planes.checked_sub(1)?;
        let furthest = |of: fn(&Term) -> usize| {
            let first = self.taps.iter().map(of).max()?;
            let place = last.checked_mul(of(&self.apart));
            Some(place.and_then(|at| at.checked_add(first)))
        };
        let b = furthest(|term| term.b)?;
        let end = b.and_then(|at| at.checked_add(self.positions()));
        assert!(end.is_some_and(|end| end <= self.data.len()), "rows of b");
        let a = furthest(|term| term.a)?;
        assert!(a.is_some(), "columns of a");
        a
    }

    /// Every term, plane by plane.
    fn terms(&self) -> Vec<Term> {
        let term = |i: usize, tap: &Term| Term {
            a: tap.a + i * self.apart.a,
            b: tap.b + i * self.apart.b,
        };
        (0..self.planes)
            .flat_map(|i| self.taps.iter().map(move |tap| term(i, tap)))
            .collect()
    }

    /// Positions that are computed.
    ///
    /// # Panics
    /// When they are beyond all numbers.
    fn positions(&self) -> usize {
        let positions = self.len.checked_next_multiple_of(ROUND);
        positions.expect("positions of a row")
    }
}
