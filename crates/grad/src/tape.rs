//! What a forward pass leaves behind for a backward one.

use exbit_model::{NodeId, ValueId};

use crate::scratch::Scratch;

/// How BatchNorm normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By its running statistics: every image for itself.
    Eval,
    /// By the statistics of the batch. The model is not changed: a trainer moves its running
    /// statistics with [`Tape::batch_statistics`].
    Train,
}

/// The statistics of a BatchNorm's input over a batch, per channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) mean: Vec<f32>,
    /// Biased.
    pub(crate) var: Vec<f32>,
}

/// Every value of one forward pass over a batch. The thread that drops it keeps its memory for the
/// next one.
#[derive(Clone, Debug)]
pub struct Tape {
    pub(crate) images: usize,
    pub(crate) output: ValueId,
    pub(crate) values: Vec<Scratch>,
    pub(crate) statistics: Vec<Option<Statistics>>,
}

impl Tape {
    /// The number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// A value of all images, `(N, ..)` row-major.
    pub fn value(&self, id: ValueId) -> &[f32] {
        &self.values[id.0]
    }

    /// The network's output of all images.
    pub fn output(&self) -> &[f32] {
        self.value(self.output)
    }

    /// Mean and biased variance of a BatchNorm's input over the batch, per channel. `None` for
    /// other nodes, and after a forward pass in [`Mode::Eval`].
    pub fn batch_statistics(&self, node: NodeId) -> Option<(&[f32], &[f32])> {
        self.statistics[node.0]
            .as_ref()
            .map(|s| (s.mean.as_slice(), s.var.as_slice()))
    }
}
