//! A network on trial: how right it is on a data set, beside the float network that it came from
//! where that is known.

use std::time::Instant;

use exbit_model::Model;
use exbit_model::data::{Batch, DataSet, Preprocess};

use crate::exit::Failure;
use crate::network::Network;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::score::{Score, answer, percent};

/// A batch is as long as keeps its numbers within this many.
const BATCH_ENTRIES: usize = 4 << 20;

/// A network, and its scores so far.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) runner: Runner,
    pub(crate) score: Score,
    /// Time in the network alone.
    pub(crate) seconds: f64,
    pub(crate) float: Option<Reference>,
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
    pub(crate) fn new(runner: Runner) -> Self {
        Self {
            runner,
            score: Score::default(),
            seconds: 0.0,
            float: None,
        }
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
        let batch = (BATCH_ENTRIES / self.runner.input_len().max(1)).clamp(1, 256);
        let mut last = None;
        for batch in set.batches(preprocess, (0..images).collect::<Vec<_>>(), batch) {
            let batch = batch?;
            self.add(&batch)?;
            progress.set("evaluating", self.score.images() as u64, images as u64);
            last = Some(batch);
        }
        let empty = || Failure::bad_input("the data set has no images");
        let batch = last.filter(|_| images > 0).ok_or_else(empty)?;
        let len = batch.x.len() / batch.indices.len();
        Ok(Batch {
            indices: batch.indices[..1].to_vec(),
            pixels: batch.pixels[..len].to_vec(),
            x: batch.x[..len].to_vec(),
            labels: None,
        })
    }

    fn add(&mut self, batch: &Batch) -> Result<(), Failure> {
        let labels = batch.labels.as_deref().unwrap_or_default();
        let classes = self.runner.classes();
        let start = Instant::now();
        let logits = self.runner.logits(batch)?;
        self.seconds += start.elapsed().as_secs_f64();
        self.score.add(&logits, labels, classes);
        if let Some(float) = &mut self.float {
            let reference = float.runner.logits(batch)?;
            float.score.add(&reference, labels, classes);
            let pairs = logits
                .chunks_exact(classes)
                .zip(reference.chunks_exact(classes));
            float.agreed += pairs.filter(|(a, b)| answer(a) == answer(b)).count();
        }
        Ok(())
    }
}
