//! From a file's graph to a [`Model`]: nodes are visited in their order, those that read only
//! constants are evaluated, the others become ops.
//!
//! Only what the output needs is looked at. Each name is bound once, before it is read, as the
//! format demands; a cycle or a missing tensor is therefore a name that is not bound yet.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use prost::Message;

use super::call::Call;
use super::constant::{Constant, Entry};
use super::draft::Draft;
use super::external::Folder;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo, data_type as t};
use super::tensor::Budget;
use super::{fold, malformed, node, unsupported};
use crate::{Model, Result, ValueId};

/// The versions of the operators that we know.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=21;

/// What a name in the file stands for.
#[derive(Clone)]
pub(super) enum Bound<'a> {
    /// A value of the network.
    Value(ValueId),
    /// A value padded by minus infinity, which only MaxPool can read.
    Padded { value: ValueId, pads: [usize; 4] },
    /// What a QuantizeLinear gives.
    Codes(Codes),
    /// A tensor of the file, not read yet.
    Stored(&'a TensorProto),
    /// The result of folding.
    Folded(Rc<Constant>),
}

impl Bound<'_> {
    /// Whether it depends on the network's input.
    pub(super) fn is_data(&self) -> bool {
        match self {
            Bound::Value(_) | Bound::Padded { .. } | Bound::Codes(_) => true,
            Bound::Stored(_) | Bound::Folded(_) => false,
        }
    }
}

/// A value as the codes `clip(rne(x / scale) + zero, lo, hi)`.
#[derive(Clone, Copy)]
pub(super) struct Codes {
    pub(super) value: ValueId,
    pub(super) scale: f32,
    pub(super) zero: i64,
    pub(super) lo: i64,
    pub(super) hi: i64,
}

/// The state of an import.
pub(super) struct Import<'a> {
    /// The version of the operators.
    pub(super) opset: i64,
    /// The size of the batch, where the file fixes it.
    pub(super) batch: Option<i64>,
    pub(super) bound: HashMap<&'a str, Bound<'a>>,
    pub(super) draft: Draft,
    pub(super) folder: Folder,
    pub(super) budget: Budget,
}

impl<'a> Import<'a> {
    fn bind(&mut self, name: &'a str, bound: Bound<'a>) -> Result<()> {
        match self.bound.insert(name, bound) {
            None => Ok(()),
            Some(_) => Err(malformed(format!("the name {name} is given twice"))),
        }
    }
}

/// Reads the model in `bytes`; external data is looked for in `folder`.
/// It is called `name`, or what the file calls it.
pub(super) fn read(
    bytes: prost::bytes::Bytes,
    folder: Option<&Path>,
    name: Option<&str>,
) -> Result<Model> {
    let len = bytes.len();
    let file = ModelProto::decode(bytes)
        .map_err(|e| malformed(format!("not an ONNX file, or a damaged one: {e}")))?;
    let opset = opset(&file)?;
    let graph = file
        .graph
        .as_ref()
        .ok_or_else(|| malformed("there is no graph"))?;
    let output = output(graph)?;
    let mut bound = HashMap::new();
    for tensor in &graph.initializer {
        let name = tensor.name.as_deref().unwrap_or_default();
        if bound.insert(name, Bound::Stored(tensor)).is_some() {
            return Err(malformed(format!("two initializers are called {name:?}")));
        }
    }
    let input = graph
        .input
        .iter()
        .find(|v| !bound.contains_key(v.name.as_str()));
    let input = input.ok_or_else(|| malformed("the graph has no input"))?;
    let (batch, shape) =
        input_shape(input).map_err(|e| e.within(format!("input {}", input.name)))?;
    let needed = needed(graph, output)?;
    let mut import = Import {
        opset,
        batch,
        bound,
        draft: Draft::new(shape)?,
        folder: Folder::new(folder),
        budget: Budget::new(len),
    };
    import.bind(&input.name, Bound::Value(ValueId(0)))?;
    for (node, needed) in graph.node.iter().zip(needed) {
        if needed {
            visit(&mut import, node).map_err(|e| e.within(place(node)))?;
        }
    }
    match import.bound.get(output) {
        Some(&Bound::Value(id)) => {
            let name = name.or(graph.name.as_deref()).unwrap_or("model");
            import.draft.finish(name, &input.name, id)
        }
        Some(_) => Err(unsupported(format!(
            "the output {output} is not a computed value"
        ))),
        None => Err(malformed(format!("nothing gives the output {output}"))),
    }
}

fn opset(file: &ModelProto) -> Result<i64> {
    let own = |domain: Option<&str>| matches!(domain, None | Some("" | "ai.onnx"));
    let set = file
        .opset_import
        .iter()
        .find(|set| own(set.domain.as_deref()));
    let version = set.map_or(1, |set| set.version.unwrap_or(1));
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    let (from, to) = (OPSETS.start(), OPSETS.end());
    let message = format!(
        "the file follows opset {version}; supported: {from} to {to} (export it again with \
         opset_version=17, or convert it with onnx.version_converter)"
    );
    Err(unsupported(message))
}

fn output(graph: &GraphProto) -> Result<&str> {
    match graph.output.as_slice() {
        [output] => Ok(&output.name),
        [] => Err(malformed("the graph has no output")),
        several => {
            let names: Vec<_> = several.iter().map(|o| o.name.as_str()).take(8).collect();
            Err(unsupported(format!(
                "the graph has {} outputs ({}); supported: one (cut the model with \
                 onnx.utils.extract_model)",
                several.len(),
                names.join(", "),
            )))
        }
    }
}

/// The fixed batch size, if any, and the shape of one image.
fn input_shape(input: &ValueInfo) -> Result<(Option<i64>, Vec<usize>)> {
    let tensor = input.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| malformed("its type is not a tensor"))?;
    if !matches!(
        tensor.elem_type,
        t::FLOAT | t::DOUBLE | t::FLOAT16 | t::BFLOAT16
    ) {
        let kind = tensor.elem_type;
        return Err(unsupported(format!(
            "entries of type {kind}; supported: the float types"
        )));
    }
    let dims = tensor
        .shape
        .as_ref()
        .map(|s| s.dim.as_slice())
        .unwrap_or_default();
    let [batch, image @ ..] = dims else {
        return Err(unsupported("its shape is not given"));
    };
    if image.len() != 1 && image.len() != 3 {
        let message = format!("{} axes; supported: (N, C, H, W) and (N, F)", dims.len());
        return Err(unsupported(message));
    }
    let extent = |(axis, dim): (usize, &super::proto::Dimension)| match dim.value {
        Some(n) if n > 0 => usize::try_from(n).map_err(|_| malformed("an extent too large")),
        _ => Err(unsupported(format!(
            "axis {} has no fixed extent; supported: a free batch only (fix the others with \
             onnxruntime.tools.make_dynamic_shape_fixed, or when exporting)",
            axis + 1
        ))),
    };
    let shape = image
        .iter()
        .enumerate()
        .map(extent)
        .collect::<Result<_>>()?;
    Ok((batch.value.filter(|&n| n > 0), shape))
}

/// Which nodes the output needs.
fn needed(graph: &GraphProto, output: &str) -> Result<Vec<bool>> {
    let mut gives = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if gives.insert(name.as_str(), i).is_some() {
                return Err(malformed(format!("two nodes give {name}")));
            }
        }
    }
    let mut needed = vec![false; graph.node.len()];
    let mut open = vec![output];
    while let Some(name) = open.pop() {
        let Some(&i) = gives.get(name) else { continue };
        if !std::mem::replace(&mut needed[i], true) {
            open.extend(graph.node[i].input.iter().map(String::as_str));
        }
    }
    Ok(needed)
}

fn place(node: &NodeProto) -> String {
    let name = node.name.as_deref().filter(|n| !n.is_empty());
    let name = name
        .or(node.output.first().map(String::as_str))
        .unwrap_or_default();
    format!("node {name} ({})", node.op_type)
}

fn visit<'a>(import: &mut Import<'a>, node: &'a NodeProto) -> Result<()> {
    if let Some(domain) = node
        .domain
        .as_deref()
        .filter(|d| !matches!(*d, "" | "ai.onnx"))
    {
        let message = format!(
            "an operator of the domain {domain}; supported: {}",
            node::SUPPORTED
        );
        return Err(unsupported(message));
    }
    for name in node.input.iter().filter(|name| !name.is_empty()) {
        if !import.bound.contains_key(name.as_str()) {
            return Err(malformed(format!(
                "it reads {name}, which neither the first input, an initializer nor the first \
                 output of an earlier node gives"
            )));
        }
    }
    let Some(output) = node.output.first().filter(|name| !name.is_empty()) else {
        return Err(unsupported(
            "its first output has no name, but another one is read",
        ));
    };
    let mut call = Call::new(node, import);
    let bound = convert(&mut call).and_then(|bound| call.attributes.finish().map(|()| bound))?;
    import.bind(output, bound)
}

fn convert<'a>(call: &mut Call<'_, 'a>) -> Result<Bound<'a>> {
    let data = (0..call.input_count()).any(|i| call.is_data(i));
    let constant = match (call.op(), data) {
        ("Constant", _) => match call.attributes.tensor("value") {
            Some(tensor) => return Ok(Bound::Stored(tensor)),
            None => fold::listed(call)?,
        },
        ("Identity", false) => {
            return call
                .bound(0)
                .cloned()
                .ok_or_else(|| malformed("input 0 is missing"));
        }
        ("Shape", true) => {
            let value = call.value(0)?;
            let extents = call.shape(value).into_iter().map(|n| Entry::Int(n as i64));
            fold::shape(call, std::iter::once(Entry::Batch).chain(extents).collect())?
        }
        (_, true) => return node::convert(call),
        (_, false) => fold::evaluate(call)?,
    };
    call.import.budget.charge(constant.cost())?;
    Ok(Bound::Folded(Rc::new(constant)))
}
