//! `exbit exits`: when images leave a network early, chosen on held-out images.

mod answer;
mod page;

use std::path::{Path, PathBuf};

use exbit::budget::Limit;
use exbit::cost::{Work, bops_to_exits, work_to_exits};
use exbit::exits::{Goal, HeldOut, Rule, Thresholds, calibrate, curve};
use exbit::learn::{Recipe, kept_apart};
use exbit_engine::{Policy, Program, Session};
use exbit_model::data::{DataSet, Preprocess, Split, spread};

use answer::{json, text};

use crate::args::{ExitRule, Exits};
use crate::exit::Failure;
use crate::images;
use crate::network::{self, Network};
use crate::output::{self, Answer, put, put_program};
use crate::progress::Progress;
use crate::table::bops;
use crate::trial::batch_size;

/// Points of the curve.
const CURVE: usize = 100;

pub(crate) fn run(args: &Exits, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.threads.start()?;
    // The Program may be written over itself.
    let read = args.beside.iter().chain([&args.data]);
    let read = read.map(PathBuf::as_path);
    let read: Vec<&Path> = read.chain(args.preprocessing.file()).collect();
    output::check_places(&[args.output.as_deref(), args.report.as_deref()], &read)?;
    output::check_places(&[args.report.as_deref()], &[&args.network])?;
    if let Some(path) = &args.output {
        output::check_program_name(path)?;
    }
    let file = network::open(&args.network)?;
    let asked = args.preprocessing.preprocess.as_deref();
    let preprocess = images::preprocess(&file, asked, progress)?;
    let mut program = match file.network {
        Network::Integer(program) if !program.exits.is_empty() => program,
        Network::Integer(_) => return Err(no_exits(&args.network, "has no exits")),
        Network::Float(_) => return Err(no_exits(&args.network, "is a float network")),
    };
    let mut set = images::open(&args.data, args.split, Split::Train)?;
    if set.part() == Some(Split::Test) {
        progress.note("thresholds chosen on the test part make its accuracy too good");
    }
    let mut session = Session::new(&program, threads)?;
    set.number_classes(&program.classes, session.answer_len())?;
    set.labels_below(session.answer_len())?;
    let images = Images {
        set: &set,
        preprocess: &preprocess,
        chosen: chosen(args, &program, &set, progress)?,
    };
    let held = images.held_out(program.exits.len(), &mut session, progress)?;
    progress.set("choosing thresholds", 0, 1);
    let costs = |policy: &Policy| bops_to_exits(&program, policy);
    let goal = goal(args, &program);
    let found = calibrate(&held, rule(args.rule), thresholds(args), goal, &costs);
    let curve = curve(&held, rule(args.rule), &costs, CURVE);
    let json = json(args, &program, &held, &found, held.oracle(&costs), &curve);
    if let Some(path) = &args.report {
        let image = set.batch(&preprocess, &images.chosen[..1])?.pixels;
        let data = set.to_string();
        let mut tradeoff =
            page::tradeoff(&program, &mut session, &image, &held, &found, &curve, data)?;
        for path in &args.beside {
            let point = page::beside(path, &session, threads, &image, &images, progress)?;
            tradeoff.others.push(point);
        }
        put(path, tradeoff.to_html().as_bytes())?;
    }
    let goal = goal_text(goal);
    program.policy = found.chosen.policy.clone();
    let note = format!("chosen for {goal} on {} held-out images", held.images());
    program.notes.retain(|(key, _)| key != "policy");
    program.notes.push(("policy".into(), note));
    if let Some(path) = &args.output {
        put_program(path, &program)?;
    }
    progress.close();
    let answer = Answer::new(&json, text(&json, &goal))?;
    Ok(if found.met {
        answer
    } else {
        answer.infeasible()
    })
}

/// The images that are not left out: where nothing is asked, those that training kept apart, if
/// these are the images that it learned from.
fn chosen(
    args: &Exits,
    program: &Program,
    set: &DataSet,
    progress: &Progress,
) -> Result<Vec<usize>, Failure> {
    let asked = args.split.is_some() || args.skip.is_some();
    let as_asked = || (args.skip.unwrap_or(0)..set.len()).collect();
    let all: Vec<usize> = match held_out(program, set.len()).filter(|_| is_learned_from(set)) {
        Some(n) if asked => {
            progress.note(&format!(
                "training saw these images: exits are right on them too often; without --split \
                 and --skip the {n} that it kept apart are taken"
            ));
            as_asked()
        }
        Some(n) => {
            progress.note(&format!(
                "chosen on the {n} images that training kept apart"
            ));
            kept_apart(set.len(), n)
        }
        None => as_asked(),
    };
    if all.is_empty() {
        let skip = args.skip.unwrap_or(0);
        let message = format!("--skip {skip}: there are {} images", set.len());
        return Err(Failure::bad_input(message));
    }
    let limit = args.limit.unwrap_or(usize::MAX);
    // Evenly: a set may be sorted by class.
    let some = spread(all.len(), limit, 0).into_iter();
    Ok(some.map(|i| all[i]).collect())
}

/// Whether these are images such as training reads.
fn is_learned_from(set: &DataSet) -> bool {
    matches!(set.part(), Some(Split::Train) | None)
}

/// How many of `images` the training of `program` kept apart, if `exbit train` made it from so
/// many.
fn held_out(program: &Program, images: usize) -> Option<usize> {
    // Programs of before do not say from how many.
    let same = program
        .note("images")
        .is_none_or(|n| n == images.to_string());
    let recipe = program
        .note("recipe")
        .and_then(|text| Recipe::parse(text).ok())?;
    (same && (1..images).contains(&recipe.held_out)).then_some(recipe.held_out)
}

/// The chosen images of a data set.
struct Images<'a> {
    set: &'a DataSet,
    preprocess: &'a Preprocess,
    chosen: Vec<usize>,
}

impl Images<'_> {
    /// What every exit of a network says of them.
    fn held_out(
        &self,
        exits: usize,
        session: &mut Session,
        progress: &Progress,
    ) -> Result<HeldOut, Failure> {
        let mut held = HeldOut::new(exits);
        let (chosen, total) = (self.chosen.clone(), self.chosen.len() as u64);
        let size = batch_size(session.input_len());
        for batch in self.set.batches(self.preprocess, chosen, size) {
            let batch = batch?;
            let labels = batch.labels.as_deref().unwrap_or_default();
            let logits = session.run_every_exit(&batch.pixels, batch.indices.len())?;
            held.add(logits, labels);
            progress.set("answering at every exit", held.images() as u64, total);
        }
        Ok(held)
    }
}

fn no_exits(path: &Path, what: &str) -> Failure {
    Failure::bad_input(format!(
        "{}: {what}; a Program with exits is needed",
        path.display()
    ))
    .next("`exbit inspect` shows the exits of a Program.")
}

fn rule(rule: ExitRule) -> Rule {
    match rule {
        ExitRule::MaxSoftmax => Rule::MaxSoftmax,
        ExitRule::Entropy => Rule::Entropy,
        ExitRule::Patience => Rule::Patience,
    }
}

fn thresholds(args: &Exits) -> Thresholds {
    match args.per_exit {
        true => Thresholds::PerExit,
        false => Thresholds::Shared,
    }
}

fn goal(args: &Exits, program: &Program) -> Goal {
    // In floats each MAC takes 32 x 32 bit-operations.
    let float = 1024.0 * full(program).macs as f64;
    match args.bops {
        Some(Limit::Amount(most)) => Goal::Bops(most),
        Some(Limit::Ratio(ratio)) => Goal::Bops(float / ratio),
        Some(Limit::MeanBits(_)) | None => Goal::Drop(args.drop.unwrap_or(0.0)),
    }
}

/// The work of the network without exits.
fn full(program: &Program) -> Work {
    let work = work_to_exits(program, &Policy::Never);
    work.last().copied().unwrap_or_default()
}

fn goal_text(goal: Goal) -> String {
    match goal {
        Goal::Drop(points) => format!("at most {points} points of top-1 less"),
        Goal::Bops(most) => format!("at most {} on average", bops(most as u64)),
    }
}
