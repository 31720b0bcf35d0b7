//! What `exbit exits` answers: the choice, for people and for scripts.

use std::path::Path;

use exbit::cost::{Work, expected, work_to_exits};
use exbit::exits::{Calibration, HeldOut, Oracle, Outcome};
use exbit_engine::Program;
use serde::Serialize;

use crate::args::Exits;
use crate::table::{self, Side, Table, count, fold, width};

#[derive(Serialize)]
pub(super) struct Json<'a> {
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
    oracle: Oracle,
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

/// The choice, for scripts.
pub(super) fn json<'a>(
    args: &'a Exits,
    program: &Program,
    held: &HeldOut,
    found: &Calibration,
    oracle: Oracle,
    curve: &[Outcome],
) -> Json<'a> {
    let (chosen, full) = (&found.chosen, super::full(program));
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
    let point = |o: &Outcome| Point {
        policy: o.policy.to_string(),
        top1: o.top1,
        bops_mean: o.bops_mean,
        fractions: o.fractions.clone(),
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
        bops_mean_edges_at_8: expected(&chosen.fractions, edges),
        bops_full: full.bops,
        bops_full_edges_at_8: full.bops_edges_at_8,
        exits: ways.enumerate().map(exit).collect(),
        crossed: Crossed {
            drop: found.crossed.drop,
            bops_mean: found.crossed.bops_mean,
        },
        oracle,
        curve: curve.iter().map(point).collect(),
    }
}

/// The choice, for people; `goal` in words.
pub(super) fn text(json: &Json, goal: &str) -> String {
    let mut table = Table::new(&[
        ("exit", Side::Right),
        ("name", Side::Name),
        ("leave", Side::Right),
        ("top-1 of all", Side::Right),
        ("BOPs", Side::Right),
        ("first, last 8x8", Side::Right),
    ])
    .spare(&["first, last 8x8"]);
    for exit in &json.exits {
        table.row([
            (exit.index + 1).to_string(),
            exit.name.clone(),
            format!("{:.2} %", 100.0 * exit.fraction),
            format!("{:.2} %", exit.top1_alone),
            count(exit.bops),
            count(exit.bops_edges_at_8),
        ]);
    }
    let share = |bops: f64| 100.0 * bops / json.bops_full.max(1) as f64;
    let mut lines = vec![
        format!("policy {}, {}", json.policy, goal),
        format!(
            "top-1 {:.2} % of {} images; {:.2} points below the end (standard error {:.2})",
            json.top1, json.images, json.drop, json.drop_error
        ),
        format!(
            "{} on average, {:.1} % of {} to the end without exits",
            table::bops(json.bops_mean as u64),
            share(json.bops_mean),
            table::bops(json.bops_full)
        ),
        format!(
            "thresholds chosen on one half, judged on the other: {:.2} points below the end, \
             {:.1} % of its BOPs",
            json.crossed.drop,
            share(json.crossed.bops_mean)
        ),
        format!(
            "an oracle, by which every image leaves where it is first answered rightly: top-1 \
             {:.2} %, {:.1} % of its BOPs",
            json.oracle.top1,
            share(json.oracle.bops_mean)
        ),
    ];
    if !json.met {
        lines.push("the goal is out of reach: this is the nearest policy".into());
    }
    let lines: Vec<String> = lines.iter().map(|line| fold(line, width())).collect();
    format!("{}\n{}", table.render(width()), lines.join("\n"))
}
