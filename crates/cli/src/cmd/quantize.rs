//! `exbit quantize`: a float network, images and budgets in; a Plan, a Program and a report out.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use exbit::calibrate::Clipping;
use exbit::distill::Distillation;
use exbit::reconstruct::{Descent, Rounding};
use exbit::report::Report;
use exbit::sensitivity::Candidates;
use exbit::{Options, Plan, Quantization, Request, Samples};
use exbit_engine::Input;
use exbit_model::data::{DataSet, Split, spread};
use serde::Serialize;

use crate::args::{Effort, Quantize, Rule};
use crate::exit::Failure;
use crate::output::{Answer, put};
use crate::progress::Progress;
use crate::{images, network};

/// Columns of a report on a terminal.
pub(super) const COLUMNS: usize = 100;

#[derive(Serialize)]
struct Json<'a> {
    output: Option<&'a Path>,
    missed: Vec<String>,
    #[serde(flatten)]
    report: &'a Report,
}

pub(crate) fn run(args: &Quantize, progress: &Progress) -> Result<Answer, Failure> {
    args.threads.start()?;
    let (model, _) = network::open_model(&args.model)?;
    let asked = args.preprocessing.preprocess.as_deref();
    let preprocess = images::for_model(&model, &args.model, asked, progress)?;
    let set = DataSet::open(&args.calib, Split::Train)?;
    let plan = args.plan.as_deref().map(read_plan).transpose()?;
    let options = options(args);
    let (scale, shift) = preprocess.affine();
    let input = Input {
        scale,
        shift,
        preprocess: preprocess.to_toml(),
    };
    let indices = spread(set.len(), args.images.min(set.len()), args.seed);
    let samples = Samples::Set {
        set: &set,
        preprocess: &preprocess,
        indices,
    };
    let mut show = |p: exbit::Progress| progress.set(p.stage, p.done as u64, p.total as u64);
    let done = exbit::quantize(&model, &samples, input, plan.as_ref(), &options, &mut show)?;
    progress.close();
    let mut report = exbit::summarize(&done, &options)?;
    report.origin.calibration_data = Some(set.to_string());
    report.origin.command = Some(std::env::args().collect::<Vec<_>>().join(" "));
    write(args, &done, &report)?;
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
    let answer = Answer::new(&json, report.to_text(COLUMNS))?;
    Ok(if infeasible {
        answer.infeasible()
    } else {
        answer
    })
}

fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io(path, &e))?;
    Plan::parse(&text).map_err(|e| Failure::bad_input(format!("{}: {e}", path.display())))
}

fn options(args: &Quantize) -> Options {
    let sorted = |bits: &[exbit_kernels::Bits]| {
        let mut bits = bits.to_vec();
        bits.sort_unstable();
        bits.dedup();
        bits
    };
    let rounding = match args.effort {
        Effort::Nearest => Rounding::Nearest,
        Effort::Fast | Effort::Full => Rounding::Moments,
        Effort::Blocks => Rounding::Blocks(Descent {
            seed: args.seed,
            ..Descent::default()
        }),
    };
    let distillation = match args.effort {
        Effort::Nearest | Effort::Fast | Effort::Blocks => None,
        Effort::Full => Some(Distillation {
            seed: args.seed,
            ..Distillation::default()
        }),
    };
    let clipping = match args.calibration {
        Rule::Minmax => Clipping::MinMax,
        Rule::Percentile => Clipping::Percentile(0.99999),
        Rule::Mse => Clipping::Mse,
    };
    Options {
        request: Request {
            budgets: args.budget.clone(),
            pins: args.keep.clone(),
            tied: args.tie_residuals,
            time_limit: Duration::from_secs_f64(args.time_limit),
        },
        candidates: Candidates {
            weights: sorted(&args.weight_bits),
            activations: sorted(&args.activation_bits),
            clipping,
        },
        metric: args.metric,
        rounding,
        distillation,
        latency_table: args.latency_table.clone(),
        equalize: args.equalize,
        seed: args.seed,
    }
}

/// Writes what was asked for, each file beside its place first.
fn write(args: &Quantize, done: &Quantization, report: &Report) -> Result<(), Failure> {
    let plan = done.plan.to_string();
    if let Some(path) = &args.output {
        if path.extension() == Some(OsStr::new("toml")) {
            put(path, plan.as_bytes())?;
        } else {
            done.program.save(path)?;
        }
    }
    if let Some(path) = &args.save_plan {
        put(path, plan.as_bytes())?;
    }
    if let Some(path) = &args.report {
        put(path, report.to_html().as_bytes())?;
    }
    Ok(())
}
