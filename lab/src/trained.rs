//! The networks in `models/`: what the engine does with the file is what the simulation does with
//! its numbers, image by image, and training that goes on from it begins with the same answers.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use exbit::cost::bops_to_exits;
use exbit::exits::HeldOut;
use exbit::learn::{Epochs, Recipe, Run};
use exbit::{Simulator, raise};
use exbit_engine::{Policy, Program, Session, likeliest};
use exbit_grad::infer;
use exbit_model::data::{DataSet, Split};

use crate::case::Case;
use crate::figure::{Asked, Record};

const BATCH: usize = 50;
const MODELS: &str = "models";

/// Every network in `models/` that was trained from the one of `case`.
pub(crate) fn check(case: &Case, cifar: &Path, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let mut found = 0;
    let mut paths: Vec<PathBuf> = fs::read_dir(MODELS)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let own = format!("{}-", case.name.text());
        let Some(name) = file.strip_suffix(".exbit").filter(|n| n.starts_with(&own)) else {
            continue;
        };
        let program = Program::load(&path)?;
        let run = take_up(case, cifar, &path, &program)?;
        compare(case, name, &program, &run, record)?;
        found += 1;
    }
    let what = "trained networks, each simulated and run";
    record.add(
        case.name.text(),
        what,
        (f64::from(found), ""),
        Asked::AtLeast(1.0),
    )
}

/// A run that takes up the numbers of `program`, to train on from them: it knows the network with
/// its exits.
fn take_up(
    case: &Case,
    cifar: &Path,
    path: &Path,
    program: &Program,
) -> Result<Run, Box<dyn Error>> {
    let text = program
        .note("recipe")
        .ok_or_else(|| format!("{} does not say its recipe", path.display()))?;
    // Nothing is to be learned, so nobody teaches; and bits are what they have become.
    let recipe = Recipe {
        temperature: 1.0,
        target_bops: None,
        epochs: Epochs {
            warm: 0,
            search: 0,
            settle: 1,
        },
        ..Recipe::parse(text)?
    };
    let set = DataSet::open(cifar, Split::Train)?;
    let mut run = Run::new(
        &case.model,
        &set,
        &case.preprocess,
        None,
        &recipe,
        &mut |_| {},
    )?;
    run.adopt(path)?;
    Ok(run)
}

/// What the images showed.
struct Seen {
    /// What the simulation answers at every exit and the end.
    simulated: HeldOut,
    images: usize,
    /// Logits of the simulation that the engine has otherwise.
    differ: usize,
    /// Where the engine let each image leave, and how many of the answers were right.
    left: Vec<usize>,
    right: usize,
    /// Images that go to the same class at the end of the training graph, in floats.
    alike: usize,
}

fn compare(
    case: &Case,
    name: &str,
    program: &Program,
    run: &Run,
    record: &mut Record,
) -> Result<(), Box<dyn Error>> {
    let seen = look(case, program, run)?;
    let costs = |policy: &Policy| bops_to_exits(program, policy);
    let outcome = seen.simulated.outcome(&program.policy, &costs);
    let share = |n: usize| n as f64 / seen.images as f64;
    let engine = |way| share(seen.left.iter().filter(|&&l| l == way).count());
    let shares = outcome.fractions.iter().enumerate();
    let moved: f64 = shares.map(|(way, f)| (f - engine(way)).abs()).sum();
    let percent = |n: usize| 100.0 * n as f64 / seen.images as f64;
    let top1 = percent(seen.right);
    let mut add =
        |what: &str, measured, unit, asked| record.add(name, what, (measured, unit), asked);
    let what = format!(
        "simulation and engine: logits that differ, {} images",
        seen.images
    );
    add(&what, seen.differ as f64, "", Asked::AtMost(0.0))?;
    let what = "simulation and engine: shares that leave at other exits";
    add(what, moved, "", Asked::AtMost(0.0))?;
    let what = "simulation and engine: difference of top-1";
    add(
        what,
        (outcome.top1 - top1).abs(),
        "points",
        Asked::AtMost(0.0),
    )?;
    add("top-1 of the engine", top1, "%", Asked::Nothing)?;
    let what = "the training graph in floats names the same class";
    add(what, percent(seen.alike), "%", Asked::Nothing)
}

fn look(case: &Case, program: &Program, run: &Run) -> Result<Seen, Box<dyn Error>> {
    // The network of the run with the numbers of the file.
    let (network, _) = run.quantized()?;
    let quantized = raise(&network, program);
    let simulator = Simulator::new(&network, &quantized)?;
    let mut session = Session::new(program, std::thread::available_parallelism()?.get())?;
    let classes = session.answer_len();
    let mut seen = Seen {
        simulated: HeldOut::new(program.exits.len()),
        images: 0,
        differ: 0,
        left: Vec::new(),
        right: 0,
        alike: 0,
    };
    for batch in case
        .test
        .batches(&case.preprocess, case.scored.clone(), BATCH)
    {
        let batch = batch?;
        let (count, labels) = (batch.indices.len(), batch.labels.unwrap_or_default());
        let answer = simulator.run(simulator.input_codes(&batch.pixels, &program.input), count);
        let ways: Vec<&Vec<f32>> = answer.exits.iter().chain([&answer.output]).collect();
        let image = |i: usize| {
            ways.iter()
                .flat_map(move |way| &way[i * classes..][..classes])
        };
        let logits: Vec<f32> = (0..count).flat_map(image).copied().collect();
        seen.simulated.add(&logits, &labels);
        let pairs = logits
            .iter()
            .zip(session.run_every_exit(&batch.pixels, count)?);
        seen.differ += pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        let own = session.run_batch(&batch.pixels, count)?;
        let named = own.chunks_exact(classes).map(likeliest);
        seen.right += named.zip(&labels).filter(|(a, b)| a == *b).count();
        seen.left.extend_from_slice(session.exits());
        let floats = infer(run.model(), &batch.x, count);
        let pairs = answer
            .output
            .chunks_exact(classes)
            .zip(floats.chunks_exact(classes));
        seen.alike += pairs.filter(|(a, b)| likeliest(a) == likeliest(b)).count();
        seen.images += count;
    }
    Ok(seen)
}
