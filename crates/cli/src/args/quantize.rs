//! `exbit quantize`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};
use exbit::{Budget, Pin};

use super::Calibrating;

/// What only a search for bits reads.
const SEARCH: [&str; 9] = [
    "budget",
    "keep",
    "tie_residuals",
    "time_limit",
    "weight_bits",
    "activation_bits",
    "metric",
    "latency_table",
    "sensitivity_table",
];

/// Turn a float network and a budget into an integer network of mixed precision, without training.
///
/// Calibrates on images, estimates what each bit-width of each layer would cost in loss, gives
/// every layer the bits that keep the sum of those losses least within the budgets, and chooses the
/// codes that reproduce what the float layers give. A Plan (text) and a Program (the integer
/// network) come out.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit quantize resnet20.onnx --calib cifar-10-batches-bin \\
      --budget weights=8x -o resnet20.exbit
  exbit quantize net.onnx --calib photos --budget weights=96KiB \\
      --budget bops=0.4G -o net.exbit
  exbit quantize net.onnx --calib photos --budget latency=2ms -o net.exbit
  exbit quantize net.onnx --calib photos --activation-bits 2,4,6,8 \\
      --budget memory=200KiB -o net.exbit
  exbit quantize net.onnx --calib photos --budget weights=4bits -o plan.toml
  exbit quantize net.onnx --calib photos --plan plan.toml --effort full \\
      -o net.exbit

Budgets:
  weights=, activations=, peak-activations=, memory=   8x, 96KiB, 120KB or 4bits
  bops=                                                0.4G or 100x
  latency=                                             2ms, 500us

latency= is of one image on one thread.

peak-activations= is what lives at once in the arena in which the Program runs,
memory= that and the weights, at their true width: a CPU whose kernels want
them wider unpacks them, as `exbit bench` tells. Codes of activations take a
byte each there; where that is too much, as many values as need be lie packed
at their true width. That takes time, which a latency= beside it does not
count, and 8 KiB or a few lines of a value to work in for each thread.
activations= counts all values at their true width, however they lie.

Time is measured before the search, on this machine: each layer at each of the
bit-widths; what `exbit latency` or a run before this one kept is not measured
again. A --latency-table from another machine keeps the budget there. Where
fewer bits are no faster on the CPU, the report says so.

Where no plan keeps the budgets (exit status 3), the nearest one is explained
and written."))]
pub(crate) struct Quantize {
    /// The float network
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) model: PathBuf,
    /// A limit that the network must keep; several combine
    #[arg(long, value_name = "WHAT=LIMIT", value_parser = Budget::from_str)]
    pub(crate) budget: Vec<Budget>,
    /// Where the Program goes; a name that ends in .toml gets the Plan instead
    #[arg(short, long, value_name = "NET.exbit|PLAN.toml", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Take the bits of this Plan and search for none; its settings tell how it came about,
    /// and are not read
    #[arg(long, value_name = "PLAN.toml", value_hint = ValueHint::FilePath, conflicts_with_all = SEARCH)]
    pub(crate) plan: Option<PathBuf>,
    /// Write the Plan here too
    #[arg(long, value_name = "PLAN.toml", value_hint = ValueHint::FilePath)]
    pub(crate) save_plan: Option<PathBuf>,
    /// Write the report here, one HTML page
    #[arg(long, value_name = "REPORT.html", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    /// Also run both networks on these images, and tell in the report how right they are
    ///
    /// Images and their classes, of the kinds that eval reads; the test part where there are two.
    /// The Program is written first.
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) eval: Option<PathBuf>,
    /// Only the first N of these images
    #[arg(long, value_name = "N", requires = "eval", value_parser = super::at_least_one)]
    pub(crate) eval_limit: Option<usize>,
    /// Keep layers at given bits, by name with * for anything: `conv1=8`
    ///
    /// ? stands for one character; `first` and `last` are also the first and the last layer. The
    /// bits are 8 or w8 (the weights), a8 (what the layer reads) or w8a4; a name alone keeps both
    /// at 8. They must be among --weight-bits and --activation-bits. Of two on one layer the later
    /// holds.
    #[arg(long, value_name = "PATTERN=BITS", value_parser = Pin::from_str)]
    pub(crate) keep: Vec<Pin>,
    /// Give the layers that feed one residual sum the same bits
    #[arg(long)]
    pub(crate) tie_residuals: bool,
    /// How hard to try: nearest, fast (a minute or two at most), blocks or full (minutes)
    #[arg(long, default_value = "fast")]
    pub(crate) effort: Effort,
    /// Where the times of a latency budget are kept; what the file lacks is measured and added
    /// [default: a file in the user's cache, see `exbit latency`]
    #[arg(long, value_name = "TIMES.toml", value_hint = ValueHint::FilePath)]
    pub(crate) latency_table: Option<PathBuf>,
    /// Seconds that the search for bits may take
    #[arg(long, value_name = "S", default_value = "10", value_parser = super::seconds)]
    pub(crate) time_limit: f64,
    #[command(flatten, next_help_heading = "Calibration")]
    pub(crate) calibrating: Calibrating,
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
