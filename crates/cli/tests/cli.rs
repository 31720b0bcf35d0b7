//! The binary, run as a user runs it.

mod support;

use support::{exbit, json, stderr, stdout};

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = exbit(&["completions", shell]);
        assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
        assert!(stdout(&run).contains("completions"), "{shell}");
    }
    let object = json(&exbit(&["completions", "fish", "--json"]));
    assert_eq!(object["shell"], "fish");
}

#[test]
fn usage_errors_end_with_2_and_say_what_was_expected() {
    let check = |args: &[&str], expected: &str| {
        let run = exbit(args);
        assert_eq!(run.status.code(), Some(2), "{args:?}");
        assert_eq!(stdout(&run), "", "{args:?}");
        assert!(
            stderr(&run).contains(expected),
            "{args:?}: {}",
            stderr(&run)
        );
    };
    check(&["quantise"], "unrecognized subcommand 'quantise'");
    check(&["completions", "tcsh"], "possible values: bash");
    check(&["completions", "bash", "--jsn"], "--json");
    check(&[], "Usage: exbit");
}

#[test]
fn every_command_has_its_manual() {
    let top = exbit(&["--help"]);
    assert_eq!(top.status.code(), Some(0));
    for command in ["completions"] {
        assert!(stdout(&top).contains(command));
        let manual = stdout(&exbit(&[command, "--help"]));
        for part in ["Usage: exbit", "Options:", "Examples:", "Exit status:"] {
            assert!(manual.contains(part), "{command}: {part}");
        }
        assert!(manual.lines().all(|l| l.chars().count() <= 100), "{manual}");
    }
}
