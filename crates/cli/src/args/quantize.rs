//! `exbit quantize`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};
use exbit::{Budget, Metric, Pin};
use exbit_kernels::Bits;

use super::{Preprocessing, Threads};

/// Turn a float network and a budget into an integer network of mixed precision, without training.
///
/// Calibrates on images, estimates what each bit-width of each layer would cost in loss, gives
/// every layer the bits that keep the sum of those losses least within the budgets, and chooses the
/// codes that reproduce what the float layers give. A Plan (text) and a Program (the integer
/// network) come out.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit quantize resnet20.onnx --calib cifar-10-batches-bin --budget weights=8x -o resnet20.exbit
  exbit quantize net.onnx --calib photos --budget weights=96KiB --budget bops=0.4G -o net.exbit
  exbit quantize net.onnx --calib photos --budget latency=2ms --latency-table cpu.toml -o net.exbit
  exbit quantize net.onnx --calib photos --budget weights=4bits -o plan.toml
  exbit quantize net.onnx --calib photos --plan plan.toml --effort full -o net.exbit

Budgets:
  weights=, activations=, peak-activations=, memory=   8x, 96KiB, 120KB or 4bits
  bops=                                                0.4G or 100x
  latency=                                             2ms, 500us: one image on one thread

Time is measured before the search, on this machine: each layer at each of the bit-widths. With
--latency-table it is measured once and kept; a table from another machine keeps the budget there.
Where fewer bits are no faster on the CPU, the report says so.

Exit status 3: no plan keeps the budgets; the nearest one is explained and written."))]
pub(crate) struct Quantize {
    /// The float network
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) model: PathBuf,
    /// Images to calibrate on, of the kinds that eval reads; labels are not needed
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) calib: PathBuf,
    /// A limit that the network must keep; several combine
    #[arg(long, value_name = "WHAT=LIMIT", value_parser = Budget::from_str)]
    pub(crate) budget: Vec<Budget>,
    /// Where the Program goes; a name that ends in .toml gets the Plan instead
    #[arg(short, long, value_name = "NET.exbit|PLAN.toml", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Take the bits of this Plan and search for none
    #[arg(long, value_name = "PLAN.toml", value_hint = ValueHint::FilePath, conflicts_with = "budget")]
    pub(crate) plan: Option<PathBuf>,
    /// Write the Plan here too
    #[arg(long, value_name = "PLAN.toml", value_hint = ValueHint::FilePath)]
    pub(crate) save_plan: Option<PathBuf>,
    /// Write the report here, one HTML page
    #[arg(long, value_name = "REPORT.html", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    /// Calibration images, spread over the data
    #[arg(long, value_name = "N", default_value = "512", value_parser = super::at_least_one)]
    pub(crate) images: usize,
    /// How expected loss is estimated: f1, f2, f3, f4, f5, f6 or measured
    #[arg(long, value_name = "METRIC", default_value = "f4", value_parser = Metric::from_str)]
    pub(crate) metric: Metric,
    /// Bit-widths that weights may have
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "2,3,4,5,6,7,8", value_parser = bits)]
    pub(crate) weight_bits: Vec<Bits>,
    /// Bit-widths that activations may have
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "8", value_parser = bits)]
    pub(crate) activation_bits: Vec<Bits>,
    /// Keep layers at given bits, by name with * for anything: `conv1=8`
    #[arg(long, value_name = "PATTERN=BITS", value_parser = Pin::from_str)]
    pub(crate) keep: Vec<Pin>,
    /// Give the layers that feed one residual sum the same bits
    #[arg(long)]
    pub(crate) tie_residuals: bool,
    /// How activation ranges are clipped
    #[arg(long, value_name = "RULE", default_value = "mse")]
    pub(crate) calibration: Rule,
    /// How hard to try: nearest, fast (seconds), blocks or full (minutes)
    #[arg(long, default_value = "fast")]
    pub(crate) effort: Effort,
    /// Where the measured times of a latency budget are kept: read where the file exists, else
    /// measured and written
    #[arg(long, value_name = "TIMES.toml", value_hint = ValueHint::FilePath, conflicts_with = "plan")]
    pub(crate) latency_table: Option<PathBuf>,
    /// Even out ranges between layers first (cross-layer equalisation)
    #[arg(long)]
    pub(crate) equalize: bool,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
    /// Seconds that the search for bits may take
    #[arg(long, value_name = "S", default_value = "10", value_parser = super::seconds)]
    pub(crate) time_limit: f64,
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

/// How hard to try.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Effort {
    /// The codes nearest to the weights
    Nearest,
    /// The codes that reproduce each layer's result best
    Fast,
    /// Those, then AdaRound over each block
    Blocks,
    /// The codes of fast, then scales, biases and steps that learn to answer as the float network
    Full,
}

fn bits(text: &str) -> Result<Bits, String> {
    let bits = text.trim().parse().ok().and_then(Bits::new);
    bits.ok_or_else(|| "expected whole numbers from 1 to 8, with commas between".into())
}
