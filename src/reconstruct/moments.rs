//! Second moments of what a layer reads, from which the best rounding of its weights follows
//! without seeing the images again.
//!
//! With `x` a patch that the float layer reads and `z` the one that the quantized network gives it
//! in its place (both with a 1 appended, for the bias), the error of the layer's result is
//! `E |W x - V z|^2 = tr(V H V') - 2 tr(V C') + const`, `H = E z z'`, `C = W E x z'`. Sums are kept
//! per group, in constant memory however many images come.

use exbit_kernels::{Matrix, MatrixMut, gemm};
use exbit_model::{Op, Tensor, Window};
use rayon::prelude::*;

/// `sum z z'` and `sum x z'` of one layer, per group.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Entries of a patch, the 1 for the bias included.
    pub depth: usize,
    /// Per group, `depth` x `depth`, row-major: `sum z z'`.
    pub own: Vec<Vec<f64>>,
    /// Per group: `sum x z'`.
    pub cross: Vec<Vec<f64>>,
    /// Patches that were summed.
    pub patches: u64,
}

/// Patches taken of one image at most: beyond, every k-th position is left out.
const PATCHES_PER_IMAGE: usize = 256;

impl Moments {
    /// Nothing seen yet of `op`, which must be a Conv or a Linear.
    pub fn new(op: &Op) -> Self {
        let (groups, depth) = extents(op);
        let zero = || vec![vec![0.0; depth * depth]; groups];
        Self {
            depth,
            own: zero(),
            cross: zero(),
            patches: 0,
        }
    }

    /// Adds the patches of `images` images: `x` as the float layer reads them, `z` as the quantized
    /// network gives them, both of `shape` an image.
    pub fn add(&mut self, op: &Op, shape: &[usize], x: &[f32], z: &[f32], images: usize) {
        let len: usize = shape.iter().product();
        let (groups, depth) = (self.own.len(), self.depth);
        let patches: Vec<(Vec<f32>, Vec<f32>)> = (0..images)
            .into_par_iter()
            .map(|i| {
                let image = i * len..(i + 1) * len;
                (
                    patches(op, shape, &x[image.clone()]),
                    patches(op, shape, &z[image]),
                )
            })
            .collect();
        self.patches += patches
            .iter()
            .map(|(z, _)| (z.len() / (depth * groups)) as u64)
            .sum::<u64>();
        self.own
            .par_iter_mut()
            .zip(&mut self.cross)
            .enumerate()
            .for_each(|(g, (own, cross))| {
                let mut product = vec![0.0f32; depth * depth];
                for (x, z) in &patches {
                    let size = z.len() / groups;
                    let rows = size / depth;
                    let part =
                        |all: &'_ [f32]| -> Vec<f32> { all[g * size..(g + 1) * size].to_vec() };
                    let (x, z) = (part(x), part(z));
                    for (left, sum) in [(&z, &mut *own), (&x, &mut *cross)] {
                        gemm(
                            MatrixMut::new(&mut product, depth, depth),
                            0.0,
                            Matrix::new(left, rows, depth).t(),
                            Matrix::new(&z, rows, depth),
                        );
                        sum.iter_mut()
                            .zip(&product)
                            .for_each(|(s, &p)| *s += f64::from(p));
                    }
                }
            });
    }
}

/// Groups, and entries of a patch with its 1.
fn extents(op: &Op) -> (usize, usize) {
    let groups = if let Op::Conv(conv) = op {
        conv.groups
    } else {
        1
    };
    (groups, op.weight().map_or(0, Tensor::row_len) + 1)
}

/// The patches of one image, `[group][position][entry]`, each with a 1 appended; entries in the
/// order of a weight's row.
fn patches(op: &Op, shape: &[usize], x: &[f32]) -> Vec<f32> {
    let (groups, depth) = extents(op);
    let ([channels, h, w], window) = if let Op::Conv(conv) = op {
        ([shape[0], shape[1], shape[2]], conv.window)
    } else {
        ([x.len(), 1, 1], Window::square(1, 1, 0))
    };
    let [ho, wo] = window.output(h, w).unwrap_or([0, 0]);
    let every = (ho * wo).div_ceil(PATCHES_PER_IMAGE);
    // A step that shares no factor with the width, so that all columns are seen.
    let every = (every..).find(|k| gcd(*k, wo) == 1).unwrap_or(1);
    let positions: Vec<[usize; 2]> = (0..ho * wo)
        .step_by(every)
        .map(|p| [p / wo, p % wo])
        .collect();
    let mut out = vec![0.0; groups * positions.len() * depth];
    let per_group = channels / groups;
    for g in 0..groups {
        for (p, &[oy, ox]) in positions.iter().enumerate() {
            let patch = &mut out[(g * positions.len() + p) * depth..][..depth];
            patch[depth - 1] = 1.0;
            let mut at = 0;
            for c in g * per_group..(g + 1) * per_group {
                for ky in 0..window.kernel[0] {
                    let y = (oy * window.stride[0] + ky * window.dilation[0])
                        .wrapping_sub(window.pads[0]);
                    for kx in 0..window.kernel[1] {
                        let column = (ox * window.stride[1] + kx * window.dilation[1])
                            .wrapping_sub(window.pads[1]);
                        if y < h && column < w {
                            patch[at] = x[(c * h + y) * w + column];
                        }
                        at += 1;
                    }
                }
            }
        }
    }
    out
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
