//! What the main job takes in time, and the size of its file.

use std::error::Error;

use exbit::Options;

use crate::case::{Case, Name};
use crate::figure::{Asked, Record};

pub(crate) fn check(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let name = case.name.text();
    let (images, limit) = match case.name {
        Name::Resnet20 => (1024, Asked::AtMost(15.0)),
        Name::Mobilenet => (256, Asked::AtMost(90.0)),
        Name::Resnet56 | Name::Lite0 => (256, Asked::Nothing),
    };
    let mut options = Options::default();
    options.request.budgets.push("weights=8x".parse()?);
    let done = case.quantize(images, &options)?;
    let stages = ["sensitivity", "gains", "allocate"];
    let seconds = |wanted: &[&str]| -> f64 {
        let times = done.times.iter().filter(|t| wanted.contains(&t.0));
        times.map(|t| t.1.as_secs_f64()).sum()
    };
    let what = format!("sensitivity + allocation, {images} images");
    record.add(name, &what, (seconds(&stages), "s"), limit)?;
    let all = done.times.iter().map(|t| t.1.as_secs_f64()).sum::<f64>();
    record.add(
        name,
        &format!("the whole job, {images} images"),
        (all, "s"),
        Asked::Nothing,
    )?;
    let file = done.program.to_bytes()?.len() as f64;
    let scales: usize = done
        .quantized
        .layers
        .values()
        .map(|l| 8 * l.bias.len())
        .sum();
    let weights = done.allocation.as_ref().map_or(0, |a| a.cost.weight_bytes);
    let least = (weights + scales as u64) as f64;
    let above = 100.0 * (file / least - 1.0);
    record.add(
        name,
        "file above weight bits, scales and biases",
        (above, "%"),
        Asked::AtMost(5.0),
    )
}
