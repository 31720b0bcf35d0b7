//! `exbit predict`: what is on images.

use std::path::Path;

use exbit::report::printable;
use exbit_model::data::{Batch, Preprocess, read_image};
use serde::Serialize;

use crate::args::Predict;
use crate::exit::Failure;
use crate::images;
use crate::network;
use crate::output::Answer;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::score::top;

/// How many classes are named for each image.
const NAMED: usize = 5;

#[derive(Serialize)]
struct Json<'a> {
    predictions: Vec<Prediction<'a>>,
}

#[derive(Serialize)]
struct Prediction<'a> {
    image: &'a Path,
    top: Vec<Class<'a>>,
    /// Where the image left, where there are exits.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<Exit>,
}

#[derive(Serialize)]
struct Exit {
    index: usize,
    name: String,
}

#[derive(Serialize)]
struct Class<'a> {
    class: usize,
    name: Option<&'a str>,
    probability: f64,
}

pub(crate) fn run(args: &Predict, progress: &Progress) -> Result<Answer, Failure> {
    let (mut runner, _) = Runner::open(&args.network, 1)?;
    let asked = args.preprocessing.preprocess.as_deref();
    let preprocess = images::for_runner(&runner, &args.network, asked, progress)?;
    let (carried, exits) = match &runner {
        Runner::Float(_) => (Vec::new(), Vec::new()),
        Runner::Integer(session) => (session.classes().to_vec(), session.exit_names().to_vec()),
    };
    let names = match &args.classes {
        Some(path) => network::class_names(path, runner.classes())?,
        None => carried,
    };
    let mut predictions = Vec::with_capacity(args.images.len());
    for (i, path) in args.images.iter().enumerate() {
        let logits = runner.logits(&one_image(path, &preprocess, &runner)?)?;
        let class = |(class, probability)| Class {
            class,
            name: names.get(class).map(String::as_str),
            probability,
        };
        let top = top(&logits, NAMED).into_iter().map(class).collect();
        let exit = match &runner {
            Runner::Integer(session) if !exits.is_empty() => session.exits().first().copied(),
            Runner::Integer(_) | Runner::Float(_) => None,
        };
        let exit = exit.map(|index| Exit {
            index,
            name: exits.get(index).cloned().unwrap_or_else(|| "end".into()),
        });
        predictions.push(Prediction {
            image: path,
            top,
            exit,
        });
        progress.set("predicting", i as u64 + 1, args.images.len() as u64);
    }
    let text = predictions.iter().map(text).collect::<Vec<_>>().join("\n");
    Answer::new(&Json { predictions }, text)
}

fn one_image(path: &Path, preprocess: &Preprocess, runner: &Runner) -> Result<Batch, Failure> {
    let image = read_image(path)?;
    let pixels = preprocess
        .pixels(&image)
        .map_err(|e| e.within(path.display()))?;
    // A Session reads pixels: the floats would only take memory.
    let x = match runner {
        Runner::Float(_) => preprocess.apply(&pixels),
        Runner::Integer(_) => Vec::new(),
    };
    Ok(Batch {
        indices: vec![0],
        pixels,
        x,
        labels: None,
    })
}

fn text(prediction: &Prediction) -> String {
    let mut text = printable(&prediction.image.to_string_lossy());
    if let Some(Exit { index, name }) = &prediction.exit {
        text.push_str(&format!(", from exit {} ({})", index + 1, printable(name)));
    }
    text.push('\n');
    for Class {
        class,
        name,
        probability,
    } in &prediction.top
    {
        let what = match name {
            Some(name) => format!("{class:>4}  {}", printable(name)),
            None => format!("class {class}"),
        };
        text.push_str(&format!("{:>8.2} %  {what}\n", 100.0 * probability));
    }
    text
}
