//! `exbit exits`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, ValueEnum, ValueHint};
use exbit::Budget;
use exbit::budget::{Limit, Resource};
use exbit_model::data::Split;

use super::{Preprocessing, Threads};

/// Choose when images leave a network early: the thresholds of its exits, from held-out images.
///
/// Runs the images through every exit and to the end, and takes the thresholds that save the most
/// within --drop, or that are right the most often within --bops. The Program that comes out
/// carries them; `exbit eval --policy` tries others without writing anything.
///
/// Choose on images that training did not see and that will not judge the result. For a network
/// that `exbit train` made, those that it kept apart of its training data are taken, unless --split
/// or --skip say otherwise. Thresholds chosen on the test part make its accuracy too good. How far
/// the choice can be trusted is measured: on each half of the images with thresholds from the
/// other.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("goal").args(["drop", "bops"]).required(true))]
#[command(after_long_help = super::manual("\
Examples:
  exbit exits net.exbit --data cifar-10-batches-bin --drop 0.1 -o early.exbit
  exbit exits net.exbit --data photos --split val --bops 0.2G --per-exit \\
      -o early.exbit
  exbit exits net.exbit --data photos --split val --drop 1 --json | jq .curve
  exbit exits net.exbit --data photos --split val --drop 1 --report curve.html \\
      --beside w4a4.exbit w3a3.exbit
  exbit eval early.exbit --data cifar-10-batches-bin

Rules:
  max-softmax  leave where the largest probability is at least the threshold
  entropy      leave where the entropy is at most the threshold, which is a
               share of ln(classes)
  patience     leave where so many exits in a row name the same class

BOPs count all heads on the way. An exit that does not pay is shut with a
threshold that nothing reaches (--per-exit), and its head does not run.

Where not even the first exit keeps --bops (exit status 3), the nearest policy
is explained and written."))]
pub(crate) struct Exits {
    /// An exbit Program with exits
    #[arg(value_name = "NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) network: PathBuf,
    /// Images and their classes, of the kinds that eval reads
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// Which part of the data: train, test or val [default: train, where there are parts]
    #[arg(long, value_name = "PART", value_parser = Split::from_str)]
    pub(crate) split: Option<Split>,
    /// Leave out the first N images: those that training saw
    #[arg(long, value_name = "N")]
    pub(crate) skip: Option<usize>,
    /// Only N images, evenly from all
    #[arg(long, value_name = "N", value_parser = super::at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Points of top-1 that may be lost against the end; the most BOPs are saved within them
    #[arg(long, value_name = "POINTS", value_parser = points)]
    pub(crate) drop: Option<f64>,
    /// BOPs of an image on average, as 0.2G, or 100x fewer than in floats; the highest top-1 is
    /// taken within them
    #[arg(long, value_name = "BOPS", value_parser = bops)]
    pub(crate) bops: Option<Limit>,
    /// How an exit judges whether it is sure
    #[arg(long, value_name = "RULE", default_value = "max-softmax")]
    pub(crate) rule: ExitRule,
    /// A threshold for each exit instead of one for all (patience has one number in any case)
    #[arg(long)]
    pub(crate) per_exit: bool,
    /// Where the Program goes with its policy; it may be NET.exbit itself
    #[arg(short, long, value_name = "NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Draw the trade-off here, one HTML page: top-1 against mean BOPs and against time
    #[arg(long, value_name = "REPORT.html", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    /// Draw these Programs beside it: what they give on the same images
    #[arg(long, value_name = "NET.exbit", num_args = 1.., requires = "report")]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) beside: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// How an exit judges whether it is sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExitRule {
    /// By the largest probability
    MaxSoftmax,
    /// By the entropy
    Entropy,
    /// By how many exits in a row agree
    Patience,
}

fn points(text: &str) -> Result<f64, String> {
    let points = text.parse().ok().filter(|p| (0.0..=100.0).contains(p));
    points.ok_or_else(|| "expected points of top-1, from 0 to 100".into())
}

fn bops(text: &str) -> Result<Limit, String> {
    let budget = Budget::from_str(&format!("{}={text}", Resource::Bops.name()));
    budget.map(|b| b.limit).map_err(|e| e.to_string())
}
