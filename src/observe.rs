//! What only running the integer network tells: how far each layer's result is from the float
//! network's, how much the rounding of each activation loses, and how long each layer takes.
//!
//! The noise of a layer's result is all that has gathered up to there, as the simulation computes
//! it, which the engine equals; that of an activation is of its own rounding alone.

use std::collections::BTreeMap;

use exbit_engine::Session;
use exbit_model::ValueId;

use crate::latency::{cpu_name, layer_steps};
use crate::noise::Noise;
use crate::report::{Machine, Report};
use crate::{Progress, Quantization, Result, Samples, Simulator};

/// Images that noise is taken from: a ratio of sums over whole tensors needs few.
const IMAGES: usize = 16;
/// Images whose codes are held at once.
const BATCH: usize = 4;
/// Runs of each layer, of which the median is its time.
const RUNS: usize = 15;

/// Adds to `report`, made from `done`, what running the network on a few of `samples` shows.
///
/// # Errors
/// As reading `samples`; `Mismatch` when the engine does not take the Program, `Unsupported` when
/// `EXBIT_ISA` names instructions that this CPU has not.
pub fn observe(
    done: &Quantization,
    samples: &Samples<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let samples = samples.thinned(IMAGES);
    let mut show = |stage, done| {
        progress(Progress {
            stage,
            done,
            total: samples.images(),
        });
    };
    noise(done, &samples, report, &mut |images| show("noise", images))?;
    show("layer times", 0);
    times(done, report)
}

fn noise(
    done: &Quantization,
    samples: &Samples<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(usize),
) -> Result<()> {
    let (network, quantized) = (&done.network, &done.quantized);
    let simulator = Simulator::new(network, quantized)?;
    let input = quantized.grid(network, network.model.input());
    let outputs = network.stages.iter().map(|s| s.output);
    let mut gathered: BTreeMap<ValueId, Noise> = outputs.map(|v| (v, Noise::default())).collect();
    let sites = network.sites().into_iter();
    let mut own: BTreeMap<ValueId, Noise> = sites.map(|v| (v, Noise::default())).collect();
    let mut images = 0;
    for batch in samples.batches(BATCH) {
        let batch = batch?;
        let codes = batch.x.iter().map(|&x| input.code(x)).collect();
        let simulated = simulator.run(codes, batch.images);
        exbit_grad::infer_with(&network.model, &batch.x, batch.images, |value, numbers| {
            if let Some(noise) = gathered.get_mut(&value) {
                match simulated.codes.get(&value) {
                    Some(codes) => {
                        let grid = quantized.grid(network, value);
                        noise.add(numbers, codes.iter().map(|&c| grid.value(c)));
                    }
                    None => {
                        let exits = network.model.exits().iter().zip(&simulated.exits);
                        let exit = exits.clone().find(|(v, _)| **v == value);
                        let answer = exit.map_or(&simulated.output, |(_, answer)| answer);
                        noise.add(numbers, answer.iter().copied());
                    }
                }
            }
            if let Some(noise) = own.get_mut(&value) {
                let grid = quantized.grid(network, value);
                noise.add(numbers, numbers.iter().map(|&x| grid.value(grid.code(x))));
            }
        });
        images += batch.images;
        progress(images);
    }
    for (row, id) in report.layers.iter_mut().zip(network.layers()) {
        let noise = network.stage_of(id).and_then(|s| gathered.get(&s.output));
        row.output_sqnr_db = noise.and_then(|n| n.decibel());
    }
    for (row, noise) in report.activations.iter_mut().zip(own.values()) {
        row.sqnr_db = noise.decibel();
    }
    Ok(())
}

fn times(done: &Quantization, report: &mut Report) -> Result<()> {
    let mut session = Session::new(&done.program, 1)?;
    let pixels = vec![128; session.input_len()];
    let steps = session.profile(&pixels, RUNS)?;
    let layers = layer_steps(&done.network, &done.program);
    for (row, step) in report.layers.iter_mut().zip(layers) {
        // The first entry of a profile is the input.
        row.time_us = steps.get(step + 1).map(|s| s.nanoseconds as f64 / 1e3);
    }
    report.origin.machine = Some(Machine {
        cpu: cpu_name(),
        isa: session.isa().to_owned(),
        threads: 1,
    });
    Ok(())
}
