//! What a run finds out before its first step: the grid of pixels, and how large activations are.

use exbit_grad::infer_with;
use exbit_kernels::Grid;
use exbit_model::{FakeQuant, Model, Op};

use super::graph::{Graph, Role};

/// The input's quantizer is the one that pixels have.
pub(crate) fn set_input(graph: &mut Graph, grid: Grid) {
    let sites = graph.sites.iter().filter(|s| s.role == Role::Input);
    for node in sites.map(|s| s.node).collect::<Vec<_>>() {
        if let Op::FakeQuant(quantizer) = graph.model.op_mut(node) {
            *quantizer = FakeQuant {
                scale: grid.scale,
                step: grid.scale,
                zero: f32::from(grid.zero),
                levels: f32::from(grid.bits.levels()),
            };
        }
    }
}

/// The mean of `|x|` of what each site rounds, over `images` images of `x`.
pub(crate) fn magnitudes(base: &Model, graph: &Graph, x: &[f32], images: usize) -> Vec<f32> {
    let mut found = vec![0.0; graph.sites.len()];
    infer_with(base, x, images, |value, y| {
        for (site, mean) in graph.sites.iter().zip(&mut found) {
            if site.value == value {
                let sum: f64 = y.iter().map(|y| f64::from(y.abs())).sum();
                *mean = (sum / y.len().max(1) as f64) as f32;
            }
        }
    });
    found
}
