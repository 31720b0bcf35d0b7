//! `exbit predict`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Preprocessing;

/// Say what is on images: the five likeliest classes of each, with their probabilities, and at
/// which exit the image left, where the network has some.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit predict mobilenet.exbit cat.jpg
  exbit predict mobilenet.exbit photos/*.jpg --classes synset_words.txt
  exbit predict mobilenet.exbit cat.jpg --json \\
      | jq '.predictions[0].top[0].name'"))]
pub(crate) struct Predict {
    /// An exbit Program, or an ONNX model; the content tells
    #[arg(value_name = "NET.exbit|MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) network: PathBuf,
    /// JPEG, PNG or WebP files
    #[arg(value_name = "IMAGE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<PathBuf>,
    /// Names of the classes, one a line [default: those that the Program carries]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) classes: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
}
