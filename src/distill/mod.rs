//! Distillation end to end: the quantized network learns to answer as the float network does.
//!
//! Reconstruction makes every layer give what it should; what is left of the error is only felt at
//! the end of the network. Here the loss is the one that counts, `KL(p_float, p_quantized)` over
//! the calibration images (no labels), and what moves is everything that needs no new rounding: the
//! scale of each output channel, the biases and the steps of the activation grids. Codes stay.
//!
//! Adam takes the steps. The loss is a square of what is wrong, so the rate goes with the root of
//! the loss at first: eight bits need a gentler hand than four. It falls by a cosine. Each pass
//! takes the images in another order, because folders hand them out class by class, and sees every
//! one a little differently (`views`), because few images have to serve: codes that were chosen on
//! an image reproduce it better than others, and what is left to learn is how to answer the others.
//! For the same reason nothing is selected on images that reconstruction has seen; the number of
//! passes is fixed. We decided all of this on calibration images held out (EfficientNet-Lite0,
//! MobileNetV2).

mod student;
mod views;

use exbit_grad::infer;
use exbit_model::data::shuffled;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use self::student::Student;
use crate::Result;
use crate::prepare::Network;
use crate::quantized::Quantized;
use crate::samples::Samples;

/// How long, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    /// Passes over the images.
    pub epochs: usize,
    /// Adam's first rate where the divergence is 1 nat, relative to what it moves: a scale, a step,
    /// the deviation of a channel.
    pub rate: f32,
    /// Seed of the order of the images and of their views.
    pub seed: u64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self {
            epochs: 8,
            rate: 2e-3,
            seed: 0,
        }
    }
}

/// What distillation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Distilled {
    /// The same codes with other scales, biases and steps.
    pub quantized: Quantized,
    /// Mean `KL(p_float, p_quantized)` over the images of each pass, as they came, nats.
    pub divergence: Vec<f64>,
}

/// Images of a step; the tape of so many is held at once.
const BATCH: usize = 16;

/// Images that tell the divergence at first.
const FIRST: usize = 64;

/// Teaches `quantized` the answers of the float network. `progress` hears of the images of each
/// step: `epochs * samples.images()` in all.
///
/// # Errors
/// As reading `samples`, and `Mismatch` when `quantized` is not of this network.
pub fn distill(
    network: &Network,
    quantized: &Quantized,
    samples: &Samples,
    how: &Distillation,
    progress: &mut dyn FnMut(usize),
) -> Result<Distilled> {
    let model = &network.model;
    let shape = &model.value(model.input()).shape;
    let mut student = Student::new(network, quantized, samples)?;
    let first = how.rate * student.divergence(network, samples)?.sqrt() as f32;
    let mut random = ChaCha8Rng::seed_from_u64(how.seed);
    let passes = how.epochs as f32;
    let mut divergence = Vec::with_capacity(how.epochs);
    for epoch in 0..how.epochs {
        let (mut sum, mut images) = (0.0, 0);
        let order = shuffled(samples.images(), random.next_u64());
        for batch in samples.ordered(&order).batches(BATCH) {
            let batch = batch?;
            let part = images as f32 / samples.images() as f32;
            let done = (epoch as f32 + part) / passes;
            let rate = first * 0.5 * (1.0 + (std::f32::consts::PI * done).cos());
            let x = views::seen(&batch.x, shape, &mut random);
            let teacher = infer(model, &x, batch.images);
            sum += student.learn(&x, batch.images, &teacher, rate);
            images += batch.images;
            progress(batch.images);
        }
        divergence.push(sum / images.max(1) as f64);
    }
    Ok(Distilled {
        quantized: student.quantized(),
        divergence,
    })
}
