//! `exbit latency`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use exbit_kernels::Bits;

use super::calibrating::bits;

/// Measure what each bit-width of each layer takes in time on this machine, and keep it.
///
/// Every layer is timed on the engine's own kernels, of one image on one thread, for each pair of
/// bits of its weights and of the activation that it reads; the answer is a row for each layer, and
/// whether fewer bits are faster here at all. `quantize` takes the times that are kept for budgets
/// of latency=, and measures only bit-widths that are missing. Keep the machine idle meanwhile.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit latency resnet20.onnx
  exbit latency resnet20.onnx --weight-bits 2,4,8 --activation-bits 4,8 --anew
  exbit quantize resnet20.onnx --calib cifar-10-batches-bin \\
      --budget latency=100us -o net.exbit

Files:
  Times are kept in the folder exbit/latency of $XDG_CACHE_HOME, or of
  ~/.cache: a file for each CPU, instruction set (EXBIT_ISA), version of exbit,
  and network. What the network's weights are does not matter, so another one
  of the same shapes finds them too. With --latency-table they are kept in a
  file of your choice, which also serves `quantize` on another machine."))]
pub(crate) struct Latency {
    /// The float network
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) model: PathBuf,
    /// Bit-widths that weights may have
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "2,3,4,5,6,7,8", value_parser = bits)]
    pub(crate) weight_bits: Vec<Bits>,
    /// Bit-widths that activations may have
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "8", value_parser = bits)]
    pub(crate) activation_bits: Vec<Bits>,
    /// Where the times are kept [default: a file in the user's cache]
    #[arg(long, value_name = "TIMES.toml", value_hint = ValueHint::FilePath)]
    pub(crate) latency_table: Option<PathBuf>,
    /// Measure again what is kept
    #[arg(long)]
    pub(crate) anew: bool,
}
