//! What reconstruction will take off each layer's loss, known before any bits are.
//!
//! Nearest codes err by a cube of the lattice's step: their error under `H` goes with the mean of
//! `H`'s diagonal. Nearest-plane codes err by a box with the sides of the Cholesky factor's
//! diagonal, and `prod L_kk^2 = det H`: their error goes with `det(H)^(1/d)`. The ratio, at most 1,
//! holds at every bit-width that is not too low; we decided to multiply a layer's expected losses
//! by it, so that the allocation pays for the error that will be made, not the one that will be
//! repaired.

use exbit_grad::infer_with;
use exbit_model::{NodeId, ValueId};
use rayon::prelude::*;

use super::{BATCH, Moments, rounding};
use crate::Result;
use crate::prepare::Network;
use crate::samples::Samples;

/// Images that are looked at, at most.
const IMAGES: usize = 128;

/// One factor a layer, in (0, 1], layers as [`Network::layers`]; `progress` hears of layers done.
///
/// # Errors
/// As reading `samples`.
pub fn gains(
    network: &Network,
    samples: &Samples<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<f64>> {
    let model = &network.model;
    let layers: Vec<(NodeId, ValueId)> = network
        .layers()
        .into_iter()
        .map(|id| (id, model.node(id).inputs[0]))
        .collect();
    let mut moments: Vec<Moments> = layers
        .iter()
        .map(|&(id, _)| Moments::alone(&model.node(id).op))
        .collect();
    for batch in samples.batches(BATCH).take(IMAGES / BATCH) {
        let batch = batch?;
        infer_with(model, &batch.x, batch.images, |value, x| {
            let shape = &model.value(value).shape;
            for (moments, &(id, input)) in moments.iter_mut().zip(&layers) {
                if input == value {
                    moments.add_own(&model.node(id).op, shape, x, batch.images);
                }
            }
        });
    }
    let gains = moments.par_iter().map(rounding::gain).collect();
    progress(layers.len());
    Ok(gains)
}
