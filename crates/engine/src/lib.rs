//! Runs a [`Program`]: integers only, in an arena whose size is known before it starts.
//!
//! ```no_run
//! # fn main() -> exbit_engine::Result<()> {
//! let mut session = exbit_engine::Session::open("net.exbit", 1)?;
//! let pixels = vec![0; session.input_len()];
//! let logits = session.run(&pixels)?;
//! # Ok(()) }
//! ```
//!
//! Read in this order: `program` (what a Program is), `check`, `flow` and `memory` (the arena),
//! `network` (how an image runs through), `kernel`, `step`, `strip` (steps on packed values),
//! `session`; `exit` and `policy` say where and when it leaves.

mod check;
mod confidence;
mod container;
mod crew;
mod error;
mod exit;
mod file;
mod flow;
mod instructions;
mod kernel;
mod memory;
mod network;
mod pixels;
mod policy;
mod profile;
mod program;
mod session;
mod step;
mod strip;
mod whole;
mod wire;

pub use confidence::{entropy, likeliest, max_softmax};
pub use error::{Error, ErrorKind, Result};
pub use exbit_kernels::{Activation, Bits, Epilogue, Grid, Window};
pub use exit::Exit;
pub use flow::{Flow, FlowStep, Places};
pub use instructions::{isa, present_isas};
pub use memory::ActivationBytes;
pub use policy::Policy;
pub use profile::StepTime;
pub use program::*;
pub use session::Session;
pub use whole::{check_writable, write_whole};
