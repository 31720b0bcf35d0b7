//! Spatial padding by a constant; the gradient of the constant is dropped.

use exbit_model::Pad;

use super::Site;

pub(super) fn forward(op: &Pad, site: &Site, x: &[f32], y: &mut [f32]) {
    y.fill(op.value);
    let (&[_, h, w], &[_, ho, wo]) = (site.inputs[0], site.output) else {
        return;
    };
    let [top, left, ..] = op.pads;
    if h * w == 0 {
        return;
    }
    for (x, y) in x.chunks_exact(h * w).zip(y.chunks_exact_mut(ho * wo)) {
        for (x, y) in x.chunks_exact(w).zip(y.chunks_exact_mut(wo).skip(top)) {
            y[left..left + w].copy_from_slice(x);
        }
    }
}

pub(super) fn backward(op: &Pad, site: &Site, dy: &[f32], dx: &mut [f32]) {
    let (&[_, h, w], &[_, ho, wo]) = (site.inputs[0], site.output) else {
        return;
    };
    let [top, left, ..] = op.pads;
    if h * w == 0 {
        return;
    }
    for (dx, dy) in dx.chunks_exact_mut(h * w).zip(dy.chunks_exact(ho * wo)) {
        for (dx, dy) in dx.chunks_exact_mut(w).zip(dy.chunks_exact(wo).skip(top)) {
            dx.copy_from_slice(&dy[left..left + w]);
        }
    }
}
