//! The commands: each takes its arguments and gives one answer, or the reason why not.

mod bench;
mod completions;
mod demo;
mod eval;
mod exits;
mod inspect;
mod latency;
mod predict;
mod quantize;
mod sensitivity;
mod train;

use crate::args::Command;
use crate::exit::Failure;
use crate::output::Answer;
use crate::progress::Progress;

/// Runs `command`.
pub(crate) fn run(command: &Command, progress: &Progress) -> Result<Answer, Failure> {
    match command {
        Command::Demo(args) => demo::run(args, progress),
        Command::Inspect(args) => inspect::run(args),
        Command::Sensitivity(args) => sensitivity::run(args, progress),
        Command::Latency(args) => latency::run(args, progress),
        Command::Quantize(args) => quantize::run(args, progress),
        Command::Train(args) => train::run(args, progress),
        Command::Exits(args) => exits::run(args, progress),
        Command::Eval(args) => eval::run(args, progress),
        Command::Predict(args) => predict::run(args, progress),
        Command::Bench(args) => bench::run(args, progress),
        Command::Completions(args) => completions::run(args),
    }
}
