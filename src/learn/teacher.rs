//! Who says what the answers should be: the labels, or another network.

use exbit_engine::{Policy, Session};
use exbit_grad::infer;
use exbit_grad::loss::{cross_entropy, probabilities, soft_cross_entropy};
use exbit_model::Model;

use super::images::{Batch, numbers};
use crate::lower::memory_shape;
use crate::{Error, ErrorKind, Fingerprint, Result};

/// A network that teaches another one by its softmax, no labels beside it, as McQueen does. It sees
/// the same view of an image as the student.
#[derive(Debug)]
pub struct Teacher {
    /// Its name.
    pub name: String,
    /// Of its file: by it a run that goes on knows the teacher again.
    pub fingerprint: Fingerprint,
    /// The network.
    pub network: TeacherNetwork,
}

/// The network of a teacher.
#[derive(Debug)]
pub enum TeacherNetwork {
    /// In floats, with its own numbers of a pixel: for each channel a scale and a shift.
    Float(Box<Model>, (Vec<f32>, Vec<f32>)),
    /// In integers: nearly as good, and many times faster.
    Integer(Box<Session>),
}

/// `[height, width, channels]` of what `model` reads; of a vector as many channels.
pub(crate) fn image_shape(model: &Model) -> [usize; 3] {
    memory_shape(&model.value(model.input()).shape)
}

/// What a batch should answer.
pub(crate) enum Targets {
    Labels(Vec<usize>),
    /// The teacher's logits over this temperature, as probabilities.
    Probabilities(Vec<f32>, f32),
}

impl Teacher {
    /// Makes it answer from its end, and checks that it reads images of `[height, width, channels]`
    /// and answers with `classes` logits.
    ///
    /// # Errors
    /// `Mismatch` when it does not.
    pub(crate) fn prepare(&mut self, shape: [usize; 3], classes: usize) -> Result<()> {
        let (reads, answers) = match &mut self.network {
            TeacherNetwork::Float(model, _) => (image_shape(model), model.output_len()),
            TeacherNetwork::Integer(session) => {
                session.set_policy(&Policy::Never)?;
                (session.input_shape(), session.answer_len())
            }
        };
        if (reads, answers) == (shape, classes) {
            return Ok(());
        }
        let [[h, w, c], [own_h, own_w, own_c]] = [reads, shape];
        let message = format!(
            "reads {h}x{w}x{c} and answers with {answers}; the student reads {own_h}x{own_w}x{own_c} \
             and answers with {classes}"
        );
        let place = format!("teacher {}", self.name);
        Err(Error::new(ErrorKind::Mismatch, place, message))
    }

    fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let images = batch.labels.len();
        match &mut self.network {
            TeacherNetwork::Float(model, affine) => Ok(infer(
                model,
                &numbers(&batch.bytes, batch.shape, affine),
                images,
            )),
            TeacherNetwork::Integer(session) => {
                Ok(session.run_batch(&batch.bytes, images)?.to_vec())
            }
        }
    }
}

/// What `batch` should answer, according to the teacher at `temperature` or, without one, its
/// labels.
pub(crate) fn targets(
    teacher: &mut Option<Teacher>,
    temperature: f32,
    batch: &Batch,
    classes: usize,
) -> Result<Targets> {
    match teacher {
        None => Ok(Targets::Labels(batch.labels.clone())),
        Some(teacher) => {
            let mut logits = teacher.logits(batch)?;
            logits.iter_mut().for_each(|z| *z /= temperature);
            let p = probabilities(&logits, classes);
            Ok(Targets::Probabilities(p, temperature))
        }
    }
}

impl Targets {
    /// The sum of the losses of a network that answers alike for each of `classes`.
    pub(crate) fn guess(&self, classes: usize) -> f64 {
        let alike = (classes as f64).ln();
        match self {
            Targets::Labels(labels) => labels.len() as f64 * alike,
            Targets::Probabilities(p, t) => {
                let rows = (p.len() / classes.max(1)) as f64;
                f64::from(t * t) * (rows * alike - entropy(p))
            }
        }
    }

    /// The sum of the losses of `logits (N, classes)`, and the gradient of their mean:
    /// cross-entropy with labels; from a teacher `T^2 KL(p || softmax(z / T))` (Hinton et al.
    /// 2015), which at temperature 1 moves as the cross-entropy does.
    pub(crate) fn loss(&self, logits: &[f32], classes: usize) -> (f64, Vec<f32>) {
        let (sum, mut gradient) = match self {
            Targets::Labels(labels) => {
                let (losses, gradient) = cross_entropy(logits, labels, classes);
                (total(&losses), gradient)
            }
            Targets::Probabilities(p, t) => {
                let cooled: Vec<f32> = logits.iter().map(|z| z / t).collect();
                let (losses, mut gradient) = soft_cross_entropy(&cooled, p, classes);
                gradient.iter_mut().for_each(|g| *g *= t);
                (f64::from(t * t) * (total(&losses) - entropy(p)), gradient)
            }
        };
        let n = (logits.len() / classes.max(1)) as f32;
        gradient.iter_mut().for_each(|g| *g /= n);
        (sum, gradient)
    }
}

fn total(losses: &[f32]) -> f64 {
    losses.iter().map(|&l| f64::from(l)).sum()
}

/// The sum of the entropies of the rows of `p`.
fn entropy(p: &[f32]) -> f64 {
    let terms = p.iter().filter(|&&p| p > 0.0).map(|&p| f64::from(p));
    -terms.map(|p| p * p.ln()).sum::<f64>()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_teacher_is_matched_at_any_temperature_and_gradients_are_slopes() {
        let teacher = [3.0f32, -1.0, 0.5, 0.0, 2.0, -2.0];
        let z = [1.0f32, 0.0, 0.25, -0.5, 0.5, 0.75];
        for t in [1.0f32, 4.0] {
            let cooled: Vec<f32> = teacher.iter().map(|z| z / t).collect();
            let targets = Targets::Probabilities(probabilities(&cooled, 3), t);
            let (guessed, _) = targets.loss(&[0.5; 6], 3);
            assert!((guessed - targets.guess(3)).abs() < 1e-4, "{t}");
            let (none, still) = targets.loss(&teacher, 3);
            assert!(none.abs() < 1e-5 && still.iter().all(|g| g.abs() < 1e-5));
            let (_, gradient) = targets.loss(&z, 3);
            for i in 0..z.len() {
                let at = |step: f32| {
                    let mut z = z;
                    z[i] += step;
                    targets.loss(&z, 3).0 / 2.0
                };
                let slope = (at(1.0 / 64.0) - at(-1.0 / 64.0)) * 32.0;
                assert!((slope - f64::from(gradient[i])).abs() < 1e-3, "{t} {i}");
            }
        }
    }
}
