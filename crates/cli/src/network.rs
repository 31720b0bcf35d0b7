//! A network from a file: a float Model or a Program, which its first bytes tell.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use exbit_engine::Program;
use exbit_model::data::DataSet;
use exbit_model::{Model, Op};

use crate::exit::Failure;

/// What a network file holds.
#[derive(Debug)]
pub(crate) enum Network {
    /// A float network, from an ONNX file.
    Float(Model),
    /// An integer network.
    Integer(Program),
}

impl Network {
    /// Numbers the classes of `set` as this network does.
    pub(crate) fn number_classes(&self, set: &mut DataSet) -> Result<(), Failure> {
        let (names, outputs) = match self {
            Network::Float(model) => (&[][..], model.output_len()),
            Network::Integer(program) => {
                let outputs = program.values[program.output].len();
                (program.classes.as_slice(), outputs)
            }
        };
        Ok(set.number_classes(names, outputs)?)
    }
}

/// A network and the file that it came from.
#[derive(Debug)]
pub(crate) struct NetworkFile {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// What it holds.
    pub(crate) network: Network,
}

/// Reads the network in the file `path`.
pub(crate) fn open(path: &Path) -> Result<NetworkFile, Failure> {
    let (kind, bytes) = kind_of(path)?;
    let network = match kind {
        Kind::Program => Network::Integer(Program::load(path)?),
        Kind::Onnx => Network::Float(exbit_model::onnx::open(path)?),
    };
    Ok(NetworkFile {
        path: path.to_path_buf(),
        bytes,
        network,
    })
}

/// What the file `path` holds, and its length in bytes.
pub(crate) fn kind_of(path: &Path) -> Result<(Kind, u64), Failure> {
    let (head, bytes) = head(path).map_err(|e| Failure::io(path, &e))?;
    let kind = kind(&head).ok_or_else(|| {
        let message = "neither an ONNX model nor an exbit Program";
        Failure::bad_input(format!("{}: {message}", path.display()))
            .next("Export the network to ONNX, or make a Program with `exbit quantize`.")
    })?;
    Ok((kind, bytes))
}

/// Reads the float network in the file `path`.
pub(crate) fn open_model(path: &Path) -> Result<(Model, u64), Failure> {
    let file = open(path)?;
    match file.network {
        Network::Float(model) => Ok((model, file.bytes)),
        Network::Integer(_) => {
            let message = "an exbit Program; a float network is needed here, an ONNX file";
            Err(Failure::bad_input(format!("{}: {message}", path.display())))
        }
    }
}

/// The model with its answer before a last Softmax, where there is one: what losses and
/// probabilities are computed from.
pub(crate) fn logits_of(mut model: Model) -> Model {
    let last = model.producer(model.output()).map(|id| model.node(id));
    if let Some(node) = last.filter(|n| matches!(n.op, Op::Softmax { .. })) {
        let logits = node.inputs[0];
        model.set_output(logits);
    }
    model
}

/// The longest text that is read.
const LONGEST_TEXT: u64 = 1 << 22;

/// The text in the file `path`: a recipe, a Plan, names.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    exbit::read_text(path, LONGEST_TEXT).map_err(|e| match e.kind() == ErrorKind::InvalidData {
        true => Failure::bad_input(format!("{}: {e}", path.display())),
        false => Failure::io(path, &e),
    })
}

/// The names in the file `path`, one a line, for a network of `classes` classes.
pub(crate) fn class_names(path: &Path, classes: usize) -> Result<Vec<String>, Failure> {
    let text = text(path)?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if names.len() == classes {
        return Ok(names);
    }
    let found = names.len();
    let message = format!("{found} lines; the network has {classes} classes, one name a line");
    Err(Failure::bad_input(format!("{}: {message}", path.display())))
}

fn head(path: &Path) -> std::io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let mut head = Vec::new();
    file.take(16).read_to_end(&mut head)?;
    Ok((head, metadata.len()))
}

/// The kinds of network files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A float network.
    Onnx,
    /// An integer network.
    Program,
}

/// A Program is a safetensors container: eight bytes of length, then JSON. ONNX is a protobuf
/// message whose first byte is the tag of one of ModelProto's fields.
fn kind(head: &[u8]) -> Option<Kind> {
    if head.get(8) == Some(&b'{') && head.get(6..8) == Some(&[0, 0]) {
        return Some(Kind::Program);
    }
    let &tag = head.first()?;
    // Wire type 0 for the two version numbers, 2 for texts and messages.
    let known = match tag & 7 {
        0 => [1, 5].contains(&(tag >> 3)),
        2 => [2, 3, 4, 6, 7, 8, 14].contains(&(tag >> 3)),
        _ => false,
    };
    known.then_some(Kind::Onnx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_seen_from_the_first_bytes() {
        assert_eq!(kind(b"\x08\x08\x12\x07pytorch"), Some(Kind::Onnx));
        assert_eq!(kind(b"\x40\x01\0\0\0\0\0\0{\"__meta"), Some(Kind::Program));
        let neither: [&[u8]; 5] = [
            b"",
            b"\x89PNG",
            b"PK\x03\x04",
            b"\xff\xd8\xff",
            b"\0\0\x08\x03",
        ];
        neither
            .iter()
            .for_each(|head| assert_eq!(kind(head), None, "{head:?}"));
    }
}
