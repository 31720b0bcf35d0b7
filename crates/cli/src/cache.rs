//! Where measured times are kept: in a file that was named, or in the user's cache.

use std::env::var_os;
use std::path::{Path, PathBuf};

use exbit::latency::Kept;

use crate::progress::Progress;

/// In the file `asked` for, or else in the user's cache; nowhere, which is said, where there is
/// none or it cannot be written.
pub(crate) fn times(asked: Option<&Path>, progress: &Progress) -> Kept {
    if let Some(path) = asked {
        return Kept::File(path.to_path_buf());
    }
    let Some(folder) = folder() else {
        progress.note("no cache folder is known (XDG_CACHE_HOME, HOME): times are not kept");
        return Kept::Nowhere;
    };
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Kept::Folder(folder),
        Err(e) => {
            progress.note(&format!("{}: {e}: times are not kept", folder.display()));
            Kept::Nowhere
        }
    }
}

/// The folder of the user's cache that times are in.
fn folder() -> Option<PathBuf> {
    let path = |name| var_os(name).map(PathBuf::from);
    // The XDG specification has relative paths ignored.
    let cache = path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let home = || path("HOME").map(|home| home.join(".cache"));
    let cache = cache.or_else(home).or_else(|| path("LOCALAPPDATA"));
    cache
        .filter(|path| path.is_absolute())
        .map(|cache| cache.join("exbit").join("latency"))
}
