//! Files built message by message, to read back.

mod hostile;
mod ops;
mod round_trip;
mod shapes;
mod windows;

use prost::Message;

use super::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, TensorProto,
    TensorShape, TensorType, TypeProto, ValueInfo, attribute_type, data_type,
};
use crate::{Model, Op, Result};

/// A graph from `x` to `y` under construction.
#[derive(Clone)]
struct File {
    opset: i64,
    graph: GraphProto,
}

impl File {
    /// `x` of `dims`, of which -1 is free.
    fn new(dims: &[i64]) -> Self {
        let input = vec![info("x", dims)];
        let output = vec![info("y", &[])];
        let graph = GraphProto {
            input,
            output,
            ..Default::default()
        };
        Self { opset: 17, graph }
    }

    fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// `text` is `Op input,input -> output`.
    fn node(self, text: &str) -> Self {
        self.node_with(text, &[])
    }

    fn node_with(mut self, text: &str, attributes: &[AttributeProto]) -> Self {
        let (op, rest) = text.split_once(' ').unwrap();
        let (inputs, output) = rest.split_once("->").unwrap();
        let names = |list: &str| list.split(',').map(|n| n.trim().to_owned()).collect();
        let input: Vec<String> = names(inputs);
        self.graph.node.push(NodeProto {
            input: if input == [""] { Vec::new() } else { input },
            output: names(output),
            name: None,
            op_type: op.to_owned(),
            attribute: attributes.to_vec(),
            domain: None,
        });
        self
    }

    fn floats(mut self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(data_type::FLOAT),
            float_data: data.to_vec(),
            ..Default::default()
        });
        self
    }

    fn ints(mut self, name: &str, data: &[i64]) -> Self {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: vec![data.len() as i64],
            data_type: Some(data_type::INT64),
            raw_data: Some(data.iter().flat_map(|v| v.to_le_bytes()).collect()),
            ..Default::default()
        });
        self
    }

    /// A whole number without axes.
    fn int(self, name: &str, value: i64) -> Self {
        let mut file = self.ints(name, &[value]);
        file.graph.initializer.last_mut().unwrap().dims.clear();
        file
    }

    fn bytes(&self) -> Vec<u8> {
        let set = OperatorSetId {
            domain: None,
            version: Some(self.opset),
        };
        ModelProto {
            ir_version: Some(8),
            producer_name: None,
            graph: Some(self.graph.clone()),
            opset_import: vec![set],
        }
        .encode_to_vec()
    }

    fn read(&self) -> Result<Model> {
        super::read(&self.bytes(), None)
    }

    /// The ops in order, each reading what the one before gives.
    #[track_caller]
    fn chain(&self) -> Vec<Op> {
        let model = self.read().unwrap();
        model.nodes().iter().map(|n| n.op.clone()).collect()
    }

    /// The one op, and the shape that it gives.
    #[track_caller]
    fn only(&self) -> (Op, Vec<usize>) {
        let model = self.read().unwrap();
        let [node] = model.nodes() else {
            panic!("{:?}", model.nodes())
        };
        (node.op.clone(), model.value(model.output()).shape.clone())
    }

    /// The message of the error.
    #[track_caller]
    fn error(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

fn info(name: &str, dims: &[i64]) -> ValueInfo {
    let axis = |&n: &i64| Dimension {
        value: (n >= 0).then_some(n),
        param: None,
    };
    let shape = Some(TensorShape {
        dim: dims.iter().map(axis).collect(),
    });
    let tensor_type = Some(TensorType {
        elem_type: data_type::FLOAT,
        shape,
    });
    ValueInfo {
        name: name.to_owned(),
        r#type: Some(TypeProto { tensor_type }),
    }
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

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = Some(attribute_type::INTS);
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
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

fn text(name: &str, value: &'static str) -> AttributeProto {
    let s = Some(prost::bytes::Bytes::from(value));
    AttributeProto {
        name: name.to_owned(),
        s,
        ..Default::default()
    }
}

/// Numbers 1, 2, 3, ...
fn counting(n: usize) -> Vec<f32> {
    (1..=n).map(|v| v as f32).collect()
}

/// `x` of `dims`, and a weight `w` of the shape `weight`.
fn conv_file(dims: &[i64], weight: &[i64]) -> File {
    let n = weight.iter().product::<i64>() as usize;
    File::new(dims).floats("w", weight, &counting(n))
}
