//! How networks do on the test images.

use std::error::Error;

use exbit::sensitivity::kl;
use exbit_engine::{Program, Session};
use exbit_grad::infer;
use exbit_grad::loss::cross_entropy;
use exbit_model::data::Batch;

use crate::case::Case;

/// Images that are run at once.
const BATCH: usize = 50;

/// Answers to all test images.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) logits: Vec<f32>,
    pub(crate) classes: usize,
    pub(crate) labels: Vec<usize>,
}

impl Answers {
    /// Of the float network.
    pub(crate) fn float(case: &Case) -> Result<Self, Box<dyn Error>> {
        Self::of(case, |batch| {
            Ok(infer(&case.model, &batch.x, batch.indices.len()))
        })
    }

    /// Of the integer network, by the engine.
    pub(crate) fn integer(case: &Case, program: &Program) -> Result<Self, Box<dyn Error>> {
        let threads = std::thread::available_parallelism()?.get();
        let mut session = Session::new(program, threads)?;
        Self::of(case, |batch| {
            Ok(session
                .run_batch(&batch.pixels, batch.indices.len())?
                .to_vec())
        })
    }

    fn of(
        case: &Case,
        mut run: impl FnMut(&Batch) -> Result<Vec<f32>, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for batch in case
            .test
            .batches(&case.preprocess, case.scored.clone(), BATCH)
        {
            let batch = batch?;
            logits.extend(run(&batch)?);
            labels.extend(batch.labels.unwrap_or_default());
        }
        let classes = logits.len() / labels.len().max(1);
        Ok(Self {
            logits,
            classes,
            labels,
        })
    }

    /// The class of the largest logit of each image, the earliest of equal ones.
    pub(crate) fn top(&self) -> impl Iterator<Item = usize> {
        self.logits
            .chunks_exact(self.classes)
            .map(|row| (0..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best }))
    }

    /// Images answered rightly.
    pub(crate) fn right(&self) -> usize {
        self.top()
            .zip(&self.labels)
            .filter(|(a, b)| a == *b)
            .count()
    }

    /// Percent.
    pub(crate) fn top1(&self) -> f64 {
        100.0 * self.right() as f64 / self.labels.len() as f64
    }

    pub(crate) fn mean_cross_entropy(&self) -> f64 {
        let (losses, _) = cross_entropy(&self.logits, &self.labels, self.classes);
        losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64
    }

    /// Mean `KL(p_float, p)`, nats.
    pub(crate) fn divergence(&self, float: &Self) -> f64 {
        let rows = float.logits.chunks_exact(self.classes);
        let each = rows.zip(self.logits.chunks_exact(self.classes));
        each.map(|(p, q)| kl(p, q)).sum::<f64>() / self.labels.len() as f64
    }

    /// Percent of images to which both give the same answer.
    pub(crate) fn agreement(&self, other: &Self) -> f64 {
        let same = self.top().zip(other.top()).filter(|(a, b)| a == b).count();
        100.0 * same as f64 / self.labels.len() as f64
    }
}
