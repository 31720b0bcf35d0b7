//! IDX, the format of MNIST and Fashion-MNIST: a magic number (0, 0, 8 for bytes, the number of
//! axes), each axis as a big-endian u32, then the bytes. Images have three axes, labels one.

use std::path::{Path, PathBuf};

use super::decode::{Pixels, check_size};
use super::records::Records;
use crate::{Error, ErrorKind, Result};

/// How an images file begins.
pub(super) const IMAGES_MAGIC: [u8; 4] = [0, 0, 8, 3];
const LABELS_MAGIC: [u8; 4] = [0, 0, 8, 1];

/// A file of grey images of one size.
pub(super) struct Idx {
    records: Records,
    count: usize,
    height: usize,
    width: usize,
}

/// The images files of a folder: of training, of test. A plain file goes before its compressed
/// twin; `names` is sorted.
pub(super) fn files_in(names: &[PathBuf]) -> [Option<PathBuf>; 2] {
    let named = |prefixes: &[&str]| {
        let is = |path: &&PathBuf| {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            prefixes.iter().any(|p| name.starts_with(p))
                && name.contains("images")
                && name.contains("idx3")
        };
        names.iter().find(is).cloned()
    };
    [named(&["train"]), named(&["t10k", "test"])]
}

/// The images at `path` and the labels that lie beside them, if they do.
pub(super) fn open(path: &Path) -> Result<(Idx, Option<Vec<usize>>)> {
    let labels = labels_beside(path)
        .map(|path| Records::open(&path))
        .transpose()?;
    with_labels(Records::open(path)?, labels)
}

/// Images and labels that are in memory.
pub(super) fn from_bytes(
    images: Vec<u8>,
    labels: Option<Vec<u8>>,
) -> Result<(Idx, Option<Vec<usize>>)> {
    let labels = labels
        .map(|bytes| Records::from_bytes(bytes, "labels"))
        .transpose()?;
    with_labels(Records::from_bytes(images, "images")?, labels)
}

fn with_labels(images: Records, labels: Option<Records>) -> Result<(Idx, Option<Vec<usize>>)> {
    let [count, height, width] = header(&images, IMAGES_MAGIC)?;
    if count == 0 {
        return Err(Error::new(
            ErrorKind::Malformed,
            images.place(),
            "holds no image",
        ));
    }
    check_size(height, width).map_err(|e| e.within(images.place()))?;
    let idx = Idx {
        records: images,
        count,
        height,
        width,
    };
    let Some(labels) = labels else {
        return Ok((idx, None));
    };
    let [entries] = header(&labels, LABELS_MAGIC)?;
    if entries != count {
        let message = format!("{entries} labels for {count} images");
        return Err(Error::new(ErrorKind::Mismatch, labels.place(), message));
    }
    let mut bytes = vec![0; count];
    labels.read(header_len(1), &mut bytes)?;
    Ok((idx, Some(bytes.into_iter().map(usize::from).collect())))
}

/// The axes, when the file has `magic` and is exactly as long as they say.
fn header<const AXES: usize>(file: &Records, magic: [u8; 4]) -> Result<[usize; AXES]> {
    let wrong = |message: String| Error::new(ErrorKind::Malformed, file.place(), message);
    let len = file.len();
    if len < header_len(AXES) {
        return Err(wrong(format!(
            "{len} bytes are too few for an IDX file of {AXES} axes"
        )));
    }
    let mut word = [0; 4];
    file.read(0, &mut word)?;
    if word != magic {
        return Err(wrong(format!(
            "begins with {word:?}; this IDX file must with {magic:?}"
        )));
    }
    let mut axes = [0; AXES];
    let mut expected = 1u128;
    for (i, axis) in axes.iter_mut().enumerate() {
        file.read(header_len(i), &mut word)?;
        let extent = u32::from_be_bytes(word);
        expected *= u128::from(extent);
        *axis = extent as usize;
    }
    expected += u128::from(header_len(AXES));
    if expected != u128::from(len) {
        return Err(wrong(format!(
            "{len} bytes where its axes {axes:?} need {expected}"
        )));
    }
    Ok(axes)
}

/// Bytes before the entries of a file of `axes` axes.
fn header_len(axes: usize) -> u64 {
    4 + 4 * axes as u64
}

/// `train-images-idx3-ubyte.gz` has `train-labels-idx1-ubyte.gz`, packed or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.replace("images", "labels").replace("idx3", "idx1");
    if labels == plain {
        return None;
    }
    [labels.clone(), labels + ".gz"]
        .into_iter()
        .map(|name| images.with_file_name(name))
        .find(|path| path.is_file())
}

impl Idx {
    /// Image `i`, which must be one of the file's.
    pub(super) fn image(&self, i: usize) -> Result<Pixels> {
        let mut bytes = vec![0; self.height * self.width];
        self.records
            .read(header_len(3) + i as u64 * bytes.len() as u64, &mut bytes)?;
        Pixels::new(self.height, self.width, 1, bytes)
    }

    /// The number of images.
    pub(super) fn len(&self) -> usize {
        self.count
    }
}
