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
#[cfg(target_arch = "x86_64")]
mod tiled;

pub use dots::{dots, dots_halves};
pub use product::{product, product_pairs};

/// What the positions of a row are rounded up to: buffers must have room for it.
pub const ROUND: usize = 32;

/// One `k`: a column of the left factor and the row that it multiplies.
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
    /// From a term of one plane to that of the next.
    pub apart: Term,
    /// Positions of a row.
    pub len: usize,
}

impl<T> Shifts<'_, T> {
    /// Every term, plane by plane.
    ///
    /// # Panics
    /// When a row does not lie in the buffer, or a place is beyond all numbers.
    fn terms(&self) -> Vec<Term> {
        let place = |first: usize, plane: usize, apart: usize| {
            let at = plane
                .checked_mul(apart)
                .and_then(|at| at.checked_add(first));
            at.expect("rows of b")
        };
        let terms: Vec<Term> = (0..self.planes)
            .flat_map(|i| self.taps.iter().map(move |tap| (i, tap)))
            .map(|(i, tap)| Term {
                a: place(tap.a, i, self.apart.a),
                b: place(tap.b, i, self.apart.b),
            })
            .collect();
        let furthest = terms.iter().map(|t| t.b).max();
        let end = furthest.map_or(Some(0), |at| at.checked_add(self.positions()));
        assert!(end.is_some_and(|end| end <= self.data.len()), "rows of b");
        terms
    }

    /// Positions that are computed.
    fn positions(&self) -> usize {
        self.len.next_multiple_of(ROUND)
    }
}
