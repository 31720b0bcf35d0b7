//! `exbit inspect`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// Show what a network consists of: layers, shapes, MACs, parameters, bits, and where memory
/// peaks.
///
/// A row is what runs as one: a layer with the normalisation and activation behind it. `memory`
/// is what is alive while the row runs, at the true bit-widths; `bits` are those of the weights
/// and of what the row reads. Of a float network every sum is a row; the engine adds it inside of
/// a layer, in place, and `quantize` counts both networks so: their peaks are lower there.
///
/// Exits are shown with the work up to each, all heads on the way included; MACs and BOPs in all
/// are those to the end without heads.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit inspect resnet20.onnx
  exbit inspect resnet20.exbit --json | jq .bops_full"))]
pub(crate) struct Inspect {
    /// An ONNX model or an exbit Program; the content tells
    #[arg(value_name = "MODEL.onnx|NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) network: PathBuf,
}
