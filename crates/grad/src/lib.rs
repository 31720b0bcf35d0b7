//! Runs and differentiates a [`Model`](exbit_model::Model) on the CPU, in floats.
//!
//! A `Model` is a static graph of a closed set of ops, so there is no autograd engine here: a
//! forward and a backward function for each op stand side by side in `op/`, and two walks call
//! them. [`forward`] keeps every value of a batch in a [`Tape`]; [`backward`] walks the tape in
//! reverse, with several cotangents (losses kept apart) in one walk. [`infer`] and [`infer_with`]
//! keep no more than they need.
//!
//! Images are cut into blocks over threads, and blocks into tiles small enough to stay in cache;
//! a tile goes through as many nodes as it can before the next one starts (`split`). Blocks do
//! not depend on the number of threads, and sums over images run in one fixed order: the same
//! call gives the same bits on any number of threads.
//!
//! Values are `(N, C, H, W)` row-major, as in ONNX. Read in this order: `tape`, `forward`,
//! `backward`, then any op.

mod adam;
mod backward;
mod forward;
pub mod loss;
mod op;
mod scratch;
mod split;
mod tape;

pub use adam::Adam;
pub use backward::{Cotangent, Gradients, NodeGradient, Wanted, backward};
pub use forward::{forward, infer, infer_with, moments};
pub use tape::{Mode, Tape};
