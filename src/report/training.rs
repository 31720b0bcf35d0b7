//! What a report of a training run tells.

use crate::learn::Record;

/// A training run, to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// The network's name.
    pub network: String,
    /// The layers, in running order.
    pub layers: Vec<String>,
    /// The epochs, in order.
    pub records: Vec<Record>,
    /// The recipe as text.
    pub recipe: String,
    /// The command that trained.
    pub command: String,
}
