//! Runs of the binary, and what they printed.

use std::process::{Command, Output};

/// `exbit` with `args`, to its end.
pub(crate) fn exbit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exbit"))
        .args(args)
        .output()
        .expect("exbit can be started")
}

/// Standard output as text.
pub(crate) fn stdout(run: &Output) -> String {
    String::from_utf8(run.stdout.clone()).expect("standard output is text")
}

/// Standard error as text.
pub(crate) fn stderr(run: &Output) -> String {
    String::from_utf8(run.stderr.clone()).expect("standard error is text")
}

/// The one JSON object on standard output.
pub(crate) fn json(run: &Output) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_str(&stdout(run)).expect("standard output is one JSON value");
    assert!(value.is_object(), "{value}");
    value
}
