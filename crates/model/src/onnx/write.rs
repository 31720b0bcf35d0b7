//! From a [`Model`] to the bytes of an ONNX file, opset 17, with a free batch called `N`.
//!
//! One node for each op, but for two: an Affine is Mul and Add (whichever says something), and a
//! FakeQuant is QuantizeLinear, Clip where it has fewer than 256 codes, and DequantizeLinear.

use std::collections::HashSet;

use prost::Message;

use super::draft::unused;
use super::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, TensorProto,
    TensorShape, TensorType, TypeProto, ValueInfo, attribute_type, data_type as t,
};
use super::{WRITTEN_OPSET, unsupported};
use crate::{Activation, Affine, BatchNorm, FakeQuant, Model, Node, Op, Result, Window};

/// The version of the file format that goes with the operators.
const IR_VERSION: i64 = 8;

/// Writes `model` as an ONNX file. Reading it gives an equal model.
///
/// # Errors
/// `Unsupported` when a FakeQuant has more than 8 bits or no whole zero point, or the file would
/// reach the format's limit of 2 GB.
pub fn write(model: &Model) -> Result<Vec<u8>> {
    let mut graph = Writer::default();
    let input = &model.value(model.input()).name;
    let input = graph.fresh(if input.is_empty() { "input" } else { input });
    graph.values.push(input);
    for node in model.nodes() {
        let output = graph.fresh(&node.name);
        graph.values.push(output);
        graph
            .node(model, node)
            .map_err(|e| e.within(format!("node {}", node.name)))?;
    }
    let info = |value: crate::ValueId| {
        let shape = &model.value(value).shape;
        let axes = shape.iter().map(|&n| Dimension {
            value: Some(n as i64),
            param: None,
        });
        let batch = Dimension {
            value: None,
            param: Some("N".to_owned()),
        };
        let shape = Some(TensorShape {
            dim: std::iter::once(batch).chain(axes).collect(),
        });
        let tensor_type = Some(TensorType {
            elem_type: t::FLOAT,
            shape,
        });
        ValueInfo {
            name: graph.values[value.0].clone(),
            r#type: Some(TypeProto { tensor_type }),
        }
    };
    let (input, output) = (
        vec![info(model.input())],
        model.answers().map(info).collect(),
    );
    let Writer {
        nodes: node,
        tensors: initializer,
        ..
    } = graph;
    let name = Some(model.name().to_owned());
    let file = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("exbit".to_owned()),
        graph: Some(GraphProto {
            node,
            name,
            initializer,
            input,
            output,
        }),
        opset_import: vec![OperatorSetId {
            domain: Some(String::new()),
            version: Some(WRITTEN_OPSET),
        }],
    };
    if file.encoded_len() >= 1 << 31 {
        return Err(unsupported("the file would be larger than 2 GB"));
    }
    Ok(file.encode_to_vec())
}

/// The parts of the file's graph.
#[derive(Default)]
struct Writer {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// The name of each value of the model.
    values: Vec<String>,
    taken: HashSet<String>,
}

impl Writer {
    fn fresh(&mut self, name: &str) -> String {
        unused(name, self.taken.len(), &mut self.taken)
    }

    fn push(
        &mut self,
        op_type: &str,
        input: Vec<String>,
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input,
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: op_type.to_owned(),
            attribute,
            domain: None,
        });
    }

    fn tensor(&mut self, name: &str, dims: &[usize], data_type: i32, raw: Vec<u8>) -> String {
        let name = self.fresh(name);
        self.tensors.push(TensorProto {
            name: Some(name.clone()),
            dims: dims.iter().map(|&n| n as i64).collect(),
            data_type: Some(data_type),
            raw_data: Some(raw.into()),
            ..Default::default()
        });
        name
    }

    fn floats(&mut self, name: &str, dims: &[usize], data: &[f32]) -> String {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, dims, t::FLOAT, raw)
    }

    fn ints(&mut self, name: &str, data: &[i64]) -> String {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, &[data.len()], t::INT64, raw)
    }

    fn node(&mut self, model: &Model, node: &Node) -> Result<()> {
        let mut inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|v| self.values[v.0].clone())
            .collect();
        let out = self.values[node.output.0].clone();
        let named = |part: &str| format!("{out}.{part}");
        let (op_type, attributes) = match &node.op {
            Op::Conv(conv) => {
                inputs.push(self.floats(&named("weight"), conv.weight.shape(), conv.weight.data()));
                if let Some(bias) = &conv.bias {
                    inputs.push(self.floats(&named("bias"), &[bias.len()], bias));
                }
                let mut attributes = geometry(&conv.window, true);
                attributes.push(int("group", conv.groups as i64));
                ("Conv", attributes)
            }
            Op::Linear(linear) => {
                let (shape, data) = (linear.weight.shape(), linear.weight.data());
                inputs.push(self.floats(&named("weight"), shape, data));
                if let Some(bias) = &linear.bias {
                    inputs.push(self.floats(&named("bias"), &[bias.len()], bias));
                }
                ("Gemm", vec![int("transB", 1)])
            }
            Op::BatchNorm(bn) => {
                self.batch_norm(bn, &mut inputs, &out);
                ("BatchNormalization", vec![float("epsilon", bn.eps)])
            }
            Op::Affine(affine) => {
                let rank = model.value(node.output).shape.len();
                self.affine(affine, rank, inputs, &out);
                return Ok(());
            }
            Op::Activation(activation) => self.activation(*activation, &mut inputs, &out),
            Op::Add => ("Add", Vec::new()),
            Op::Concat { axis } => ("Concat", vec![int("axis", *axis as i64 + 1)]),
            Op::Pad(pad) => {
                let [top, left, bottom, right] = pad.pads.map(|n| n as i64);
                inputs.push(self.ints(&named("pads"), &[0, 0, top, left, 0, 0, bottom, right]));
                inputs.push(self.floats(&named("value"), &[], &[pad.value]));
                ("Pad", Vec::new())
            }
            Op::MaxPool(window) => ("MaxPool", geometry(window, true)),
            Op::AvgPool(pool) => {
                let mut attributes = geometry(&pool.window, false);
                attributes.push(int("count_include_pad", pool.count_include_pad.into()));
                ("AveragePool", attributes)
            }
            Op::GlobalAvgPool => ("GlobalAveragePool", Vec::new()),
            Op::Reshape { shape } => {
                // Zero keeps the batch as it is.
                let shape = std::iter::once(0).chain(shape.iter().map(|&n| n as i64));
                inputs.push(self.ints(&named("shape"), &shape.collect::<Vec<_>>()));
                ("Reshape", Vec::new())
            }
            Op::Transpose { perm } => {
                let perm = std::iter::once(0).chain(perm.iter().map(|&axis| axis as i64 + 1));
                ("Transpose", vec![ints("perm", perm.collect())])
            }
            Op::Softmax { axis } => ("Softmax", vec![int("axis", *axis as i64 + 1)]),
            Op::FakeQuant(quant) => return self.fake_quant(*quant, inputs, &out),
        };
        self.push(op_type, inputs, &out, attributes);
        Ok(())
    }

    fn batch_norm(&mut self, bn: &BatchNorm, inputs: &mut Vec<String>, out: &str) {
        let parts = [
            ("gamma", &bn.gamma),
            ("beta", &bn.beta),
            ("mean", &bn.mean),
            ("var", &bn.var),
        ];
        for (part, list) in parts {
            inputs.push(self.floats(&format!("{out}.{part}"), &[list.len()], list));
        }
    }

    fn affine(&mut self, affine: &Affine, rank: usize, mut inputs: Vec<String>, out: &str) {
        let mut dims = vec![1; rank];
        dims[0] = affine.scale.len();
        let scales = affine.scale.iter().any(|&s| s != 1.0);
        let shifts = affine.shift.iter().any(|&s| s != 0.0);
        if scales || !shifts {
            inputs.push(self.floats(&format!("{out}.scale"), &dims, &affine.scale));
            let product = if shifts {
                self.fresh(&format!("{out}.product"))
            } else {
                out.to_owned()
            };
            self.push("Mul", std::mem::take(&mut inputs), &product, Vec::new());
            inputs.push(product);
        }
        if shifts {
            inputs.push(self.floats(&format!("{out}.shift"), &dims, &affine.shift));
            self.push("Add", inputs, out, Vec::new());
        }
    }

    fn activation(
        &mut self,
        activation: Activation,
        inputs: &mut Vec<String>,
        out: &str,
    ) -> (&'static str, Vec<AttributeProto>) {
        match activation {
            Activation::Relu => ("Relu", Vec::new()),
            Activation::Clip { lo, hi } => {
                for (part, end) in [("lo", lo), ("hi", hi)] {
                    // An absent end is an empty name.
                    inputs.push(if end.is_infinite() {
                        String::new()
                    } else {
                        self.floats(&format!("{out}.{part}"), &[], &[end])
                    });
                }
                ("Clip", Vec::new())
            }
            Activation::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", slope)]),
            Activation::Sigmoid => ("Sigmoid", Vec::new()),
            Activation::HardSigmoid { alpha, beta } => (
                "HardSigmoid",
                vec![float("alpha", alpha), float("beta", beta)],
            ),
            Activation::HardSwish => ("HardSwish", Vec::new()),
        }
    }

    fn fake_quant(&mut self, quant: FakeQuant, inputs: Vec<String>, out: &str) -> Result<()> {
        let FakeQuant {
            scale,
            step,
            zero,
            levels,
        } = quant;
        let whole = zero.fract() == 0.0 && levels.fract() == 0.0;
        let fits = whole && (1.0..=255.0).contains(&levels) && (0.0..=levels).contains(&zero);
        if !fits {
            let message = format!("codes to {levels} with zero at {zero}; supported: 0 to 255");
            return Err(unsupported(message));
        }
        let zero = self.tensor(&format!("{out}.zero"), &[], t::UINT8, vec![zero as u8]);
        let scale_name = self.floats(&format!("{out}.scale"), &[], &[scale]);
        let step_name = match step == scale {
            true => scale_name.clone(),
            false => self.floats(&format!("{out}.step"), &[], &[step]),
        };
        let grid = |x: String| vec![x, step_name.clone(), zero.clone()];
        let mut codes = self.fresh(&format!("{out}.codes"));
        self.push(
            "QuantizeLinear",
            inputs.into_iter().flat_map(grid).collect(),
            &codes,
            vec![],
        );
        if levels < 255.0 {
            let lo = self.tensor(&format!("{out}.lo"), &[], t::UINT8, vec![0]);
            let hi = self.tensor(&format!("{out}.hi"), &[], t::UINT8, vec![levels as u8]);
            let clipped = self.fresh(&format!("{out}.clipped"));
            self.push("Clip", vec![codes, lo, hi], &clipped, Vec::new());
            codes = clipped;
        }
        let grid = vec![codes, scale_name, zero];
        self.push("DequantizeLinear", grid, out, Vec::new());
        Ok(())
    }
}

fn geometry(window: &Window, dilated: bool) -> Vec<AttributeProto> {
    let list = |list: &[usize]| list.iter().map(|&n| n as i64).collect();
    let mut attributes = vec![
        ints("kernel_shape", list(&window.kernel)),
        ints("strides", list(&window.stride)),
        ints("pads", list(&window.pads)),
    ];
    if dilated {
        attributes.push(ints("dilations", list(&window.dilation)));
    }
    attributes
}

fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = Some(attribute_type::INT);
    AttributeProto {
        name: name.to_owned(),
        i: Some(value),
        r#type,
        ..Default::default()
    }
}

fn ints(name: &str, values: Vec<i64>) -> AttributeProto {
    let r#type = Some(attribute_type::INTS);
    AttributeProto {
        name: name.to_owned(),
        ints: values,
        r#type,
        ..Default::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    let r#type = Some(attribute_type::FLOAT);
    AttributeProto {
        name: name.to_owned(),
        f: Some(value),
        r#type,
        ..Default::default()
    }
}
