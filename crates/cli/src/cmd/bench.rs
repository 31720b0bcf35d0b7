//! `exbit bench`: how fast a network runs on this machine.

use std::time::{Duration, Instant};

use exbit_model::data::Batch;
use exbit_model::{Model, ValueId};
use serde::Serialize;

use crate::args::Bench;
use crate::exit::Failure;
use crate::network;
use crate::output::Answer;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::table::{Side, Table, bytes, count, threads, width};
use crate::timing::Times;

/// The most bytes of one call's pixels.
const MOST_PIXELS: usize = 1 << 30;
/// How often each layer is timed.
const LAYER_REPEATS: usize = 25;

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
    file_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<LayerTime>>,
}

/// What one layer takes for one image on one thread.
#[derive(Serialize)]
struct LayerTime {
    name: String,
    kernel: String,
    microseconds: f64,
    macs: u64,
    gmacs_per_second: f64,
}

pub(crate) fn run(args: &Bench, progress: &Progress) -> Result<Answer, Failure> {
    let started = args.threads.start()?;
    let file = network::open(&args.network)?;
    let mut runner = Runner::new(file.network, started)?;
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
    let layers = match args.per_layer {
        true => Some(layer_times(&mut runner, &random_images(1, one))?),
        false => None,
    };
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
        file_bytes: file.bytes,
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

fn layer_times(runner: &mut Runner, image: &Batch) -> Result<Vec<LayerTime>, Failure> {
    let entry = |name: String, kernel: String, microseconds: f64, macs: u64| LayerTime {
        name,
        kernel,
        microseconds,
        macs,
        gmacs_per_second: macs as f64 / microseconds.max(1e-3) / 1e3,
    };
    Ok(match runner {
        Runner::Integer(session) => {
            let steps = session.profile(&image.pixels, LAYER_REPEATS)?.into_iter();
            let of = |s: exbit_engine::StepTime| {
                entry(
                    s.step,
                    s.kernel.to_owned(),
                    s.nanoseconds as f64 / 1e3,
                    s.macs,
                )
            };
            steps.map(of).collect()
        }
        Runner::Float(model) => {
            let times = node_times(model, &image.x);
            let ids = (0..).map(exbit_model::NodeId);
            let of = |((node, id), time): ((&exbit_model::Node, _), f64)| {
                entry(
                    node.name.clone(),
                    node.op.name().to_owned(),
                    time,
                    model.macs(id),
                )
            };
            model.nodes().iter().zip(ids).zip(times).map(of).collect()
        }
    })
}

/// The median time of each node, in microseconds.
fn node_times(model: &Model, x: &[f32]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(LAYER_REPEATS); model.nodes().len()];
    for _ in 0..LAYER_REPEATS {
        let mut last = Instant::now();
        exbit_grad::infer_with(model, x, 1, |ValueId(value), _| {
            if let Some(node) = value.checked_sub(1) {
                times[node].push(last.elapsed().as_secs_f64() * 1e6);
            }
            last = Instant::now();
        });
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
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
        text.push_str(&format!("arena {}\n", bytes(arena as u64)));
    }
    if let Some(layers) = &json.layers {
        text.push('\n');
        text.push_str(&layer_table(layers));
    }
    text
}

fn layer_table(layers: &[LayerTime]) -> String {
    let mut table = Table::new(&[
        ("#", Side::Right),
        ("layer", Side::Name),
        ("kernel", Side::Left),
        ("µs", Side::Right),
        ("share", Side::Right),
        ("MACs", Side::Right),
        ("GMAC/s", Side::Right),
    ])
    .spare(&["MACs"]);
    let total: f64 = layers.iter().map(|l| l.microseconds).sum();
    let sums = |macs: u64, text: String| if macs == 0 { String::new() } else { text };
    for (i, layer) in layers.iter().enumerate() {
        table.row([
            i.to_string(),
            layer.name.clone(),
            layer.kernel.clone(),
            format!("{:.1}", layer.microseconds),
            format!("{:.1} %", 100.0 * layer.microseconds / total),
            sums(layer.macs, count(layer.macs)),
            sums(layer.macs, format!("{:.2}", layer.gmacs_per_second)),
        ]);
    }
    format!(
        "{}{total:.1} µs for one image on one thread, layer by layer\n",
        table.render(width())
    )
}
