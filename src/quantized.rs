//! Every number that quantization chose: the codes of each layer, its bias, the grid of each
//! activation. With the network they are the whole of the integer network; `lower` writes them as a
//! Program, `simulate` runs them in floats.

use std::collections::BTreeMap;

use exbit_kernels::{Bits, Grid};
use exbit_model::{Conv, Linear, NodeId, Op, ValueId};

use crate::QuantizedWeight;
use crate::prepare::Network;

/// Codes, biases and grids of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// Per layer.
    pub layers: BTreeMap<NodeId, QuantizedLayer>,
    /// Per site: the values that are rounded.
    pub grids: BTreeMap<ValueId, Grid>,
}

/// What a layer became.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLayer {
    /// Codes in the order of the float weight, `(Cout, Cin / groups, kh, kw)` or `(Out, F)`.
    pub weight: QuantizedWeight,
    /// One per output channel, in real units.
    pub bias: Vec<f32>,
}

impl Quantized {
    /// The grid of any value whose codes exist: a site's own, or the one it shares.
    ///
    /// # Panics
    /// For a value inside a stage, which has no codes.
    pub fn grid(&self, network: &Network, value: ValueId) -> Grid {
        let site = network.grid_of(value).unwrap_or(value);
        self.grids[&site]
    }
}

/// A lone affine map, `y_c = s_c x_c + t_c`, as the 1x1 depthwise layer that it is: one code of
/// 127 and the scale `s_c / 127` a channel, exact up to float rounding.
pub(crate) fn affine_layer(scale: &[f32], shift: &[f32]) -> QuantizedLayer {
    let exact = |&s: &f32| if s == 0.0 { (0, 1.0) } else { (127, s / 127.0) };
    let (codes, scale) = scale.iter().map(exact).unzip();
    let weight = QuantizedWeight {
        bits: Bits::EIGHT,
        codes,
        scale,
    };
    QuantizedLayer {
        weight,
        bias: shift.to_vec(),
    }
}

/// The weight's shape as `[Cout, Cin / groups, kh, kw]`, and the layer's groups.
pub(crate) fn conv_shape(op: &Op) -> ([usize; 4], usize) {
    if let Op::Conv(Conv { weight, groups, .. }) = op {
        let s = weight.shape();
        return ([s[0], s[1], s[2], s[3]], *groups);
    }
    if let Op::Linear(Linear { weight, .. }) = op {
        return ([weight.shape()[0], weight.shape()[1], 1, 1], 1);
    }
    let channels = if let Op::Affine(a) = op {
        a.scale.len()
    } else {
        0
    };
    ([channels, 1, 1, 1], channels)
}
