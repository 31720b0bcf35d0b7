//! ONNX in and out.
//!
//! [`open`] and [`read`] take a file as PyTorch, timm and the TensorFlow converters write it,
//! opset 9 to 21, and give the [`Model`] that it means:
//! - Its input is the first graph input without a stored tensor, `(N, C, H, W)` or `(N, F)`, where
//!   N may be free; an image that the file takes as `(N, H, W, C)` and turns is `(N, C, H, W)`. It
//!   has one output; several are an error, since dropping one would be silent.
//! - Only what the output needs is read. Arithmetic on shapes and constants is evaluated (`fold`),
//!   with the size of the batch as an unknown; everything else becomes ops (`node`).
//! - Detours are straightened where that gives the same numbers: a bias in a node of its own, Relu
//!   before Clip, HardSwish spelled out, a Transpose that undoes another, padding of no extent.
//!   Every n-th entry (Slice) is a MaxPool over single entries; padding of channels is a Pad of
//!   the reshaped image.
//! - Anything else is one error that names the node, what is wrong and what is supported.
//!
//! Files are taken to be hostile: what they announce is compared with what they hold before memory
//! is taken for it.
//!
//! [`write`](write()) is the inverse: reading what it wrote gives the same model.

mod array;
mod attributes;
mod call;
mod constant;
mod draft;
mod external;
mod fold;
mod node;
mod proto;
mod read;
mod tensor;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;

use prost::bytes::Bytes;

pub use write::write;

use crate::{Error, ErrorKind, Model, Result};

/// The version of the operators that we write.
const WRITTEN_OPSET: i64 = 17;

/// The most axes of a tensor, the batch counted.
const MAX_RANK: usize = 8;

/// Reads the model in the file `path`; external data is looked for in its folder.
/// The model is called what the file is, without its extension.
///
/// # Errors
/// `Io`, `Malformed` or `Unsupported`, naming the file and the node.
pub fn open(path: impl AsRef<Path>) -> Result<Model> {
    let path = path.as_ref();
    let place = |e: Error| e.within(path.display());
    let bytes =
        std::fs::read(path).map_err(|e| place(Error::new(ErrorKind::Io, "", e.to_string())))?;
    // A bare file name has the empty path as its parent, which no folder answers to.
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let name = path.file_stem().and_then(|stem| stem.to_str());
    read::read(bytes.into(), Some(folder.unwrap_or(Path::new("."))), name).map_err(place)
}

/// Reads the model in `bytes`; external data is looked for in the folder `external`, if given.
///
/// # Errors
/// `Io`, `Malformed` or `Unsupported`, naming the node.
pub fn read(bytes: &[u8], external: Option<&Path>) -> Result<Model> {
    read::read(Bytes::copy_from_slice(bytes), external, None)
}

impl Model {
    /// Reads an ONNX file: [`onnx::open`](open).
    ///
    /// # Errors
    /// `Io`, `Malformed` or `Unsupported`, naming the file and the node.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        open(path)
    }
}

/// The bytes are not what the format says; the caller adds where.
fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, "", message)
}

/// A well-formed wish that we do not grant; the message says what is supported.
fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, "", message)
}
