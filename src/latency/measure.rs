//! The measuring: networks of made-up codes take turns, step by step.

use std::time::{Duration, Instant};

use exbit_engine::{Input, Program, Session, StepKind};
use exbit_kernels::Bits;
use exbit_model::NodeId;

use super::{LayerTimes, NOISE, Times, cpu_name, made_up};
use crate::prepare::{Network, StageKind};
use crate::quantized::conv_shape;
use crate::sensitivity::Candidates;
use crate::{Error, ErrorKind, Result, lower};

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

/// Times every layer of `network` at every pair of `candidates`. `progress` hears of the turns, of
/// which there are 33 for each time that the candidates fill the memory meant for them.
///
/// # Errors
/// `Mismatch` when the engine does not take the network, `Unsupported` when `EXBIT_ISA` names
/// instructions that this CPU has not.
pub fn measure(
    network: &Network,
    candidates: &Candidates,
    input: &Input,
    progress: &mut dyn FnMut(usize),
) -> Result<Times> {
    let pairs = pairs(candidates);
    let mut steps = Vec::new();
    let shapes = shapes(network);
    // samples[pair][step], each of many turns; in nanoseconds.
    let mut samples: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut isa = String::new();
    for together in pairs.chunks(pairs_together(network)) {
        let mut times = vec![Vec::new(); together.len()];
        for _ in 0..SITTINGS {
            let mut sessions = Vec::new();
            for &(w, a) in together {
                let program = lower(network, &made_up::quantized(network, w, a), input.clone());
                steps = layer_steps(network, &program);
                sessions.push(Session::new(&program, 1).map_err(engine_error)?);
            }
            if let Some(session) = sessions.first() {
                session.isa().clone_into(&mut isa);
            }
            take_turns(&mut sessions, &mut times, progress)?;
        }
        samples.extend(times);
    }
    let layer = |(l, id): (usize, NodeId)| {
        let alike: Vec<usize> = (0..shapes.len())
            .filter(|&i| shapes[i] == shapes[l])
            // The first entry of a profile is the input.
            .map(|i| steps[i] + 1)
            .collect();
        let time = |pair: &Vec<Vec<f64>>| {
            quartile(alike.iter().flat_map(|&s| pair[s].clone()).collect()) / 1e3
        };
        let us: Vec<f64> = without_noise(samples.iter().map(time).collect());
        let rows = us.chunks(candidates.activations.len());
        LayerTimes {
            name: network.model.node(id).name.clone(),
            us: rows.map(<[f64]>::to_vec).collect(),
        }
    };
    let rest = |pair: &Vec<Vec<f64>>| -> f64 {
        let others = (0..pair.len()).filter(|s| *s == 0 || !steps.contains(&(s - 1)));
        others.map(|s| quartile(pair[s].clone())).sum::<f64>() / 1e3
    };
    Ok(Times {
        cpu: cpu_name(),
        isa,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        network: network.model.name().to_owned(),
        weights: candidates.weights.clone(),
        activations: candidates.activations.clone(),
        rest_us: quartile(samples.iter().map(rest).collect()),
        layers: network
            .layers()
            .into_iter()
            .enumerate()
            .map(layer)
            .collect(),
    })
}

/// How many turns [`measure`] announces.
pub(crate) fn turns(network: &Network, candidates: &Candidates) -> usize {
    SITTINGS * TURNS * pairs(candidates).len().div_ceil(pairs_together(network))
}

fn pairs(candidates: &Candidates) -> Vec<(Bits, Bits)> {
    let with = |&w: &Bits| candidates.activations.iter().map(move |&a| (w, a));
    candidates.weights.iter().flat_map(with).collect()
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
            let times = session.profile(&pixels, RUNS).map_err(engine_error)?;
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

/// What decides the time of each layer besides its bits.
fn shapes(network: &Network) -> Vec<String> {
    let model = &network.model;
    let shape = |id| {
        let node = model.node(id);
        let stage = network.stage_of(id);
        let weight = conv_shape(&node.op);
        let input = &model.value(node.inputs[0]).shape;
        let kind = stage.map(|s| (&s.kind, s.inputs.len(), network.is_real(s.output)));
        format!(
            "{weight:?} {:?} {input:?} {kind:?}",
            crate::lower::window(&node.op)
        )
    };
    network.layers().into_iter().map(shape).collect()
}

/// The times with their clusters' means in place of what hardly differs: in ascending order, a
/// time joins the one before it where it is longer by at most [`NOISE`].
pub(super) fn without_noise(mut times: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|&i, &j| times[i].total_cmp(&times[j]));
    let near = |&i: &usize, &j: &usize| times[j] - times[i] <= NOISE * times[j];
    let clusters: Vec<Vec<usize>> = order.chunk_by(near).map(<[usize]>::to_vec).collect();
    for cluster in clusters {
        let mean = cluster.iter().map(|&i| times[i]).sum::<f64>() / cluster.len() as f64;
        cluster.into_iter().for_each(|i| times[i] = mean);
    }
    times
}

/// The time that a quarter of the samples stay within: what other programs and an unlucky place in
/// memory do to a time is to add to it.
fn quartile(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 4).copied().unwrap_or(0.0)
}

/// The engine's error as one of ours.
pub(crate) fn engine_error(error: exbit_engine::Error) -> Error {
    let kind = match error.kind() {
        exbit_engine::ErrorKind::Io => ErrorKind::Io,
        exbit_engine::ErrorKind::Malformed => ErrorKind::Malformed,
        exbit_engine::ErrorKind::Unsupported => ErrorKind::Unsupported,
        exbit_engine::ErrorKind::Mismatch | _ => ErrorKind::Mismatch,
    };
    Error::new(kind, "", error.to_string())
}
