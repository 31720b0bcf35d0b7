//! Files that are whole or as they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How bytes come to a path.
enum Way {
    /// Into what is there and no file: a device, a pipe.
    Through,
    /// Into a new file beside it, which then takes its name.
    Beside { beside: PathBuf, file: PathBuf },
}

/// Writes a file beside `path` and renames it, so that whoever reads `path`, whenever this is cut
/// off, finds all of it or what stood there before. Where `path` is a link, the file that it leads
/// to is written; a device or a pipe is written into.
///
/// # Errors
/// As writing and renaming a file; nothing is left beside `path` then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (beside, file) = match way(path) {
        Way::Through => return OpenOptions::new().write(true).open(path)?.write_all(bytes),
        Way::Beside { beside, file } => (beside, file),
    };
    let write = || {
        let mut new = File::create(&beside)?;
        new.write_all(bytes)?;
        // On disk before its name is: or a power cut may leave an empty file under the name.
        new.sync_all()?;
        fs::rename(&beside, &file)
    };
    let written = write();
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Whether [`write_whole`] may write to `path`: before the work whose result is to go there.
///
/// # Errors
/// As it would give, but for a disk that is full by then.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match way(path) {
        // Opening a pipe waits for its reader.
        Way::Through => Ok(()),
        Way::Beside { beside, .. } => {
            File::create(&beside)?;
            fs::remove_file(&beside)
        }
    }
}

fn way(path: &Path) -> Way {
    let is_special = fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
    if is_special {
        return Way::Through;
    }
    let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    // Two processes that write one file must not write into each other's half.
    name.push(format!(".{}.partial", std::process::id()));
    let beside = file.with_file_name(name);
    Way::Beside { beside, file }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test alone.
    fn folder(name: &str) -> PathBuf {
        let name = format!("exbit-whole-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_is_replaced_and_nothing_lies_beside_it() {
        let folder = folder("file");
        let file = folder.join("a");
        check_writable(&file).unwrap();
        assert!(!file.exists());
        for bytes in ["one", "two"] {
            write_whole(&file, bytes.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(check_writable(&folder.join("none/a")).is_err());
        assert!(write_whole(&folder.join("none/a"), b"").is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_devices_stay() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = folder("link");
        let (target, link) = (folder.join("target"), folder.join("link"));
        fs::write(&target, "before").unwrap();
        symlink(&target, &link).unwrap();
        write_whole(&link, b"after").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "after");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let device = folder.join("device");
        symlink("/dev/null", &device).unwrap();
        write_whole(&device, b"gone").unwrap();
        let null = fs::metadata("/dev/null").unwrap();
        assert!(null.file_type().is_char_device());
        fs::remove_dir_all(folder).unwrap();
    }
}
