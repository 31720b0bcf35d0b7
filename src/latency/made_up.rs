//! A network with made-up numbers: what is timed, since codes of any value take the same time.

use exbit_engine::Input;
use exbit_kernels::{Bits, Grid};
use exbit_model::NodeId;

use crate::prepare::Network;
use crate::quantized::{Quantized, QuantizedLayer};
use crate::weights::QuantizedWeight;

/// Pixels as numbers from 0 to 1.
pub(super) fn input(network: &Network) -> Input {
    let model = &network.model;
    let channels = *model.value(model.input()).shape.first().unwrap_or(&1);
    Input {
        scale: vec![1.0 / 255.0; channels],
        shift: vec![0.0; channels],
        preprocess: String::new(),
    }
}

/// Codes of all values for every weight, of `weights` bits, and a grid of `activations` bits for
/// every site.
pub(super) fn quantized(network: &Network, weights: Bits, activations: Bits) -> Quantized {
    let grid = Grid {
        bits: activations,
        scale: 0.05,
        zero: activations.levels() / 2,
    };
    let layer = |id: NodeId| Some((id, layer(network, id, weights)?));
    Quantized {
        layers: network.layers().into_iter().filter_map(layer).collect(),
        grids: network.sites().into_iter().map(|s| (s, grid)).collect(),
    }
}

fn layer(network: &Network, id: NodeId, bits: Bits) -> Option<QuantizedLayer> {
    let weight = network.model.node(id).op.weight()?;
    let channels = weight.shape()[0];
    let (lo, hi) = bits.weight_range();
    let span = i32::from(hi) - i32::from(lo) + 1;
    // A prime step: all codes, in no order that a kernel could profit from. Where 0 is no code,
    // it becomes one.
    let spread =
        |i: usize| bits.weight_code((i32::from(lo) + (i * 7919 % 65_537) as i32 % span) as f32);
    let weight = QuantizedWeight {
        bits,
        codes: (0..weight.len()).map(spread).collect(),
        scale: vec![0.01; channels],
    };
    Some(QuantizedLayer {
        weight,
        bias: vec![0.1; channels],
    })
}
