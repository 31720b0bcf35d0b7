//! One step of training: forward once, backward under two losses in one walk, their gradients
//! joined, everything moved.
//!
//! The final loss and the sum of the exits' are kept apart, and joined by McQueen's mask, entry by
//! entry of every parameter that both depend on:
//!
//! ```text
//! g = g_final + [sign(g_exit) = sign(g_final)] g_exit
//! ```
//!
//! Exits' own parameters take `g_exit` whole. The penalty comes on top.

use exbit_grad::{Cotangent, Mode, Wanted, backward, forward};

use super::graph::Graph;
use super::parameters::{Parameters, What, follow};
use super::recipe::{Phase, Recipe};
use super::teacher::{Targets, count_right};
use super::{optimizer, penalty};

/// What a step saw before it moved anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// The sum of each answer's losses over the images: the exits', then the output's.
    pub(crate) losses: Vec<f64>,
    /// How many images each answer has right.
    pub(crate) right: Vec<usize>,
}

/// Some images and what they should answer.
pub(crate) struct Lesson<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) labels: &'a [usize],
    pub(crate) targets: Targets,
}

/// Where in its phase a step is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) phase: Phase,
    /// Steps of the phase before it.
    pub(crate) done: usize,
    pub(crate) rate: f32,
}

/// Steps between two looks at how large activations are.
const COVER_EVERY: usize = 10;

/// Moves `parameters` one step, and the model with them.
pub(crate) fn step(
    graph: &mut Graph,
    parameters: &mut Parameters,
    lesson: &Lesson,
    recipe: &Recipe,
    pace: Pace,
) -> Seen {
    let model = &graph.model;
    let classes = model.output_len();
    let tape = forward(model, lesson.x, lesson.labels.len(), Mode::Train);
    let mut seen = Seen::default();
    let mut seeds: Cotangent = Vec::new();
    for answer in model.answers() {
        let logits = tape.value(answer);
        let (loss, gradient) = lesson.targets.loss(logits, classes);
        seen.losses.push(loss);
        seen.right.push(count_right(logits, lesson.labels, classes));
        seeds.push((answer, gradient));
    }
    let masked = recipe.mask && pace.phase != Phase::Warm && seeds.len() > 1;
    let exits = seeds.len() - 1;
    let cotangents = match masked {
        true => {
            let last = seeds.split_off(exits);
            vec![last, seeds]
        }
        false => vec![seeds],
    };
    let wanted = Wanted {
        parameters: true,
        values: Vec::new(),
        rounded: true,
    };
    let found = backward(model, &tape, &cotangents, &wanted);
    let mut gradient = parameters.gradient(graph, &found[0]);
    if let Some(exits) = found.get(1) {
        let exits = parameters.gradient(graph, exits);
        join(graph, parameters, &mut gradient, &exits);
    }
    if let (Phase::Search, Some(target)) = (pace.phase, recipe.target_bops) {
        let how = (recipe.penalty, target);
        penalty::add_gradient(graph, parameters, how, &mut gradient);
    }
    follow(&mut graph.model, &tape);
    if pace.done.is_multiple_of(COVER_EVERY) {
        parameters.cover(graph, &tape);
    }
    descend(graph, parameters, &gradient, recipe, pace);
    parameters.put(graph);
    seen
}

/// `g_final += mask g_exit`.
fn join(graph: &Graph, parameters: &Parameters, last: &mut [Vec<f32>], exits: &[Vec<f32>]) {
    let on_path = graph.on_final_path();
    for ((parameter, last), exits) in parameters.all.iter().zip(last).zip(exits) {
        let node = match parameter.what {
            What::Weight(id) | What::Bias(id) => id,
            What::Rounded(l) | What::Alpha(l) | What::Beta(l) | What::Bits(l) => {
                graph.layers[l].node
            }
            What::SiteAlpha(s) | What::SiteBeta(s) | What::SiteBits(s) => graph.sites[s].node,
        };
        mask(last, exits, on_path[node.0]);
    }
}

/// `last += exits` where the signs agree; everywhere where the parameter is the exits' own.
fn mask(last: &mut [f32], exits: &[f32], shared: bool) {
    let agree = |a: f32, b: f32| (a > 0.0 && b > 0.0) || (a < 0.0 && b < 0.0);
    for (last, &exit) in last.iter_mut().zip(exits) {
        if !shared || agree(*last, exit) {
            *last += exit;
        }
    }
}

/// Moves what moves in this phase.
fn descend(
    graph: &Graph,
    parameters: &mut Parameters,
    gradient: &[Vec<f32>],
    recipe: &Recipe,
    pace: Pace,
) {
    let all = parameters.all.iter();
    let moves: Vec<bool> = all
        .map(|p| parameters.moves(graph, p.what, pace.phase))
        .collect();
    let all = parameters.all.iter_mut().zip(gradient).zip(moves);
    for ((parameter, g), _) in all.filter(|(_, moves)| *moves) {
        optimizer::descend(parameter, g, recipe, pace.done, pace.rate);
    }
    parameters.project(graph);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_lets_only_agreement_through() {
        let exits = [3.0, 3.0, 0.0, -2.0, 1.0];
        let mut last = [1.0, -1.0, 2.0, -1.0, 0.0];
        mask(&mut last, &exits, true);
        assert_eq!(last, [4.0, -1.0, 2.0, -3.0, 0.0]);
        let mut own = [0.0; 5];
        mask(&mut own, &exits, false);
        assert_eq!(own, exits);
    }
}
