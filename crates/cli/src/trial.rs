//! A network on trial: how right it is on a data set, beside the float network that it came from
//! where that is known.

use std::time::Instant;

use exbit_engine::likeliest;
use exbit_model::Model;
use exbit_model::data::{Batch, DataSet, Preprocess};

use crate::exit::Failure;
use crate::leaving::Leaving;
use crate::network::Network;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::score::{Score, percent};

/// A batch is as long as keeps its numbers within this many.
const BATCH_ENTRIES: usize = 4 << 20;

/// The images of a batch of a network that reads `input_len` numbers.
pub(crate) fn batch_size(input_len: usize) -> usize {
    (BATCH_ENTRIES / input_len.max(1)).clamp(1, 256)
}

/// A network, and its scores so far.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) runner: Runner,
    pub(crate) score: Score,
    /// Time in the network alone.
    pub(crate) seconds: f64,
    pub(crate) float: Option<Reference>,
    /// Where images leave, where there are exits.
    pub(crate) leaving: Option<Leaving>,
}

/// The float network on the same images.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) runner: Runner,
    pub(crate) score: Score,
    agreed: usize,
}

impl Reference {
    /// Percent of the images to which both networks give the same answer.
    pub(crate) fn agreement(&self) -> f64 {
        percent(self.agreed, self.score.images())
    }
}

impl Trial {
    /// `network`, to run on `threads` threads.
    pub(crate) fn new(network: Network, threads: usize) -> Result<Self, Failure> {
        let leaving = match &network {
            Network::Float(_) => None,
            Network::Integer(program) => Leaving::new(program),
        };
        Ok(Self {
            runner: Runner::new(network, threads)?,
            leaving,
            score: Score::default(),
            seconds: 0.0,
            float: None,
        })
    }

    /// Runs `model` on the same images; `place` names it.
    pub(crate) fn compare_with(&mut self, model: Model, place: &str) -> Result<(), Failure> {
        let runner = Runner::new(Network::Float(model), 1)?;
        let shape = |r: &Runner| (r.input_len(), r.classes());
        if shape(&runner) != shape(&self.runner) {
            let ((x, y), (own_x, own_y)) = (shape(&runner), shape(&self.runner));
            return Err(Failure::bad_input(format!(
                "{place}: takes {x} numbers and knows {y} classes; the network on trial {own_x} \
                 and {own_y}"
            )));
        }
        self.float = Some(Reference {
            runner,
            score: Score::default(),
            agreed: 0,
        });
        Ok(())
    }

    /// Runs the first `images` of `set`; gives one of them, to be timed alone.
    pub(crate) fn judge(
        &mut self,
        set: &DataSet,
        preprocess: &Preprocess,
        images: usize,
        progress: &Progress,
    ) -> Result<Batch, Failure> {
        set.labels_below(self.runner.classes())?;
        let batch = batch_size(self.runner.input_len());
        if images == 0 {
            return Err(Failure::bad_input("the data set has no images"));
        }
        for batch in set.batches(preprocess, (0..images).collect::<Vec<_>>(), batch) {
            let batch = batch?;
            self.add(&batch)?;
            progress.set("evaluating", self.score.images() as u64, images as u64);
        }
        Ok(set.batch(preprocess, &[images - 1])?)
    }

    fn add(&mut self, batch: &Batch) -> Result<(), Failure> {
        let labels = batch.labels.as_deref().unwrap_or_default();
        let classes = self.runner.classes();
        let (logits, seconds) = match (&mut self.runner, &mut self.leaving) {
            (Runner::Integer(session), Some(leaving)) => leaving.run(session, batch, labels)?,
            (runner, _) => {
                let start = Instant::now();
                (runner.logits(batch)?, start.elapsed().as_secs_f64())
            }
        };
        self.seconds += seconds;
        self.score.add(&logits, labels, classes);
        if let Some(float) = &mut self.float {
            let reference = float.runner.logits(batch)?;
            float.score.add(&reference, labels, classes);
            let pairs = logits
                .chunks_exact(classes)
                .zip(reference.chunks_exact(classes));
            float.agreed += pairs.filter(|(a, b)| likeliest(a) == likeliest(b)).count();
        }
        Ok(())
    }
}
