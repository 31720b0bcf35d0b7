//! The float network: what a pretrained model is before any bit is decided.
//!
//! A [`Model`] is a static graph of a closed set of [`Op`]s over values of known shape. It comes
//! from an ONNX file (`onnx`), or is built with [`Model::push`]; it carries its own weights and
//! knows nothing of precision. `data` reads the images that calibrate and judge it.
//!
//! Read in this order: [`Tensor`], [`Op`], [`Model`], then `onnx` and `data`.

pub mod data;
mod error;
mod graph;
pub mod onnx;
mod op;
mod parameters;
mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use graph::{Model, Node, NodeId, Value, ValueId};
pub use op::{Activation, Affine, BatchNorm, Conv, FakeQuant, Linear, Op, Pad, Pool, Window};
pub use tensor::Tensor;
