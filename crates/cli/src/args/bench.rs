//! `exbit bench`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueHint};
use exbit_model::data::Split;

use super::{Preprocessing, Threads};

/// Measure how fast a network runs on this machine.
///
/// Calls it again and again with a batch of random images and prints the times that 10, 50 and
/// 90 percent of the calls stay within: of a whole call, from pixels to logits. Set EXBIT_ISA to
/// scalar, avx2, avxvnni or avx512vnni to run a Program on other instructions than the fastest.
///
/// A Program below eight bits is timed beside itself at eight bits, layer by layer: where fewer
/// bits do not pay in time on this CPU, it says so.
///
/// Where images leave a network early, noise says nothing of when: a network with exits runs to its
/// end, unless --data gives it images. These leave by its policy, and run to the end in turns with
/// that, each call as often as the time allows: its time is the median, and the mean is over calls.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit bench resnet20.exbit
  exbit bench resnet20.exbit --threads 1 --per-layer
  exbit bench resnet20.exbit --trace resnet20.json
  exbit bench resnet20.onnx --batch 64 --json
  exbit bench early.exbit --data cifar-10-batches-bin --batch 64"))]
pub(crate) struct Bench {
    /// An ONNX model or an exbit Program; the content tells
    #[arg(value_name = "MODEL.onnx|NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) network: PathBuf,
    /// Images in one call
    #[arg(long, value_name = "B", default_value = "1", value_parser = super::batch)]
    pub(crate) batch: usize,
    /// Images to run on instead of noise, of the kinds that eval reads
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: Option<PathBuf>,
    /// Which part of the data: train, test or val [default: test, or val where there is no test]
    #[arg(long, value_name = "PART", requires = "data", value_parser = Split::from_str)]
    pub(crate) split: Option<Split>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    #[command(flatten)]
    pub(crate) threads: Threads,
    /// How long to measure
    #[arg(long, value_name = "S", default_value = "3", value_parser = super::seconds)]
    pub(crate) seconds: f64,
    /// Also the time of each layer, for one image on one thread
    #[arg(long)]
    pub(crate) per_layer: bool,
    /// Write those times here too, for chrome://tracing, Perfetto or Speedscope
    #[arg(long, value_name = "TRACE.json", value_hint = ValueHint::FilePath)]
    pub(crate) trace: Option<PathBuf>,
}
