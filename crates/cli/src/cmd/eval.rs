//! `exbit eval`: how right a network is, and what it costs.

mod ways;

use std::path::Path;
use std::time::Duration;

use exbit_engine::Policy;
use exbit_model::data::{DataSet, Preprocess, Split, spread};
use serde::Serialize;

use crate::args::Eval;
use crate::exit::Failure;
use crate::images;
use crate::leaving::{BesideFull, WayOut, side_by_side};
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
/// How long they are where they take different ways, and how many of them.
const EXITS_TIME: Duration = Duration::from_secs(4);
const EXITS_IMAGES: usize = 256;

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
    bops_mean_edges_at_8: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    exits: Vec<WayOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside_full: Option<BesideFull>,
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

pub(crate) fn run(args: &Eval, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.threads.start()?;
    let mut file = network::open(&args.network)?;
    let asked = args.data.preprocessing.preprocess.as_deref();
    let preprocess = images::preprocess(&file, asked, progress)?;
    if let Some(policy) = &args.policy {
        override_policy(&mut file.network, policy, &args.network)?;
    }
    let mut set = images::open(&args.data.data, args.data.split, Split::Test)?;
    file.network.number_classes(&mut set)?;
    let totals = match &file.network {
        Network::Float(model) => of_model(model).totals,
        Network::Integer(program) => of_program(program).totals,
    };
    let mut trial = Trial::new(file.network, threads)?;
    if let Some(path) = &args.float {
        let (model, _) = network::open_model(path)?;
        trial.compare_with(model, &path.display().to_string())?;
    }
    let images = set.len().min(args.limit.unwrap_or(usize::MAX));
    let one = trial.judge(&set, &preprocess, images, progress)?;
    progress.set("timing single images", 0, 1);
    let times = match beside_full(&mut trial, &set, &preprocess)? {
        Some([early, full]) => (early, Some(full)),
        None => (trial.runner.latency(&one, LATENCY_TIME)?, None),
    };
    let json = json(&trial, totals, file.bytes, threads, &times);
    Answer::new(&json, text(&json))
}

/// Puts `text` in the place of the policy that the Program carries.
fn override_policy(network: &mut Network, text: &str, path: &Path) -> Result<(), Failure> {
    match network {
        Network::Integer(program) if !program.exits.is_empty() => {
            program.policy = Policy::parse(text, program.exits.len())?;
            Ok(())
        }
        Network::Integer(_) | Network::Float(_) => {
            let message = format!("{}: --policy, but there are no exits", path.display());
            Err(Failure::bad_input(message))
        }
    }
}

/// The times of single images by the policy and to the end, where there are exits.
fn beside_full(
    trial: &mut Trial,
    set: &DataSet,
    preprocess: &Preprocess,
) -> Result<Option<[Times; 2]>, Failure> {
    let images = trial.score.images();
    match (&mut trial.runner, &trial.leaving) {
        (Runner::Integer(session), Some(_)) => {
            let some = spread(images, images.min(EXITS_IMAGES), 0).into_iter();
            let calls = some.map(|i| set.batch(preprocess, &[i]));
            let calls = calls.collect::<Result<Vec<_>, _>>()?;
            side_by_side(session, &calls, EXITS_TIME).map(Some)
        }
        (Runner::Integer(_) | Runner::Float(_), _) => Ok(None),
    }
}

fn json(
    trial: &Trial,
    totals: Totals,
    file_bytes: u64,
    threads: usize,
    (latency, full): &(Times, Option<Times>),
) -> Json {
    let images = trial.score.images();
    let float = trial.float.as_ref();
    let leaving = trial.leaving.as_ref();
    let alone = || WayOut {
        index: 0,
        name: None,
        fraction: 1.0,
        top1: Some(trial.score.top1()),
        top1_alone: None,
        work: None,
    };
    let [bops_mean, bops_mean_edges_at_8] = leaving.map_or(
        [totals.bops_full, totals.bops_edges_at_8].map(|n| n as f64),
        |l| l.bops_mean(),
    );
    let beside =
        |(full, seconds): (&Times, f64)| BesideFull::new(latency, full, images as f64 / seconds);
    let seconds_full = leaving.map(|l| l.seconds_full);
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
        bops_mean,
        bops_mean_edges_at_8,
        totals,
        policy: leaving.map(|l| l.policy().to_string()),
        exits: leaving.map_or_else(|| vec![alone()], |l| l.ways()),
        beside_full: full.as_ref().zip(seconds_full).map(beside),
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
        let other =
            format!("top-1 {top1:.2} %, top-5 {top5:.2} %, cross-entropy {mean_cross_entropy:.4}");
        lines.push(line("the same in floats", other));
        lines.push(line("agreement with float", format!("{agreement:.2} %")));
    }
    let mean_bits = totals.weight_bits_mean.filter(|&mean| mean < 32.0);
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
    ]);
    if json.policy.is_some() {
        let share = 100.0 * json.bops_mean / totals.bops_full.max(1) as f64;
        let mean = count(json.bops_mean as u64);
        lines.push(line(
            "with exits",
            format!("{mean}, {share:.1} % on average"),
        ));
    }
    lines.extend([
        line(
            "latency of one image",
            format!("{:.3} ms (median)", json.latency_ms_p50),
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
    lines.extend(ways::lines(json));
    lines.join("\n")
}

fn line(name: &str, value: String) -> String {
    format!("{name:<22}{value}")
}
