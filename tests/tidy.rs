//! The rules of the house that neither the compiler nor clippy knows: how large files and functions
//! are, that a file's first line says what belongs in it, which crate knows which, and what nothing
//! is called.

#![allow(clippy::unwrap_used)] // A test may panic.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 410;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

/// Says nothing of what belongs in a place.
const NOTHING_IS_CALLED: [&str; 9] = [
    "manager",
    "helper",
    "utils",
    "misc",
    "facade",
    "handler",
    "impl",
    "wrapper",
    "processor",
];

/// The crates that each crate knows. Data flows one way: Model, Plan, Program, Session.
const KNOWS: [(&str, &[&str]); 8] = [
    ("crates/kernels", &[]),
    ("crates/model", &[]),
    ("crates/engine", &["exbit-kernels"]),
    ("crates/grad", &["exbit-kernels", "exbit-model"]),
    (".", BELOW),
    ("crates/cli", ALL),
    ("lab", ALL),
    ("fuzz", ALL),
];
const BELOW: &[&str] = &["exbit-engine", "exbit-grad", "exbit-kernels", "exbit-model"];
const ALL: &[&str] = &[
    "exbit",
    "exbit-engine",
    "exbit-grad",
    "exbit-kernels",
    "exbit-model",
];

/// Every Rust file of ours, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_path_buf(), text));
            }
        }
    }
    assert!(
        found.len() > 200,
        "{} files: is this the project?",
        found.len()
    );
    found.sort();
    found
}

/// Fails with all that breaks a rule.
fn none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_first_line_of_a_file_says_what_belongs_in_it() {
    let silent = |(path, text): &(PathBuf, String)| {
        (!text.starts_with("//! ")).then(|| path.display().to_string())
    };
    none(&sources().iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn files_and_comments_are_short() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let path = path.display();
        let lines = text.lines().count();
        if lines > FILE_LINES {
            long.push(format!("{path}: {lines} lines"));
        }
        // Code is rustfmt's.
        let comments = text.lines().enumerate();
        let comments = comments.filter(|(_, line)| line.trim_start().starts_with("//"));
        let wide = comments.filter(|(_, line)| line.chars().count() > COLUMNS);
        long.extend(wide.map(|(i, _)| format!("{path}:{}: too wide", i + 1)));
    }
    none(&long);
}

/// As rustfmt writes it, a function ends with a brace under its beginning. Tests may list cases at
/// length.
#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let parts: Vec<_> = path.iter().filter_map(|p| p.to_str()).collect();
        if parts.iter().any(|p| ["tests", "examples"].contains(p)) {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function = code.starts_with("fn ") || code.contains(" fn ");
            if !is_function || code.starts_with("//") || code.ends_with([';', '}', ',']) {
                continue;
            }
            let end = format!("{}}}", " ".repeat(line.len() - code.len()));
            let len = lines[i..]
                .iter()
                .position(|&l| l == end)
                .map_or(0, |n| n + 1);
            if len > FUNCTION_LINES {
                long.push(format!("{}:{}: {len} lines", path.display(), i + 1));
            }
        }
    }
    none(&long);
}

#[test]
fn nothing_has_a_name_that_says_nothing() {
    let mut bad = Vec::new();
    for (path, text) in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let declared = text.lines().filter_map(|line| {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let kinds = ["struct", "enum", "trait", "fn", "mod", "type"];
            words.by_ref().find(|word| kinds.contains(word))?;
            words.next().map(str::to_owned)
        });
        for name in declared.chain([stem]) {
            let lower = name.to_lowercase();
            let says_nothing = |word: &&&str| {
                lower.strip_suffix(**word).is_some_and(|rest| {
                    rest.is_empty() || rest.ends_with('_') || name.contains(char::is_uppercase)
                })
            };
            if NOTHING_IS_CALLED.iter().any(|word| says_nothing(&word)) {
                bad.push(format!("{}: {name}", path.display()));
            }
        }
    }
    none(&bad);
}

#[test]
fn crates_know_only_what_lies_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut bad = Vec::new();
    for (folder, knows) in KNOWS {
        let text = fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap();
        let table: toml::Table = toml::from_str(&text).unwrap();
        let ours = table["dependencies"].as_table().unwrap().keys();
        let ours = ours.filter(|name| name.starts_with("exbit"));
        let unknown = ours.filter(|name| !knows.contains(&name.as_str()));
        bad.extend(unknown.map(|name| format!("{folder} knows {name}")));
    }
    none(&bad);
}
