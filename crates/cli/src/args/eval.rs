//! `exbit eval`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Data, Threads};

/// Measure how right a network is, and what it costs.
///
/// Runs every image (or the first of them, with --limit) and prints the share of right answers,
/// the sizes of the network, and its speed. `latency` is that of one image alone, on all threads
/// that pay for one; images per second are of batches. Reading and decoding are not counted.
///
/// BOPs are the sum of MACs x weight bits x input bits: a size, not a speed.
///
/// Where the network has exits, images leave by its policy or by --policy. Then come how many leave
/// at each exit, how right these are and how right all would be there, mean BOPs with all heads on
/// the way, and times by the policy beside those to the end without heads, measured in turns.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit eval resnet20.onnx --data cifar-10-batches-bin
  exbit eval resnet20.exbit --data cifar-10-batches-bin --float resnet20.onnx
  exbit eval net.exbit --data photos/val --limit 500 --json
  exbit eval net.exbit --data photos/val --policy max-softmax=0.9

Files:
  MODEL.toml beside MODEL.onnx says how images become its input (see
  --preprocess)."))]
pub(crate) struct Eval {
    /// An ONNX model or an exbit Program; the content tells
    #[arg(value_name = "MODEL.onnx|NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) network: PathBuf,
    #[command(flatten)]
    pub(crate) data: Data,
    /// Only the first N images
    #[arg(long, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) limit: Option<usize>,
    /// The float network to compare answers with, image by image
    #[arg(long, value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) float: Option<PathBuf>,
    /// When images leave, instead of what the network carries
    ///
    /// never, max-softmax=0.9 or entropy=0.2 (of ln(classes)) with one threshold for all exits, or
    /// one for each with commas between; or patience=2, one number for all.
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}
