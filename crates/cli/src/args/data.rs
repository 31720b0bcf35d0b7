//! Options that several commands share.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueHint};
use exbit_model::data::Split;

use crate::exit::Failure;

/// Which images, and how they become the network's input.
#[derive(Args, Debug)]
pub(crate) struct Data {
    /// Images and their classes
    ///
    /// CIFAR-10 binaries; IDX (MNIST, Fashion-MNIST); a folder of JPEG, PNG or WebP files with a
    /// sub-folder for each class, or with a labels.txt of "file class" lines. The kind is seen
    /// from the content. A folder whose sub-folders are train and test or val, each of one of these
    /// kinds, has parts. IDX files may be packed by gzip.
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// Which part of the data: train, test or val [default: test, or val where there is no test]
    #[arg(long, value_name = "PART", value_parser = Split::from_str)]
    pub(crate) split: Option<Split>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
}

/// How images become the network's input.
#[derive(Args, Debug)]
pub(crate) struct Preprocessing {
    /// How images become the network's input: imagenet, tf, cifar10, or a TOML file
    ///
    /// The file says, in this order: channels ("rgb", "bgr", "grey"), resize (the short side, or
    /// [height, width]), filter ("bilinear", "bicubic"), crop, offset, scale, mean, std; only mean
    /// and std must be there. Without this option it is MODEL.toml beside the model, or the preset
    /// that the shape of the input suggests (3x32x32: cifar10, 3x224x224: imagenet). A Program
    /// carries the one that it was made with.
    #[arg(long, value_name = "PRESET|FILE.toml", value_hint = ValueHint::FilePath)]
    pub(crate) preprocess: Option<String>,
}

impl Preprocessing {
    /// What may be a file among it.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.preprocess.as_deref().map(Path::new)
    }
}

/// How many threads.
#[derive(Args, Debug)]
pub(crate) struct Threads {
    /// Threads to run on [default: one for each core]
    #[arg(long, value_name = "T", value_parser = threads)]
    threads: Option<usize>,
}

impl Threads {
    /// Starts the threads of the process; gives their number.
    pub(crate) fn start(&self) -> Result<usize, Failure> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let count = self.threads.unwrap_or_else(cores);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count);
        pool.build_global()
            .map_err(|e| Failure::unexpected(format!("{count} threads: {e}")))?;
        Ok(count)
    }
}

fn threads(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|n| (1..=1024).contains(n));
    count.ok_or_else(|| "expected a whole number from 1 to 1024".into())
}

/// A whole number from 1 on.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&n| n > 0);
    count.ok_or_else(|| "expected a whole number from 1 on".into())
}

/// A number of images that are in memory together.
pub(crate) fn batch(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|n| (1..=65536).contains(n));
    count.ok_or_else(|| "expected a whole number from 1 to 65536".into())
}

/// A time to spend, in seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let time = text.parse().ok().filter(|t| (0.0..=86400.0).contains(t));
    time.ok_or_else(|| "expected seconds, from 0 to 86400".into())
}
