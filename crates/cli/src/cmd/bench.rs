//! `exbit bench`: how fast a network runs on this machine.

mod eight;
mod layers;

use std::path::Path;
use std::time::Duration;

use eight::EightBits;
use exbit_engine::Policy;
use exbit_model::data::{Batch, Preprocess, Split, spread};
use layers::LayerTime;
use serde::Serialize;

use crate::args::Bench;
use crate::exit::Failure;
use crate::images;
use crate::leaving::{BesideFull, side_by_side};
use crate::output::{self, Answer, put};
use crate::progress::Progress;
use crate::runner::Runner;
use crate::table::{bytes, threads};
use crate::timing::Times;

/// The most bytes of one call's pixels.
const MOST_PIXELS: usize = 1 << 30;
/// Images that are run in turns, or as many as are one call.
const IMAGES: usize = 512;

#[derive(Serialize)]
struct Json {
    latency_ms_p10: f64,
    latency_ms_p50: f64,
    latency_ms_p90: f64,
    images_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside_full: Option<BesideFull>,
    calls: usize,
    batch: usize,
    /// `noise` or `data`.
    on: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    threads: usize,
    isa: &'static str,
    arena_bytes: Option<usize>,
    packed_weight_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gmacs_per_second: Option<f64>,
    file_bytes: u64,
    /// The same network at eight bits, where it has fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    eight_bits: Option<EightBits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<LayerTime>>,
}

pub(crate) fn run(args: &Bench, progress: &Progress) -> Result<Answer, Failure> {
    let started = args.threads.start()?;
    output::check_places(&[args.trace.as_deref()], &[&args.network])?;
    let (mut runner, file_bytes) = Runner::open(&args.network, started)?;
    let asked = args.preprocessing.preprocess.as_deref();
    if let (Some(asked), None) = (asked, &args.data) {
        let message = format!("--preprocess {asked}: is for the images of --data");
        return Err(Failure::bad_input(message));
    }
    let preprocess = args.data.as_ref();
    let preprocess =
        preprocess.map(|_| images::for_runner(&runner, &args.network, asked, progress));
    let preprocess = preprocess.transpose()?;
    let exits = match &runner {
        Runner::Float(_) => false,
        Runner::Integer(session) => !session.exit_names().is_empty(),
    };
    let one = runner.input_len();
    let most = MOST_PIXELS / one.max(1);
    if args.batch > most {
        let message = format!("--batch {}: {most} at most", args.batch);
        return Err(Failure::bad_input(message));
    }
    let (batches, on) = match (&args.data, &preprocess) {
        (Some(path), Some(preprocess)) => (real_images(args, path, preprocess, most)?, "data"),
        (_, None) | (None, _) => (vec![random_images(args.batch, one)], "noise"),
    };
    let policy = match &mut runner {
        Runner::Integer(session) if exits => {
            if args.data.is_none() {
                session.set_policy(&Policy::Never)?;
            }
            Some(session.policy().to_string())
        }
        Runner::Integer(_) | Runner::Float(_) => None,
    };
    let time = Duration::from_secs_f64(args.seconds);
    let (times, full) = measure(
        &mut runner,
        &batches,
        time,
        policy.is_some() && on == "data",
        progress,
    )?;
    let per_second = |times: &Times| args.batch as f64 / times.mean() * 1e3;
    let (eight_bits, layers) = each_layer(args, &mut runner)?;
    if let (Some(path), Some(layers)) = (&args.trace, &layers) {
        put(path, layers::trace(layers)?.as_bytes())?;
    }
    let json = Json {
        latency_ms_p10: times.percentile(10),
        latency_ms_p50: times.percentile(50),
        latency_ms_p90: times.percentile(90),
        images_per_second: per_second(&times),
        beside_full: full.map(|full| BesideFull::new(&times, &full, per_second(&full))),
        calls: times.calls(),
        batch: args.batch,
        on,
        policy,
        threads: started,
        isa: runner.isa(),
        arena_bytes: runner.arena_bytes(),
        packed_weight_bytes: runner.weight_bytes(),
        peak_gmacs_per_second: layers.as_ref().and_then(|_| layers::peak(runner.isa())),
        file_bytes,
        eight_bits,
        layers,
    };
    Answer::new(&json, text(&json))
}

/// The network beside itself at eight bits, and its layers where they are asked for.
fn each_layer(
    args: &Bench,
    runner: &mut Runner,
) -> Result<(Option<EightBits>, Option<Vec<LayerTime>>), Failure> {
    let image = random_images(1, runner.input_len());
    let beside = match &mut *runner {
        Runner::Integer(session) => eight::beside(&args.network, session, &image)?,
        Runner::Float(_) => None,
    };
    let wanted = args.per_layer || args.trace.is_some();
    Ok(match (beside, wanted) {
        (Some((eight, layers)), _) => (Some(eight), wanted.then_some(layers)),
        (None, true) => (None, Some(layers::times(runner, &image)?)),
        (None, false) => (None, None),
    })
}

/// The times of calls with `batches` in turns; where images leave early, also to the end.
fn measure(
    runner: &mut Runner,
    batches: &[Batch],
    time: Duration,
    leaving: bool,
    progress: &Progress,
) -> Result<(Times, Option<Times>), Failure> {
    if let (Runner::Integer(session), true) = (&mut *runner, leaving) {
        progress.set("measuring", 0, 1);
        let [early, full] = side_by_side(session, batches, time)?;
        return Ok((early, Some(full)));
    }
    let spent = |spent: Duration| {
        let tenths = |t: Duration| t.as_millis() as u64 / 100;
        progress.set("measuring", tenths(spent).min(tenths(time)), tenths(time));
    };
    let mut calls = 0;
    let call = || {
        calls += 1;
        runner.logits(&batches[calls % batches.len()]).map(drop)
    };
    Ok((Times::measure(time, call, spent)?, None))
}

/// Images from all over the set `path`, in whole batches, at most `most` images.
fn real_images(
    args: &Bench,
    path: &Path,
    preprocess: &Preprocess,
    most: usize,
) -> Result<Vec<Batch>, Failure> {
    let set = images::open(path, args.split, Split::Test)?;
    if set.len() < args.batch {
        let message = format!("--batch {}: not so many in {set}", args.batch);
        return Err(Failure::bad_input(message));
    }
    let count = IMAGES.max(args.batch).min(set.len()).min(most);
    let chosen = spread(set.len(), count, 0);
    let batches = chosen.chunks_exact(args.batch);
    let batches = batches.map(|indices| set.batch(preprocess, indices));
    Ok(batches.collect::<Result<_, _>>()?)
}

/// Images of noise, the same in each run.
fn random_images(images: usize, one: usize) -> Batch {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let pixels: Vec<u8> = (0..images * one).map(|_| noise()).collect();
    let x = pixels.iter().map(|&p| f32::from(p) / 64.0 - 2.0).collect();
    Batch {
        indices: (0..images).collect(),
        pixels,
        x,
        labels: None,
    }
}

fn left_early(json: &Json, policy: &str) -> String {
    let mut text = format!("images left by policy {policy}\n");
    if let Some(beside) = &json.beside_full {
        text.push_str(&format!(
            "{:.3} ms a call on average, {:.3} ms to the end without exits: {:.2}x; {:.0} images/s \
             there\n",
            beside.latency_ms_mean,
            beside.latency_ms_mean_full,
            beside.latency_ratio,
            beside.images_per_second_full
        ));
    }
    text
}

fn text(json: &Json) -> String {
    let mut text = format!(
        "{:.3} ms a call of {} (10 %: {:.3} ms, 90 %: {:.3} ms; {} calls)\n\
         {:.0} images/s on {}, {}\n",
        json.latency_ms_p50,
        match json.batch {
            1 => "one image".to_owned(),
            n => format!("{n} images"),
        },
        json.latency_ms_p10,
        json.latency_ms_p90,
        json.calls,
        json.images_per_second,
        threads(json.threads),
        json.isa,
    );
    match (&json.policy, json.on) {
        (Some(policy), "data") => text.push_str(&left_early(json, policy)),
        (Some(_), _) => text.push_str(
            "to the end, without exits: noise says nothing of when images leave (see --data)\n",
        ),
        (None, _) => {}
    }
    if let Some(arena) = json.arena_bytes {
        text.push_str(&format!("arena {}", bytes(arena as u64)));
        let weights = json.packed_weight_bytes.unwrap_or(0);
        text.push_str(&format!(", packed weights {}\n", bytes(weights as u64)));
    }
    if let Some(eight) = &json.eight_bits {
        text.push_str(&eight.text());
    }
    if let Some(layers) = &json.layers {
        text.push('\n');
        text.push_str(&layers::table(layers, json.peak_gmacs_per_second));
    }
    text
}
