//! `exbit eval`: how right a network is, and what it costs.

use std::time::Duration;

use exbit_model::data::{DataSet, Split};
use serde::Serialize;

use crate::args::Eval;
use crate::exit::Failure;
use crate::images;
use crate::network::{self, Network};
use crate::output::Answer;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::survey::{Totals, of_model, of_program};
use crate::table::{self, bytes, count};
use crate::timing::Times;
use crate::trial::Trial;

/// How long single images are timed.
const LATENCY_TIME: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Json {
    images: usize,
    top1: f64,
    top5: f64,
    mean_cross_entropy: f64,
    agreement_float: Option<f64>,
    float: Option<FloatScore>,
    file_bytes: u64,
    #[serde(flatten)]
    totals: Totals,
    bops_mean: f64,
    exits: [Exit; 1],
    latency_ms_p50: f64,
    images_per_second: f64,
    threads: usize,
    isa: &'static str,
}

/// The float network on the same images.
#[derive(Serialize)]
struct FloatScore {
    top1: f64,
    top5: f64,
    mean_cross_entropy: f64,
}

/// A place where images leave the network; `fraction` of 1 do.
#[derive(Serialize)]
struct Exit {
    index: usize,
    fraction: f64,
    top1: f64,
}

pub(crate) fn run(args: &Eval, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.threads.start()?;
    let file = network::open(&args.network)?;
    let asked = args.data.preprocessing.preprocess.as_deref();
    let preprocess = images::preprocess(&file, asked, progress)?;
    let set = DataSet::open(&args.data.data, args.data.split.unwrap_or(Split::Test))?;
    let totals = match &file.network {
        Network::Float(model) => of_model(model).totals,
        Network::Integer(program) => of_program(program).totals,
    };
    let mut trial = Trial::new(Runner::new(file.network, threads)?);
    if let Some(path) = &args.float {
        let (model, _) = network::open_model(path)?;
        trial.compare_with(model, &path.display().to_string())?;
    }
    let images = set.len().min(args.limit.unwrap_or(usize::MAX));
    let one = trial.judge(&set, &preprocess, images, progress)?;
    progress.set("timing single images", 0, 1);
    let latency = trial.runner.latency(&one, LATENCY_TIME)?;
    let json = json(&trial, totals, file.bytes, threads, &latency);
    Answer::new(&json, text(&json))
}

fn json(trial: &Trial, totals: Totals, file_bytes: u64, threads: usize, latency: &Times) -> Json {
    let images = trial.score.images();
    let float = trial.float.as_ref();
    Json {
        images,
        top1: trial.score.top1(),
        top5: trial.score.top5(),
        mean_cross_entropy: trial.score.mean_cross_entropy(),
        agreement_float: float.map(|f| f.agreement()),
        float: float.map(|f| FloatScore {
            top1: f.score.top1(),
            top5: f.score.top5(),
            mean_cross_entropy: f.score.mean_cross_entropy(),
        }),
        file_bytes,
        bops_mean: totals.bops_full as f64,
        totals,
        exits: [Exit {
            index: 0,
            fraction: 1.0,
            top1: trial.score.top1(),
        }],
        latency_ms_p50: latency.percentile(50),
        images_per_second: images as f64 / trial.seconds,
        threads,
        isa: trial.runner.isa(),
    }
}

fn text(json: &Json) -> String {
    let totals = &json.totals;
    let mut lines = vec![
        line("images", json.images.to_string()),
        line("top-1", format!("{:.2} %", json.top1)),
        line("top-5", format!("{:.2} %", json.top5)),
        line(
            "mean cross-entropy",
            format!("{:.4}", json.mean_cross_entropy),
        ),
    ];
    if let (Some(float), Some(agreement)) = (&json.float, json.agreement_float) {
        let FloatScore {
            top1,
            top5,
            mean_cross_entropy,
        } = float;
        let other = format!("{top1:.2} %, {top5:.2} %, {mean_cross_entropy:.4}");
        lines.push(line("the same in floats", other));
        lines.push(line("agreement with float", format!("{agreement:.2} %")));
    }
    let mean_bits = totals.mean_weight_bits.filter(|&mean| mean < 32.0);
    let mean_bits = mean_bits.map_or(String::new(), |b| format!(", mean {b:.2} bits"));
    lines.extend([
        line(
            "weights",
            format!("{}{mean_bits}", bytes(totals.weight_bytes)),
        ),
        line("file", bytes(json.file_bytes)),
        line(
            "activations",
            format!(
                "{} at the peak, {} in all",
                bytes(totals.activation_bytes_peak),
                bytes(totals.activation_bytes_sum)
            ),
        ),
        line("BOPs", count(totals.bops_full)),
        line(
            "latency of one image",
            format!("{:.3} ms", json.latency_ms_p50),
        ),
        line(
            "speed",
            format!(
                "{:.0} images/s on {}, {}",
                json.images_per_second,
                table::threads(json.threads),
                json.isa
            ),
        ),
    ]);
    lines.join("\n")
}

fn line(name: &str, value: String) -> String {
    format!("{name:<22}{value}")
}
