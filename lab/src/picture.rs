//! The trade-off of the trained networks as a picture: top-1 against mean bit-operations.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use exbit::cost::bops_to_exits;
use exbit::exits::{HeldOut, Rule, curve};
use exbit::report::{Tradeoff, TradeoffPoint};
use exbit_engine::{Policy, Program, Session};
use exbit_model::data::{DataSet, Preprocess, Split};

const RECORD: &str = "lab/records/trained.csv";
/// Whose thresholds are drawn.
const NETWORK: &str = "models/resnet20-109x.exbit";
/// What is beside it: of each, the first line of the record.
const BESIDE: &[&str] = &[
    "resnet20-109x",
    "resnet20-exits",
    "resnet20-long109",
    "resnet20-200x",
    "resnet20-22-exits",
    "resnet20-w1a2-exit",
    "resnet20-lsq22",
    "resnet20-lsq33",
    "resnet20-lsq44",
    "resnet20-mixed44",
];
const POINTS: usize = 60;
const BATCH: usize = 50;

/// Writes the picture to `file`, of the record and of the CIFAR-10 images in `cifar`.
pub(crate) fn draw(cifar: &Path, file: &Path) -> Result<(), Box<dyn Error>> {
    let record = fs::read_to_string(RECORD)?;
    let beside: Option<Vec<TradeoffPoint>> = BESIDE.iter().map(|n| recorded(&record, n)).collect();
    let program = Program::load(NETWORK)?;
    let held = every_exit(&program, cifar)?;
    let costs = |policy: &Policy| bops_to_exits(&program, policy);
    let outcomes = curve(&held, Rule::MaxSoftmax, &costs, POINTS);
    let picture = Tradeoff {
        network: "ResNet-20".into(),
        images: held.images() as u64,
        data: "CIFAR-10 test images".into(),
        curve: outcomes
            .iter()
            .map(|o| point(None, o.top1, o.bops_mean))
            .collect(),
        others: beside.ok_or_else(|| format!("{RECORD} lacks one of {BESIDE:?}"))?,
        ..Tradeoff::default()
    };
    Ok(fs::write(file, picture.to_svg())?)
}

/// What `program` answers at every exit, for all test images.
fn every_exit(program: &Program, cifar: &Path) -> Result<HeldOut, Box<dyn Error>> {
    let set = DataSet::open(cifar, Split::Test)?;
    let preprocess = Preprocess::open("cifar10")?;
    let mut session = Session::new(program, available_parallelism()?.get())?;
    let mut held = HeldOut::new(program.exits.len());
    for batch in set.batches(&preprocess, (0..set.len()).collect::<Vec<_>>(), BATCH) {
        let batch = batch?;
        let logits = session.run_every_exit(&batch.pixels, batch.indices.len())?;
        held.add(logits, &batch.labels.unwrap_or_default());
    }
    Ok(held)
}

/// The first line of `network` in the record of trained networks.
fn recorded(record: &str, network: &str) -> Option<TradeoffPoint> {
    let columns: Vec<&str> = record.lines().next()?.split(',').collect();
    let column = |name: &str| columns.iter().position(|c| *c == name);
    // A policy is quoted for its commas, and a column of no figures.
    let line = record
        .lines()
        .find(|l| l.split(',').next() == Some(network))?;
    let plain: String = line.split('"').step_by(2).collect();
    let figure = |name| plain.split(',').nth(column(name)?)?.parse().ok();
    Some(point(Some(network), figure("top1")?, figure("bops_mean")?))
}

fn point(label: Option<&str>, top1: f64, bops_mean: f64) -> TradeoffPoint {
    TradeoffPoint {
        label: label.map(|l| l.trim_start_matches("resnet20-").to_owned()),
        top1,
        bops_mean,
        ms_mean: None,
    }
}
