//! The one error of this crate: what kind, where, and what was expected there.

use std::fmt;

/// What went wrong, coarsely: enough for a caller to choose what to do next.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file could not be opened, read or written.
    Io,
    /// The bytes are not a Program: truncated, corrupt or hostile.
    Malformed,
    /// A Program, or a setting, from outside the supported set.
    Unsupported,
    /// Shapes, indices or lengths that do not fit together.
    Mismatch,
}

/// An error with its place: a file, a step, a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    place: String,
    message: String,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        place: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            place: place.to_string(),
            message: message.into(),
        }
    }

    /// The coarse kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error, with `outer` put before its place: `net.exbit: step 3 (conv2): ...`.
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        let inner = std::mem::take(&mut self.place);
        self.place = if inner.is_empty() {
            outer.to_string()
        } else {
            format!("{outer}: {inner}")
        };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.place, self.message)
        }
    }
}

impl std::error::Error for Error {}
