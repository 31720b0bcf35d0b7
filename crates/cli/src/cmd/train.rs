//! `exbit train`: a float network and images in; a trained Program out, in a run that goes on where
//! it was interrupted.

mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exbit::Fingerprint;
use exbit::exits::Calibration;
use exbit::learn::{Event, Method, Recipe, Record, Run, Teacher, TeacherNetwork};
use exbit_engine::Session;
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess, Split};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::args::{self, Train};
use crate::exit::Failure;
use crate::network::{self, Network};
use crate::output::{self, Answer, put, put_program};
use crate::progress::Progress;
use crate::{images, table};
use view::epoch_line;

/// How often the run is saved.
const SAVE_EVERY: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Json<'a> {
    output: &'a Path,
    run: &'a Path,
    done: bool,
    epochs: &'a [Record],
    exits: Option<Exits>,
}

/// When images leave, and what that gives on the images kept apart.
#[derive(Serialize)]
struct Exits {
    policy: String,
    met: bool,
    top1: f64,
    top1_full: f64,
    bops_mean: f64,
    fractions: Vec<f64>,
    /// Chosen on one half of the images, judged on the other: points of top-1 below the end, BOPs.
    crossed_drop: f64,
    crossed_bops_mean: f64,
}

impl Exits {
    fn new(found: &Calibration) -> Self {
        let chosen = &found.chosen;
        Self {
            policy: chosen.policy.to_string(),
            met: found.met,
            top1: chosen.top1,
            top1_full: found.full.top1,
            bops_mean: chosen.bops_mean,
            fractions: chosen.fractions.clone(),
            crossed_drop: found.crossed.drop,
            crossed_bops_mean: found.crossed.bops_mean,
        }
    }
}

/// What is to be done.
struct Job<'a> {
    args: &'a Train,
    recipe: &'a Recipe,
    preprocess: &'a Preprocess,
    /// Their names, where they are known.
    classes: &'a [String],
    /// Training images, those kept apart too.
    images: usize,
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
    let set = open_set(args, &model)?;
    let saved = run_file(&args.output);
    let written = [Some(args.output.as_path()), args.report.as_deref()];
    output::check_places(&[&written[..], &[Some(&saved)]].concat(), &inputs(args))?;
    if recipe.method != Method::Float {
        output::check_program_name(&args.output)?;
    }
    // A run may go on from itself.
    let from: Vec<&Path> = args.from.iter().map(PathBuf::as_path).collect();
    output::check_places(&written, &from)?;
    let read = |path| teacher(path, threads, progress);
    let teacher = args.teacher.as_deref().map(read);
    let mut run = begin(
        &model,
        &set,
        &preprocess,
        teacher.transpose()?,
        &recipe,
        progress,
    )?;
    take_up(&mut run, &saved, args.from.as_deref(), progress)?;
    let job = Job {
        args,
        recipe: &recipe,
        preprocess: &preprocess,
        classes: set.classes().unwrap_or_default(),
        images: set.len(),
        threads,
        saved: &saved,
    };
    let stopped = go_on(&mut run, &job, progress)?;
    progress.close();
    let left = match stopped {
        true => None,
        false => finish(&run, &job)?,
    };
    let json = Json {
        output: &args.output,
        run: &saved,
        done: !stopped,
        epochs: run.records(),
        exits: left.as_ref().map(Exits::new),
    };
    let answer = Answer::new(&json, text(&json, progress))?;
    Ok(match (stopped, left) {
        (true, _) => answer.interrupted(),
        (false, Some(left)) if !left.met => answer.infeasible(),
        (false, _) => answer,
    })
}

/// The images to learn from, their classes numbered as the network's.
fn open_set(args: &Train, model: &Model) -> Result<DataSet, Failure> {
    let mut set = DataSet::open(&args.data, Split::Train)?;
    set.number_classes(&[], model.output_len())?;
    Ok(set)
}

/// The files that are read.
fn inputs(args: &Train) -> Vec<&Path> {
    let named = [&args.recipe, &args.teacher].into_iter().flatten();
    let named = named.chain([&args.model, &args.data]).map(PathBuf::as_path);
    named.chain(args.preprocessing.file()).collect()
}

/// The run of `output` lies beside it.
fn run_file(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".run");
    output.with_file_name(name)
}

fn recipe(args: &Train) -> Result<Recipe, Failure> {
    let method = match args.method {
        args::Method::Mcqueen => Method::Mcqueen,
        args::Method::Lsq => Method::Lsq,
        args::Method::Float => Method::Float,
    };
    let Some(path) = &args.recipe else {
        return Ok(Recipe::parse_for("", Some(method))?);
    };
    Recipe::parse_for(&network::text(path)?, Some(method))
        .map_err(|e| Failure::bad_input(format!("{}: {e}", path.display())))
}

/// The teacher in the file `path`: a Program carries how it reads images, a float network has it in
/// a file beside it, or its shape says.
fn teacher(path: &Path, threads: usize, progress: &Progress) -> Result<Teacher, Failure> {
    let mut bytes = std::fs::read(path).map_err(|e| Failure::io(path, &e))?;
    let network = match network::open(path)?.network {
        Network::Float(model) => {
            let preprocess = images::for_model(&model, path, None, progress)?;
            // The other half of what it answers.
            bytes.extend_from_slice(preprocess.to_toml().as_bytes());
            let model = Box::new(network::logits_of(model));
            TeacherNetwork::Float(model, preprocess.affine())
        }
        Network::Integer(program) => {
            TeacherNetwork::Integer(Box::new(Session::new(&program, threads)?))
        }
    };
    let name = path.file_name().unwrap_or_default();
    Ok(Teacher {
        name: name.to_string_lossy().into_owned(),
        fingerprint: Fingerprint::of(&bytes),
        network,
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

/// Goes on from the run in `saved`, or begins with what `from` has.
fn take_up(
    run: &mut Run,
    saved: &Path,
    from: Option<&Path>,
    progress: &Progress,
) -> Result<(), Failure> {
    if saved.exists() {
        run.resume(saved)?;
        let (place, epochs) = (saved.display(), run.records().len());
        progress.note(&format!("{place}: goes on after {epochs} epochs"));
        let lines = run.records().iter().map(epoch_line);
        lines.for_each(|line| progress.note(&line));
        if let Some(from) = from {
            let place = from.display();
            progress.note(&format!("{place}: not read again, the run has begun"));
        }
    } else if let Some(from) = from {
        let (found, all) = run.adopt(from)?;
        let place = from.display();
        if found == 0 {
            let message = "nothing in it has a name and a size of this network's";
            return Err(Failure::bad_input(format!("{place}: {message}")));
        }
        progress.note(&format!("{place}: {found} of {all} parameters"));
    }
    Ok(())
}

/// What tells that Ctrl-C was pressed, or that a scheduler ends the job (SIGTERM). A second signal
/// ends the process as usual. SIGHUP stays as it is: `nohup` has it ignored.
fn stopped() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Trains until the end or an interruption; says whether there was one. What is done is on disk
/// then.
fn go_on(run: &mut Run, job: &Job, progress: &Progress) -> Result<bool, Failure> {
    let saved = job.saved;
    let stop =
        stopped().map_err(|e| Failure::unexpected(format!("signals cannot be heard: {e}")))?;
    let mut last = Instant::now();
    while !run.is_done() {
        let (records, all) = (run.records().to_vec(), run.epochs());
        run.epoch(&mut |event| {
            match event {
                Event::Read(_) => {}
                Event::Step(place, steps) => {
                    view::show(progress, (&records, all), place, steps);
                }
                Event::Rounded { bops, target } => {
                    if let Some(note) = view::rounded(bops, target) {
                        progress.note(&note);
                    }
                }
                Event::Epoch(record) => progress.note(&epoch_line(record)),
            }
            !stop.load(Ordering::SeqCst) && last.elapsed() < SAVE_EVERY
        })?;
        run.save(saved)?;
        // Whoever stops has the result so far; the last one is written at the end.
        if run.records().len() > records.len() && !run.is_done() {
            match run.is_settling() {
                true => finish(run, job).map(drop)?,
                false => report(run, job.args, None)?,
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

/// Writes the result as it is now and its page; says when images leave it, where there are exits.
fn finish(run: &Run, job: &Job) -> Result<Option<Calibration>, Failure> {
    let left = write(run, job)?;
    report(run, job.args, left.as_ref())?;
    Ok(left)
}

/// Writes the page that was asked for.
fn report(run: &Run, args: &Train, left: Option<&Calibration>) -> Result<(), Failure> {
    let Some(path) = &args.report else {
        return Ok(());
    };
    let command = output::command();
    let leaving = left.map(|l| l.chosen.clone());
    put(path, run.report(command, leaving)?.to_html().as_bytes())
}

/// Writes the trained network; says when images leave it.
fn write(run: &Run, job: &Job) -> Result<Option<Calibration>, Failure> {
    let Job {
        args,
        recipe,
        preprocess,
        classes,
        images,
        threads,
        ..
    } = *job;
    if recipe.method == Method::Float {
        let bytes = exbit_model::onnx::write(run.model())?;
        put(&args.output, &bytes)?;
        return Ok(None);
    }
    let input = exbit::input_of(preprocess);
    let mut program = run.program(input)?;
    let left = match program.exits.is_empty() {
        true => None,
        false => Some(run.policy(&program, threads)?),
    };
    if let Some(left) = &left {
        program.policy = left.chosen.policy.clone();
    }
    if classes.len() == program.values[program.output].len() {
        program.classes = classes.to_vec();
    }
    program.notes.push(("recipe".into(), recipe.to_toml()?));
    program.notes.push(("images".into(), images.to_string()));
    if let Some(path) = &args.teacher {
        // Where it lay is nobody's business.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        program.notes.push(("teacher".into(), name.into_owned()));
    }
    put_program(&args.output, &program)?;
    Ok(left)
}

fn text(json: &Json, progress: &Progress) -> String {
    // Who has heard of each epoch need not read of it again.
    let epochs = json.epochs.iter().filter(|_| progress.is_silent());
    let mut lines: Vec<String> = epochs.map(epoch_line).collect();
    if let Some(exits) = &json.exits {
        lines.push(format!(
            "leaving by {}: {:.2} % of held-out images right ({:.2} to the end), {} on average",
            exits.policy,
            exits.top1,
            exits.top1_full,
            table::bops(exits.bops_mean as u64),
        ));
        lines.push(format!(
            "thresholds chosen on one half, judged on the other: {:.2} points below the end, {}",
            exits.crossed_drop,
            table::bops(exits.crossed_bops_mean as u64),
        ));
        if !exits.met {
            lines.push("no thresholds keep to the recipe's mean_bops or drop".into());
        }
    }
    lines.push(match json.done {
        true => format!("written to {}", json.output.display()),
        false => format!("interrupted; the run is in {}", json.run.display()),
    });
    lines.join("\n")
}
