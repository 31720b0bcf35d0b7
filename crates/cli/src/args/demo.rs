//! `exbit demo`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Threads;

/// Show the main job on a network and images that exbit carries.
///
/// Quantizes a small residual network to an eighth of its weight bytes, runs both networks on
/// 2000 images that neither has seen, and writes everything into one folder: report.html, the
/// integer network, its Plan, and what went in, so that every command can be tried on it.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit demo
  exbit demo -o /tmp/demo --json | jq .report.quantized.accuracy

Files of the same names in the folder are replaced. Images: Fashion-MNIST, (c)
2017 Zalando SE, MIT licence."))]
pub(crate) struct Demo {
    /// The folder to write into; it is made where there is none
    #[arg(short, long, value_name = "FOLDER", default_value = "exbit-demo", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) threads: Threads,
}
