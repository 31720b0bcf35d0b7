//! Who says what the answers should be: the labels, or another network.

use exbit_engine::{Policy, Session};
use exbit_grad::infer;
use exbit_grad::loss::{cross_entropy, probabilities, soft_cross_entropy};
use exbit_model::Model;

use super::images::Batch;
use crate::{Error, ErrorKind, Result};

/// A network that teaches another one by its softmax (temperature 1, no labels beside it, as McQueen
/// does). It sees the same view of an image as the student.
#[derive(Debug)]
pub struct Teacher {
    /// Its name, by which a run that goes on knows it again.
    pub name: String,
    /// The network.
    pub network: TeacherNetwork,
}

/// The network of a teacher.
#[derive(Debug)]
pub enum TeacherNetwork {
    /// In floats.
    Float(Box<Model>),
    /// In integers: nearly as good, and many times faster.
    Integer(Box<Session>),
}

/// What a batch should answer.
pub(crate) enum Targets {
    Labels(Vec<usize>),
    Probabilities(Vec<f32>),
}

impl Teacher {
    /// Makes it answer from its end, and checks that it reads images of `pixels` bytes and answers with
    /// `classes` logits.
    ///
    /// # Errors
    /// `Mismatch` when it does not.
    pub(crate) fn prepare(&mut self, pixels: usize, classes: usize) -> Result<()> {
        let found = match &mut self.network {
            TeacherNetwork::Float(model) => (
                model.value(model.input()).len(),
                model.value(model.output()).len(),
            ),
            TeacherNetwork::Integer(session) => {
                session.set_policy(&Policy::Never)?;
                (session.input_len(), session.answer_len())
            }
        };
        if found == (pixels, classes) {
            return Ok(());
        }
        let message = format!(
            "reads {} numbers and answers with {}; the student reads {pixels} and answers with {classes}",
            found.0, found.1
        );
        let place = format!("teacher {}", self.name);
        Err(Error::new(ErrorKind::Mismatch, place, message))
    }

    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let images = batch.labels.len();
        match &mut self.network {
            TeacherNetwork::Float(model) => Ok(infer(model, &batch.x, images)),
            TeacherNetwork::Integer(session) => {
                Ok(session.run_batch(&batch.bytes, images)?.to_vec())
            }
        }
    }
}

/// What `batch` should answer, according to the teacher or, without one, its labels.
pub(crate) fn targets(
    teacher: &mut Option<Teacher>,
    batch: &Batch,
    classes: usize,
) -> Result<Targets> {
    match teacher {
        None => Ok(Targets::Labels(batch.labels.clone())),
        Some(teacher) => {
            let logits = teacher.logits(batch)?;
            Ok(Targets::Probabilities(probabilities(&logits, classes)))
        }
    }
}

impl Targets {
    /// The sum of the cross-entropies of `logits (N, classes)`, and the gradient of their mean.
    pub(crate) fn loss(&self, logits: &[f32], classes: usize) -> (f64, Vec<f32>) {
        let (losses, mut gradient) = match self {
            Targets::Labels(labels) => cross_entropy(logits, labels, classes),
            Targets::Probabilities(p) => soft_cross_entropy(logits, p, classes),
        };
        let n = losses.len() as f32;
        gradient.iter_mut().for_each(|g| *g /= n);
        (losses.iter().map(|&l| f64::from(l)).sum(), gradient)
    }
}

/// How many rows of `logits` have their largest entry at the label.
pub(crate) fn count_right(logits: &[f32], labels: &[usize], classes: usize) -> usize {
    let rows = logits.chunks_exact(classes).zip(labels);
    rows.filter(|(row, label)| {
        let others = row.iter().enumerate();
        others
            .into_iter()
            .all(|(i, &z)| z < row[**label] || (z == row[**label] && i >= **label))
    })
    .count()
}
