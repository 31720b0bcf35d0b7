//! Float matrix product on one thread: a safe front of the `gemm` crate, whose own entry takes
//! raw pointers. Callers split work over threads themselves, by image.

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod bf16;
mod isa;
pub mod lanes;
pub mod shifted;
mod vector;

/// A matrix to read: `data[i * row_stride + j * col_stride]` is entry `(i, j)`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The entries.
    pub data: &'a [f32],
    /// Extents, rows then columns.
    pub shape: [usize; 2],
    /// Distance between rows, then between columns.
    pub strides: [usize; 2],
}

/// A matrix to write, laid out as [`Matrix`]; no two entries may share a place.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    /// The entries.
    pub data: &'a mut [f32],
    /// Extents, rows then columns.
    pub shape: [usize; 2],
    /// Distance between rows, then between columns.
    pub strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// A row-major matrix over all of `data`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self {
            data,
            shape: [rows, cols],
            strides: [cols, 1],
        }
    }

    /// The transpose: the same entries, axes exchanged.
    pub fn t(self) -> Self {
        let ([rows, cols], [rs, cs]) = (self.shape, self.strides);
        Self {
            data: self.data,
            shape: [cols, rows],
            strides: [cs, rs],
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// A row-major matrix over all of `data`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self {
            data,
            shape: [rows, cols],
            strides: [cols, 1],
        }
    }
}

fn fits(len: usize, shape: [usize; 2], strides: [usize; 2]) -> bool {
    let last = |n: usize, s: usize| (n - 1).checked_mul(s);
    match (shape, strides) {
        ([0, _], _) | ([_, 0], _) => true,
        ([m, n], [rs, cs]) => last(m, rs)
            .zip(last(n, cs))
            .and_then(|(a, b)| a.checked_add(b))
            .is_some_and(|end| end < len),
    }
}

/// `c = beta * c + a b`, on this thread.
///
/// # Panics
/// When extents do not fit each other or their slices, or `c` overlaps itself.
pub fn gemm(c: MatrixMut<'_>, beta: f32, a: Matrix<'_>, b: Matrix<'_>) {
    let ([m, k], [kb, n]) = (a.shape, b.shape);
    assert_eq!((k, c.shape), (kb, [m, n]), "extents of a matrix product");
    assert!(
        fits(a.data.len(), a.shape, a.strides),
        "a: {:?} in {}",
        a.shape,
        a.data.len()
    );
    assert!(
        fits(b.data.len(), b.shape, b.strides),
        "b: {:?} in {}",
        b.shape,
        b.data.len()
    );
    assert!(
        fits(c.data.len(), c.shape, c.strides),
        "c: {:?} in {}",
        c.shape,
        c.data.len()
    );
    let [crs, ccs] = c.strides;
    let apart = (ccs >= 1 && crs >= n * ccs) || (crs >= 1 && ccs >= m * crs) || m * n <= 1;
    assert!(apart, "entries of c overlap");
    let signed = |strides: [usize; 2]| (strides[0] as isize, strides[1] as isize);
    let ((ars, acs), (brs, bcs), (crs, ccs)) =
        (signed(a.strides), signed(b.strides), signed(c.strides));
    // SAFETY: `fits` has shown that every entry (i, j) of the three matrices lies inside its
    // slice; `c` is borrowed mutably, so it is apart from `a` and `b`, and from itself (`apart`).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            ccs,
            crs,
            beta != 0.0,
            a.data.as_ptr(),
            acs,
            ars,
            b.data.as_ptr(),
            bcs,
            brs,
            beta,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition_in_any_layout() {
        let (m, n, k) = (5, 7, 3);
        let a: Vec<f32> = (0..m * k).map(|i| i as f32 - 4.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| 0.5 * i as f32 - 3.0).collect();
        let mut c = vec![1.0; m * n];
        gemm(
            MatrixMut::new(&mut c, m, n),
            2.0,
            Matrix::new(&a, m, k),
            Matrix::new(&b, k, n),
        );
        let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        let mut d = vec![f32::NAN; m * n];
        gemm(
            MatrixMut::new(&mut d, m, n),
            0.0,
            Matrix::new(&a, m, k),
            Matrix::new(&bt, n, k).t(),
        );
        for i in 0..m {
            for j in 0..n {
                let dot: f32 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                assert_eq!(c[i * n + j], 2.0 + dot);
                assert_eq!(d[i * n + j], dot);
            }
        }
    }

    #[test]
    #[should_panic(expected = "a: [2, 2] in 3")]
    fn a_matrix_must_lie_in_its_slice() {
        let (a, mut c) = ([0.0; 3], [0.0; 4]);
        gemm(
            MatrixMut::new(&mut c, 2, 2),
            0.0,
            Matrix::new(&a, 2, 2),
            Matrix::new(&[0.0; 4], 2, 2),
        );
    }
}
