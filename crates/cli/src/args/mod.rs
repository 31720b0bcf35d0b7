//! What can be asked: the commands, their options, and their help.
//!
//! Every help text has the same order: purpose, arguments, examples, exit status.

mod bench;
mod calibrating;
mod completions;
mod data;
mod demo;
mod eval;
mod exits;
mod inspect;
mod latency;
mod predict;
mod quantize;
mod sensitivity;
mod train;

pub(crate) use bench::Bench;
pub(crate) use calibrating::{Calibrating, Rule};
pub(crate) use completions::Completions;
pub(crate) use data::{Data, Preprocessing, Threads};
pub(crate) use demo::Demo;
pub(crate) use eval::Eval;
pub(crate) use exits::{ExitRule, Exits};
pub(crate) use inspect::Inspect;
pub(crate) use latency::Latency;
pub(crate) use predict::Predict;
pub(crate) use quantize::{Effort, Quantize};
pub(crate) use sensitivity::Sensitivity;
pub(crate) use train::{Method, Train};

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

use data::{at_least_one, batch, seconds};

/// Spend on each layer only the bits that it needs: turn a pretrained network and a budget into
/// a small integer network, and run it.
#[derive(Parser, Debug)]
#[command(name = "exbit", version, max_term_width = 100)]
#[command(after_long_help = manual(ENVIRONMENT), arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Print one JSON object on standard output
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(long, short, global = true, display_order = 900)]
    pub(crate) quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The arguments of this process. A number below zero is a value, so that what the option expects
/// is said of it, and not that it might be another option.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let numbers = |argument: Arg| match argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(numbers));
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// The commands, in the order of the work.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Demo(Demo),
    Inspect(Inspect),
    Sensitivity(Sensitivity),
    Latency(Latency),
    Quantize(Box<Quantize>),
    Train(Train),
    Exits(Box<Exits>),
    Eval(Eval),
    Predict(Predict),
    Bench(Bench),
    Completions(Completions),
}

/// The last parts of a command's help: its examples (and files), then what its status means.
fn manual(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_STATUS}")
}

const ENVIRONMENT: &str = "\
Environment:
  EXBIT_ISA  scalar, avx2, avxvnni or avx512vnni: run Programs on other
             instructions than the fastest of this CPU; the answers are the same";

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  something unexpected: a full disk, or a fault of exbit
  2  bad input: an option, a file or a field; the message says which
  3  a budget or target that nothing keeps; the nearest is given
  130  interrupted";
