//! What can be left out before anything is searched: limits that nothing exceeds, and choices
//! that another beats in the loss and in every limited resource.

use super::problem::{Problem, Unit};
use super::row::Row;

/// `problem` without what cannot matter; its best plans keep their loss.
pub(crate) fn simplify(mut problem: Problem) -> Problem {
    let rows = std::mem::take(&mut problem.rows);
    problem.rows = rows
        .into_iter()
        .filter(|r| extreme(&problem, r, f64::max) > r.limit)
        .collect();
    drop_beaten_options(&mut problem);
    drop_beaten_inputs(&mut problem);
    problem
}

/// The least that any plan uses of `row`: exact, but for tied layers that would differ.
pub(crate) fn least(problem: &Problem, row: &Row) -> f64 {
    extreme(problem, row, f64::min)
}

/// The least or the most (as `pick` has it) that a plan uses of `row`, star by star.
fn extreme(problem: &Problem, row: &Row, pick: fn(f64, f64) -> f64) -> f64 {
    let mut open = vec![Vec::new(); problem.table.weights().len()];
    for unit in &problem.units {
        for (i, &l) in unit.layers.iter().enumerate() {
            open[l] = unit.options.iter().map(|o| o[i]).collect();
        }
    }
    let layer = |l: usize, a: usize| {
        open[l]
            .iter()
            .map(|&k| row.layer(l, k, a))
            .reduce(pick)
            .unwrap_or(0.0)
    };
    let stars = problem.inputs.iter().enumerate().map(|(j, inputs)| {
        let star = |&a: &usize| {
            row.activation(j, a) + problem.readers[j].iter().map(|&l| layer(l, a)).sum::<f64>()
        };
        inputs.iter().map(star).reduce(pick).unwrap_or(0.0)
    });
    row.fixed + stars.sum::<f64>()
}

fn drop_beaten_options(problem: &mut Problem) {
    for u in 0..problem.units.len() {
        let unit = &problem.units[u];
        let beats = |other: &[usize], option: &[usize]| {
            unit.layers
                .iter()
                .zip(other)
                .zip(option)
                .all(|((&l, &k), &than)| {
                    let choices = &problem.table.weights()[l];
                    let inputs = &problem.inputs[problem.input(l)];
                    let uses_less = |row: &Row| {
                        inputs
                            .iter()
                            .all(|&a| row.layer(l, k, a) <= row.layer(l, than, a))
                    };
                    choices[k].loss <= choices[than].loss && problem.rows.iter().all(uses_less)
                })
        };
        let options = unbeaten(&unit.options, |o, than| beats(o, than));
        problem.units[u].options = options;
    }
}

fn drop_beaten_inputs(problem: &mut Problem) {
    for j in 0..problem.inputs.len() {
        let choices = &problem.table.activations()[j];
        let layers: Vec<(usize, Vec<usize>)> = problem
            .units
            .iter()
            .flat_map(options_by_layer)
            .filter(|(l, _)| problem.input(*l) == j)
            .collect();
        let beats = |&a: &usize, &than: &usize| {
            let uses_less = |row: &Row| {
                row.activation(j, a) <= row.activation(j, than)
                    && layers.iter().all(|(l, open)| {
                        open.iter()
                            .all(|&k| row.layer(*l, k, a) <= row.layer(*l, k, than))
                    })
            };
            choices[a].loss <= choices[than].loss && problem.rows.iter().all(uses_less)
        };
        problem.inputs[j] = unbeaten(&problem.inputs[j], beats);
    }
}

fn options_by_layer(unit: &Unit) -> Vec<(usize, Vec<usize>)> {
    let of_layer = |(i, &l): (usize, &usize)| (l, unit.options.iter().map(|o| o[i]).collect());
    unit.layers.iter().enumerate().map(of_layer).collect()
}

/// What no other entry beats; of two that beat each other the first is kept.
fn unbeaten<T: Clone>(open: &[T], beats: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let kept = |i: usize| {
        let beaten = |o: usize| o != i && beats(&open[o], &open[i]);
        !(0..open.len()).any(|o| beaten(o) && (o < i || !beats(&open[i], &open[o])))
    };
    (0..open.len())
        .filter(|&i| kept(i))
        .map(|i| open[i].clone())
        .collect()
}
