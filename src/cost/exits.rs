//! What an image costs that leaves a Program at an exit.
//!
//! `C_k` is the work of every step that runs before exit `k` lets the image go, all heads on the
//! way included; leaving fractions `f_k` cost `sum_k f_k C_k` on average. Where first and last
//! layers are counted at 8x8, the last layers are those that write the logits of an exit or of the
//! output.

use exbit_engine::{Format, Policy, Program, Step, StepKind};

/// The work of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bit-operations: MACs x weight bits x input bits.
    pub bops: u64,
    /// Bit-operations with the first layer and those that answer counted at 8x8.
    pub bops_edges_at_8: u64,
}

/// The work of an image that leaves at each exit of `program` under `policy`, then of one that goes
/// to the end. Heads at which the policy lets nobody leave do not run: under [`Policy::Never`] the
/// last entry is the network without exits. `program` has passed its check, `policy` is for it.
pub fn work_to_exits(program: &Program, policy: &Policy) -> Vec<Work> {
    let layer = |s: &Step| matches!(s.kind, StepKind::Conv(_));
    let whole = program.runs(&Policy::Never);
    let first = program.steps.iter().position(layer);
    let last = (0..program.steps.len()).rfind(|&i| whole[i] && layer(&program.steps[i]));
    let exit = |s: &Step| program.exits.iter().any(|e| e.value == s.output);
    let runs = program.runs(policy);
    let (mut sum, mut done) = (Work::default(), 0);
    let mut ways = Vec::new();
    for depth in program.depths() {
        for i in (done..depth).filter(|&i| runs[i]) {
            let step = &program.steps[i];
            let edge = [first, last].contains(&Some(i)) || exit(step);
            let Work { macs, bops, .. } = work(program, step);
            sum.macs += macs;
            sum.bops += bops;
            sum.bops_edges_at_8 += if edge { 64 * macs } else { bops };
        }
        done = depth;
        ways.push(sum);
    }
    ways
}

/// The bit-operations of [`work_to_exits`].
pub fn bops_to_exits(program: &Program, policy: &Policy) -> Vec<u64> {
    let work = work_to_exits(program, policy).into_iter();
    work.map(|w| w.bops).collect()
}

/// `sum_k f_k C_k`, with `fractions` of 1.
pub fn expected(fractions: &[f64], costs: impl IntoIterator<Item = u64>) -> f64 {
    let pairs = fractions.iter().zip(costs);
    pairs.map(|(f, cost)| f * cost as f64).sum()
}

fn work(program: &Program, step: &Step) -> Work {
    let (StepKind::Conv(conv), Format::Codes(grid)) =
        (&step.kind, program.values[step.inputs[0]].format)
    else {
        return Work::default();
    };
    let [h, w, _] = program.values[step.output].shape;
    let macs = conv.weights.shape.iter().product::<usize>() as u64 * (h * w) as u64;
    let bops = macs * u64::from(conv.weights.bits.get()) * u64::from(grid.bits.get());
    Work {
        macs,
        bops,
        bops_edges_at_8: bops,
    }
}
