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
    /// Images that they were taken from.
    pub images: u64,
}

/// The most entries of a patch, the 1 not counted, whose moments are taken: `d x d` numbers, some
/// times over, are 1.5 GB there. It is that of 512 channels under a 3 x 3 window.
const MOST_ENTRIES: usize = 4608;

/// Patches taken of one image at most: beyond, every k-th position is left out.
const PATCHES_PER_IMAGE: usize = 256;

impl Moments {
    /// Whether the moments of `op` are taken: not where its patches are too long, or too many
    /// groups have long ones.
    pub fn are_taken(op: &Op) -> bool {
        let most = (MOST_ENTRIES + 1) * (MOST_ENTRIES + 1) * size_of::<f64>();
        Self::own_bytes(op) <= most
    }

    /// Bytes of the own moments of `op`.
    pub(super) fn own_bytes(op: &Op) -> usize {
        let (groups, depth) = extents(op);
        groups * depth * depth * size_of::<f64>()
    }

    /// Whether all of them are numbers; they are not where a network overflows.
    pub(super) fn are_numbers(&self) -> bool {
        let sums = self.own.iter().chain(&self.cross).flatten();
        sums.into_iter().all(|x| x.is_finite())
    }

    /// Nothing seen yet of `op`, which must be a Conv or a Linear.
    pub fn new(op: &Op) -> Self {
        let (groups, depth) = extents(op);
        let zero = || vec![vec![0.0; depth * depth]; groups];
        Self {
            cross: zero(),
            ..Self::alone(op)
        }
    }

    /// As [`Moments::new`], for [`Moments::add_own`] only.
    pub(super) fn alone(op: &Op) -> Self {
        let (groups, depth) = extents(op);
        Self {
            depth,
            own: vec![vec![0.0; depth * depth]; groups],
            cross: Vec::new(),
            patches: 0,
            images: 0,
        }
    }

    /// Adds the patches of `images` images: `x` as the float layer reads them, `z` as the quantized
    /// network gives them, both of `shape` an image.
    pub fn add(&mut self, op: &Op, shape: &[usize], x: &[f32], z: &[f32], images: usize) {
        let taps = Taps::new(op, shape);
        let (depth, n) = (self.depth, taps.positions * images);
        self.count(n, images);
        let sums = self.own.par_iter_mut().zip(&mut self.cross).enumerate();
        sums.for_each(|(g, (own, cross))| {
            let of = |all: &[f32]| taps.of_group(all, g, depth);
            let (x, z) = rayon::join(|| of(x), || of(z));
            rayon::join(
                || add_product(own, depth, &z, &z, n),
                || add_product(cross, depth, &x, &z, n),
            );
        });
    }

    /// Adds the patches of `images` images to the layer's own moments only.
    pub(super) fn add_own(&mut self, op: &Op, shape: &[usize], z: &[f32], images: usize) {
        let taps = Taps::new(op, shape);
        let (depth, n) = (self.depth, taps.positions * images);
        self.count(n, images);
        self.own.par_iter_mut().enumerate().for_each(|(g, own)| {
            let z = taps.of_group(z, g, depth);
            add_product(own, depth, &z, &z, n);
        });
    }

    fn count(&mut self, patches: usize, images: usize) {
        self.patches += patches as u64;
        self.images += images as u64;
    }
}

/// Strips that a sum of products is cut into: so many, that its last bits do not depend on the
/// number of threads.
const STRIPS: usize = 2;

/// `sum += a b'`, both `depth` x `n`; strips of rows over threads.
fn add_product(sum: &mut [f64], depth: usize, a: &[f32], b: &[f32], n: usize) {
    let strip = depth.div_ceil(STRIPS).max(64);
    sum.par_chunks_mut(strip * depth)
        .zip(a.par_chunks(strip * n))
        .for_each(|(sum, a)| {
            let rows = sum.len() / depth;
            let mut product = vec![0.0f32; sum.len()];
            gemm(
                MatrixMut::new(&mut product, rows, depth),
                0.0,
                Matrix::new(a, rows, n),
                Matrix::new(b, depth, n).t(),
            );
            sum.iter_mut()
                .zip(&product)
                .for_each(|(s, &p)| *s += f64::from(p));
        });
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

/// Where the entries of a patch lie in a channel's plane.
struct Taps {
    /// Entries of a plane.
    plane: usize,
    /// Channels of an image, and of a group.
    image_channels: usize,
    channels: usize,
    /// Patches taken of an image.
    positions: usize,
    /// `[tap][position]`: the place in the plane, or its end for padding.
    places: Vec<u32>,
}

impl Taps {
    fn new(op: &Op, shape: &[usize]) -> Self {
        let (groups, channels, [h, w], window) = if let Op::Conv(conv) = op {
            let channels = shape[0] / conv.groups;
            (conv.groups, channels, [shape[1], shape[2]], conv.window)
        } else {
            let unit = Window::square(1, 1, 0);
            (1, shape.iter().product(), [1, 1], unit)
        };
        let [ho, wo] = window.output(h, w).unwrap_or([0, 0]);
        let every = (ho * wo).div_ceil(PATCHES_PER_IMAGE);
        // A step that shares no factor with the width, so that all columns are seen.
        let every = (every..).find(|k| gcd(*k, wo) == 1).unwrap_or(1);
        let mut places = Vec::new();
        let at = |axis: usize, o: usize, k: usize| {
            (o * window.stride[axis] + k * window.dilation[axis]).wrapping_sub(window.pads[axis])
        };
        for ky in 0..window.kernel[0] {
            for kx in 0..window.kernel[1] {
                places.extend((0..ho * wo).step_by(every).map(|p| {
                    let (y, x) = (at(0, p / wo, ky), at(1, p % wo, kx));
                    let inside = y < h && x < w;
                    (if inside { y * w + x } else { h * w }) as u32
                }));
            }
        }
        Self {
            plane: h * w,
            image_channels: channels * groups,
            channels,
            positions: (ho * wo).div_ceil(every),
            places,
        }
    }

    /// The patches of group `g` of all images, `[entry][patch]`, the last of the `depth` entries
    /// the 1 for the bias.
    fn of_group(&self, images: &[f32], g: usize, depth: usize) -> Vec<f32> {
        let len = self.plane * self.image_channels;
        let n = images.len() / len * self.positions;
        let mut patches = vec![1.0; depth * n];
        for (i, image) in images.chunks_exact(len).enumerate() {
            self.patches(image, g, &mut patches, i * self.positions, n);
        }
        patches
    }

    /// Writes group `g` of one image's patches to columns `first..` of `to`, `[entry][patch]` with
    /// `pitch` patches a row; entries are in the order of a weight's row.
    fn patches(&self, image: &[f32], g: usize, to: &mut [f32], first: usize, pitch: usize) {
        let mut plane = vec![0.0; self.plane + 1];
        let mut rows = to.chunks_exact_mut(pitch);
        for c in g * self.channels..(g + 1) * self.channels {
            plane[..self.plane].copy_from_slice(&image[c * self.plane..(c + 1) * self.plane]);
            for (places, row) in self.places.chunks_exact(self.positions).zip(&mut rows) {
                let row = &mut row[first..first + self.positions];
                row.iter_mut()
                    .zip(places)
                    .for_each(|(to, &p)| *to = plane[p as usize]);
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test may panic.
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        for (depth, n) in [(65, 16), (65, 4001), (289, 4096)] {
            let entry = |i: usize| ((i * 7919) % 1009) as f32 / 317.0 - 1.5;
            let a: Vec<f32> = (0..depth * n).map(entry).collect();
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let mut sum = vec![0.0; depth * depth];
                pool.build()
                    .unwrap()
                    .install(|| add_product(&mut sum, depth, &a, &a, n));
                sum
            };
            let alone = with(1);
            assert!(alone == with(2), "{depth} {n}");
        }
    }
}
