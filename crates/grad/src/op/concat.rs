//! Concatenation along an axis: runs of entries interleaved, and taken apart again.

use super::{Site, Wants};

/// Entries of one run of each input: its extent along the axis and everything inside it.
fn runs(axis: usize, site: &Site) -> Vec<usize> {
    site.inputs
        .iter()
        .map(|shape| shape[axis..].iter().product())
        .collect()
}

pub(super) fn forward(axis: usize, site: &Site, xs: &[&[f32]], y: &mut [f32]) {
    let runs = runs(axis, site);
    let mut at = 0;
    for (x, &run) in xs.iter().zip(&runs) {
        let into = y.chunks_exact_mut(runs.iter().sum::<usize>().max(1));
        into.zip(x.chunks_exact(run.max(1)))
            .for_each(|(y, x)| y[at..at + run].copy_from_slice(x));
        at += run;
    }
}

pub(super) fn backward(axis: usize, site: &Site, dys: &[&[f32]], wants: &mut Wants) {
    let runs = runs(axis, site);
    let mut at = 0;
    for (dxs, &run) in wants.dxs.iter_mut().zip(&runs) {
        for (dx, dy) in dxs.iter_mut().zip(dys) {
            let Some(dx) = dx else { continue };
            let from = dy.chunks_exact(runs.iter().sum::<usize>().max(1));
            let into = dx.chunks_exact_mut(run.max(1));
            into.zip(from)
                .for_each(|(dx, dy)| dx.copy_from_slice(&dy[at..at + run]));
        }
        at += run;
    }
}
