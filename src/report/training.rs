//! What a report of a training run tells.

use crate::exits::Outcome;
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
    /// The bit-operations that bits were learned for.
    pub target_bops: Option<f64>,
    /// When images leave, where that has been chosen, and what it gives on the held-out images.
    pub leaving: Option<Outcome>,
    /// The recipe as text.
    pub recipe: String,
    /// The command that trained.
    pub command: String,
}
