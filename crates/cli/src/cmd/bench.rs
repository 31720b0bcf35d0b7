//! `exbit bench`: how fast a network runs on this machine.

mod layers;

use std::time::Duration;

use exbit_model::data::Batch;
use layers::LayerTime;
use serde::Serialize;

use crate::args::Bench;
use crate::exit::Failure;
use crate::output::{Answer, put};
use crate::progress::Progress;
use crate::runner::Runner;
use crate::table::{bytes, threads};
use crate::timing::Times;

/// The most bytes of one call's pixels.
const MOST_PIXELS: usize = 1 << 30;

#[derive(Serialize)]
struct Json {
    latency_ms_p10: f64,
    latency_ms_p50: f64,
    latency_ms_p90: f64,
    images_per_second: f64,
    calls: usize,
    batch: usize,
    threads: usize,
    isa: &'static str,
    arena_bytes: Option<usize>,
    weight_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gmacs_per_second: Option<f64>,
    file_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<LayerTime>>,
}

pub(crate) fn run(args: &Bench, progress: &Progress) -> Result<Answer, Failure> {
    let started = args.threads.start()?;
    let (mut runner, file_bytes) = Runner::open(&args.network, started)?;
    let one = runner.input_len();
    if one.saturating_mul(args.batch) > MOST_PIXELS {
        let most = MOST_PIXELS / one.max(1);
        return Err(Failure::bad_input(format!(
            "--batch {}: {most} at most",
            args.batch
        )));
    }
    let batch = random_images(args.batch, one);
    let time = Duration::from_secs_f64(args.seconds);
    let spent = |spent: Duration| {
        let tenths = |t: Duration| t.as_millis() as u64 / 100;
        progress.set("measuring", tenths(spent).min(tenths(time)), tenths(time));
    };
    let times = Times::measure(time, || runner.logits(&batch).map(drop), spent)?;
    let layers = match args.per_layer || args.trace.is_some() {
        true => Some(layers::times(&mut runner, &random_images(1, one))?),
        false => None,
    };
    if let (Some(path), Some(layers)) = (&args.trace, &layers) {
        put(path, layers::trace(layers)?.as_bytes())?;
    }
    let json = Json {
        latency_ms_p10: times.percentile(10),
        latency_ms_p50: times.percentile(50),
        latency_ms_p90: times.percentile(90),
        images_per_second: args.batch as f64 / times.mean() * 1e3,
        calls: times.calls(),
        batch: args.batch,
        threads: started,
        isa: runner.isa(),
        arena_bytes: runner.arena_bytes(),
        weight_bytes: runner.weight_bytes(),
        peak_gmacs_per_second: layers.as_ref().and_then(|_| layers::peak(runner.isa())),
        file_bytes,
        layers,
    };
    Answer::new(&json, text(&json))
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
    if let Some(arena) = json.arena_bytes {
        text.push_str(&format!("arena {}", bytes(arena as u64)));
        let weights = json.weight_bytes.unwrap_or(0);
        text.push_str(&format!(", packed weights {}\n", bytes(weights as u64)));
    }
    if let Some(layers) = &json.layers {
        text.push('\n');
        text.push_str(&layers::table(layers, json.peak_gmacs_per_second));
    }
    text
}
