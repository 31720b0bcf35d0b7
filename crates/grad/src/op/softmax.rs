//! `y = exp(x - max x) / sum exp(x - max x)` along an axis; `dx = y (dy - sum y dy)`.

use super::{Seen, Site};

pub(super) fn forward(axis: usize, site: &Site, x: &[f32], y: &mut [f32]) {
    each_line(axis, site, x.len(), |line| {
        let max = line.clone().map(|i| x[i]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for i in line.clone() {
            y[i] = (x[i] - max).exp();
            sum += y[i];
        }
        line.for_each(|i| y[i] /= sum);
    });
}

pub(super) fn backward(axis: usize, site: &Site, seen: Seen, dy: &[f32], dx: &mut [f32]) {
    let y = seen.y;
    each_line(axis, site, y.len(), |line| {
        let dot: f32 = line.clone().map(|i| y[i] * dy[i]).sum();
        line.for_each(|i| dx[i] = y[i] * (dy[i] - dot));
    });
}

/// Calls `f` with the places of each line along `axis` in `len` entries of whole images.
fn each_line(
    axis: usize,
    site: &Site,
    len: usize,
    mut f: impl FnMut(std::iter::StepBy<std::ops::Range<usize>>),
) {
    let inner: usize = site.output[axis + 1..].iter().product();
    let run = inner * site.output[axis];
    for start in (0..len).step_by(run.max(1)) {
        (start..start + inner).for_each(|at| f((at..at + run).step_by(inner)));
    }
}
