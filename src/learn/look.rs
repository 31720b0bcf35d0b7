//! Looking at a network in training: what an epoch was like, and how right it is on images kept
//! apart.

use exbit_grad::infer_with;
use exbit_model::{Model, ValueId};

use super::checkpoint::Record;
use super::graph::Graph;
use super::images::Images;
use super::parameters::Parameters;
use super::penalty;
use super::place::Place;
use super::recipe::Phase;
use super::teacher::count_right;

/// Images of a batch.
const BATCH: usize = 100;

/// The epoch that ended at `place`, in `phase`.
pub(crate) fn record(
    graph: &Graph,
    parameters: &Parameters,
    images: &Images,
    (phase, place): (Phase, &Place),
) -> Record {
    let sums = &place.sums;
    let count = sums.images.max(1) as f64;
    // A float run has no quantizers and so no sites.
    let layers = match graph.sites.is_empty() {
        true => 0..0,
        false => 0..graph.layers.len(),
    };
    let site_bits = |l: usize| parameters.site(graph.layers[l].site)[2];
    Record {
        phase,
        epoch: place.epoch + 1,
        loss: sums.losses.iter().map(|l| l / count).collect(),
        train: percent(&sums.right, sums.images),
        held_out: held_out(&graph.model, images),
        bops: match graph.sites.is_empty() {
            true => 0.0,
            false => penalty::bops(graph, parameters, true),
        },
        weight_bits: layers.clone().map(|l| parameters.layer(l).n).collect(),
        activation_bits: layers.map(site_bits).collect(),
        seconds: sums.seconds,
    }
}

/// Held-out images that each answer has right, percent: the exits', then the output's.
fn held_out(model: &Model, images: &Images) -> Vec<f64> {
    let classes = model.output_len();
    let answers: Vec<ValueId> = model.answers().collect();
    let mut right = vec![0; answers.len()];
    for indices in images.held_out.chunks(BATCH) {
        let batch = images.batch(indices, None);
        infer_with(model, &batch.x, indices.len(), |value, logits| {
            let ways = right.iter_mut().zip(&answers);
            for (right, _) in ways.filter(|(_, answer)| **answer == value) {
                *right += count_right(logits, &batch.labels, classes);
            }
        });
    }
    percent(&right, images.held_out.len())
}

fn percent(right: &[usize], images: usize) -> Vec<f64> {
    let of = 100.0 / images.max(1) as f64;
    right.iter().map(|&r| r as f64 * of).collect()
}
