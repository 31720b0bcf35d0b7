//! `exbit exits`: when images leave a network early, chosen on held-out images.

use std::path::Path;

use exbit::budget::Limit;
use exbit::cost::{Work, work_to_exits};
use exbit::exits::{Calibration, Goal, HeldOut, Outcome, Rule, Thresholds, calibrate, curve};
use exbit_engine::{Policy, Program, Session};
use exbit_model::data::{DataSet, Split};
use serde::Serialize;

use crate::args::{ExitRule, Exits};
use crate::exit::Failure;
use crate::images;
use crate::network::{self, Network};
use crate::output::Answer;
use crate::progress::Progress;
use crate::table::{Side, Table, count, fold, width};
use crate::trial::batch_size;

/// Points of the curve.
const CURVE: usize = 100;

#[derive(Serialize)]
struct Json<'a> {
    output: Option<&'a Path>,
    images: usize,
    policy: String,
    met: bool,
    top1: f64,
    top1_full: f64,
    drop: f64,
    drop_error: f64,
    bops_mean: f64,
    bops_mean_edges_at_8: f64,
    bops_full: u64,
    bops_full_edges_at_8: u64,
    exits: Vec<Exit>,
    crossed: Crossed,
    curve: Vec<Point>,
}

/// A way out: an exit, or the end.
#[derive(Serialize)]
struct Exit {
    index: usize,
    name: String,
    fraction: f64,
    top1_alone: f64,
    bops: u64,
    bops_edges_at_8: u64,
}

/// The same choice, made on one half of the images and judged on the other.
#[derive(Serialize)]
struct Crossed {
    drop: f64,
    bops_mean: f64,
}

/// What one policy with one threshold gives.
#[derive(Serialize)]
struct Point {
    policy: String,
    top1: f64,
    bops_mean: f64,
    fractions: Vec<f64>,
}

pub(crate) fn run(args: &Exits, progress: &Progress) -> Result<Answer, Failure> {
    let threads = args.threads.start()?;
    let file = network::open(&args.network)?;
    let asked = args.preprocessing.preprocess.as_deref();
    let preprocess = images::preprocess(&file, asked, progress)?;
    let mut program = match file.network {
        Network::Integer(program) if !program.exits.is_empty() => program,
        Network::Integer(_) => return Err(no_exits(&args.network, "has no exits")),
        Network::Float(_) => return Err(no_exits(&args.network, "is a float network")),
    };
    let set = DataSet::open(&args.data, args.split.unwrap_or(Split::Train))?;
    if set.part() == Some(Split::Test) {
        progress.note("thresholds chosen on the test part make its accuracy too good");
    }
    let mut session = Session::new(&program, threads)?;
    set.labels_below(session.answer_len())?;
    let chosen: Vec<usize> = (args.skip..set.len())
        .take(args.limit.unwrap_or(usize::MAX))
        .collect();
    if chosen.is_empty() {
        let message = format!("--skip {}: there are {} images", args.skip, set.len());
        return Err(Failure::bad_input(message));
    }
    let mut held = HeldOut::new(program.exits.len());
    let total = chosen.len() as u64;
    for batch in set.batches(&preprocess, chosen, batch_size(session.input_len())) {
        let batch = batch?;
        let labels = batch.labels.as_deref().unwrap_or_default();
        held.add(
            session.run_every_exit(&batch.pixels, batch.indices.len())?,
            labels,
        );
        progress.set("answering at every exit", held.images() as u64, total);
    }
    progress.set("choosing thresholds", 0, 1);
    let costs = |policy: &Policy| -> Vec<u64> {
        let work = work_to_exits(&program, policy).into_iter();
        work.map(|w| w.bops).collect()
    };
    let goal = goal(args, &program);
    let found = calibrate(&held, rule(args.rule), thresholds(args), goal, &costs);
    let curve = curve(&held, rule(args.rule), &costs, CURVE);
    let json = json(args, &program, &held, &found, curve);
    program.policy = found.chosen.policy.clone();
    let note = format!(
        "chosen for {} on {} images of {set}",
        goal_text(goal),
        held.images()
    );
    program.notes.retain(|(key, _)| key != "policy");
    program.notes.push(("policy".into(), note));
    if let Some(path) = &args.output {
        program.save(path)?;
    }
    progress.close();
    let answer = Answer::new(&json, text(&json, goal))?;
    Ok(if found.met {
        answer
    } else {
        answer.infeasible()
    })
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
        Goal::Bops(most) => format!("at most {}BOPs on average", count(most as u64)),
    }
}

fn json<'a>(
    args: &'a Exits,
    program: &Program,
    held: &HeldOut,
    found: &Calibration,
    curve: Vec<Outcome>,
) -> Json<'a> {
    let (chosen, full) = (&found.chosen, full(program));
    let work = work_to_exits(program, &chosen.policy);
    let names = program.exits.iter().map(|e| e.name.clone());
    let ways = names.chain(["end".to_owned()]).zip(held.alone()).zip(&work);
    let exit = |(index, ((name, top1_alone), work)): (usize, ((String, f64), &Work))| Exit {
        index,
        name,
        fraction: chosen.fractions[index],
        top1_alone,
        bops: work.bops,
        bops_edges_at_8: work.bops_edges_at_8,
    };
    let edges = work.iter().map(|w| w.bops_edges_at_8);
    let point = |o: Outcome| Point {
        policy: o.policy.to_string(),
        top1: o.top1,
        bops_mean: o.bops_mean,
        fractions: o.fractions,
    };
    Json {
        output: args.output.as_deref(),
        images: held.images(),
        policy: chosen.policy.to_string(),
        met: found.met,
        top1: chosen.top1,
        top1_full: found.full.top1,
        drop: found.full.top1 - chosen.top1,
        drop_error: found.drop_error,
        bops_mean: chosen.bops_mean,
        bops_mean_edges_at_8: exbit::cost::expected(&chosen.fractions, edges),
        bops_full: full.bops,
        bops_full_edges_at_8: full.bops_edges_at_8,
        exits: ways.enumerate().map(exit).collect(),
        crossed: Crossed {
            drop: found.crossed.drop,
            bops_mean: found.crossed.bops_mean,
        },
        curve: curve.into_iter().map(point).collect(),
    }
}

fn text(json: &Json, goal: Goal) -> String {
    let mut table = Table::new(&[
        ("#", Side::Right),
        ("exit", Side::Name),
        ("leave", Side::Right),
        ("top-1 of all", Side::Right),
        ("BOPs", Side::Right),
        ("first, last 8x8", Side::Right),
    ])
    .spare(&["first, last 8x8"]);
    for exit in &json.exits {
        table.row([
            exit.index.to_string(),
            exit.name.clone(),
            format!("{:.2} %", 100.0 * exit.fraction),
            format!("{:.2} %", exit.top1_alone),
            count(exit.bops),
            count(exit.bops_edges_at_8),
        ]);
    }
    let share = |bops: f64| 100.0 * bops / json.bops_full.max(1) as f64;
    let mut lines = vec![
        format!("policy {}, {}", json.policy, goal_text(goal)),
        format!(
            "top-1 {:.2} % of {} images; {:.2} points below the end (standard error {:.2})",
            json.top1, json.images, json.drop, json.drop_error
        ),
        format!(
            "{}BOPs on average, {:.1} % of {}BOPs to the end without exits",
            count(json.bops_mean as u64),
            share(json.bops_mean),
            count(json.bops_full)
        ),
        format!(
            "thresholds chosen on one half, judged on the other: {:.2} points below the end, \
             {:.1} % of its BOPs",
            json.crossed.drop,
            share(json.crossed.bops_mean)
        ),
    ];
    if !json.met {
        lines.push("the goal is out of reach: this is the nearest policy".into());
    }
    let lines: Vec<String> = lines.iter().map(|line| fold(line, width())).collect();
    format!("{}\n{}", table.render(width()), lines.join("\n"))
}
