//! exbit turns a pretrained float network and a budget into a small integer network.

pub mod allocate;
pub mod budget;
pub mod calibrate;
pub mod cost;
pub mod distill;
mod error;
pub mod exits;
mod file;
mod fingerprint;
pub mod latency;
pub mod learn;
mod lower;
mod noise;
pub mod number;
mod observe;
pub mod plan;
mod prepare;
mod quantize;
mod quantized;
pub mod reconstruct;
pub mod report;
mod samples;
pub mod sensitivity;
mod simulate;
mod sizes;
mod summary;
mod weights;

pub use allocate::{Allocation, Request, allocate};
pub use budget::{Budget, Pin, Resource};
pub use cost::{Cost, Precisions, Sizes, Table};
pub use error::{Error, ErrorKind, Result, is_named_wrongly};
pub use file::read_text;
pub use fingerprint::Fingerprint;
pub use lower::{input_of, lower, raise};
pub use observe::observe;
pub use plan::Plan;
pub use prepare::{Network, Stage, StageKind, equalize, fold, prepare};
pub use quantize::{Options, Progress, Quantization, quantize, table};
pub use quantized::{Quantized, QuantizedLayer, fake_quantized};
pub use samples::{Batch, Samples};
pub use sensitivity::{Metric, Sensitivity};
pub use simulate::{Simulated, Simulator};
pub use sizes::sizes;
pub use summary::summarize;
pub use weights::{QuantizedWeight, WeightRange, quantize_weight};

/// The README's example is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
