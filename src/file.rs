//! Files that are whole or as they were.

use std::io::{self, Write};
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// Writes a file beside `path` and renames it, so that whoever reads `path`, whenever this is cut
/// off, finds all of it or what stood there before.
///
/// # Errors
/// As writing and renaming a file; nothing is left beside `path` then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Two processes that write one file must not write into each other's half.
    name.push(format!(".{}.partial", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        // On disk before its name is: or a power cut may leave an empty file under the name.
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    let written = write();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

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
