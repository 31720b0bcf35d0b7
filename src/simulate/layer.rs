//! A layer whose weights are codes, as float convolutions that are exact.

use std::ops::Range;

use exbit_kernels::{Epilogue, magnitude};
use exbit_model::{Activation, Conv, Linear, Model, Op, Result, Tensor, ValueId};

use crate::lower::{engine_activation, layer};
use crate::prepare::{Network, Stage};
use crate::quantized::{Quantized, QuantizedLayer};

/// A layer whose weights are codes: `sum = run(parts[0]) + ..`, each of which is exact.
#[derive(Debug)]
pub(super) struct CodeLayer {
    pub(super) parts: Vec<Model>,
    pub(super) epilogue: Epilogue,
}

pub(super) fn code_layer(
    network: &Network,
    quantized: &Quantized,
    stage: &Stage,
    activation: Option<Activation>,
) -> Result<CodeLayer> {
    let op = &network.model.node(stage.node).op;
    let own = layer(op, stage.node, quantized);
    let grid = |v: ValueId| quantized.grid(network, v);
    let real = network.is_real(stage.output);
    let epilogue = Epilogue::conv(
        grid(stage.inputs[0]),
        &own.weight.scale,
        &own.bias,
        stage.inputs.get(1).map(|&v| grid(v)),
        engine_activation(activation),
        (!real).then(|| grid(stage.output)),
    );
    let levels = u64::from(grid(stage.inputs[0]).bits.levels());
    let shape = network.model.value(stage.inputs[0]).shape.clone();
    let codes = &own.weight.codes;
    let row = codes.len() / own.weight.scale.len();
    let part = |piece: &Range<usize>| -> Result<Model> {
        let kept = |(i, &code): (usize, &i8)| match piece.contains(&(i % row)) {
            true => f32::from(code),
            false => 0.0,
        };
        let codes = codes.iter().enumerate().map(kept).collect();
        let mut m = Model::new("codes", "x", shape.clone());
        let input = m.input();
        m.push("layer", code_op(op, &own, codes)?, &[input])?;
        Ok(m)
    };
    let parts = exact_pieces(codes, row, levels)
        .iter()
        .map(part)
        .collect::<Result<_>>()?;
    Ok(CodeLayer { parts, epilogue })
}

/// Cuts rows of `row` weights, all at the same places, into as few pieces as have no sum of
/// products with codes up to `levels` that a float could round.
fn exact_pieces(codes: &[i8], row: usize, levels: u64) -> Vec<Range<usize>> {
    let largest = |from: usize, to: usize| {
        let rows = codes.chunks_exact(row).map(|row| magnitude(&row[from..to]));
        rows.max().unwrap_or(0)
    };
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < row {
        // One weight always fits: 128 x 255 is far below.
        let (mut fits, mut most) = (from + 1, row);
        while fits < most {
            let to = (fits + most).div_ceil(2);
            match largest(from, to) * levels < 1 << 24 {
                true => fits = to,
                false => most = to - 1,
            }
        }
        pieces.push(from..fits);
        from = fits;
    }
    pieces
}

/// The layer's op with codes for weights and no bias.
fn code_op(op: &Op, own: &QuantizedLayer, codes: Vec<f32>) -> Result<Op> {
    if let Op::Conv(conv) = op {
        let weight = Tensor::new(conv.weight.shape().to_vec(), codes)?;
        return Ok(Op::Conv(Conv {
            weight,
            bias: None,
            ..conv.clone()
        }));
    }
    if let Op::Linear(linear) = op {
        let weight = Tensor::new(linear.weight.shape().to_vec(), codes)?;
        return Ok(Op::Linear(Linear { weight, bias: None }));
    }
    let shift = vec![0.0; own.bias.len()];
    Ok(Op::Affine(exbit_model::Affine {
        scale: codes,
        shift,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_exact_and_few() {
        let codes: Vec<i8> = (0..4 * 5000).map(|i| (i % 256) as u8 as i8).collect();
        let pieces = exact_pieces(&codes, 5000, 255);
        assert!(pieces.iter().cloned().flatten().eq(0..5000));
        for piece in &pieces {
            let row = |r: usize| magnitude(&codes[r * 5000..][piece.clone()]);
            assert!((0..4).map(row).max().unwrap() * 255 < 1 << 24);
        }
        // 5000 weights of 64 on average, 1028 of which fit into one.
        assert_eq!(pieces.len(), 5);
        assert_eq!(exact_pieces(&codes, 5000, 1).len(), 1);
    }
}
