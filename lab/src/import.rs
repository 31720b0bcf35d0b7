//! The float network as we read it, against PyTorch.

use std::error::Error;
use std::fs;

use exbit_grad::infer;
use safetensors::SafeTensors;

use crate::case::Case;
use crate::figure::{Asked, Record};
use crate::trial::Answers;

pub(crate) fn check(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let name = case.name.text();
    let answers = Answers::float(case)?;
    // Two digits are known, of the very same pixels.
    let slack = 0.005;
    let distance = (answers.top1() - case.float_top1).abs();
    record.add(name, "float top-1", (answers.top1(), "%"), Asked::Nothing)?;
    record.add(
        name,
        "float top-1, distance from PyTorch's",
        (distance, "points"),
        Asked::AtMost(slack),
    )?;
    record.add(
        name,
        "float mean cross-entropy",
        (answers.mean_cross_entropy(), "nats"),
        Asked::Nothing,
    )?;
    let distance = logits_distance(case)?;
    record.add(
        name,
        "logits of the first images, largest distance",
        (distance, ""),
        Asked::AtMost(1e-4),
    )
}

/// The largest distance from the reference's logits.
fn logits_distance(case: &Case) -> Result<f64, Box<dyn Error>> {
    let bytes = fs::read(case.reference.join("logits.safetensors"))?;
    let file = SafeTensors::deserialize(&bytes)?;
    let tensor = file.tensor(case.name.logits())?;
    let images = tensor.shape()[0];
    let batch = case
        .test
        .batch(&case.preprocess, &(0..images).collect::<Vec<_>>())?;
    let ours = infer(&case.model, &batch.x, images);
    let theirs = tensor
        .data()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    Ok(ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max))
}
