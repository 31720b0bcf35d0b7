//! `exbit train`: a float network and images in; a trained Program out, in a run that goes on where it
//! was interrupted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exbit::learn::{Event, Method, Recipe, Record, Run, Teacher};
use exbit_engine::{Input, Session};
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess, Split};
use serde::Serialize;

use crate::args::{self, Train};
use crate::exit::Failure;
use crate::network::{self, Network};
use crate::output::{Answer, put};
use crate::progress::Progress;
use crate::{images, table};

/// How often the run is saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Json<'a> {
    output: &'a Path,
    run: &'a Path,
    done: bool,
    epochs: &'a [Record],
}

/// What is to be done.
struct Job<'a> {
    args: &'a Train,
    recipe: &'a Recipe,
    preprocess: &'a Preprocess,
    threads: usize,
    /// Where the run is saved.
    saved: &'a Path,
}

pub(crate) fn run(args: &Train, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.threads.start()?;
    let recipe = recipe(args)?;
    let (model, _) = network::open_model(&args.model)?;
    let model = network::logits_of(model);
    let asked = args.preprocessing.preprocess.as_deref();
    let preprocess = images::for_model(&model, &args.model, asked, progress)?;
    let set = DataSet::open(&args.data, Split::Train)?;
    let teacher = args.teacher.as_deref().map(|path| teacher(path, threads));
    let mut run = begin(
        &model,
        &set,
        &preprocess,
        teacher.transpose()?,
        &recipe,
        progress,
    )?;
    let saved = args.output.with_extension("run");
    if saved.exists() {
        run.resume(&saved)?;
        let epochs = run.records().len();
        progress.note(&format!(
            "{}: goes on after {epochs} epochs",
            saved.display()
        ));
        run.records()
            .iter()
            .for_each(|r| progress.note(&epoch_line(r)));
    } else if let Some(path) = &args.from {
        let (found, all) = run.adopt(path)?;
        progress.note(&format!("{}: {found} of {all} parameters", path.display()));
    }
    let job = Job {
        args,
        recipe: &recipe,
        preprocess: &preprocess,
        threads,
        saved: &saved,
    };
    let stopped = go_on(&mut run, &job, progress)?;
    progress.close();
    if !stopped {
        write(&run, &job)?;
    }
    let json = Json {
        output: &args.output,
        run: &saved,
        done: !stopped,
        epochs: run.records(),
    };
    Answer::new(&json, text(&json))
}

fn recipe(args: &Train) -> Result<Recipe, Failure> {
    let text = args.recipe.as_deref().map(|path| {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::io(path, &e))?;
        let method = format!("method = \"{}\"\n", name(args.method));
        Recipe::parse(&(method + &text))
            .map_err(|e| Failure::bad_input(format!("{}: {e}", path.display())))
    });
    let given = match text.transpose()? {
        Some(recipe) => recipe,
        None => Recipe::parse(&format!("method = \"{}\"", name(args.method)))?,
    };
    Ok(given)
}

fn name(method: args::Method) -> &'static str {
    match method {
        args::Method::Mcqueen => "mcqueen",
        args::Method::Lsq => "lsq",
        args::Method::Float => "float",
    }
}

fn teacher(path: &Path, threads: usize) -> Result<Teacher, Failure> {
    Ok(match network::open(path)?.network {
        Network::Float(model) => Teacher::Float(Box::new(network::logits_of(model))),
        Network::Integer(program) => Teacher::Integer(Box::new(Session::new(&program, threads)?)),
    })
}

fn begin(
    model: &Model,
    set: &DataSet,
    preprocess: &Preprocess,
    teacher: Option<Teacher>,
    recipe: &Recipe,
    progress: &Progress,
) -> Result<Run, Failure> {
    let (mut read, total) = (0, set.len() as u64);
    let run = Run::new(model, set, preprocess, teacher, recipe, &mut |event| {
        if let Event::Read(n) = event {
            read += n as u64;
            progress.set("read images", read, total);
        }
    })?;
    progress.close();
    Ok(run)
}

/// Trains until the end or an interruption; says whether there was one. What is done is on disk then.
fn go_on(run: &mut Run, job: &Job, progress: &Progress) -> Result<bool, Failure> {
    let saved = job.saved;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    // A second one ends the process as usual would.
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .map_err(|e| Failure::unexpected(format!("interrupts cannot be heard: {e}")))?;
    let mut last = Instant::now();
    while !run.is_done() {
        let (before, all) = (run.records().len(), run.epochs());
        run.epoch(&mut |event| {
            match event {
                Event::Read(_) => {}
                Event::Step(place, steps) => {
                    let name = format!("epoch {} of {all}", before + 1);
                    progress.set(&name, place.step as u64, steps as u64);
                }
                Event::Epoch(record) => progress.note(&epoch_line(record)),
            }
            !stop.load(Ordering::SeqCst) && last.elapsed() < SAVE_EVERY
        })?;
        run.save(saved)?;
        if run.records().len() > before {
            if let Some(path) = &job.args.report {
                put(path, run.report(command.clone())?.to_html().as_bytes())?;
            }
            if run.is_settling() {
                write(run, job)?;
            }
        }
        last = Instant::now();
        if stop.load(Ordering::SeqCst) {
            progress.note(&format!(
                "interrupted; {} has all of it: the same command goes on",
                saved.display()
            ));
            return Ok(true);
        }
    }
    Ok(false)
}

/// The result as it is now: whoever stops has the best so far.
fn write(run: &Run, job: &Job) -> Result<(), Failure> {
    let Job {
        args,
        recipe,
        preprocess,
        threads,
        ..
    } = *job;
    if recipe.method == Method::Float {
        let bytes = exbit_model::onnx::write(run.model())?;
        return put(&args.output, &bytes);
    }
    let (scale, shift) = preprocess.affine();
    let input = Input {
        scale,
        shift,
        preprocess: preprocess.to_toml(),
    };
    let mut program = run.program(input)?;
    if !program.exits.is_empty() && recipe.held_out > 0 {
        program.policy = run.policy(&program, threads)?.chosen.policy;
    }
    program.notes.push(("recipe".into(), recipe.to_toml()?));
    let teacher: Option<PathBuf> = args.teacher.clone();
    if let Some(path) = teacher {
        program
            .notes
            .push(("teacher".into(), path.display().to_string()));
    }
    Ok(program.save(&args.output)?)
}

/// One epoch on a line.
fn epoch_line(record: &Record) -> String {
    let list = |all: &[f64]| {
        let all: Vec<String> = all.iter().map(|x| format!("{x:.2}")).collect();
        all.join(" ")
    };
    let bops = match record.bops {
        0.0 => String::new(),
        bops => format!("  {} BOPs", table::count(bops as u64)),
    };
    format!(
        "{:<6} {:>3}  loss {:.4}  train {}  held out {} %{bops}  {:.0} s",
        record.phase.name(),
        record.epoch,
        record.loss.last().copied().unwrap_or_default(),
        list(&record.train),
        list(&record.held_out),
        record.seconds
    )
}

fn text(json: &Json) -> String {
    let mut lines: Vec<String> = json.epochs.iter().map(epoch_line).collect();
    lines.push(match json.done {
        true => format!("written to {}", json.output.display()),
        false => format!("interrupted; the run is in {}", json.run.display()),
    });
    lines.join("\n")
}
