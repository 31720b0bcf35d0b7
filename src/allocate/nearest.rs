//! An answer where no plan meets the budgets: the plan nearest to them, and what stands in the
//! way.

use std::fmt;
use std::time::Instant;

use super::bound::Core;
use super::presolve::least;
use super::problem::{Picks, Problem};
use super::program::{self, Goal, Outcome};
use super::{Request, Solved, greedy, remaining};
use crate::Result;
use crate::budget::Budget;

/// Limits give way by this much more than they must, relatively: the rounding of sums.
const ROUNDING: f64 = 1e-12;

/// A budget that is missed, and by how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Shortfall {
    /// The budget.
    pub budget: Budget,
    /// What it allows: bytes, bit-operations or milliseconds.
    pub limit: f64,
    /// What the nearest plan uses.
    pub used: f64,
    /// The least that any plan with these pins and ties uses, other budgets aside.
    pub least: f64,
    /// The same without pins.
    pub least_unpinned: f64,
}

impl Shortfall {
    /// Why no plan meets the budget.
    pub fn reason(&self) -> String {
        let show = |amount| self.budget.resource.amount(amount);
        let least = show(self.least);
        if self.least <= self.limit {
            return format!("it can be met alone ({least}), but not with the others");
        }
        let free = match self.least_unpinned <= self.limit {
            true => format!(
                " with these pins; without them {}",
                show(self.least_unpinned)
            ),
            false => String::new(),
        };
        format!("no plan of these bit-widths takes less than {least}{free}")
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |amount| self.budget.resource.amount(amount);
        write!(
            f,
            "budget {} allows {}, the nearest plan takes {} ({:.1} % more): {}",
            self.budget,
            show(self.limit),
            show(self.used),
            100.0 * (self.used / self.limit - 1.0),
            self.reason()
        )
    }
}

/// The nearest picks to a problem that has none, and the budgets that they miss.
///
/// # Errors
/// As [`super::allocate`].
pub(crate) fn solve(
    problem: &Problem,
    request: &Request,
    deadline: Instant,
) -> Result<(Solved, Vec<Shortfall>)> {
    let table = problem.table;
    let leasts = least_by_budget(problem, request);
    let mut raised = problem.clone();
    for row in &mut raised.rows {
        row.raise_to(request.budgets[row.budget].resource, leasts[row.budget]);
    }
    let solved = match super::solve(&raised, deadline) {
        Some(solved) => solved,
        None => least_excess(raised, deadline),
    };
    let free = Problem::new(
        table,
        &Request {
            pins: Vec::new(),
            ..request.clone()
        },
    )?;
    let unpinned = least_by_budget(&free, request);
    let cost = table.cost(&problem.precisions(&solved.picks));
    let mut missed = Vec::new();
    for (i, &budget) in request.budgets.iter().enumerate() {
        let used = budget.resource.of(&cost).unwrap_or(0.0);
        let exceeded = |picks: &Picks| {
            let mut rows = problem.rows.iter().filter(|row| row.budget == i);
            rows.any(|row| problem.used(row, picks) > row.limit)
        };
        if exceeded(&solved.picks) {
            let limit = budget.amount(table.sizes());
            let (least, least_unpinned) = (leasts[i], unpinned[i]);
            missed.push(Shortfall {
                budget,
                limit,
                used,
                least,
                least_unpinned,
            });
        }
    }
    Ok((solved, missed))
}

/// The least that any plan uses of each budget's resource.
fn least_by_budget(problem: &Problem, request: &Request) -> Vec<f64> {
    let mut leasts = vec![0.0; request.budgets.len()];
    for row in &problem.rows {
        leasts[row.budget] = f64::max(leasts[row.budget], least(problem, row));
    }
    leasts
}

/// Where budgets that can each be met exclude each other (times that fall as bits rise, or
/// ties): the least part by which all must give way together, and the best plan for it.
fn least_excess(mut problem: Problem, deadline: Instant) -> Solved {
    let core = Core::whole(&problem);
    let start = greedy::reduce(&problem, first_picks(&problem));
    let found = program::solve(
        &problem,
        &core,
        Goal::Excess,
        Some(&start),
        remaining(deadline),
    );
    let worst = |picks: &Picks| {
        let excess = problem
            .rows
            .iter()
            .map(|row| problem.used(row, picks) / row.limit - 1.0);
        excess.fold(0.0, f64::max)
    };
    let picks = match found {
        Outcome::Found { picks, .. } if worst(&picks) < worst(&start) => picks,
        Outcome::Found { .. } | Outcome::Infeasible | Outcome::Unknown => start,
    };
    let factor = 1.0 + worst(&picks) + ROUNDING;
    for row in &mut problem.rows {
        row.limit *= factor;
    }
    super::solve(&problem, deadline).unwrap_or(Solved {
        picks,
        bound: f64::NEG_INFINITY,
    })
}

/// Some picks: the first open choice of everything.
fn first_picks(problem: &Problem) -> Picks {
    let mut weights = vec![0; problem.table.weights().len()];
    for unit in &problem.units {
        for (&l, &k) in unit.layers.iter().zip(&unit.options[0]) {
            weights[l] = k;
        }
    }
    Picks {
        weights,
        activations: problem.inputs.iter().map(|open| open[0]).collect(),
    }
}
