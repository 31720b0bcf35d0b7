//! `exbit quantize`: a float network, images and budgets in; a Plan, a Program and a report out.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use exbit::distill::Distillation;
use exbit::latency::Kept;
use exbit::reconstruct::{Descent, Rounding};
use exbit::report::Report;
use exbit::{Options, Plan, Quantization, Request, Resource};
use exbit_model::Model;
use exbit_model::data::{DataSet, Split};
use serde::Serialize;

use crate::args::{Effort, Quantize};
use crate::cache;
use crate::calibration::{Material, candidates};
use crate::exit::Failure;
use crate::judge::Pair;
use crate::network;
use crate::output::{self, Answer, put, put_program};
use crate::progress::Progress;
use crate::table::width;

#[derive(Serialize)]
struct Json<'a> {
    output: Option<&'a Path>,
    missed: Vec<String>,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(args: &Quantize, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.calibrating.threads.start()?;
    check_places(args, progress)?;
    let material = Material::open(&args.model, &args.calibrating, progress)?;
    let plan = args.plan.as_deref();
    let plan = plan.map(|path| read_plan(path, &material.model, progress));
    let plan = plan.transpose()?;
    // That there are no such images is better known before the work.
    let outputs = material.model.output_len();
    let names = material.class_names();
    let test = args.eval.as_deref();
    let test = test.map(|path| judges(args, path, &names, outputs));
    let test = test.transpose()?;
    let options = options(args, times(args, progress));
    let mut show = |p: exbit::Progress| progress.set(p.stage, p.done as u64, p.total as u64);
    let mut done = exbit::quantize(
        &material.model,
        &material.samples(),
        material.input(),
        plan.as_ref(),
        &options,
        &mut show,
    )?;
    done.program.classes = names;
    write(args, &done)?;
    let mut report = exbit::summarize(&done, &options)?;
    exbit::observe(&done, &material.samples(), &mut report, &mut show)?;
    report.float.file_bytes = Some(material.model_bytes);
    report.origin.calibration_data = Some(material.set.to_string());
    report.origin.command = Some(output::command());
    if let Some((set, images)) = test {
        let pair = Pair {
            model: material.model,
            program: &done.program,
            preprocess: &material.preprocess,
            threads,
        };
        pair.judge(&set, images, &mut report, progress)?;
    }
    progress.close();
    if let Some(path) = &args.report {
        put(path, report.to_html().as_bytes())?;
    }
    let missed: Vec<String> = done
        .allocation
        .iter()
        .flat_map(|a| &a.missed)
        .map(ToString::to_string)
        .collect();
    let infeasible = !missed.is_empty();
    let json = Json {
        output: args.output.as_deref(),
        missed,
        report: &report,
    };
    let answer = Answer::new(&json, report.to_text(width()))?;
    Ok(if infeasible {
        answer.infeasible()
    } else {
        answer
    })
}

/// The images to judge by, and how many of them.
fn judges(
    args: &Quantize,
    path: &Path,
    names: &[String],
    outputs: usize,
) -> Result<(DataSet, usize), Failure> {
    let mut set = DataSet::open(path, Split::Test)?;
    set.number_classes(names, outputs)?;
    set.labels_below(outputs)?;
    let images = set.len().min(args.eval_limit.unwrap_or(usize::MAX));
    Ok((set, images))
}

/// Every file that is written has a place of its own; says so where none is.
fn check_places(args: &Quantize, progress: &Progress) -> Result<(), Failure> {
    let read = [&args.plan, &args.eval].into_iter().flatten();
    let read = read.chain([&args.model, &args.calibrating.calib]);
    let read = read.map(PathBuf::as_path);
    let read = read.chain(args.calibrating.preprocessing.file());
    let written = [&args.output, &args.save_plan, &args.report].map(|p| p.as_deref());
    if written.iter().all(Option::is_none) {
        progress.note("nothing is written: -o NET.exbit keeps the Program");
    }
    // These are read, and written anew.
    let tables = [&args.latency_table, &args.calibrating.sensitivity_table].map(|p| p.as_deref());
    let written = [&written[..], &tables].concat();
    output::check_places(&written, &read.collect::<Vec<_>>())?;
    args.output
        .as_deref()
        .map_or(Ok(()), output::check_program_name)
}

fn read_plan(path: &Path, model: &Model, progress: &Progress) -> Result<Plan, Failure> {
    let wrong = |e: String| Failure::bad_input(format!("{}: {e}", path.display()));
    let plan = Plan::parse(&network::text(path)?).map_err(|e| wrong(e.to_string()))?;
    if plan.model != model.name() {
        let (of, name) = (&plan.model, model.name());
        let place = path.display();
        progress.note(&format!("{place}: the plan of {of}, taken for {name}"));
    }
    Ok(plan)
}

/// Where times are kept; none are needed where no budget asks for them, unless a file is named.
fn times(args: &Quantize, progress: &Progress) -> Kept {
    let asked = args.budget.iter().any(|b| b.resource == Resource::Latency);
    match asked || args.latency_table.is_some() {
        true => cache::times(args.latency_table.as_deref(), progress),
        false => Kept::Nowhere,
    }
}

fn options(args: &Quantize, times: Kept) -> Options {
    let rounding = match args.effort {
        Effort::Nearest => Rounding::Nearest,
        Effort::Fast | Effort::Full => Rounding::Moments,
        Effort::Blocks => Rounding::Blocks(Descent {
            seed: args.calibrating.seed,
            ..Descent::default()
        }),
    };
    let distillation = match args.effort {
        Effort::Nearest | Effort::Fast | Effort::Blocks => None,
        Effort::Full => Some(Distillation {
            seed: args.calibrating.seed,
            ..Distillation::default()
        }),
    };
    Options {
        request: Request {
            budgets: args.budget.clone(),
            pins: args.keep.clone(),
            tied: args.tie_residuals,
            time_limit: Duration::from_secs_f64(args.time_limit),
        },
        candidates: candidates(&args.calibrating),
        metric: args.calibrating.metric,
        sensitivity_table: args.calibrating.sensitivity_table.clone(),
        rounding,
        distillation,
        times,
        equalize: args.calibrating.equalize,
        seed: args.calibrating.seed,
    }
}

/// Writes the Program and the Plan where they were asked for, each file beside its place first.
fn write(args: &Quantize, done: &Quantization) -> Result<(), Failure> {
    let plan = done.plan.to_string();
    if let Some(path) = &args.output {
        if path.extension() == Some(OsStr::new("toml")) {
            put(path, plan.as_bytes())?;
        } else {
            put_program(path, &done.program)?;
        }
    }
    if let Some(path) = &args.save_plan {
        put(path, plan.as_bytes())?;
    }
    Ok(())
}
