//! CIFAR-10 from lossless sheets of 100 x 100 images into its official binary records, once.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use exbit_model::data::read_image;

const SIDE: usize = 32;
const SHEET: usize = 100;

/// The folder with the records, made if it is not there yet.
pub(crate) fn cifar10(shared: &Path, to: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = to.join("cifar-10-batches-bin");
    fs::create_dir_all(&folder)?;
    let names = (1..=5)
        .map(|i| format!("data_batch_{i}"))
        .chain(["test_batch".to_owned()]);
    for name in names {
        let path = folder.join(format!("{name}.bin"));
        if path.is_file() {
            continue;
        }
        let from = shared.join("data/cifar10").join(&name);
        let sheet = read_image(&from.with_extension("webp"))?;
        let labels = fs::read(from.with_extension("labels"))?;
        let beside = path.with_extension("partial");
        fs::write(&beside, records(sheet.bytes(), &labels))?;
        fs::rename(beside, path)?;
    }
    Ok(folder)
}

/// Records of 3073 bytes: the label, then the red, green and blue planes.
fn records(sheet: &[u8], labels: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(labels.len() * (1 + 3 * SIDE * SIDE));
    for (i, &label) in labels.iter().enumerate() {
        out.push(label);
        let (top, left) = (i / SHEET * SIDE, i % SHEET * SIDE);
        for channel in 0..3 {
            for y in top..top + SIDE {
                let row = (y * SHEET * SIDE + left) * 3 + channel;
                out.extend(sheet[row..].iter().step_by(3).take(SIDE));
            }
        }
    }
    out
}
