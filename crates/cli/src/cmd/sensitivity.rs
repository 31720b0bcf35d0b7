//! `exbit sensitivity`: what each bit-width of each layer is expected to cost in loss.

use std::collections::BTreeMap;

use exbit::calibrate::calibrate;
use exbit::sensitivity::{Candidates, Rank, Sensitivity as Losses, Study, Tables, ranks};
use exbit::{Metric, Network, equalize, prepare};
use exbit_kernels::Bits;
use serde::Serialize;

use crate::args::Sensitivity;
use crate::calibration::{Material, candidates};
use crate::exit::Failure;
use crate::output::{self, Answer};
use crate::progress::Progress;
use crate::table::{Side, Table, bits_titles, fold, width};

#[derive(Serialize)]
struct Json<'a> {
    network: &'a str,
    images: usize,
    seed: u64,
    metric: &'static str,
    weight_bits: Vec<u8>,
    activation_bits: Vec<u8>,
    layers: Vec<&'a str>,
    activations: Vec<&'a str>,
    /// Of each metric that was taken.
    losses: BTreeMap<&'static str, Rows>,
    ranks: Vec<RankRow>,
}

/// Expected losses: a row for each layer or activation, a number for each bit-width.
#[derive(Serialize)]
struct Rows {
    weights: Vec<Vec<f64>>,
    activations: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct RankRow {
    metric: &'static str,
    meaning: &'static str,
    spearman: Option<f64>,
    spearman_at_same_bits: Option<f64>,
    spearman_by_bits: Vec<Option<f64>>,
}

pub(crate) fn run(args: &Sensitivity, progress: &Progress) -> Result<Answer, Failure> {
    let calibrating = &args.calibrating;
    calibrating.threads.start()?;
    let kept = calibrating.sensitivity_table.as_deref();
    output::check_places(&[kept], &[&args.model, &calibrating.calib])?;
    let material = Material::open(&args.model, calibrating, progress)?;
    let mut network = prepare(&material.model)?;
    if calibrating.equalize {
        let pairs = equalize(&mut network.model);
        progress.note(&format!(
            "ranges evened out between {pairs} pairs of layers"
        ));
    }
    let (samples, candidates) = (material.samples(), candidates(calibrating));
    let mut show = counted(progress, "calibrate".to_owned(), samples.images());
    let calibration = calibrate(&network, &samples, &mut show)?;
    let study = Study {
        network: &network,
        calibration: &calibration,
        candidates: &candidates,
        samples: &samples,
        seed: calibrating.seed,
    };
    let mut tables = Tables::open(&study, calibrating.sensitivity_table.as_deref())?;
    let mut losses = BTreeMap::new();
    for metric in metrics(args) {
        let stage = format!("sensitivity, {}", metric.name());
        let mut show = counted(progress, stage, study.images(metric));
        losses.insert(metric, tables.measure(&study, metric, &mut show)?);
    }
    progress.close();
    let ranks = if args.compare {
        ranks(&tables)
    } else {
        Vec::new()
    };
    let metric = calibrating.metric;
    let mut text = table(&network, &candidates, &losses[&metric], metric);
    if args.compare {
        text.push_str(&rank_table(&ranks, &candidates.weights));
    }
    Answer::new(&json(&study, metric, losses, &ranks), text)
}

/// The one asked for, and all others where they are to be compared.
fn metrics(args: &Sensitivity) -> Vec<Metric> {
    match args.compare {
        true => Metric::ALL.to_vec(),
        false => vec![args.calibrating.metric],
    }
}

/// Hears of images done, and shows their sum.
fn counted(progress: &Progress, stage: String, total: usize) -> impl FnMut(usize) {
    let mut done = 0;
    progress.set(&stage, 0, total as u64);
    move |more| {
        done += more;
        progress.set(&stage, done as u64, total as u64);
    }
}

fn table(network: &Network, candidates: &Candidates, losses: &Losses, metric: Metric) -> String {
    let model = &network.model;
    let layers = network.layers().into_iter();
    let layers = layers.map(|id| model.node(id).name.as_str());
    let mut text = format!(
        "Expected increase of the loss by {} ({}), nats an image\n\n{}",
        metric.name(),
        metric.meaning(),
        rows("layer", layers, &candidates.weights, &losses.weights)
    );
    if candidates.activations.len() > 1 {
        let sites = network.sites().into_iter();
        let sites = sites.map(|id| model.value(id).name.as_str());
        text.push('\n');
        text.push_str(&rows(
            "activation",
            sites,
            &candidates.activations,
            &losses.activations,
        ));
    }
    text
}

fn rows<'a>(
    title: &'static str,
    names: impl Iterator<Item = &'a str>,
    bits: &[Bits],
    losses: &[Vec<f64>],
) -> String {
    let mut columns = vec![(title, Side::Name)];
    columns.extend(bits.iter().map(|&b| (bits_titles(b).0, Side::Right)));
    let mut table = Table::new(&columns);
    for (name, losses) in names.zip(losses) {
        let numbers = losses.iter().map(|x| format!("{x:.2e}"));
        table.row(std::iter::once(name.to_owned()).chain(numbers));
    }
    table.render(width())
}

fn rank_table(ranks: &[Rank], bits: &[Bits]) -> String {
    let mut columns = vec![("metric", Side::Name), ("all", Side::Right)];
    columns.extend(bits.iter().map(|&b| (bits_titles(b).1, Side::Right)));
    let mut table = Table::new(&columns);
    let number = |rho: Option<f64>| rho.map_or("–".to_owned(), |rho| format!("{rho:.3}"));
    for rank in ranks {
        let name = format!("{} {}", rank.metric.name(), rank.metric.meaning());
        let by_bits = rank.by_bits.iter().map(|&rho| number(rho));
        table.row([name, number(rank.all)].into_iter().chain(by_bits));
    }
    let title = "Rank correlation (Spearman) with the measured loss: of all, and of the layers at each \
                 bit-width";
    format!("\n{}\n\n{}", fold(title, width()), table.render(width()))
}

fn json<'a>(
    study: &Study<'a>,
    metric: Metric,
    losses: BTreeMap<Metric, Losses>,
    ranks: &[Rank],
) -> Json<'a> {
    let model = &study.network.model;
    let bits = |all: &[Bits]| all.iter().map(|b| b.get()).collect();
    let layers = study.network.layers().into_iter();
    let sites = study.network.sites().into_iter();
    let rows = |(metric, losses): (Metric, Losses)| {
        let Losses {
            weights,
            activations,
        } = losses;
        let rows = Rows {
            weights,
            activations,
        };
        (metric.name(), rows)
    };
    let rank = |rank: &Rank| RankRow {
        metric: rank.metric.name(),
        meaning: rank.metric.meaning(),
        spearman: rank.all,
        spearman_at_same_bits: rank.mean(),
        spearman_by_bits: rank.by_bits.clone(),
    };
    Json {
        network: model.name(),
        images: study.samples.images(),
        seed: study.seed,
        metric: metric.name(),
        weight_bits: bits(&study.candidates.weights),
        activation_bits: bits(&study.candidates.activations),
        layers: layers.map(|id| model.node(id).name.as_str()).collect(),
        activations: sites.map(|id| model.value(id).name.as_str()).collect(),
        losses: losses.into_iter().map(rows).collect(),
        ranks: ranks.iter().map(rank).collect(),
    }
}
