//! Any bytes as the labels.txt of a folder: an error, or a class for each image that it names.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use exbit_model::data::{DataSet, Split};

/// A folder of two files that no one decodes.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("exbit-labels-{}", std::process::id()));
    fs::create_dir_all(folder.join("images")).expect("a folder for the files");
    fs::write(folder.join("a.png"), b"").expect("a file");
    fs::write(folder.join("images/b c.jpg"), b"").expect("a file");
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fs::write(FOLDER.join("labels.txt"), bytes).expect("the file under test");
    let Ok(set) = DataSet::open(&*FOLDER, Split::Test) else {
        return;
    };
    assert!(!set.is_empty());
    assert_eq!(set.labels().map(<[usize]>::len), Some(set.len()));
});
