//! Every number that quantization chose: the codes of each layer, its bias, the grid of each
//! activation. With the network they are the whole of the integer network; `lower` writes them as a
//! Program, `simulate` runs them in floats.

use std::collections::BTreeMap;

use exbit_kernels::{Bits, Grid};
use exbit_model::{Conv, FakeQuant, Linear, Model, NodeId, Op, ValueId};

use crate::prepare::Network;
use crate::{QuantizedWeight, Result};

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

/// The float model that rounds where the integer network does: fake-quant weights in place, a
/// FakeQuant behind every site. Close to the integer network, not equal: sums of rounded floats are
/// not sums of codes. `simulate` is the exact one.
///
/// # Errors
/// `Mismatch` when `quantized` is not of this network.
pub fn fake_quantized(network: &Network, quantized: &Quantized) -> Result<Model> {
    Ok(FakeQuantized::new(network, quantized)?.model)
}

/// [`fake_quantized`], and where in it everything is.
#[derive(Clone, Debug)]
pub(crate) struct FakeQuantized {
    pub(crate) model: Model,
    /// The node of each layer.
    pub(crate) layers: BTreeMap<NodeId, NodeId>,
    /// The FakeQuant of each site.
    pub(crate) sites: BTreeMap<ValueId, NodeId>,
}

impl FakeQuantized {
    pub(crate) fn new(network: &Network, quantized: &Quantized) -> Result<Self> {
        let model = &network.model;
        let input = model.value(model.input());
        let mut out = Self {
            model: Model::new(model.name(), input.name.clone(), input.shape.clone()),
            layers: BTreeMap::new(),
            sites: BTreeMap::new(),
        };
        let mut renamed = vec![out.model.input(); model.values().len()];
        renamed[0] = out.round(quantized, model.input(), ValueId(0))?;
        for (i, node) in model.nodes().iter().enumerate() {
            let inputs: Vec<ValueId> = node.inputs.iter().map(|v| renamed[v.0]).collect();
            let y = out.model.push(&node.name, node.op.clone(), &inputs)?;
            if let Some(layer) = quantized.layers.get(&NodeId(i)) {
                let last = NodeId(out.model.nodes().len() - 1);
                set_layer(&mut out.model, last, layer);
                out.layers.insert(NodeId(i), last);
            }
            renamed[node.output.0] = out.round(quantized, node.output, y)?;
        }
        out.model.set_output(renamed[model.output().0]);
        out.model
            .set_exits(model.exits().iter().map(|v| renamed[v.0]).collect())?;
        Ok(out)
    }

    /// Rounds `at`, which stands for `value`, where that is a site.
    fn round(&mut self, quantized: &Quantized, value: ValueId, at: ValueId) -> Result<ValueId> {
        let Some(&grid) = quantized.grids.get(&value) else {
            return Ok(at);
        };
        self.sites.insert(value, NodeId(self.model.nodes().len()));
        Ok(self.model.push("round", fake_quant(grid), &[at])?)
    }
}

/// Puts what `layer` stands for into a float model.
pub(crate) fn set_layer(model: &mut Model, id: NodeId, layer: &QuantizedLayer) {
    if let Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias }) =
        model.op_mut(id)
    {
        *weight = layer.weight.dequantize(weight);
        *bias = Some(layer.bias.clone());
    }
}

/// The rounding of `grid` as an op of the float model.
pub(crate) fn fake_quant(grid: Grid) -> Op {
    let levels = f32::from(grid.bits.levels());
    Op::FakeQuant(FakeQuant {
        scale: grid.scale,
        step: grid.scale,
        zero: f32::from(grid.zero),
        levels,
    })
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
