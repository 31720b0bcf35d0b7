//! Plans one move at a time: bring a plan within its limits at the least loss per excess removed,
//! then spend what is left. Quick, nearly always close to the best, and never without an answer.

use super::problem::{Picks, Problem};

/// A smaller change of an excess is rounding.
const EXCESS_ROUNDING: f64 = 1e-14;

/// One thing to change: the option of a unit, or the choice of an activation.
#[derive(Clone, Copy, Debug)]
enum Move {
    Unit { unit: usize, option: usize },
    Input { activation: usize, choice: usize },
}

/// Picks, and what they use of every row.
#[derive(Clone)]
struct State<'p, 't> {
    problem: &'p Problem<'t>,
    picks: Picks,
    used: Vec<f64>,
}

/// Changes `picks` move by move until every limit is kept, or no move reduces the excess.
pub(crate) fn reduce(problem: &Problem, picks: Picks) -> Picks {
    let mut state = State::new(problem, picks);
    let mut used = vec![0.0; problem.rows.len()];
    loop {
        let before = state.excess(&state.used);
        if before == 0.0 {
            return state.picks;
        }
        let mut best: Option<(f64, Move)> = None;
        for change in moves(problem) {
            let loss = state.preview(change, &mut used);
            let removed = before - state.excess(&used);
            // A move that lowers the loss as well is the better the more it removes.
            let price = if loss > 0.0 {
                loss / removed
            } else {
                loss * removed
            };
            if removed > EXCESS_ROUNDING && best.is_none_or(|(b, _)| price < b) {
                best = Some((price, change));
            }
        }
        match best {
            Some((_, change)) => state.make(change),
            None => return state.picks,
        }
    }
}

/// Improves `picks`, which fit, by single moves that still fit, the largest gain first.
pub(crate) fn improve(problem: &Problem, picks: Picks) -> Picks {
    let mut state = State::new(problem, picks);
    let mut used = vec![0.0; problem.rows.len()];
    // Below this a gain is rounding, and could be gained again and again.
    let rounding = 1e-13 * problem.loss(&state.picks).abs();
    loop {
        let mut best: Option<(f64, Move)> = None;
        for change in moves(problem) {
            let loss = state.preview(change, &mut used);
            if loss < best.map_or(-rounding, |(b, _)| b) && state.excess(&used) == 0.0 {
                best = Some((loss, change));
            }
        }
        match best {
            Some((_, change)) => state.make(change),
            None => return state.picks,
        }
    }
}

fn moves<'p>(problem: &'p Problem) -> impl Iterator<Item = Move> + 'p {
    let units =
        problem.units.iter().enumerate().flat_map(|(unit, u)| {
            (0..u.options.len()).map(move |option| Move::Unit { unit, option })
        });
    let inputs = problem
        .inputs
        .iter()
        .enumerate()
        .flat_map(|(activation, open)| {
            open.iter()
                .map(move |&choice| Move::Input { activation, choice })
        });
    units.chain(inputs)
}

impl<'p, 't> State<'p, 't> {
    fn new(problem: &'p Problem<'t>, picks: Picks) -> Self {
        let used = problem
            .rows
            .iter()
            .map(|row| problem.used(row, &picks))
            .collect();
        Self {
            problem,
            picks,
            used,
        }
    }

    /// The sum of the parts by which limits are exceeded.
    fn excess(&self, used: &[f64]) -> f64 {
        let rows = self.problem.rows.iter().zip(used);
        rows.map(|(row, used)| (used / row.limit - 1.0).max(0.0))
            .sum()
    }

    /// What the rows would use after a move, into `used`; returns the change of the loss.
    fn preview(&self, change: Move, used: &mut [f64]) -> f64 {
        used.copy_from_slice(&self.used);
        let (problem, picks) = (self.problem, &self.picks);
        let mut loss = 0.0;
        match change {
            Move::Unit { unit, option } => {
                let unit = &problem.units[unit];
                for (&l, &k) in unit.layers.iter().zip(&unit.options[option]) {
                    let (now, a) = (picks.weights[l], picks.activations[problem.input(l)]);
                    let choices = &problem.table.weights()[l];
                    loss += choices[k].loss - choices[now].loss;
                    for (row, used) in problem.rows.iter().zip(&mut *used) {
                        *used += row.layer(l, k, a) - row.layer(l, now, a);
                    }
                }
            }
            Move::Input {
                activation: j,
                choice: a,
            } => {
                let now = picks.activations[j];
                let choices = &problem.table.activations()[j];
                loss += choices[a].loss - choices[now].loss;
                for (row, used) in problem.rows.iter().zip(&mut *used) {
                    *used += row.activation(j, a) - row.activation(j, now);
                    for &l in &problem.readers[j] {
                        let k = picks.weights[l];
                        *used += row.layer(l, k, a) - row.layer(l, k, now);
                    }
                }
            }
        }
        loss
    }

    fn make(&mut self, change: Move) {
        match change {
            Move::Unit { unit, option } => {
                let unit = &self.problem.units[unit];
                for (&l, &k) in unit.layers.iter().zip(&unit.options[option]) {
                    self.picks.weights[l] = k;
                }
            }
            Move::Input { activation, choice } => self.picks.activations[activation] = choice,
        }
        // Counted anew, so that rounding does not build up over many moves.
        let rows = self.problem.rows.iter();
        self.used = rows
            .map(|row| self.problem.used(row, &self.picks))
            .collect();
    }
}
