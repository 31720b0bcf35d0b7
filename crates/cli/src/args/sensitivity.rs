//! `exbit sensitivity`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Calibrating;

/// Show what each bit-width of each layer is expected to cost in loss.
///
/// A row for each layer, a column for each bit-width of its weights: the increase of the loss, in
/// nats an image, that --metric expects of that layer alone at those bits. Where activations have
/// a choice of bits too (--activation-bits), a second table is theirs. `quantize` decides with the
/// same numbers, after taking off what choosing the codes well will win back.
///
/// With --compare all metrics are taken, the measured one too, which runs the network once for each
/// layer and bit-width and takes minutes; then Spearman's rank correlation of each with the
/// measured one is shown: 1 orders the layers as measuring does, 0 says nothing.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit sensitivity resnet20.onnx --calib cifar-10-batches-bin
  exbit sensitivity net.onnx --calib photos --images 128 --compare \\
      --sensitivity-table losses.toml
  exbit quantize net.onnx --calib photos --images 128 \\
      --sensitivity-table losses.toml --metric measured --budget weights=8x \\
      --report report.html -o net.exbit

Metrics, with g the gradient of an image's loss and d the error of a weight at
the given bits:
  f1        abs(mean <g, d>)
  f2        mean abs(<g, d>)
  f3        1/2 mean <g, d>^2
  f4        1/2 sum_j mean(g_j^2) d_j^2   (the default)
  f5        mean(sum_j g_j^2) / n * sum_j d_j^2
  f6        1/2 mean sum_k (g_k e_k)^2, of the layer's result
  measured  mean KL(p_float, p) of the network with just this tensor quantized

Files:
  LOSSES.toml (--sensitivity-table) keeps what was measured, also of
  interrupted work. Give it to `quantize` with the same images, seed and
  bit-widths: nothing is measured twice, and the report shows how the metrics
  rank."))]
pub(crate) struct Sensitivity {
    /// The float network
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) model: PathBuf,
    /// Take every metric, and rank them against the measured one
    #[arg(long)]
    pub(crate) compare: bool,
    #[command(flatten)]
    pub(crate) calibrating: Calibrating,
}
