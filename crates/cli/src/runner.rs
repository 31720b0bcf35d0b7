//! A network running: a Model in floats or a Session in integers, behind the same questions.

use std::path::Path;
use std::time::Duration;

use exbit_engine::Session;
use exbit_model::Model;
use exbit_model::data::Batch;

use crate::exit::Failure;
use crate::network::{self, Kind, Network, logits_of};
use crate::timing::Times;

/// A network that can be asked for logits.
#[derive(Debug)]
pub(crate) enum Runner {
    /// In floats, on the threads of the process.
    Float(Model),
    /// In integers, on its own threads.
    Integer(Box<Session>),
}

impl Runner {
    /// Prepares the network in the file `path` for `threads` threads; a Program's weights are
    /// packed as they are read. Gives the file's length too.
    pub(crate) fn open(path: &Path, threads: usize) -> Result<(Self, u64), Failure> {
        let (kind, bytes) = network::kind_of(path)?;
        let runner = match kind {
            Kind::Onnx => Runner::Float(logits_of(exbit_model::onnx::open(path)?)),
            Kind::Program => Runner::Integer(Box::new(Session::open(path, threads)?)),
        };
        Ok((runner, bytes))
    }

    /// Prepares `network` for `threads` threads.
    pub(crate) fn new(network: Network, threads: usize) -> Result<Self, Failure> {
        Ok(match network {
            Network::Float(model) => Runner::Float(logits_of(model)),
            Network::Integer(program) => {
                Runner::Integer(Box::new(Session::new(&program, threads)?))
            }
        })
    }

    /// The number of classes: entries of one image's answer.
    pub(crate) fn classes(&self) -> usize {
        match self {
            Runner::Float(model) => model.output_len(),
            Runner::Integer(session) => session.answer_len(),
        }
    }

    /// Entries of one image's input.
    pub(crate) fn input_len(&self) -> usize {
        match self {
            Runner::Float(model) => model.input_len(),
            Runner::Integer(session) => session.input_len(),
        }
    }

    /// The logits of `batch`, (N, classes).
    pub(crate) fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>, Failure> {
        let images = batch.indices.len();
        Ok(match self {
            Runner::Float(model) => exbit_grad::infer(model, &batch.x, images),
            Runner::Integer(session) => session.run_batch(&batch.pixels, images)?.to_vec(),
        })
    }

    /// The times of calls with `image`, for about `time`.
    pub(crate) fn latency(&mut self, image: &Batch, time: Duration) -> Result<Times, Failure> {
        Times::measure(time, || self.logits(image).map(drop), |_| {})
    }

    /// The instructions in use.
    pub(crate) fn isa(&self) -> &'static str {
        match self {
            Runner::Float(_) => "float",
            Runner::Integer(session) => session.isa(),
        }
    }

    /// Bytes of all arenas; a float network has none.
    pub(crate) fn arena_bytes(&self) -> Option<usize> {
        match self {
            Runner::Float(_) => None,
            Runner::Integer(session) => Some(session.arena_bytes()),
        }
    }

    /// Bytes of the weights as they are packed for this CPU; a float network packs none.
    pub(crate) fn weight_bytes(&self) -> Option<usize> {
        match self {
            Runner::Float(_) => None,
            Runner::Integer(session) => Some(session.weight_bytes()),
        }
    }
}
