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

/// Bytes of moments that are held at once; their factors come to twice that.
const BYTES: usize = 1 << 28;

/// A layer and what it reads.
type Layer = (NodeId, ValueId);

/// One factor a layer, in (0, 1], layers as [`Network::layers`]; 1 where nothing is reconstructed.
/// `progress` hears of layers done.
///
/// # Errors
/// As reading `samples`.
pub fn gains(
    network: &Network,
    samples: &Samples<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<f64>> {
    gains_within(BYTES, network, samples, progress)
}

fn gains_within(
    bytes: usize,
    network: &Network,
    samples: &Samples<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<f64>> {
    let model = &network.model;
    let layer = |id: NodeId| (id, model.node(id).inputs[0]);
    let layers: Vec<Layer> = network.layers().into_iter().map(layer).collect();
    let mut gains = Vec::with_capacity(layers.len());
    while gains.len() < layers.len() {
        let part = together(bytes, network, &layers[gains.len()..]);
        gains.extend(gains_of(network, part, samples)?);
        progress(part.len());
    }
    Ok(gains)
}

/// The first of `layers`, one at least, whose moments fit into `most` bytes.
fn together<'a>(most: usize, network: &Network, layers: &'a [Layer]) -> &'a [Layer] {
    let bytes = |&(id, _): &Layer| {
        let op = &network.model.node(id).op;
        match Moments::are_taken(op) {
            true => Moments::own_bytes(op),
            false => 0,
        }
    };
    let sums = layers.iter().scan(0usize, |sum, layer| {
        *sum = sum.saturating_add(bytes(layer));
        Some(*sum)
    });
    let fit = sums.take_while(|&sum| sum <= most).count();
    &layers[..fit.max(1)]
}

fn gains_of(network: &Network, layers: &[Layer], samples: &Samples<'_>) -> Result<Vec<f64>> {
    let model = &network.model;
    let op = |id: NodeId| &model.node(id).op;
    let taken = |&(id, _): &Layer| Moments::are_taken(op(id)).then(|| Moments::alone(op(id)));
    let mut moments: Vec<Option<Moments>> = layers.iter().map(taken).collect();
    if moments.iter().all(Option::is_none) {
        return Ok(vec![1.0; layers.len()]);
    }
    for batch in samples.batches(BATCH).take(IMAGES / BATCH) {
        let batch = batch?;
        infer_with(model, &batch.x, batch.images, |value, x| {
            let shape = &model.value(value).shape;
            for (moments, &(id, input)) in moments.iter_mut().zip(layers) {
                if let Some(moments) = moments.as_mut().filter(|_| input == value) {
                    moments.add_own(op(id), shape, x, batch.images);
                }
            }
        });
    }
    let gain = |moments: &Option<Moments>| {
        let numbers = moments.as_ref().filter(|m| m.are_numbers());
        numbers.map_or(1.0, rounding::gain)
    };
    Ok(moments.par_iter().map(gain).collect())
}

#[cfg(test)]
mod tests {
    use exbit_model::{Conv, Model, Op, Tensor, Window};

    use super::*;
    use crate::prepare::prepare;

    #[test]
    fn parts_give_what_all_together_give() {
        let mut model = Model::new("chain", "x", vec![2, 6, 6]);
        let mut x = model.input();
        for (i, [from, to]) in [[2, 3], [3, 5], [5, 4]].into_iter().enumerate() {
            let weight = (0..9 * from * to).map(|k| ((k * 7 + i) as f32).sin());
            let conv = Conv {
                weight: Tensor::new(vec![to, from, 3, 3], weight.collect()).unwrap(),
                bias: None,
                window: Window::square(3, 1, 1),
                groups: 1,
            };
            x = model
                .push(format!("conv{i}"), Op::Conv(conv), &[x])
                .unwrap();
        }
        let network = prepare(&model).unwrap();
        let samples = Samples::Memory {
            x: (0..16 * 72).map(|i| (i as f32 * 0.37).cos()).collect(),
            images: 16,
            labels: None,
        };
        let within = |bytes: usize| {
            let mut told = Vec::new();
            let gains = gains_within(bytes, &network, &samples, &mut |n| told.push(n));
            (gains.unwrap(), told)
        };
        let (whole, one) = within(BYTES);
        assert_eq!(one, [3]);
        // The first two layers have 19 and 28 entries in a patch.
        for (bytes, parts) in [(0, vec![1, 1, 1]), (8 * (19 * 19 + 28 * 28), vec![2, 1])] {
            assert_eq!(within(bytes), (whole.clone(), parts));
        }
    }
}
