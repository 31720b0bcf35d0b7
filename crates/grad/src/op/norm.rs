//! Per-channel `scale * x + shift`, and BatchNorm, which is that with a scale and a shift from
//! statistics. On those of the batch, with `n` entries in a channel and
//! `xhat = (x - mean) / sqrt(var + eps)`, Ioffe and Szegedy's (2015) gradient is
//!
//! ```text
//! dgamma = sum(dy xhat)    dbeta = sum(dy)
//! dx = gamma / sqrt(var + eps) * (dy - dbeta / n - xhat * dgamma / n)
//! ```
//!
//! Its sums run over the batch, so the walk takes it in two steps: `reduce` adds a tile's part of
//! them, `pull` gives `dx` of a tile when they are whole.

use exbit_kernels::lanes::{map, map2, sums};
use exbit_model::{Affine, BatchNorm};

use super::{Seen, Site, Wants};
use crate::backward::NodeGradient;

/// The planes of a tile, each with its channel.
fn planes<'a>(shape: &[usize], x: &'a [f32]) -> impl Iterator<Item = (usize, &'a [f32])> {
    let channels = shape[0];
    x.chunks_exact(plane_len(shape).max(1))
        .enumerate()
        .map(move |(i, p)| (i % channels, p))
}

fn plane_len(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

pub(super) fn forward_affine(
    scale: &[f32],
    shift: &[f32],
    shape: &[usize],
    x: &[f32],
    y: &mut [f32],
) {
    for ((c, x), y) in planes(shape, x).zip(y.chunks_exact_mut(plane_len(shape).max(1))) {
        let (scale, shift) = (scale[c], shift[c]);
        map(y, x, |x| scale * x + shift);
    }
}

/// `1 / sqrt(var + eps)` and the mean, of the batch or running.
fn normaliser(op: &BatchNorm, site: &Site) -> (Vec<f32>, Vec<f32>) {
    let (mean, var) = site
        .statistics
        .map_or((&op.mean, &op.var), |batch| (&batch.mean, &batch.var));
    let inverse = |&v: &f32| (1.0 / (f64::from(v) + f64::from(op.eps)).sqrt()) as f32;
    (var.iter().map(inverse).collect(), mean.clone())
}

pub(super) fn forward_batch_norm(op: &BatchNorm, site: &Site, x: &[f32], y: &mut [f32]) {
    let (inverse, mean) = normaliser(op, site);
    let scale: Vec<f32> = op.gamma.iter().zip(&inverse).map(|(g, i)| g * i).collect();
    let shift = |((b, m), s): ((&f32, &f32), &f32)| b - m * s;
    let shift: Vec<f32> = op.beta.iter().zip(&mean).zip(&scale).map(shift).collect();
    forward_affine(&scale, &shift, site.output, x, y);
}

pub(super) fn backward_affine(
    op: &Affine,
    site: &Site,
    seen: Seen,
    dys: &[&[f32]],
    wants: &mut Wants,
) {
    wants
        .of_input()
        .for_each(|(c, dx)| scale_planes(&op.scale, site.output, dys[c], dx));
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let mut all = Sums::new(site.output[0]);
        all.add(site.output, seen.xs[0], dy, &vec![0.0; site.output[0]]);
        all.add_to(gradient, &vec![1.0; site.output[0]]);
    }
}

pub(super) fn backward_batch_norm(
    op: &BatchNorm,
    site: &Site,
    seen: Seen,
    dys: &[&[f32]],
    wants: &mut Wants,
) {
    debug_assert!(site.statistics.is_none(), "the walk reduces first");
    let (inverse, mean) = normaliser(op, site);
    let scale: Vec<f32> = op.gamma.iter().zip(&inverse).map(|(g, i)| g * i).collect();
    wants
        .of_input()
        .for_each(|(c, dx)| scale_planes(&scale, site.output, dys[c], dx));
    for (gradient, dy) in wants.parameters.iter_mut().zip(dys) {
        let mut all = Sums::new(site.output[0]);
        all.add(site.output, seen.xs[0], dy, &mean);
        all.add_to(gradient, &inverse);
    }
}

fn scale_planes(scale: &[f32], shape: &[usize], dy: &[f32], dx: &mut [f32]) {
    for ((c, dy), dx) in planes(shape, dy).zip(dx.chunks_exact_mut(plane_len(shape).max(1))) {
        let scale = scale[c];
        map(dx, dy, |dy| scale * dy);
    }
}

/// Per channel, `sum(dy)` and `sum(dy (x - mean))`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    dy: Vec<f64>,
    dy_x: Vec<f64>,
}

impl Sums {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            dy: vec![0.0; channels],
            dy_x: vec![0.0; channels],
        }
    }

    fn add(&mut self, shape: &[usize], x: &[f32], dy: &[f32], mean: &[f32]) {
        for ((c, x), (_, dy)) in planes(shape, x).zip(planes(shape, dy)) {
            let mean = mean[c];
            let [sum, dot] = sums(dy, x, |dy, x| [dy, dy * (x - mean)]);
            self.dy[c] += f64::from(sum);
            self.dy_x[c] += f64::from(dot);
        }
    }

    /// Adds another part's sums.
    pub(crate) fn merge(&mut self, part: &Sums) {
        self.dy.iter_mut().zip(&part.dy).for_each(|(a, b)| *a += b);
        self.dy_x
            .iter_mut()
            .zip(&part.dy_x)
            .for_each(|(a, b)| *a += b);
    }

    /// Adds `sum(dy (x - mean)) * inverse` to the weight's gradient, `sum(dy)` to the bias's.
    fn add_to(&self, gradient: &mut NodeGradient, inverse: &[f32]) {
        for (g, (s, i)) in gradient
            .weight
            .iter_mut()
            .zip(self.dy_x.iter().zip(inverse))
        {
            *g += (s * f64::from(*i)) as f32;
        }
        gradient
            .bias
            .iter_mut()
            .zip(&self.dy)
            .for_each(|(g, s)| *g += *s as f32);
    }

    /// The whole batch's sums as the gradient of gamma and beta.
    pub(crate) fn gradient(&self, op: &BatchNorm, site: &Site) -> NodeGradient {
        let zeros = vec![0.0; self.dy.len()];
        let mut gradient = NodeGradient {
            weight: zeros.clone(),
            bias: zeros,
        };
        self.add_to(&mut gradient, &normaliser(op, site).0);
        gradient
    }
}

/// Adds a tile's part of the sums of a BatchNorm on batch statistics.
pub(crate) fn reduce(op: &BatchNorm, site: &Site, [x, dy]: [&[f32]; 2], sums: &mut Sums) {
    let (_, mean) = normaliser(op, site);
    sums.add(site.output, x, dy, &mean);
}

/// `dx` of a BatchNorm on the statistics of `batch` images, from the batch's sums.
pub(crate) fn pull(
    op: &BatchNorm,
    site: &Site,
    batch: usize,
    sums: &Sums,
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
) {
    let shape = site.output;
    let n = (batch * plane_len(shape)) as f64;
    let (inverse, mean) = normaliser(op, site);
    let dxs = dx.chunks_exact_mut(plane_len(shape).max(1));
    for (((c, x), (_, dy)), dx) in planes(shape, x).zip(planes(shape, dy)).zip(dxs) {
        let inv = f64::from(inverse[c]);
        let scale = f64::from(op.gamma[c]) * inv;
        let slope = scale * inv * inv * sums.dy_x[c] / n;
        let offset = f64::from(mean[c]) * slope - scale * sums.dy[c] / n;
        let (scale, slope, offset) = (scale as f32, slope as f32, offset as f32);
        map2(dx, x, dy, |x, dy| scale * dy - slope * x + offset);
    }
}

/// Per channel: how many entries, their mean, and the sum of squared distances from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    shape: Vec<usize>,
    channels: Vec<Moment>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moment {
    /// Chan, Golub and LeVeque's (1979) union of two samples.
    fn merge(&mut self, part: Moment) {
        let count = self.count + part.count;
        if part.count == 0.0 {
            return;
        }
        let apart = part.mean - self.mean;
        self.mean += apart * part.count / count;
        self.squares += part.squares + apart * apart * self.count * part.count / count;
        self.count = count;
    }
}

impl Moments {
    pub(crate) fn new(shape: &[usize]) -> Self {
        Self {
            shape: shape.to_vec(),
            channels: vec![Moment::default(); shape[0]],
        }
    }

    /// Whether it is of a value that somebody watches.
    pub(crate) fn any(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Adds a tile.
    pub(crate) fn add(&mut self, x: &[f32]) {
        for (c, x) in planes(&self.shape, x) {
            let (own, count) = (&mut self.channels[c], x.len() as f64);
            // About a number near the mean the sums lose nothing; any such number will do.
            let near = if own.count > 0.0 {
                own.mean as f32
            } else {
                mean(x)
            };
            let [sum, squares] = sums(x, x, |x, _| [x - near, (x - near) * (x - near)]);
            let off = f64::from(sum) / count;
            let squares = f64::from(squares) - off * f64::from(sum);
            own.merge(Moment {
                count,
                mean: f64::from(near) + off,
                squares,
            });
        }
    }

    pub(crate) fn merge(&mut self, part: &Moments) {
        self.channels
            .iter_mut()
            .zip(&part.channels)
            .for_each(|(a, b)| a.merge(*b));
    }

    /// Mean and biased variance of each channel.
    pub(crate) fn mean_and_variance(&self) -> (Vec<f32>, Vec<f32>) {
        let var = |m: &Moment| (m.squares / m.count.max(1.0)) as f32;
        (
            self.channels.iter().map(|m| m.mean as f32).collect(),
            self.channels.iter().map(var).collect(),
        )
    }
}

fn mean(x: &[f32]) -> f32 {
    sums(x, x, |x, _| [x])[0] / x.len() as f32
}
