//! `exbit completions`: the script that completes commands, options and files in a shell.

use clap::CommandFactory;
use serde::Serialize;

use crate::args::{Cli, Completions};
use crate::exit::Failure;
use crate::output::Answer;

#[derive(Serialize)]
struct Script<'a> {
    shell: String,
    script: &'a str,
}

pub(crate) fn run(args: &Completions) -> Result<Answer, Failure> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "exbit", &mut bytes);
    let script = String::from_utf8_lossy(&bytes).into_owned();
    let json = Script {
        shell: args.shell.to_string(),
        script: &script,
    };
    Answer::new(&json, script.clone())
}
