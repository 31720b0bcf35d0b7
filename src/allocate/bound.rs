//! How good a plan can be at best: the Lagrangian bound, climbed, and what it rules out.
//!
//! The bound of `relax` is concave in the prices; subgradient steps of Polyak's length climb it,
//! towards the loss of the best plan known. A choice whose star costs more than the star's least
//! by the distance from the bound to that loss is in no better plan: what is left, the core, is
//! usually small.

use super::greedy;
use super::problem::{Picks, Problem};
use super::relax::{Prices, Relaxed, least_choice, relax, tie};

const ITERATIONS: usize = 400;
/// Steps without a better bound before their length is halved.
const PATIENCE: usize = 12;
/// A plan is made from every so many-th relaxed one.
const PLAN_EVERY: usize = 20;

/// What the climb found.
pub(crate) struct Bounds {
    /// No plan within the limits has a lower loss.
    pub(crate) lower: f64,
    /// The best plan found, if any.
    pub(crate) best: Option<Picks>,
    /// The prices at `lower`.
    prices: Prices,
}

/// The choices that a plan better than the best known could still make.
pub(crate) struct Core {
    /// Open (choice, input choice) pairs of each layer.
    pub(crate) pairs: Vec<Vec<(usize, usize)>>,
    /// Open choices of each activation.
    pub(crate) inputs: Vec<Vec<usize>>,
}

impl Core {
    /// All that is open in `problem`.
    pub(crate) fn whole(problem: &Problem) -> Self {
        let mut pairs = vec![Vec::new(); problem.table.weights().len()];
        for unit in &problem.units {
            for (i, &l) in unit.layers.iter().enumerate() {
                let inputs = &problem.inputs[problem.input(l)];
                for k in unit.options.iter().map(|o| o[i]) {
                    pairs[l].extend(inputs.iter().map(|&a| (k, a)));
                }
            }
        }
        Self {
            pairs,
            inputs: problem.inputs.clone(),
        }
    }
}

/// Climbs the bound, from plan `start` if there is one, and collects plans on the way.
pub(crate) fn climb(problem: &Problem, start: Option<Picks>) -> Bounds {
    let mut best = start.map(|p| (problem.loss(&p), p));
    let mut prices = Prices::none(problem);
    let mut bounds = Bounds {
        lower: f64::NEG_INFINITY,
        best: None,
        prices: prices.clone(),
    };
    let (mut length, mut stale) = (1.0, 0);
    for i in 0..ITERATIONS {
        let relaxed = relax(problem, &prices);
        let gain = relaxed.bound - bounds.lower;
        if gain > 0.0 {
            bounds.lower = relaxed.bound;
            bounds.prices.clone_from(&prices);
        }
        stale = if gain > 1e-6 * relaxed.bound.abs() {
            0
        } else {
            stale + 1
        };
        if stale >= PATIENCE {
            (length, stale) = (length * 0.5, 0);
            prices.clone_from(&bounds.prices);
        }
        if i % PLAN_EVERY == 0 {
            keep_better(problem, &mut best, tie(problem, &relaxed));
        }
        let known = best.as_ref().map(|b| b.0);
        let upper = known.unwrap_or(relaxed.bound.abs() * 2.0 + 1.0);
        let met = known.is_some_and(|k| k - bounds.lower <= 1e-12 * k.abs());
        let distance = (upper - relaxed.bound) * length;
        if met || length < 1e-4 || !step(problem, &relaxed, distance, &mut prices) {
            break;
        }
    }
    bounds.best = best.map(|b| b.1);
    bounds
}

/// Moves rows' prices along what the picks exceed, and transfers along what tied layers differ
/// by; `false` where neither moves. The two are of different units, so each has its own length.
fn step(problem: &Problem, relaxed: &Relaxed, distance: f64, prices: &mut Prices) -> bool {
    let excess = |row, price: f64| {
        let excess = problem.used(row, &relaxed.picks) / row.limit - 1.0;
        if price == 0.0 {
            excess.max(0.0)
        } else {
            excess
        }
    };
    let rows = problem.rows.iter().zip(&prices.rows);
    let slopes: Vec<f64> = rows.map(|(row, &price)| excess(row, price)).collect();
    let differences = differences(problem, &relaxed.picks);
    let square = |slopes: &[f64]| slopes.iter().map(|g| g * g).sum::<f64>();
    let of_rows = square(&slopes);
    let of_ties = differences.iter().map(|d| square(d)).sum::<f64>();
    let both = if of_rows > 0.0 && of_ties > 0.0 {
        0.5
    } else {
        1.0
    };
    if of_rows > 0.0 {
        for (price, g) in prices.rows.iter_mut().zip(slopes) {
            *price = (*price + both * distance / of_rows * g).max(0.0);
        }
    }
    if of_ties > 0.0 {
        for (transfer, g) in prices
            .transfers
            .iter_mut()
            .flatten()
            .zip(differences.iter().flatten())
        {
            *transfer += both * distance / of_ties * g;
        }
    }
    of_rows > 0.0 || of_ties > 0.0
}

/// Of each choice of each tied layer: whether it is picked, less the part of its tie that picks
/// that option. Sums to 0 over the layers of an option.
fn differences(problem: &Problem, picks: &Picks) -> Vec<Vec<f64>> {
    let weights = problem.table.weights();
    let mut differences: Vec<Vec<f64>> = weights.iter().map(|c| vec![0.0; c.len()]).collect();
    for unit in problem.units.iter().filter(|u| u.layers.len() > 1) {
        for option in &unit.options {
            let picked = |l: usize, k: usize| f64::from(u8::from(picks.weights[l] == k));
            let of_option = || unit.layers.iter().zip(option);
            let part = of_option().map(|(&l, &k)| picked(l, k)).sum::<f64>();
            for (&l, &k) in of_option() {
                differences[l][k] = picked(l, k) - part / unit.layers.len() as f64;
            }
        }
    }
    differences
}

fn keep_better(problem: &Problem, best: &mut Option<(f64, Picks)>, picks: Picks) {
    let reduced = greedy::reduce(problem, picks);
    if !problem.fits(&reduced) {
        return;
    }
    let plan = greedy::improve(problem, reduced);
    let loss = problem.loss(&plan);
    if best.as_ref().is_none_or(|b| loss < b.0) && problem.fits(&plan) {
        *best = Some((loss, plan));
    }
}

/// The choices that could be part of a plan of lower loss than `upper`; of those with `part`
/// below 1 only the likelier ones.
pub(crate) fn core(problem: &Problem, bounds: &Bounds, upper: f64, part: f64) -> Core {
    let relaxed = relax(problem, &bounds.prices);
    // Rounding of the sums must not rule anything out.
    let rounding = 1e-9 * (upper.abs() + relaxed.bound.abs());
    let room = part * (upper - relaxed.bound) + rounding;
    let least = |star: &[f64]| star.iter().copied().fold(f64::INFINITY, f64::min);
    let open_inputs = |star: &Vec<f64>| {
        (0..star.len())
            .filter(|&a| star[a] - least(star) <= room)
            .collect()
    };
    let open_pairs = |l: usize| {
        let star = &relaxed.stars[problem.input(l)];
        let priced = &relaxed.priced[l];
        let mut open = Vec::new();
        for (k, by_input) in priced.iter().enumerate() {
            for (a, price) in by_input.iter().enumerate() {
                let above = star[a] - least_choice(priced, a).1 + price - least(star);
                if star[a].is_finite() && price.is_finite() && above <= room {
                    open.push((k, a));
                }
            }
        }
        open
    };
    Core {
        pairs: (0..relaxed.priced.len()).map(open_pairs).collect(),
        inputs: relaxed.stars.iter().map(open_inputs).collect(),
    }
}
