//! `exbit demo`: the main job on a network and images that the binary carries.
//!
//! The same steps as `quantize` and `eval`, one after the other. What went in is written beside
//! what came out, so that both commands can be repeated by hand on the demo's own files.

use std::path::Path;

use exbit::report::Report;
use exbit::{Options, Samples};
use exbit_model::data::{DataSet, Preprocess};
use exbit_model::onnx;
use serde::Serialize;

use crate::args::Demo;
use crate::exit::Failure;
use crate::judge::Pair;
use crate::output::{self, Answer, put, put_program};
use crate::progress::Progress;
use crate::table::width;

const BUDGET: &str = "weights=8x";

const NETWORK: &[u8] = include_bytes!("../../data/fashion-mnist/fashion.onnx");
const PREPROCESS: &str = include_str!("../../data/fashion-mnist/fashion.toml");
const CALIBRATION: &[u8] = include_bytes!("../../data/fashion-mnist/train-images-idx3-ubyte.gz");
const CALIBRATION_LABELS: &[u8] =
    include_bytes!("../../data/fashion-mnist/train-labels-idx1-ubyte.gz");
const TEST: &[u8] = include_bytes!("../../data/fashion-mnist/t10k-images-idx3-ubyte.gz");
const TEST_LABELS: &[u8] = include_bytes!("../../data/fashion-mnist/t10k-labels-idx1-ubyte.gz");

/// In the order of their numbers.
const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

#[derive(Serialize)]
struct Json<'a> {
    folder: &'a Path,
    next: Vec<String>,
    report: &'a Report,
}

pub(crate) fn run(args: &Demo, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.threads.start()?;
    // First of all: that the folder cannot be written is better known before the work.
    unpack(&args.output)?;
    let model = onnx::read(NETWORK, None)?;
    let preprocess = Preprocess::from_toml(PREPROCESS)?;
    let set = DataSet::from_idx(CALIBRATION.to_vec(), None)?;
    let samples = Samples::Set {
        set: &set,
        preprocess: &preprocess,
        indices: (0..set.len()).collect(),
    };
    let input = exbit::input_of(&preprocess);
    let mut options = Options::default();
    options.request.budgets.push(BUDGET.parse()?);
    let mut show = |p: exbit::Progress| progress.set(p.stage, p.done as u64, p.total as u64);
    let mut done = exbit::quantize(&model, &samples, input, None, &options, &mut show)?;
    done.program.classes = CLASSES.map(str::to_owned).to_vec();
    let mut report = exbit::summarize(&done, &options)?;
    exbit::observe(&done, &samples, &mut report, &mut show)?;
    report.float.file_bytes = Some(NETWORK.len() as u64);
    let test = DataSet::from_idx(TEST.to_vec(), Some(TEST_LABELS.to_vec()))?;
    let pair = Pair {
        model,
        program: &done.program,
        preprocess: &preprocess,
        threads,
    };
    pair.judge(&test, test.len(), &mut report, progress)?;
    report.origin.calibration_data = Some("Fashion-MNIST, 512 training images".to_owned());
    report.origin.evaluation_data = Some("Fashion-MNIST, 2000 test images".to_owned());
    report.origin.command = Some(output::command());
    progress.close();
    put_program(&args.output.join("fashion.exbit"), &done.program)?;
    put(
        &args.output.join("plan.toml"),
        done.plan.to_string().as_bytes(),
    )?;
    put(
        &args.output.join("report.html"),
        report.to_html().as_bytes(),
    )?;
    let json = Json {
        folder: &args.output,
        next: next_commands(&args.output),
        report: &report,
    };
    Answer::new(&json, text(&json))
}

/// Writes what goes in: the network, how images become its input, and the images.
fn unpack(folder: &Path) -> Result<(), Failure> {
    let images = folder.join("images");
    std::fs::create_dir_all(&images).map_err(|e| {
        Failure::io(&images, &e).next("Give a folder that can be written, with --output.")
    })?;
    put(&folder.join("fashion.onnx"), NETWORK)?;
    put(&folder.join("fashion.toml"), PREPROCESS.as_bytes())?;
    put(&images.join("train-images-idx3-ubyte.gz"), CALIBRATION)?;
    put(
        &images.join("train-labels-idx1-ubyte.gz"),
        CALIBRATION_LABELS,
    )?;
    put(&images.join("t10k-images-idx3-ubyte.gz"), TEST)?;
    put(&images.join("t10k-labels-idx1-ubyte.gz"), TEST_LABELS)
}

/// What to type next: on the files of the demo, then on a network and images of one's own.
fn next_commands(folder: &Path) -> Vec<String> {
    let exbit = std::env::args_os().next().unwrap_or_else(|| "exbit".into());
    let exbit = exbit.to_string_lossy();
    let at = folder.display();
    vec![
        format!("{exbit} inspect {at}/fashion.exbit"),
        format!("{exbit} bench {at}/fashion.exbit --per-layer"),
        format!(
            "{exbit} quantize {at}/fashion.onnx --calib {at}/images --budget weights=12x \
             -o {at}/12x.exbit"
        ),
        format!("{exbit} eval {at}/12x.exbit --data {at}/images --float {at}/fashion.onnx"),
        format!(
            "{exbit} quantize YOUR.onnx --calib YOUR-IMAGES --preprocess imagenet --budget {BUDGET} \
             --report report.html -o YOUR.exbit"
        ),
        format!("{exbit} eval YOUR.exbit --data YOUR-IMAGES --float YOUR.onnx"),
    ]
}

fn text(json: &Json) -> String {
    let at = json.folder.display();
    let (demo, own) = json.next.split_at(4);
    let lines =
        |commands: &[String]| -> String { commands.iter().map(|c| format!("  {c}\n")).collect() };
    format!(
        "{}\nEverything is in {at}: read {at}/report.html in a browser.\n\n\
         On these files:\n\n{}\nOn your own network and images:\n\n{}",
        json.report.to_text(width()),
        lines(demo),
        lines(own)
    )
}
