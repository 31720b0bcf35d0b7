//! The one error of this crate: what kind, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, coarsely: enough for a caller to choose what to do next.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file could not be opened, read or written: it is not there, or not for us.
    Io,
    /// A file could not be written, nor could one of another name: a full disk, a failing one.
    Disk,
    /// Text or bytes that are not what their format says.
    Malformed,
    /// Well formed, but outside what is supported.
    Unsupported,
    /// A plan, a model and a data set that do not fit together.
    Mismatch,
    /// A budget or a target that nothing keeps; the message says what comes nearest.
    Infeasible,
}

impl ErrorKind {
    /// The kind of an error in writing a file.
    pub(crate) fn writing(error: &io::Error) -> Self {
        match is_named_wrongly(error) {
            true => Self::Io,
            false => Self::Disk,
        }
    }
}

/// An error with its place: a file, a layer, a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    place: String,
    message: String,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` at `place`; `message` says what was expected and what to do.
    pub fn new(kind: ErrorKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            place: place.into(),
            message: message.into(),
        }
    }

    /// That `path` could not be written.
    pub(crate) fn writing(path: &Path, error: &io::Error) -> Self {
        let kind = ErrorKind::writing(error);
        Self::new(kind, path.display().to_string(), error.to_string())
    }

    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Whether another name for the file would help.
pub fn is_named_wrongly(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    let named_wrongly = [
        E::NotFound,
        E::PermissionDenied,
        E::IsADirectory,
        E::NotADirectory,
        E::AlreadyExists,
        E::ReadOnlyFilesystem,
    ];
    named_wrongly.contains(&error.kind())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.message),
            place => write!(f, "{place}: {}", self.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<exbit_engine::Error> for Error {
    fn from(error: exbit_engine::Error) -> Self {
        let kind = match error.kind() {
            exbit_engine::ErrorKind::Io => ErrorKind::Io,
            exbit_engine::ErrorKind::Malformed => ErrorKind::Malformed,
            exbit_engine::ErrorKind::Unsupported => ErrorKind::Unsupported,
            exbit_engine::ErrorKind::Mismatch | _ => ErrorKind::Mismatch,
        };
        Self {
            kind,
            place: String::new(),
            message: error.to_string(),
        }
    }
}

impl From<exbit_model::Error> for Error {
    fn from(error: exbit_model::Error) -> Self {
        let kind = match error.kind() {
            exbit_model::ErrorKind::Io => ErrorKind::Io,
            exbit_model::ErrorKind::Malformed => ErrorKind::Malformed,
            exbit_model::ErrorKind::Unsupported => ErrorKind::Unsupported,
            exbit_model::ErrorKind::Mismatch | _ => ErrorKind::Mismatch,
        };
        Self {
            kind,
            place: String::new(),
            message: error.to_string(),
        }
    }
}
