//! From the float model as it came to the network that will be quantized: folded, optionally
//! equalised, and cut into stages.

mod equalize;
mod fold;
pub(crate) mod network;

pub use equalize::equalize;
pub use fold::fold;
pub use network::{Network, Stage, StageKind};

use crate::Result;
use exbit_model::Model;

/// Folds `model` and finds its stages.
///
/// # Errors
/// `Unsupported` for an op that has no integer step where it stands.
pub fn prepare(model: &Model) -> Result<Network> {
    network::stages(fold::with_biases(fold(model)?))
}
