//! Texts in files, of bounded length.

use std::io;
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// What `parse` makes of the text in the file `path`, of at most `most` bytes.
///
/// # Errors
/// `Io` when the file cannot be read, otherwise as `parse`, the file's name before it.
pub(crate) fn read_parsed<T>(
    path: &Path,
    most: u64,
    parse: impl FnOnce(&str) -> Result<T>,
) -> Result<T> {
    let fail = |kind, message| Error::new(kind, path.display().to_string(), message);
    let text = read_text(path, most).map_err(|e| fail(ErrorKind::Io, e.to_string()))?;
    parse(&text).map_err(|e| fail(e.kind(), e.to_string()))
}

/// The text of the file `path`, of at most `most` bytes.
///
/// # Errors
/// As reading a file, and `InvalidData` for one that is longer or no text in UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    use io::Read;
    let wrong = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    let read = file.take(most + 1).read_to_end(&mut bytes)?;
    if read as u64 > most {
        return Err(wrong(format!("longer than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| wrong("not a text in UTF-8".into()))
}
