//! A data set: opened from a path, its kind seen from its content.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::cifar::{self, Cifar};
use super::decode::{Pixels, read_image};
use super::folder::{self, Folder};
use super::idx::{self, Idx};
use crate::{Error, ErrorKind, Result};

/// The parts that a data set may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What calibration and training read.
    Train,
    /// What `eval` reads; where there is none, `val`.
    Test,
    /// Validation; where there is none, `test`.
    Val,
}

/// Images, and their classes where known.
pub struct DataSet {
    place: String,
    images: Images,
    part: Option<Split>,
    labels: Option<Vec<usize>>,
    classes: Option<Vec<String>>,
}

enum Images {
    Cifar(Cifar),
    Idx(Idx),
    Files(Vec<PathBuf>),
}

impl DataSet {
    /// The data set at `path`:
    ///
    /// * CIFAR-10 binaries: their folder, the folder around it, or one `.bin` file;
    /// * IDX: the folder of the four files, or one file of images (its labels found beside it);
    ///   packed by gzip or not;
    /// * a folder of JPEG, PNG or WebP files: with `labels.txt` of "file class" lines (the files
    ///   beside it or in `images`), with a sub-folder for each class (numbered in the order of
    ///   their names), or plain, without labels; or a folder of such parts, `train` and `test` or
    ///   `val`.
    ///
    /// Where there are two parts, `split` chooses; a data set of one part serves as any.
    ///
    /// # Errors
    /// `Io`; `Unsupported` when nothing of the above is there; `Malformed` or `Mismatch`, with
    /// the file and line, when it is broken. Compressed images are not opened yet.
    pub fn open(path: impl AsRef<Path>, split: Split) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            Self::open_folder(path, split)
        } else {
            Self::open_file(path)
        }
    }

    /// The same, whose part `split` is there by that name.
    ///
    /// # Errors
    /// As [`DataSet::open`], and `Mismatch` where it has no such part.
    pub fn open_part(path: impl AsRef<Path>, split: Split) -> Result<Self> {
        let path = path.as_ref();
        let set = Self::open(path, split)?;
        let has = match set.part {
            Some(part) if part == split => return Ok(set),
            Some(Split::Val) => "it has train and val",
            Some(Split::Train | Split::Test) => "it has train and test",
            None => "it is of one part, which serves as any",
        };
        let message = format!("no {split} part; {has}");
        let place = path.display().to_string();
        Err(Error::new(ErrorKind::Mismatch, place, message))
    }

    /// An IDX data set in memory, packed by gzip or not.
    ///
    /// # Errors
    /// `Malformed` or `Mismatch` when the bytes are not what their header says.
    pub fn from_idx(images: Vec<u8>, labels: Option<Vec<u8>>) -> Result<Self> {
        let (idx, labels) = idx::from_bytes(images, labels)?;
        let place = "IDX in memory".into();
        Ok(Self {
            place,
            images: Images::Idx(idx),
            part: None,
            labels,
            classes: None,
        })
    }

    fn open_folder(path: &Path, split: Split) -> Result<Self> {
        let inside = folder::entries(path)?;
        if let Some((files, part)) = choose(cifar::files_in(&inside).map(filled), split) {
            return Self::cifar(path, &files, part);
        }
        if let Some((file, part)) = choose(idx::files_in(&inside), split) {
            let (idx, labels) = idx::open(&file)?;
            return Ok(Self::of(path, Images::Idx(idx), part, labels));
        }
        let named = |name: &str| Some(path.join(name)).filter(|p| p.is_dir());
        if let Some(folder) = named("cifar-10-batches-bin") {
            return Self::open_folder(&folder, split);
        }
        let test = match split {
            Split::Val => named("val").or(named("test")),
            Split::Train | Split::Test => named("test").or(named("val")),
        };
        let train = named("train");
        let parted = train.is_some() || test.is_some();
        if !parted || path.join(folder::LABELS).is_file() {
            return Ok(Self::files(path, folder::open(path, None)?, None));
        }
        // Both parts number their classes by the training part's folders.
        let classes = train.as_deref().map(folder::class_names).transpose()?;
        let classes = classes.filter(|names| !names.is_empty());
        match choose([train, test], split) {
            Some((folder, part)) => {
                let val = part == Some(Split::Test) && folder.ends_with("val");
                let part = if val { Some(Split::Val) } else { part };
                Ok(Self::files(&folder, folder::open(&folder, classes)?, part))
            }
            None => Ok(Self::files(path, folder::open(path, None)?, None)),
        }
    }

    fn open_file(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let mut head = Vec::new();
        let len = File::open(path)
            .and_then(|mut file| {
                file.by_ref().take(4).read_to_end(&mut head)?;
                Ok(file.metadata()?.len())
            })
            .map_err(|e| Error::new(ErrorKind::Io, place.clone(), e.to_string()))?;
        if head == idx::IMAGES_MAGIC || head.starts_with(&[0x1F, 0x8B]) {
            let (idx, labels) = idx::open(path)?;
            return Ok(Self::of(path, Images::Idx(idx), None, labels));
        }
        if len > 0 && len.is_multiple_of(cifar::RECORD as u64) {
            return Self::cifar(path, &[path.to_path_buf()], None);
        }
        let message = "neither a CIFAR-10 binary nor an IDX file of images; a data set is one of \
                       these, or a folder of images";
        Err(Error::new(ErrorKind::Unsupported, place, message))
    }

    fn cifar(path: &Path, files: &[PathBuf], part: Option<Split>) -> Result<Self> {
        let (cifar, labels) = cifar::open(files)?;
        let set = Self::of(path, Images::Cifar(cifar), part, Some(labels));
        Ok(Self {
            classes: Some(cifar::classes()),
            ..set
        })
    }

    fn files(path: &Path, folder: Folder, part: Option<Split>) -> Self {
        let set = Self::of(path, Images::Files(folder.files), part, folder.labels);
        Self {
            classes: folder.classes,
            ..set
        }
    }

    fn of(path: &Path, images: Images, part: Option<Split>, labels: Option<Vec<usize>>) -> Self {
        Self {
            place: path.display().to_string(),
            images,
            part,
            labels,
            classes: None,
        }
    }

    /// The number of images, at least 1.
    pub fn len(&self) -> usize {
        match (&self.images, &self.labels) {
            (Images::Cifar(_), labels) => labels.as_ref().map_or(0, Vec::len),
            (Images::Idx(idx), _) => idx.len(),
            (Images::Files(files), _) => files.len(),
        }
    }

    /// Whether there are no images; never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which of two parts this is; `None` for a data set of one part, which serves as any.
    pub fn part(&self) -> Option<Split> {
        self.part
    }

    /// The names of the classes, in the order of their numbers, where known.
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// The class of each image, where known.
    pub fn labels(&self) -> Option<&[usize]> {
        self.labels.as_deref()
    }

    /// The labels, once every one is seen to be below `classes`, the outputs of a network.
    ///
    /// # Errors
    /// `Mismatch` when there are none, or when one is too large: the message names the image.
    pub fn labels_below(&self, classes: usize) -> Result<&[usize]> {
        let mismatch = |message: String| Error::new(ErrorKind::Mismatch, &self.place, message);
        let Some(labels) = self.labels() else {
            let message = "the images have no classes; add a labels.txt of `file class` lines";
            return Err(mismatch(message.into()));
        };
        match labels.iter().position(|&label| label >= classes) {
            None => Ok(labels),
            Some(i) => {
                let (name, label) = (self.name(i), labels[i]);
                let message = format!("{name} has class {label}; the network knows {classes}");
                Err(mismatch(message))
            }
        }
    }

    /// Numbers the classes of class folders as a network of `outputs` classes does: by name, where
    /// it carries `names`, or in the order of their names, where it carries none and there are as
    /// many folders. Other kinds of data sets have numbers of their own; where their classes are
    /// known, there must be as many.
    ///
    /// # Errors
    /// `Mismatch` where neither is so: what answers mean would be a guess.
    pub fn number_classes(&mut self, names: &[String], outputs: usize) -> Result<()> {
        let Some(folders) = &self.classes else {
            return Ok(());
        };
        match self.images {
            Images::Files(_) => {}
            Images::Cifar(_) | Images::Idx(_) if folders.len() == outputs => return Ok(()),
            Images::Cifar(_) | Images::Idx(_) => {
                let count = folders.len();
                let message = format!("{count} classes; the network has {outputs}");
                return Err(Error::new(ErrorKind::Mismatch, &self.place, message));
            }
        }
        let numbers = folders.iter().map(|f| names.iter().position(|n| n == f));
        if let Some(numbers) = numbers.collect::<Option<Vec<usize>>>() {
            let labels = self.labels.iter_mut().flatten();
            labels.for_each(|label| *label = numbers[*label]);
            self.classes = Some(names.to_vec());
            return Ok(());
        }
        if names.is_empty() && folders.len() == outputs {
            return Ok(());
        }
        let known = match names.is_empty() {
            true => "it carries no names of them",
            false => "it calls some of them otherwise",
        };
        let message = format!(
            "{} class folders; the network has {outputs} classes, and {known}: add a labels.txt of \
             `file class` lines with the network's numbers, or all class folders",
            folders.len()
        );
        Err(Error::new(ErrorKind::Mismatch, &self.place, message))
    }

    /// The same images, their classes left aside.
    #[must_use]
    pub fn without_labels(self) -> Self {
        Self {
            labels: None,
            classes: None,
            ..self
        }
    }

    /// Which image `i` is: its file, or its number.
    pub fn name(&self, i: usize) -> String {
        match &self.images {
            Images::Files(files) if i < files.len() => files[i].display().to_string(),
            Images::Files(_) | Images::Cifar(_) | Images::Idx(_) => format!("image {i}"),
        }
    }

    /// Image `i`, as it is stored.
    ///
    /// # Errors
    /// `Mismatch` when there is no such image; otherwise those of reading and decoding, with the
    /// file.
    pub fn image(&self, i: usize) -> Result<Pixels> {
        if i >= self.len() {
            let message = format!("no image {i} among {}", self.len());
            return Err(Error::new(ErrorKind::Mismatch, &self.place, message));
        }
        match &self.images {
            Images::Cifar(cifar) => cifar.image(i),
            Images::Idx(idx) => idx.image(i),
            Images::Files(files) => read_image(&files[i]),
        }
    }
}

impl fmt::Display for DataSet {
    /// `PATH: 10000 images (CIFAR-10 binaries, test part)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.images {
            Images::Cifar(_) => "CIFAR-10 binaries",
            Images::Idx(_) => "IDX",
            Images::Files(_) => "image files",
        };
        let part = self.part.map(|part| format!("{part} part"));
        let part = part.unwrap_or_else(|| "one part, which serves as any".into());
        write!(f, "{}: {} images ({kind}, {part})", self.place, self.len())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Test => "test",
            Split::Val => "val",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "train" => Ok(Split::Train),
            "test" => Ok(Split::Test),
            "val" => Ok(Split::Val),
            _ => {
                let message = format!("{name:?} is none of train, test, val");
                Err(Error::new(ErrorKind::Unsupported, "split", message))
            }
        }
    }
}

/// The part that `split` asks for, or the only one there is (then without a name).
fn choose<T>([train, test]: [Option<T>; 2], split: Split) -> Option<(T, Option<Split>)> {
    match (train, test, split) {
        (Some(train), Some(_), Split::Train) => Some((train, Some(Split::Train))),
        (Some(_), Some(test), Split::Test | Split::Val) => Some((test, Some(Split::Test))),
        (Some(only), None, _) | (None, Some(only), _) => Some((only, None)),
        (None, None, _) => None,
    }
}

fn filled<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
