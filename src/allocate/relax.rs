//! The relaxation behind the bound: limits and ties replaced by prices.
//!
//! With a price `lambda_r >= 0` on each row, of uses `u_r` and limit `c_r`, and a transfer
//! `mu_{l,k}` for each choice of a tied layer that sums to 0 over the layers of one option,
//!
//! ```text
//! L(lambda, mu) = min over choices of  loss + sum_l mu_{l,k} + sum_r lambda_r (u_r / c_r - 1)
//! ```
//!
//! with every layer free is at most the least loss within the limits. Each layer reads one
//! activation, so the minimum splits into stars (an activation and its readers) and is exact.

use super::problem::{Picks, Problem};
use super::row::Row;

/// What limits and ties are replaced by.
#[derive(Clone)]
pub(crate) struct Prices {
    /// `lambda`, one for each row.
    pub(crate) rows: Vec<f64>,
    /// `mu`, `[layer][choice]`.
    pub(crate) transfers: Vec<Vec<f64>>,
}

impl Prices {
    /// Rows free of charge; tied layers share the loss of each option evenly.
    pub(crate) fn none(problem: &Problem) -> Self {
        let weights = problem.table.weights();
        let mut transfers: Vec<Vec<f64>> = weights.iter().map(|c| vec![0.0; c.len()]).collect();
        for unit in problem.units.iter().filter(|u| u.layers.len() > 1) {
            for option in &unit.options {
                let of_option = || unit.layers.iter().zip(option);
                let total: f64 = of_option().map(|(&l, &k)| weights[l][k].loss).sum();
                for (&l, &k) in of_option() {
                    transfers[l][k] = total / unit.layers.len() as f64 - weights[l][k].loss;
                }
            }
        }
        Self {
            rows: vec![0.0; problem.rows.len()],
            transfers,
        }
    }
}

/// One minimum of the relaxation.
pub(crate) struct Relaxed {
    /// No plan within the limits has a lower loss.
    pub(crate) bound: f64,
    /// The minimum; tied layers may differ in it.
    pub(crate) picks: Picks,
    /// `[layer][choice][input choice]`: loss, transfer and priced use; infinite where closed.
    pub(crate) priced: Vec<Vec<Vec<f64>>>,
    /// `[activation][choice]`: the star's minimum with this choice; infinite where closed.
    pub(crate) stars: Vec<Vec<f64>>,
}

/// The minimum at `prices`.
pub(crate) fn relax(problem: &Problem, prices: &Prices) -> Relaxed {
    let charged = problem
        .rows
        .iter()
        .zip(&prices.rows)
        .filter(|(_, p)| **p > 0.0);
    let rows: Vec<(&Row, f64)> = charged.map(|(row, p)| (row, p / row.limit)).collect();
    let priced = priced_layers(problem, &rows, &prices.transfers);
    let mut bound = rows
        .iter()
        .map(|(row, p)| p * (row.fixed - row.limit))
        .sum();
    let mut picks = Picks {
        weights: vec![0; priced.len()],
        activations: vec![0; problem.inputs.len()],
    };
    let mut stars = Vec::with_capacity(problem.inputs.len());
    for (j, open) in problem.inputs.iter().enumerate() {
        let choices = &problem.table.activations()[j];
        let mut star = vec![f64::INFINITY; choices.len()];
        for &a in open {
            let own: f64 = rows.iter().map(|(row, p)| p * row.activation(j, a)).sum();
            let least = |&l: &usize| least_choice(&priced[l], a).1;
            star[a] = choices[a].loss + own + problem.readers[j].iter().map(least).sum::<f64>();
        }
        let a = (0..star.len())
            .min_by(|&x, &y| star[x].total_cmp(&star[y]))
            .unwrap_or(0);
        bound += star[a];
        picks.activations[j] = a;
        for &l in &problem.readers[j] {
            picks.weights[l] = least_choice(&priced[l], a).0;
        }
        stars.push(star);
    }
    Relaxed {
        bound,
        picks,
        priced,
        stars,
    }
}

fn priced_layers(
    problem: &Problem,
    rows: &[(&Row, f64)],
    transfers: &[Vec<f64>],
) -> Vec<Vec<Vec<f64>>> {
    let mut priced = vec![Vec::new(); problem.table.weights().len()];
    for unit in &problem.units {
        for (i, &l) in unit.layers.iter().enumerate() {
            let choices = &problem.table.weights()[l];
            let inputs = problem.table.activations()[problem.input(l)].len();
            let mut of_layer = vec![vec![f64::INFINITY; inputs]; choices.len()];
            for k in unit.options.iter().map(|o| o[i]) {
                for (a, value) in of_layer[k].iter_mut().enumerate() {
                    let used: f64 = rows.iter().map(|(row, p)| p * row.layer(l, k, a)).sum();
                    *value = choices[k].loss + transfers[l][k] + used;
                }
            }
            priced[l] = of_layer;
        }
    }
    priced
}

/// The cheapest choice of a layer on an input of choice `a`, and its price.
pub(crate) fn least_choice(priced: &[Vec<f64>], a: usize) -> (usize, f64) {
    let mut least = (0, f64::INFINITY);
    for (k, by_input) in priced.iter().enumerate() {
        if by_input[a] < least.1 {
            least = (k, by_input[a]);
        }
    }
    least
}

/// The relaxed picks with tied layers brought together, each unit at its cheapest option.
pub(crate) fn tie(problem: &Problem, relaxed: &Relaxed) -> Picks {
    let mut picks = relaxed.picks.clone();
    for unit in problem.units.iter().filter(|u| u.layers.len() > 1) {
        let price = |option: &Vec<usize>| -> f64 {
            let layers = unit.layers.iter().zip(option);
            let at = |(&l, &k): (&usize, &usize)| {
                relaxed.priced[l][k][picks.activations[problem.input(l)]]
            };
            layers.map(at).sum()
        };
        let cheapest = unit
            .options
            .iter()
            .min_by(|x, y| price(x).total_cmp(&price(y)));
        if let Some(option) = cheapest.cloned() {
            for (&l, k) in unit.layers.iter().zip(option) {
                picks.weights[l] = k;
            }
        }
    }
    picks
}
