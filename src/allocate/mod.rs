//! Bits under a budget: the plan of least expected loss, by an integer program.
//!
//! ```text
//! min   sum_l loss_l(w_l) + sum_j loss_j(a_j)
//! s.t.  uses of every limited resource within its limit
//! ```
//!
//! over the bit-widths `w_l` of layers and `a_j` of activations. `row` says what a limit sums,
//! `problem` what is open. `presolve` drops what cannot matter, `bound` climbs a Lagrangian bound
//! and finds good plans (`greedy`), `program` proves the best one. A budget that no plan meets is
//! answered with the `nearest`; `front` sweeps one budget.

mod bound;
mod choice;
mod front;
mod greedy;
mod nearest;
mod presolve;
mod problem;
mod program;
mod relax;
mod row;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use front::{Change, Exchange, exchanges, front};
pub use nearest::Shortfall;

use crate::Result;
use crate::budget::{Budget, Pin};
use crate::cost::{Cost, Precisions, Table};
use bound::Bounds;
use problem::{Picks, Problem};
use program::{Goal, Outcome};

/// The smallest relative distance of loss and bound that counts as one.
const PROVEN: f64 = 1e-9;

/// A search this long is one without a time limit.
const LONGEST: Duration = Duration::from_secs(1 << 30);

/// What a plan must keep to.
#[derive(Clone, Debug)]
pub struct Request {
    /// Limits; all of them hold.
    pub budgets: Vec<Budget>,
    /// Layers whose bits are given; where two name one layer or activation, the later holds.
    pub pins: Vec<Pin>,
    /// Whether the layers of one tie must have the same bits.
    pub tied: bool,
    /// How long to search for a proof; the best plan so far is the answer then.
    pub time_limit: Duration,
}

impl Default for Request {
    fn default() -> Self {
        let time_limit = Duration::from_secs(10);
        Self {
            budgets: Vec::new(),
            pins: Vec::new(),
            tied: false,
            time_limit,
        }
    }
}

/// The plan of least expected loss that was found, and how good it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The bits.
    pub precisions: Precisions,
    /// Expected loss: the sum of the table's losses.
    pub loss: f64,
    /// No plan within the limits (raised, where budgets are missed) has a loss below this.
    pub bound: f64,
    /// What the plan costs.
    pub cost: Cost,
    /// The budgets that no plan meets: empty where all are met.
    pub missed: Vec<Shortfall>,
}

impl Allocation {
    /// How far the loss can be above the least, relative to it: 0 where it is proven least,
    /// infinite where nothing is known.
    pub fn gap(&self) -> f64 {
        let distance = self.loss - self.bound;
        if distance <= PROVEN * self.loss.abs() {
            0.0
        } else {
            distance / self.loss.abs()
        }
    }
}

/// The plan of least expected loss within every budget of `request`.
///
/// Where no plan is, the one that exceeds them least: each budget that cannot be met alone is
/// exceeded as little as any plan does, all others are kept, and the loss is the least for that.
///
/// # Errors
/// `Mismatch` for a latency budget without measured times, a pin that names no layer or bits
/// that are no choice, and tied layers without a bit-width in common.
pub fn allocate(table: &Table, request: &Request) -> Result<Allocation> {
    let deadline = Instant::now() + request.time_limit.min(LONGEST);
    let mut problem = Problem::new(table, request)?;
    let (solved, missed) = loop {
        // A plan may show that a row of a peak is missing: then time is needed once more.
        let round = match problem.has_peaks() {
            true => Instant::now() + remaining(deadline) / 2,
            false => deadline,
        };
        let (solved, missed) = match solve(&problem, round) {
            Some(solved) => (solved, Vec::new()),
            None => nearest::solve(&problem, request, round)?,
        };
        if !problem.add_beyond(&solved.picks) {
            break (solved, missed);
        }
    };
    let precisions = problem.precisions(&solved.picks);
    let cost = table.cost(&precisions);
    Ok(Allocation {
        loss: problem.loss(&solved.picks),
        bound: solved.bound,
        precisions,
        cost,
        missed,
    })
}

/// Picks, and a loss that none within the limits is below.
struct Solved {
    picks: Picks,
    bound: f64,
}

/// The best picks within the limits; `None` where there are none (or, when time runs out before
/// any is found, none is known).
fn solve(problem: &Problem, deadline: Instant) -> Option<Solved> {
    if problem
        .rows
        .iter()
        .any(|row| presolve::least(problem, row) > row.limit)
    {
        return None;
    }
    let problem = &presolve::simplify(problem.clone());
    let mut bounds = bound::climb(problem, None);
    if bounds.best.is_none() {
        let everything = bound::Core::whole(problem);
        match program::solve(problem, &everything, Goal::Loss, None, remaining(deadline)) {
            Outcome::Found { picks, .. } if problem.fits(&picks) => {
                bounds = bound::climb(problem, Some(picks));
            }
            Outcome::Found { .. } | Outcome::Infeasible | Outcome::Unknown => return None,
        }
    }
    let best = bounds.best.take()?;
    Some(prove(problem, &bounds, best, deadline))
}

/// Parts of the distance from bound to plan within which choices are looked for. A narrow core
/// is quick and mostly has the best plan, whose loss makes the whole one small.
const PARTS: [f64; 2] = [0.3, 1.0];

/// Improves `best` to the best picks within the limits, as far as time allows.
fn prove(problem: &Problem, bounds: &Bounds, mut best: Picks, deadline: Instant) -> Solved {
    let mut bound = bounds.lower;
    for part in PARTS {
        let upper = problem.loss(&best);
        if upper - bound <= PROVEN * upper.abs() {
            break;
        }
        let core = bound::core(problem, bounds, upper, part);
        let time = if part < 1.0 {
            remaining(deadline) / 2
        } else {
            remaining(deadline)
        };
        let outcome = program::solve(problem, &core, Goal::Loss, Some(&best), time);
        let mut proven = f64::NEG_INFINITY;
        match outcome {
            Outcome::Found {
                picks,
                optimal,
                bound,
            } if problem.fits(&picks) => {
                let loss = problem.loss(&picks);
                if loss < upper {
                    best = picks;
                }
                proven = if optimal { loss.min(upper) } else { bound };
            }
            Outcome::Found { bound, .. } => proven = bound,
            Outcome::Infeasible => proven = upper,
            Outcome::Unknown => {}
        }
        // Only the whole core has every better plan.
        if part == 1.0 {
            bound = bound.max(proven);
        }
    }
    let loss = problem.loss(&best);
    Solved {
        picks: best,
        bound: bound.min(loss),
    }
}

/// The time that is left, and never none: a little is enough for small problems.
fn remaining(deadline: Instant) -> Duration {
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(50))
}
