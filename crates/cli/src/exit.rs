//! How a run ends: a status, and one message that says what to do next.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use exbit::report::printable;
use serde::Serialize;

/// The exit status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything that was asked for is done.
    Done = 0,
    /// A fault that better input would not cure.
    Unexpected = 1,
    /// An option, a file or a field that is not as it must be.
    BadInput = 2,
    /// A budget that no plan keeps; the nearest plan is the answer.
    Infeasible = 3,
    /// Stopped by Ctrl-C or SIGTERM before the end, as shells say it; what is done is kept.
    Interrupted = 130,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        ExitCode::from(status as u8)
    }
}

/// Why a run did not end well.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
    next: Option<String>,
}

impl Failure {
    /// Something that the caller must change; `message` begins with its place.
    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self {
            status: Status::BadInput,
            message: message.into(),
            next: None,
        }
    }

    /// Something that the caller cannot cure.
    pub(crate) fn unexpected(message: impl Into<String>) -> Self {
        Self {
            status: Status::Unexpected,
            message: message.into(),
            next: None,
        }
    }

    /// A panic, whose own message stands above.
    pub(crate) fn bug() -> Self {
        Self::unexpected("exbit itself is at fault: please report the message above")
    }

    /// A file that could not be read or written.
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let message = format!("{}: {error}", path.display());
        match exbit::is_named_wrongly(error) {
            true => Self::bad_input(message),
            false => Self::unexpected(message),
        }
    }

    /// The same failure, with what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// How the process ends.
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// Tells a person on standard error and, where `json` was asked for, a script on standard
    /// output.
    pub(crate) fn report(&self, json: bool) {
        eprintln!("{self}");
        if json {
            self.report_json();
        }
    }

    /// Tells a script on standard output.
    pub(crate) fn report_json(&self) {
        let error = Error {
            message: &self.message,
            next: self.next.as_deref(),
        };
        let object = Report {
            status: self.status as u8,
            error,
        };
        // Nothing is left to be done where even this cannot be written.
        let _ = crate::output::print_json(&object);
    }
}

#[derive(Serialize)]
struct Report<'a> {
    status: u8,
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: &'a str,
    next: Option<&'a str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.message.lines().map(printable).collect();
        write!(f, "error: {}", lines.join("\n"))?;
        match &self.next {
            Some(next) => write!(f, "\n\n  {next}"),
            None => Ok(()),
        }
    }
}

impl From<exbit_model::Error> for Failure {
    fn from(error: exbit_model::Error) -> Self {
        Self::bad_input(error.to_string())
    }
}

impl From<exbit::Error> for Failure {
    fn from(error: exbit::Error) -> Self {
        let mut failure = Self::bad_input(error.to_string());
        if error.kind() == exbit::ErrorKind::Infeasible {
            failure.status = Status::Infeasible;
        } else if error.kind() == exbit::ErrorKind::Disk {
            failure.status = Status::Unexpected;
        }
        failure
    }
}

impl From<exbit_engine::Error> for Failure {
    fn from(error: exbit_engine::Error) -> Self {
        Self::bad_input(error.to_string())
    }
}
