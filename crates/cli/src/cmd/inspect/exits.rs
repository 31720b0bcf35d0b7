//! The exits of a Program and what it costs to reach them.

use exbit::cost::work_to_exits;
use exbit_engine::{Policy, Program};
use serde::Serialize;

use super::Json;
use crate::leaving::Cumulative;
use crate::table::{Side, Table, count, fold, width};

/// An exit, or the end after all of them.
#[derive(Serialize)]
pub(super) struct Exit {
    index: usize,
    name: String,
    /// The step that writes its logits, from 0 on.
    step: usize,
    #[serde(flatten)]
    work: Cumulative,
}

/// The exits and what they cost with all heads on the way; none for a Program without.
pub(super) fn of_program(program: &Program) -> Vec<Exit> {
    if program.exits.is_empty() {
        return Vec::new();
    }
    // Every exit open, so that every head runs.
    let open = Policy::MaxSoftmax(vec![0.0; program.exits.len()]);
    let names = program.exits.iter().map(|e| e.name.clone());
    let names = names.chain(["end".to_owned()]);
    let costs = program
        .depths()
        .into_iter()
        .zip(work_to_exits(program, &open));
    let exit = |(index, (name, (depth, work)))| Exit {
        index,
        name,
        step: depth - 1,
        work: Cumulative::from(work),
    };
    names.zip(costs).enumerate().map(exit).collect()
}

/// The exits as a table, with the policy.
pub(super) fn table(json: &Json) -> String {
    let Some(policy) = &json.policy else {
        return String::new();
    };
    let mut table = Table::new(&[
        ("exit", Side::Right),
        ("name", Side::Name),
        ("after #", Side::Right),
        ("MACs", Side::Right),
        ("BOPs", Side::Right),
        ("first, last 8x8", Side::Right),
        ("of the end", Side::Right),
    ])
    .spare(&["MACs", "first, last 8x8"]);
    let end = json.totals.bops_full.max(1) as f64;
    for exit in &json.exits {
        table.row([
            (exit.index + 1).to_string(),
            exit.name.clone(),
            (exit.step + 1).to_string(),
            count(exit.work.macs),
            count(exit.work.bops),
            count(exit.work.bops_edges_at_8),
            format!("{:.1} %", 100.0 * exit.work.bops as f64 / end),
        ]);
    }
    let policy = fold(&format!("policy {policy}"), width());
    format!("\n\n{}{policy}", table.render(width()))
}
