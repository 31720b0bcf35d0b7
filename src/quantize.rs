//! The main job: a float network, images and a budget in; a Plan and a Program out.
//!
//! prepare -> calibrate -> sensitivity -> allocate -> reconstruct -> distill -> lower. Each step is
//! a function of its own, public and usable alone; this is the order in which they make a Program
//! without training.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use exbit_engine::{Input, Program};
use exbit_kernels::Bits;
use exbit_model::Model;

use crate::allocate::{Allocation, Request, allocate};
use crate::budget::{Budget, Resource};
use crate::calibrate::{Calibration, Clipping, calibrate};
use crate::cost::{Choice, Precisions, Sizes, Table, cost};
use crate::distill::{Distillation, distill};
use crate::latency::{Kept, Times};
use crate::plan::Plan;
use crate::prepare::{Network, equalize, prepare};
use crate::quantized::Quantized;
use crate::reconstruct::{Rounding, gains, reconstruct};
use crate::samples::Samples;
use crate::sensitivity::{Candidates, Metric, Sensitivity, Study, Tables, measure};
use crate::{Result, latency, lower, sizes};

/// What may be chosen, within what, and how hard to try.
#[derive(Clone, Debug)]
pub struct Options {
    /// Budgets, pins, ties and the time limit of the search.
    pub request: Request,
    /// Bit-widths that weights and activations may have.
    pub candidates: Candidates,
    /// How expected loss is estimated.
    pub metric: Metric,
    /// How codes are chosen.
    pub rounding: Rounding,
    /// Whether, and for how long, the quantized network learns to answer as the float network.
    pub distillation: Option<Distillation>,
    /// A file of expected losses: what it has is not measured again, what it lacks is added.
    pub sensitivity_table: Option<PathBuf>,
    /// Where the measured times are kept that a latency budget needs: what is there is not measured
    /// again, what is missing is added. A file that is named here is used without a budget too.
    pub times: Kept,
    /// Whether ranges are evened out between layers first.
    pub equalize: bool,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Options {
    /// Weights of 2 to 8 bits, activations of 8; no budget.
    fn default() -> Self {
        let bits = |all: &[u8]| all.iter().filter_map(|&b| Bits::new(b)).collect();
        Self {
            request: Request::default(),
            candidates: Candidates {
                weights: bits(&[2, 3, 4, 5, 6, 7, 8]),
                activations: bits(&[8]),
                clipping: Clipping::Mse,
            },
            metric: Metric::F4,
            rounding: Rounding::Moments,
            distillation: None,
            sensitivity_table: None,
            times: Kept::Nowhere,
            equalize: false,
            seed: 0,
        }
    }
}

/// A step of the work, to be shown while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its name.
    pub stage: &'static str,
    /// Images or layers done.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// Everything that the main job found.
#[derive(Clone, Debug)]
pub struct Quantization {
    /// The prepared float network.
    pub network: Network,
    /// Pairs of layers whose ranges were evened out; `None` where that was not asked for.
    pub equalized: Option<usize>,
    /// How large it is.
    pub sizes: Sizes,
    /// What was seen of its activations.
    pub calibration: Calibration,
    /// Expected loss of every choice; `None` where the plan was given.
    pub table: Option<Table>,
    /// All tables of the file of expected losses, where one was named.
    pub tables: Option<Tables>,
    /// The measured times of its layers, where a latency budget asked for them.
    pub latency: Option<Times>,
    /// The chosen point and how good it is; `None` where the plan was given.
    pub allocation: Option<Allocation>,
    /// The bits.
    pub precisions: Precisions,
    /// The bits by name, with the settings that made them.
    pub plan: Plan,
    /// Codes, biases and grids.
    pub quantized: Quantized,
    /// The integer network.
    pub program: Program,
    /// The time that each step took.
    pub times: Vec<(&'static str, Duration)>,
}

/// Quantizes `model` without training. `samples` are for calibration; `input` says how raw pixels
/// become its input. With `plan`, its bits are taken and nothing is searched.
///
/// # Errors
/// `Unsupported` for an op without an integer step, `Mismatch` when plan, pins or budgets do not
/// fit the network, and as reading `samples`. A budget that cannot be met is no error: see
/// [`Allocation::missed`].
pub fn quantize(
    model: &Model,
    samples: &Samples<'_>,
    input: Input,
    plan: Option<&Plan>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Quantization> {
    let mut work = Work {
        progress,
        times: Vec::new(),
    };
    let images = samples.images();
    let mut network = prepare(model)?;
    let equalized = options.equalize.then(|| equalize(&mut network.model));
    let sizes = sizes(&network)?;
    let calibration = work.stage("calibrate", images, |more| {
        calibrate(&network, samples, more)
    })?;
    let study = Study {
        network: &network,
        calibration: &calibration,
        candidates: &options.candidates,
        samples,
        seed: options.seed,
    };
    let chosen = match plan {
        Some(plan) => Chosen {
            precisions: plan.precisions(&sizes)?,
            ..Chosen::default()
        },
        None => choose(&mut work, &study, &sizes, options)?,
    };
    let quantized = numbers(&mut work, &study, &chosen.precisions, options)?;
    let mut named = Plan::new(model.name(), &sizes, &chosen.precisions);
    named.settings = settings(plan, options, images);
    named.peak_activation_bytes = match plan {
        Some(plan) => plan.peak_activation_bytes,
        None => peak_limit(&sizes, &chosen.precisions, &options.request.budgets),
    };
    let mut program = lower(&network, &quantized, input);
    if let Some(bytes) = named.peak_activation_bytes {
        program.pack(bytes);
    }
    Ok(Quantization {
        program,
        plan: named,
        times: work.times,
        network,
        equalized,
        sizes,
        calibration,
        table: chosen.table,
        tables: chosen.tables,
        latency: chosen.latency,
        allocation: chosen.allocation,
        precisions: chosen.precisions,
        quantized,
    })
}

/// The bits, and what they were chosen by.
#[derive(Default)]
struct Chosen {
    table: Option<Table>,
    tables: Option<Tables>,
    latency: Option<Times>,
    allocation: Option<Allocation>,
    precisions: Precisions,
}

/// Sensitivity, what reconstruction takes back of it, times where they count, allocation.
fn choose(work: &mut Work<'_>, study: &Study, sizes: &Sizes, options: &Options) -> Result<Chosen> {
    let network = study.network;
    let (mut sensitivity, tables) = losses(work, study, options)?;
    let layers = network.layers().len();
    let gains = work.stage("gains", layers, |more| match options.rounding {
        Rounding::Nearest => Ok(vec![1.0; layers]),
        Rounding::Moments | Rounding::Blocks(_) => gains(network, study.samples, more),
    })?;
    for (losses, gain) in sensitivity.weights.iter_mut().zip(&gains) {
        losses.iter_mut().for_each(|loss| *loss *= gain);
    }
    let mut table = table(sizes, &sensitivity, &options.candidates)?;
    let latency = times(work, network, options)?;
    if let Some(times) = &latency {
        table = table.with_latency(times.latency(&options.candidates)?)?;
    }
    let allocation = work.stage("allocate", 1, |_| allocate(&table, &options.request))?;
    Ok(Chosen {
        table: Some(table),
        tables,
        latency,
        precisions: allocation.precisions.clone(),
        allocation: Some(allocation),
    })
}

/// The bytes of activations that may live at once, where a budget limits them.
fn peak_limit(sizes: &Sizes, precisions: &Precisions, budgets: &[Budget]) -> Option<u64> {
    let weights = cost(sizes, precisions).weight_bytes;
    let limit = |budget: &Budget| {
        let bytes = budget.amount(sizes) as u64;
        match budget.resource {
            Resource::PeakActivations => Some(bytes),
            Resource::Memory => Some(bytes.saturating_sub(weights)),
            Resource::Weights | Resource::Activations | Resource::Bops | Resource::Latency => None,
        }
    };
    budgets.iter().filter_map(limit).min()
}

/// Codes, biases and grids of the bits in `precisions`.
fn numbers(
    work: &mut Work<'_>,
    study: &Study,
    precisions: &Precisions,
    options: &Options,
) -> Result<Quantized> {
    let (network, samples) = (study.network, study.samples);
    let layers = network.layers();
    let count = layers.len();
    let bits = layers.into_iter().zip(precisions.weights.iter().copied());
    let bits = bits.collect();
    let grid = |(site, &bits)| {
        let clipping = options.candidates.clipping;
        (site, study.calibration.grid(site, bits, clipping))
    };
    let sites = network.sites().into_iter();
    let grids = sites.zip(&precisions.activations).map(grid).collect();
    let quantized = work.stage("reconstruct", count, |more| {
        reconstruct(network, &bits, &grids, samples, options.rounding, more)
    })?;
    let Some(how) = &options.distillation else {
        return Ok(quantized);
    };
    let found = work.stage("distill", samples.images() * how.epochs, |more| {
        distill(network, &quantized, samples, how, more)
    })?;
    Ok(found.quantized)
}

/// The choices of `sizes` with their expected losses.
///
/// # Errors
/// `Mismatch` when the two are not of one network.
pub fn table(sizes: &Sizes, sensitivity: &Sensitivity, candidates: &Candidates) -> Result<Table> {
    let choices = |losses: &Vec<f64>, bits: &[Bits]| -> Vec<Choice> {
        bits.iter()
            .zip(losses)
            .map(|(&bits, &loss)| Choice { bits, loss })
            .collect()
    };
    let weights = sensitivity
        .weights
        .iter()
        .map(|l| choices(l, &candidates.weights));
    let activations = sensitivity
        .activations
        .iter()
        .map(|l| choices(l, &candidates.activations));
    Table::new(sizes.clone(), weights.collect(), activations.collect())
}

/// The expected losses, from the file of `options` or measured, and what else that file holds.
fn losses(
    work: &mut Work<'_>,
    study: &Study,
    options: &Options,
) -> Result<(Sensitivity, Option<Tables>)> {
    let mut tables = match &options.sensitivity_table {
        Some(path) => Some(Tables::open(study, Some(path))?),
        None => None,
    };
    let metric = options.metric;
    let losses = work.stage(
        "sensitivity",
        study.images(metric),
        |more| match &mut tables {
            Some(tables) => tables.measure(study, metric, more),
            None => measure(study, metric, more),
        },
    )?;
    Ok((losses, tables))
}

/// The times of the layers, those kept and those measured, where they are asked for.
fn times(work: &mut Work<'_>, network: &Network, options: &Options) -> Result<Option<Times>> {
    let budgets = &options.request.budgets;
    let asked = match options.times {
        Kept::File(_) => true,
        Kept::Nowhere | Kept::Folder(_) => budgets.iter().any(|b| b.resource == Resource::Latency),
    };
    if !asked {
        return Ok(None);
    }
    let pairs = latency::pairs(&options.candidates);
    let mut times = options.times.open(network)?;
    let missing = times.missing(&pairs);
    if !missing.is_empty() {
        let turns = latency::turns(network, &missing);
        work.stage("latency", turns, |more| {
            times.measure(network, &missing, more)
        })?;
        options.times.save(network, &times)?;
    }
    times.of(&pairs).map(Some)
}

/// What a person who reads the plan wants to know of how it came about.
fn settings(plan: Option<&Plan>, options: &Options, images: usize) -> toml::Table {
    let mut all = plan.map(|p| p.settings.clone()).unwrap_or_default();
    if plan.is_none() {
        let budgets = options.request.budgets.iter().map(|b| b.to_string().into());
        all.insert("budget".into(), toml::Value::Array(budgets.collect()));
        all.insert("metric".into(), options.metric.name().into());
    }
    let rounding = match options.rounding {
        Rounding::Nearest => "nearest",
        Rounding::Moments => "moments",
        Rounding::Blocks(_) => "blocks",
    };
    all.insert("rounding".into(), rounding.into());
    let epochs = options.distillation.map_or(0, |how| how.epochs as i64);
    all.insert("distillation-epochs".into(), epochs.into());
    all.insert("images".into(), (images as i64).into());
    all.insert("seed".into(), (options.seed as i64).into());
    all
}

/// Runs steps one after another, timing each.
struct Work<'a> {
    progress: &'a mut dyn FnMut(Progress),
    times: Vec<(&'static str, Duration)>,
}

impl Work<'_> {
    fn stage<T>(
        &mut self,
        stage: &'static str,
        total: usize,
        run: impl FnOnce(&mut dyn FnMut(usize)) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let mut done = 0;
        (self.progress)(Progress { stage, done, total });
        let progress = &mut self.progress;
        let result = run(&mut |more| {
            done += more;
            progress(Progress { stage, done, total });
        })?;
        self.times.push((stage, start.elapsed()));
        Ok(result)
    }
}
