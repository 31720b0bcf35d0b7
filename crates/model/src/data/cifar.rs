//! CIFAR-10 in its binary version: records of one label byte and 3072 levels, (3, 32, 32).
//!
//! Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

use std::path::{Path, PathBuf};

use super::decode::Pixels;
use super::records::Records;
use crate::{Error, ErrorKind, Result};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// Bytes of one record.
pub(super) const RECORD: usize = 1 + 3 * PLANE;

const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// One or several files of records, in order.
pub(super) struct Cifar {
    files: Vec<(Records, usize)>,
}

/// The files of a folder: of training, of test.
pub(super) fn files_in(names: &[PathBuf]) -> [Vec<PathBuf>; 2] {
    let named = |prefix: &str| {
        let is = |path: &&PathBuf| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            name.starts_with(prefix) && name.ends_with(".bin")
        };
        names.iter().filter(is).cloned().collect()
    };
    [named("data_batch"), named("test_batch")]
}

/// Opens `paths`; the labels of all their records come with them.
pub(super) fn open(paths: &[PathBuf]) -> Result<(Cifar, Vec<usize>)> {
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for path in paths {
        let (records, count) = open_file(path, &mut labels)?;
        files.push((records, count));
    }
    Ok((Cifar { files }, labels))
}

/// The names of the ten classes.
pub(super) fn classes() -> Vec<String> {
    CLASSES.map(String::from).to_vec()
}

fn open_file(path: &Path, labels: &mut Vec<usize>) -> Result<(Records, usize)> {
    /// Records read at once while labels are gathered.
    const STRETCH: usize = 64;
    let records = Records::open(path)?;
    let wrong = |message: String| Error::new(ErrorKind::Malformed, records.place(), message);
    let len = records.len();
    if len == 0 || !len.is_multiple_of(RECORD as u64) {
        let message = format!("{len} bytes are not whole CIFAR-10 records of {RECORD} bytes");
        return Err(wrong(message));
    }
    let count = (len / RECORD as u64) as usize;
    let mut bytes = vec![0; STRETCH * RECORD];
    for first in (0..count).step_by(STRETCH) {
        let part = &mut bytes[..STRETCH.min(count - first) * RECORD];
        records.read(first as u64 * RECORD as u64, part)?;
        for (i, record) in part.chunks_exact(RECORD).enumerate() {
            let label = usize::from(record[0]);
            if label >= CLASSES.len() {
                let message = format!("record {}: class {label} of 0 to 9", first + i);
                return Err(wrong(message));
            }
            labels.push(label);
        }
    }
    Ok((records, count))
}

impl Cifar {
    /// Image `i`, counted over all files; `i` must be below their sum.
    pub(super) fn image(&self, mut i: usize) -> Result<Pixels> {
        let mut record = [0; RECORD];
        for (records, count) in &self.files {
            if i < *count {
                records.read(i as u64 * RECORD as u64, &mut record)?;
                break;
            }
            i -= count;
        }
        let planes = &record[1..];
        let bytes = (0..3 * PLANE)
            .map(|j| planes[j % 3 * PLANE + j / 3])
            .collect();
        Pixels::new(SIDE, SIDE, 3, bytes)
    }
}
