//! Pooling over windows and over whole channels.
//!
//! The maximum's gradient goes to the first entry of the window that equals it.

use exbit_kernels::lanes::{Plane, collect, spread, sums};
use exbit_model::Window;

use super::{Seen, Site};

/// The taps of one output position that fall on the input, as ranges of rows and columns.
#[derive(Debug)]
struct Taps {
    rows: std::iter::StepBy<std::ops::Range<usize>>,
    cols: std::iter::StepBy<std::ops::Range<usize>>,
}

impl Taps {
    fn places(self, width: usize) -> impl Iterator<Item = usize> {
        let Taps { rows, cols } = self;
        rows.flat_map(move |row| cols.clone().map(move |col| row * width + col))
    }
}

/// The taps of output index `at` along `axis` on `size` entries: `at * stride - pad`, then every
/// `dilation`, as far as they are inside.
fn along(
    w: &Window,
    axis: usize,
    at: usize,
    size: usize,
) -> std::iter::StepBy<std::ops::Range<usize>> {
    let (pad, step) = (w.pads[axis], w.dilation[axis].max(1));
    let first = at * w.stride[axis];
    let skipped = pad.saturating_sub(first).div_ceil(step).min(w.kernel[axis]);
    let start = (first + skipped * step).saturating_sub(pad);
    let end = (first + w.kernel[axis] * step)
        .saturating_sub(pad + step - 1)
        .min(size);
    (start..end).step_by(step)
}

/// Calls `f(plane's start in x, place in y, taps)` for every output entry.
fn each_window(window: &Window, site: &Site, planes: usize, mut f: impl FnMut(usize, usize, Taps)) {
    let (&[_, h, w], &[_, ho, wo]) = (site.inputs[0], site.output) else {
        return;
    };
    for plane in 0..planes {
        for oy in 0..ho {
            let rows = along(window, 0, oy, h);
            for ox in 0..wo {
                let taps = Taps {
                    rows: rows.clone(),
                    cols: along(window, 1, ox, w),
                };
                f(plane * h * w, (plane * ho + oy) * wo + ox, taps);
            }
        }
    }
}

fn planes(site: &Site, y: &[f32]) -> usize {
    y.len() / (site.output[1] * site.output[2]).max(1)
}

/// A window of one entry without padding picks every so-many-th: where the picked entries lie in a
/// plane of the input. Slices of images come as such.
fn picked(window: &Window, site: &Site) -> Option<Plane> {
    let (&[_, _, width], &[_, ho, wo]) = (site.inputs[0], site.output) else {
        return None;
    };
    let one = window.kernel == [1; 2] && window.pads == [0; 4] && ho * wo > 0;
    one.then_some(Plane {
        height: ho,
        width: wo,
        pitch: window.stride[0] * width,
        step: window.stride[1],
    })
}

pub(super) fn forward_max(window: &Window, site: &Site, x: &[f32], y: &mut [f32]) {
    let width = site.inputs[0][2];
    if let Some(picked) = picked(window, site) {
        let planes = x.chunks_exact(site.inputs[0][1] * width);
        for (x, y) in planes.zip(y.chunks_exact_mut(picked.height * picked.width)) {
            spread(y, picked.width, x, picked);
        }
        return;
    }
    each_window(window, site, planes(site, y), |plane, at, taps| {
        y[at] = taps
            .places(width)
            .map(|i| x[plane + i])
            .fold(f32::NEG_INFINITY, f32::max);
    });
}

pub(super) fn backward_max(window: &Window, site: &Site, seen: Seen, dy: &[f32], dx: &mut [f32]) {
    let (x, y, width) = (seen.xs[0], seen.y, site.inputs[0][2]);
    dx.fill(0.0);
    if let Some(picked) = picked(window, site) {
        let planes = dx.chunks_exact_mut(site.inputs[0][1] * width);
        for (dx, dy) in planes.zip(dy.chunks_exact(picked.height * picked.width)) {
            collect(dx, picked, dy, picked.width);
        }
        return;
    }
    each_window(window, site, planes(site, y), |plane, at, taps| {
        if let Some(i) = taps.places(width).find(|i| x[plane + i] == y[at]) {
            dx[plane + i] += dy[at];
        }
    });
}

/// `1 / ` the number of entries that a mean divides by, at every position of one plane.
fn mean_weights(window: &Window, include_pad: bool, site: &Site) -> Vec<f32> {
    let mut weights = vec![0.0; site.output[1] * site.output[2]];
    let all = window.kernel[0] * window.kernel[1];
    each_window(window, site, 1, |_, at, taps| {
        let n = if include_pad {
            all
        } else {
            taps.places(1).count()
        };
        weights[at] = 1.0 / n.clamp(1, all) as f32;
    });
    weights
}

pub(super) fn forward_mean(window: &Window, pad: bool, site: &Site, x: &[f32], y: &mut [f32]) {
    let width = site.inputs[0][2];
    let weights = mean_weights(window, pad, site);
    each_window(window, site, planes(site, y), |plane, at, taps| {
        let sum: f32 = taps.places(width).map(|i| x[plane + i]).sum();
        y[at] = sum * weights[at % weights.len()];
    });
}

pub(super) fn backward_mean(window: &Window, pad: bool, site: &Site, dy: &[f32], dx: &mut [f32]) {
    let width = site.inputs[0][2];
    let weights = mean_weights(window, pad, site);
    dx.fill(0.0);
    each_window(window, site, planes(site, dy), |plane, at, taps| {
        let share = dy[at] * weights[at % weights.len()];
        taps.places(width).for_each(|i| dx[plane + i] += share);
    });
}

pub(super) fn forward_global(site: &Site, x: &[f32], y: &mut [f32]) {
    let plane = site.inputs[0][1] * site.inputs[0][2];
    for (y, x) in y.iter_mut().zip(x.chunks_exact(plane)) {
        *y = sums(x, x, |x, _| [x])[0] / plane as f32;
    }
}

pub(super) fn backward_global(site: &Site, dy: &[f32], dx: &mut [f32]) {
    let plane = site.inputs[0][1] * site.inputs[0][2];
    for (dx, dy) in dx.chunks_exact_mut(plane).zip(dy) {
        dx.fill(dy / plane as f32);
    }
}
