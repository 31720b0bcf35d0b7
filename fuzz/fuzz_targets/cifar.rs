//! Any bytes as one file of a data set, CIFAR-10 records or IDX, and any bytes as `labels.txt`: an
//! error, or images that can be read, all of them in the folder.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use exbit_model::data::{DataSet, Split};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("exbit-fuzz-{}", std::process::id()));
    for name in ["records", "listed/images"] {
        fs::create_dir_all(folder.join(name)).expect("a folder to read from");
    }
    for name in ["secret.png", "listed/a.png", "listed/images/b c.png"] {
        fs::write(folder.join(name), "no image").expect("a file to find");
    }
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = FOLDER.join("records/test_batch.bin");
    fs::write(&file, bytes).expect("a file to read");
    // By what it holds, and by what its name says that it holds.
    for path in [file.as_path(), &FOLDER.join("records")] {
        let Ok(set) = DataSet::open(path, Split::Test) else {
            continue;
        };
        for i in [0, set.len() - 1] {
            set.image(i).expect("records are whole");
        }
    }
    let listed = FOLDER.join("listed");
    fs::write(listed.join("labels.txt"), bytes).expect("a file to read");
    let Ok(set) = DataSet::open(&listed, Split::Test) else {
        return;
    };
    assert_eq!(set.labels().map(<[usize]>::len), Some(set.len()));
    for i in 0..set.len() {
        let place = fs::canonicalize(set.name(i)).expect("a file that is there");
        assert!(
            place.starts_with(fs::canonicalize(&listed).expect("the folder")),
            "{place:?}"
        );
        assert!(set.image(i).is_err());
    }
});
