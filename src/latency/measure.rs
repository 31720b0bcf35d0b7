//! The measuring: networks of made-up codes take turns, step by step.

use std::time::{Duration, Instant};

use exbit_engine::{Program, Session, StepKind};

use super::{Pair, PairTimes, THREADS, Times, made_up, quartile};
use crate::fingerprint::Fingerprint;
use crate::prepare::{Network, Stage, StageKind};
use crate::quantized::conv_shape;
use crate::{Result, lower};

/// How often each network is packed anew: where its weights and its arena happen to lie in memory
/// moves a time more than turns do.
const SITTINGS: usize = 3;
/// Turns that each network takes in a sitting, where [`LONGEST`] allows.
const TURNS: usize = 11;
/// Turns that it takes in any case.
const FEWEST_TURNS: usize = 3;
/// Runs of one turn, of which the median counts: the first finds its weights in no cache.
const RUNS: usize = 3;
/// No new turn begins after this long.
const LONGEST: Duration = Duration::from_millis(1500);
/// Bytes of the networks that take turns together.
const MOST_BYTES: u64 = 1 << 29;

impl Times {
    /// Times every layer of `network`, which these times are of, at each of `pairs`, and adds that,
    /// in place of times of the same pairs. Where others are kept, one of them is measured again
    /// beside the new ones, and these are scaled as it has changed: an hour at which the machine is
    /// slower makes no bit-width look slow. `progress` hears of the turns, [`turns`] in all.
    ///
    /// # Errors
    /// `Mismatch` when the engine does not take the network, or when the times that are there were
    /// measured on another machine.
    pub fn measure(
        &mut self,
        network: &Network,
        pairs: &[Pair],
        progress: &mut dyn FnMut(usize),
    ) -> Result<()> {
        self.check_here(&Times::none(network)?, pairs)?;
        for new in pairs.chunks(pairs_together(network)) {
            let known = self.pairs.iter().rfind(|p| !pairs.contains(&p.bits));
            let together: Vec<Pair> = new.iter().copied().chain(known.map(|p| p.bits)).collect();
            let measured = measured(network, &together, progress)?;
            for times in on_the_scale_of(known, measured) {
                self.pairs.retain(|p| p.bits != times.bits);
                self.pairs.push(times);
            }
            self.pairs.sort_by_key(|p| p.bits);
        }
        Ok(())
    }
}

/// What was measured, the last of which is the one that is `known`, as it would have been when that
/// one was: all but it, multiplied by how it has changed.
pub(super) fn on_the_scale_of(
    known: Option<&PairTimes>,
    mut measured: Vec<PairTimes>,
) -> Vec<PairTimes> {
    if let Some((known, again)) = known.and_then(|known| Some((known, measured.pop()?))) {
        let factor = known.total_us() / again.total_us();
        measured.iter_mut().for_each(|p| p.scale(factor));
    }
    measured
}

/// The times of `pairs`, whose networks take turns.
fn measured(
    network: &Network,
    pairs: &[Pair],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<PairTimes>> {
    let (input, mut steps) = (made_up::input(network), Vec::new());
    // samples[pair][step], each of many turns; in nanoseconds.
    let mut samples: Vec<Vec<Vec<f64>>> = vec![Vec::new(); pairs.len()];
    for _ in 0..SITTINGS {
        let mut sessions = Vec::new();
        for pair in pairs {
            let numbers = made_up::quantized(network, pair.weights, pair.activations);
            let program = lower(network, &numbers, input.clone());
            steps = layer_steps(network, &program);
            sessions.push(Session::new(&program, THREADS)?);
        }
        take_turns(&mut sessions, &mut samples, progress)?;
    }
    let times = |(&bits, samples): (_, &Vec<Vec<f64>>)| pair_times(network, bits, &steps, samples);
    Ok(pairs.iter().zip(&samples).map(times).collect())
}

/// The times of one pair, from the samples of each entry of its profiles; layer `l` is step
/// `steps[l]`.
fn pair_times(network: &Network, bits: Pair, steps: &[usize], samples: &[Vec<f64>]) -> PairTimes {
    let stages = network.layers().into_iter();
    let shapes: Vec<String> = stages
        .filter_map(|id| network.stage_of(id))
        .map(|stage| shape(network, stage))
        .collect();
    let layer = |own: &String| {
        let alike = shapes.iter().zip(steps).filter(|(other, _)| *other == own);
        // The first entry of a profile is the input.
        let times = alike.flat_map(|(_, step)| samples[step + 1].clone());
        quartile(times.collect()) / 1e3
    };
    let rest = (0..samples.len()).filter(|s| *s == 0 || !steps.contains(&(s - 1)));
    PairTimes {
        bits,
        rest_us: rest.map(|s| quartile(samples[s].clone())).sum::<f64>() / 1e3,
        layers_us: shapes.iter().map(layer).collect(),
    }
}

/// How many turns [`Times::measure`] announces for `pairs`.
pub fn turns(network: &Network, pairs: &[Pair]) -> usize {
    SITTINGS * TURNS * pairs.len().div_ceil(pairs_together(network))
}

/// Networks that fit into the memory meant for them; two at least, or nothing would take turns.
fn pairs_together(network: &Network) -> usize {
    let model = &network.model;
    let weights = |id| model.node(id).op.weight().map_or(0, |w| w.len() as u64);
    let one: u64 = network.layers().into_iter().map(weights).sum();
    ((MOST_BYTES / one.max(1)) as usize).max(2)
}

/// Adds, for each Session and step, the times of each turn, in nanoseconds.
fn take_turns(
    sessions: &mut [Session],
    samples: &mut [Vec<Vec<f64>>],
    progress: &mut dyn FnMut(usize),
) -> Result<()> {
    let pixels = vec![128; sessions.first().map_or(0, Session::input_len)];
    let start = Instant::now();
    for turn in 0..TURNS {
        if turn >= FEWEST_TURNS && start.elapsed() > LONGEST {
            progress(TURNS - turn);
            break;
        }
        for (session, samples) in sessions.iter_mut().zip(samples.iter_mut()) {
            let times = session.profile(&pixels, RUNS)?;
            samples.resize(times.len(), Vec::new());
            for (samples, time) in samples.iter_mut().zip(times) {
                // A clock may be too coarse for the smallest steps; no time is no time at all.
                samples.push((time.nanoseconds as f64).max(1.0));
            }
        }
        progress(1);
    }
    Ok(())
}

/// The step of `program`, lowered from `network`, that computes each of its layers.
///
/// Every stage of a layer becomes one Conv and no other stage does, in the same order.
pub(crate) fn layer_steps(network: &Network, program: &Program) -> Vec<usize> {
    let steps = program.steps.iter().enumerate();
    let convs: Vec<usize> = steps
        .filter(|(_, step)| matches!(step.kind, StepKind::Conv(_)))
        .map(|(i, _)| i)
        .collect();
    let stages = || network.stages.iter().filter(|s| is_layer(&s.kind));
    let at = |id| stages().position(|s| s.node == id).map(|i| convs[i]);
    network.layers().into_iter().filter_map(at).collect()
}

fn is_layer(kind: &StageKind) -> bool {
    matches!(kind, StageKind::Layer(_))
}

/// What decides the times besides bits: the shapes of all stages, in order, as a fingerprint.
pub(super) fn geometry(network: &Network) -> String {
    let shapes: Vec<String> = network.stages.iter().map(|s| shape(network, s)).collect();
    Fingerprint::of(shapes.join("\n").as_bytes()).to_string()
}

/// What decides the time of a stage besides its bits.
fn shape(network: &Network, stage: &Stage) -> String {
    let model = &network.model;
    let op = &model.node(stage.node).op;
    let inputs: Vec<&[usize]> = stage
        .inputs
        .iter()
        .map(|&v| model.value(v).shape.as_slice())
        .collect();
    let (weight, window) = (conv_shape(op), crate::lower::window(op));
    let real = network.is_real(stage.output);
    format!("{:?} {weight:?} {window:?} {inputs:?} {real}", stage.kind)
}
