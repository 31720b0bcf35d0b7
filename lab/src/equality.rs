//! The engine against the simulation in floats, on real images: the same codes at every step, the
//! same answer to every image, on every instruction set and in every batch.

use std::error::Error;

use exbit::{Network, Options, Quantization, Simulator};
use exbit_engine::{Session, present_isas};
use exbit_model::ValueId;

use crate::case::Case;
use crate::figure::{Asked, Record};
use crate::trial::Answers;

/// Images whose codes are compared step by step; of all others the answers are.
const STEPS: usize = 8;
/// Images that are run one by one on every instruction set.
const SINGLE: usize = 256;
const BATCH: usize = 50;

pub(crate) fn check(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    options.request.budgets.push("weights=8x".parse()?);
    let done = case.quantize(64, &options)?;
    let simulator = Simulator::new(&done.network, &done.quantized)?;
    let reference = Answers::integer(case, &done.program)?;
    let all = case.scored.clone();
    let (mut simulated, mut compared) = (Vec::new(), 0);
    for batch in case.test.batches(&case.preprocess, all.clone(), BATCH) {
        let batch = batch?;
        let count = batch.indices.len();
        let codes = simulator.input_codes(&batch.pixels, &done.program.input);
        simulated.extend(simulator.run(codes, count).output);
        compared += count;
    }
    let mut unequal = |what: &str, images: usize, logits: &[f32]| {
        let pairs = logits.iter().zip(&reference.logits);
        let differ = pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        let what = format!("{what}: logits that differ, {images} images");
        record.add(
            case.name.text(),
            &what,
            (differ as f64, ""),
            Asked::AtMost(0.0),
        )
    };
    unequal("simulation and engine", compared, &simulated)?;
    let first: Vec<usize> = all.into_iter().take(SINGLE).collect();
    let pixels = case.test.batch(&case.preprocess, &first)?.pixels;
    for isa in present_isas() {
        let mut session = Session::with_isa(&done.program, isa)?;
        let mut logits = Vec::new();
        for image in pixels.chunks_exact(session.input_len()) {
            logits.extend_from_slice(session.run(image)?);
        }
        let what = format!("{isa} one by one and the batches");
        unequal(&what, first.len(), &logits)?;
    }
    let len = case.model.input_len();
    let (codes, differ) = codes_that_differ(&done, &simulator, &pixels[..STEPS * len])?;
    let what = format!("codes that differ, of {codes} at all steps of {STEPS} images");
    record.add(
        case.name.text(),
        &what,
        (differ as f64, ""),
        Asked::AtMost(0.0),
    )
}

/// The codes that were compared, and those that differ.
fn codes_that_differ(
    done: &Quantization,
    simulator: &Simulator<'_>,
    pixels: &[u8],
) -> Result<(usize, usize), Box<dyn Error>> {
    let mut session = Session::keeping_values(&done.program, None)?;
    let (mut compared, mut differ) = (0, 0);
    for image in pixels.chunks_exact(session.input_len()) {
        session.run(image)?;
        let codes = simulator.input_codes(image, &done.program.input);
        let simulated = simulator.run(codes, 1);
        // A stage without a step (a Flatten of what is flat) has no value of its own.
        let values: Vec<_> = simulated.codes.iter().skip(1).collect();
        for step in &done.program.steps {
            let Some(own) = session.codes(step.output) else {
                continue;
            };
            let name = &step.name;
            let same = |(v, _): &&(&ValueId, &Vec<u8>)| named(&done.network, **v) == name;
            let Some((value, codes)) = values.iter().find(same) else {
                continue;
            };
            let expected = channels_last(&done.network, **value, codes);
            differ += own.iter().zip(&expected).filter(|(a, b)| a != b).count();
            compared += expected.len();
        }
    }
    Ok((compared, differ))
}

/// The name of the node that makes `value`.
fn named(network: &Network, value: ValueId) -> &str {
    let stage = network.stages.iter().find(|s| s.output == value);
    stage.map_or("", |s| &network.model.node(s.node).name)
}

/// `(C, H, W)` codes in the engine's order.
fn channels_last(network: &Network, value: ValueId, codes: &[u8]) -> Vec<u8> {
    let [c, h, w] = network.model.value(value).shape[..] else {
        return codes.to_vec();
    };
    (0..h * w)
        .flat_map(|p| (0..c).map(move |k| codes[k * h * w + p]))
        .collect()
}
