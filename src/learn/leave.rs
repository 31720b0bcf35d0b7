//! When images leave a trained network: thresholds from the training images that were kept apart.

use exbit_engine::{Policy, Program, Session};

use super::images::Images;
use super::recipe::Recipe;
use crate::Result;
use crate::cost::bops_to_exits;
use crate::exits::{Calibration, Goal, HeldOut, Rule, Thresholds, calibrate};

/// Images of a batch.
const BATCH: usize = 250;

/// The policy of `program` that the recipe asks for, chosen on the held-out ones of `images`.
///
/// # Errors
/// As making a Session.
pub(crate) fn choose(
    program: &Program,
    images: &Images,
    recipe: &Recipe,
    threads: usize,
) -> Result<Calibration> {
    let mut session = Session::new(program, threads)?;
    let mut held = HeldOut::new(program.exits.len());
    for indices in images.held_out.chunks(BATCH) {
        let batch = images.batch(indices, None);
        let logits = session.run_every_exit(&batch.bytes, indices.len())?;
        held.add(logits, &batch.labels);
    }
    let costs = |policy: &Policy| bops_to_exits(program, policy);
    let goal = match recipe.mean_bops {
        Some(most) => Goal::Bops(most),
        None => Goal::Drop(recipe.drop),
    };
    let thresholds = Thresholds::PerExit;
    Ok(calibrate(&held, Rule::MaxSoftmax, thresholds, goal, &costs))
}
