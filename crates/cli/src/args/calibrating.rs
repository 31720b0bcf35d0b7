//! Options of the commands that calibrate a network and estimate its losses.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};
use exbit::Metric;
use exbit_kernels::Bits;
use exbit_model::data::Split;

use super::{Preprocessing, Threads};

/// What ranges and expected losses are taken from, and how.
#[derive(Args, Debug)]
pub(crate) struct Calibrating {
    /// Images to calibrate on, of the kinds that eval reads; labels are not needed
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) calib: PathBuf,
    /// Which part of it: train, test or val [default: train, where there are parts]
    #[arg(long, value_name = "PART", value_parser = Split::from_str)]
    pub(crate) split: Option<Split>,
    /// Calibration images, spread over the data
    #[arg(long, value_name = "N", default_value = "512", value_parser = super::at_least_one)]
    pub(crate) images: usize,
    /// How expected loss is estimated: f1, f2, f3, f4, f5, f6 or measured
    #[arg(long, value_name = "METRIC", default_value = "f4", value_parser = Metric::from_str)]
    pub(crate) metric: Metric,
    /// Where expected losses are kept: read where the file has them, else measured and written
    ///
    /// The file is written after each layer that the measured metric, which takes minutes, is done
    /// with: interrupted work goes on from there. It holds the tables of any number of metrics, all
    /// of one network, images, seed and bit-widths; with others it is refused.
    #[arg(long, value_name = "LOSSES.toml", value_hint = ValueHint::FilePath)]
    pub(crate) sensitivity_table: Option<PathBuf>,
    /// Bit-widths that weights may have
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "2,3,4,5,6,7,8", value_parser = bits)]
    pub(crate) weight_bits: Vec<Bits>,
    /// Bit-widths that activations may have
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "8", value_parser = bits)]
    pub(crate) activation_bits: Vec<Bits>,
    /// How activation ranges are clipped
    #[arg(long, value_name = "RULE", default_value = "mse")]
    pub(crate) calibration: Rule,
    /// Even out ranges between layers first (cross-layer equalisation)
    #[arg(long)]
    pub(crate) equalize: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// How activation ranges are clipped.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Rule {
    /// The least and the greatest number seen
    Minmax,
    /// All but one number in 100,000 on each side
    Percentile,
    /// The least squared error of rounding and clipping
    Mse,
}

/// A bit-width of one of a list.
pub(super) fn bits(text: &str) -> Result<Bits, String> {
    let bits = text.trim().parse().ok().and_then(Bits::new);
    bits.ok_or_else(|| "expected whole numbers from 1 to 8, with commas between".into())
}
