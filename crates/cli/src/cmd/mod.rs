//! The commands: each takes its arguments and gives one answer, or the reason why not.

mod completions;

use crate::args::Command;
use crate::exit::Failure;
use crate::output::Answer;

/// Runs `command`.
pub(crate) fn run(command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::Completions(args) => completions::run(args),
    }
}
