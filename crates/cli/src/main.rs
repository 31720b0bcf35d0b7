//! `exbit` on the command line: arguments in, one answer out, a status that says how it ended.
//!
//! Read in this order: `args` (what can be asked), `cmd` (one file for each command), `exit` (how
//! a run ends), `output` (what a person or a script sees).

mod args;
mod cmd;
mod exit;
mod output;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::exit::{Failure, Status};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json;
    let outcome = catch_unwind(AssertUnwindSafe(|| cmd::run(&cli.command)))
        .unwrap_or_else(|_| Err(Failure::bug()));
    let outcome = outcome.and_then(|answer| output::print(&answer, json));
    match outcome {
        Ok(()) => Status::Done.into(),
        Err(failure) => {
            failure.report(json);
            failure.status().into()
        }
    }
}
