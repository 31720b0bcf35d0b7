//! `exbit eval`: how right a network is, and what it costs.

use std::path::Path;
use std::time::{Duration, Instant};

use exbit_model::data::{Batch, DataSet, Split};
use serde::Serialize;

use crate::args::Eval;
use crate::exit::Failure;
use crate::images;
use crate::network::{self, Network};
use crate::output::Answer;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::score::{Score, answer, percent};
use crate::survey::{Totals, of_model, of_program};
use crate::table::{bytes, count};
use crate::timing::Times;

/// A batch is as long as keeps its numbers within this many.
const BATCH_ENTRIES: usize = 4 << 20;
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
        trial.compare_with(path)?;
    }
    set.labels_below(trial.runner.classes())?;
    let images = set.len().min(args.limit.unwrap_or(usize::MAX));
    let batch = (BATCH_ENTRIES / trial.runner.input_len().max(1)).clamp(1, 256);
    let mut last = None;
    for batch in set.batches(&preprocess, (0..images).collect::<Vec<_>>(), batch) {
        let batch = batch?;
        trial.add(&batch)?;
        progress.set("evaluating", trial.score.images() as u64, images as u64);
        last = Some(batch);
    }
    let one = first_image(last.as_ref(), images)?;
    progress.set("timing single images", 0, 1);
    let latency = Times::measure(LATENCY_TIME, || trial.runner.logits(&one).map(drop), |_| {})?;
    let json = trial.json(totals, file.bytes, threads, &latency);
    Answer::new(&json, text(&json))
}

fn first_image(batch: Option<&Batch>, images: usize) -> Result<Batch, Failure> {
    let empty = || Failure::bad_input("the data set has no images");
    let batch = batch.filter(|_| images > 0).ok_or_else(empty)?;
    let len = batch.x.len() / batch.indices.len();
    Ok(Batch {
        indices: batch.indices[..1].to_vec(),
        pixels: batch.pixels[..len].to_vec(),
        x: batch.x[..len].to_vec(),
        labels: None,
    })
}

/// A network on trial, beside the float network that it came from where that is known.
struct Trial {
    runner: Runner,
    score: Score,
    seconds: f64,
    float: Option<Reference>,
}

struct Reference {
    runner: Runner,
    score: Score,
    agreed: usize,
}

impl Trial {
    fn new(runner: Runner) -> Self {
        Self {
            runner,
            score: Score::default(),
            seconds: 0.0,
            float: None,
        }
    }

    fn compare_with(&mut self, path: &Path) -> Result<(), Failure> {
        let (model, _) = network::open_model(path)?;
        let runner = Runner::new(Network::Float(model), 1)?;
        let shape = |r: &Runner| (r.input_len(), r.classes());
        if shape(&runner) != shape(&self.runner) {
            let ((x, y), (own_x, own_y)) = (shape(&runner), shape(&self.runner));
            return Err(Failure::bad_input(format!(
                "{}: takes {x} numbers and knows {y} classes; the network on trial {own_x} and \
                 {own_y}",
                path.display()
            )));
        }
        self.float = Some(Reference {
            runner,
            score: Score::default(),
            agreed: 0,
        });
        Ok(())
    }

    fn add(&mut self, batch: &Batch) -> Result<(), Failure> {
        let labels = batch.labels.as_deref().unwrap_or_default();
        let classes = self.runner.classes();
        let start = Instant::now();
        let logits = self.runner.logits(batch)?;
        self.seconds += start.elapsed().as_secs_f64();
        self.score.add(&logits, labels, classes);
        if let Some(float) = &mut self.float {
            let reference = float.runner.logits(batch)?;
            float.score.add(&reference, labels, classes);
            let pairs = logits
                .chunks_exact(classes)
                .zip(reference.chunks_exact(classes));
            float.agreed += pairs.filter(|(a, b)| answer(a) == answer(b)).count();
        }
        Ok(())
    }

    fn json(&self, totals: Totals, file_bytes: u64, threads: usize, latency: &Times) -> Json {
        let images = self.score.images();
        let float = self.float.as_ref();
        Json {
            images,
            top1: self.score.top1(),
            top5: self.score.top5(),
            mean_cross_entropy: self.score.mean_cross_entropy(),
            agreement_float: float.map(|f| percent(f.agreed, images)),
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
                top1: self.score.top1(),
            }],
            latency_ms_p50: latency.percentile(50),
            images_per_second: images as f64 / self.seconds,
            threads,
            isa: self.runner.isa(),
        }
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
                "{:.0} images/s on {} threads, {}",
                json.images_per_second, json.threads, json.isa
            ),
        ),
    ]);
    lines.join("\n")
}

fn line(name: &str, value: String) -> String {
    format!("{name:<22}{value}")
}
