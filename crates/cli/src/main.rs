//! `exbit` on the command line: arguments in, one answer out, a status that says how it ended.
//!
//! Read in this order: `args` (what can be asked), `cmd` (one file for each command), `exit` (how
//! a run ends), `output` (what a person or a script sees), `progress`.

mod args;
mod cache;
mod calibration;
mod cmd;
mod exit;
mod images;
mod judge;
mod leaving;
mod network;
mod output;
mod progress;
mod runner;
mod score;
mod survey;
mod table;
mod timing;
mod trial;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::exit::Failure;
use crate::progress::Progress;

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(e) => return unparsed(&e),
    };
    let json = cli.json;
    let progress = Progress::new(cli.quiet);
    let outcome = catch_unwind(AssertUnwindSafe(|| cmd::run(&cli.command, &progress)))
        .unwrap_or_else(|_| Err(Failure::bug()));
    progress.close();
    let outcome = outcome.and_then(|answer| output::print(&answer, json).map(|()| answer.status()));
    match outcome {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.report(json);
            failure.status().into()
        }
    }
}

/// Help, the version, or arguments that cannot be: clap words it, scripts get JSON besides.
fn unparsed(e: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if e.use_stderr() && json {
        let text = e.to_string();
        let message = text.trim().trim_start_matches("error: ");
        Failure::bad_input(message).report_json();
    }
    e.exit()
}
