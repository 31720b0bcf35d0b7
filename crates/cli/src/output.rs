//! What comes out: an answer for people or for scripts, and files that are whole or absent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use exbit_engine::{Program, check_writable, write_whole};
use serde::Serialize;

use crate::exit::{Failure, Status};

/// What a command found, in both forms.
#[derive(Debug)]
pub(crate) struct Answer {
    text: String,
    json: String,
    status: Status,
}

impl Answer {
    /// `json` for scripts (one object), `text` for people.
    pub(crate) fn new(json: &impl Serialize, text: String) -> Result<Self, Failure> {
        Ok(Self {
            text,
            json: to_json(json)?,
            status: Status::Done,
        })
    }

    /// The same answer, to a budget that cannot be met.
    pub(crate) fn infeasible(self) -> Self {
        Self {
            status: Status::Infeasible,
            ..self
        }
    }

    /// The same answer, to work that was interrupted and can go on.
    pub(crate) fn interrupted(self) -> Self {
        Self {
            status: Status::Interrupted,
            ..self
        }
    }

    /// How the process ends after it.
    pub(crate) fn status(&self) -> Status {
        self.status
    }
}

/// Prints the answer in one piece; a reader who has gone away is no failure.
pub(crate) fn print(answer: &Answer, json: bool) -> Result<(), Failure> {
    print_line(if json { &answer.json } else { &answer.text })
}

/// Prints one JSON object on one line.
pub(crate) fn print_json(object: &impl Serialize) -> Result<(), Failure> {
    print_line(&to_json(object)?)
}

fn to_json(object: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(object).map_err(|e| Failure::unexpected(format!("JSON: {e}")))
}

fn print_line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let text = text.trim_end();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io(Path::new("standard output"), &e))
        }
        _ => Ok(()),
    }
}

/// Whether files may come to lie at `outputs`, each in a place of its own and in that of no file
/// that is read: said before hours of work rather than after.
pub(crate) fn check_places(outputs: &[Option<&Path>], inputs: &[&Path]) -> Result<(), Failure> {
    let mut taken: Vec<(PathBuf, &str)> = inputs
        .iter()
        .map(|path| {
            (
                place(path),
                "is read by this command; give the output another name",
            )
        })
        .collect();
    for path in outputs.iter().copied().flatten() {
        check_place(path)?;
        let place = place(path);
        if let Some((_, wrong)) = taken.iter().find(|(other, _)| *other == place) {
            return Err(Failure::bad_input(format!("{}: {wrong}", path.display())));
        }
        taken.push((
            place,
            "is given for two outputs; give each a name of its own",
        ));
    }
    Ok(())
}

/// Whether a Program may have this name: under one of ONNX it would pass for the float network, and
/// may replace it.
pub(crate) fn check_program_name(path: &Path) -> Result<(), Failure> {
    let extension = path.extension();
    if extension.is_some_and(|ext| ext.eq_ignore_ascii_case("onnx")) {
        let message = "a Program is no ONNX file; name it as NET.exbit";
        return Err(Failure::bad_input(format!("{}: {message}", path.display())));
    }
    Ok(())
}

fn check_place(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let wrong = match folder {
        _ if path.is_dir() => "is a folder; give the name of a file",
        Some(folder) if !folder.is_dir() => "lies in a folder that is not there",
        Some(_) | None => return check_writable(path).map_err(|e| Failure::io(path, &e)),
    };
    Err(Failure::bad_input(format!("{}: {wrong}", path.display())))
}

/// `path` whatever way it is written, as far as what is there tells.
fn place(path: &Path) -> PathBuf {
    path.canonicalize()
        .ok()
        .or_else(|| {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
            Some(folder.join(path.file_name()?))
        })
        .unwrap_or_else(|| path.to_owned())
}

/// The command as it was typed, for those who read what it wrote.
pub(crate) fn command() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// Writes a file beside `path` and renames it, so that `path` is whole or as it was.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, bytes).map_err(|e| Failure::io(path, &e))
}

/// The same for a Program.
pub(crate) fn put_program(path: &Path, program: &Program) -> Result<(), Failure> {
    put(path, &program.to_bytes()?)
}
