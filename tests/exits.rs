//! Choosing thresholds tells what a Session then does: where images leave, and the work of each
//! way out is that of the steps that run.

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "../crates/engine/tests/random/mod.rs"]
mod random;

use exbit::cost::work_to_exits;
use exbit::exits::{Goal, HeldOut, Rule, Thresholds, calibrate};
use exbit_engine::{Policy, Program, Session};
use random::Random;

fn programs(count: u64) -> impl Iterator<Item = (Random, Program)> {
    let all = (0..).map(|seed| {
        let mut random = Random::new(seed);
        let steps = 4 + random.below(6);
        let program = random::with_exits(&mut random, steps);
        (random, program)
    });
    all.filter(|(_, program)| !program.exits.is_empty())
        .take(count as usize)
}

#[test]
fn a_session_leaves_as_the_choice_said() {
    for (i, (mut random, mut program)) in programs(40).enumerate() {
        let mut session = Session::new(&program, 2).unwrap();
        let images = 30;
        let pixels: Vec<u8> = (0..images)
            .flat_map(|_| random.pixels(session.input_len()))
            .collect();
        let every = session.run_every_exit(&pixels, images).unwrap();
        let classes = program.values[program.output].len();
        let labels: Vec<usize> = (0..images).map(|_| random.below(classes)).collect();
        let mut held = HeldOut::new(program.exits.len());
        held.add(every, &labels);
        let costs = |p: &Policy| -> Vec<u64> {
            let work = work_to_exits(&program, p).into_iter();
            work.map(|w| w.bops).collect()
        };
        let full = *costs(&Policy::Never).last().unwrap() as f64;
        let mut policies = vec![program.policy.clone()];
        for rule in [Rule::MaxSoftmax, Rule::Entropy, Rule::Patience] {
            for goal in [Goal::Drop(20.0), Goal::Bops(0.7 * full)] {
                let found = calibrate(&held, rule, Thresholds::PerExit, goal, &costs);
                policies.push(found.chosen.policy);
            }
        }
        let outcomes: Vec<_> = policies.iter().map(|p| held.outcome(p, &costs)).collect();
        for (policy, outcome) in policies.iter().zip(outcomes) {
            session.set_policy(policy).unwrap();
            session.run_batch(&pixels, images).unwrap();
            let at = |way| session.exits().iter().filter(|&&e| e == way).count() as f64;
            let ways = 0..=program.exits.len();
            let fractions: Vec<f64> = ways.map(|way| at(way) / images as f64).collect();
            assert_eq!(fractions, outcome.fractions, "program {i}, {policy}");
            program.policy = policy.clone();
            program.check().unwrap();
        }
    }
}

#[test]
fn work_is_that_of_the_steps_that_run() {
    for (i, (mut random, program)) in programs(60).enumerate() {
        let mut session = Session::new(&program, 1).unwrap();
        let pixels = random.pixels(session.input_len());
        let times = session.profile(&pixels, 1).unwrap();
        let macs = |step: usize| times[step + 1].macs;
        let n = program.exits.len();
        let mut policies = vec![program.policy.clone(), Policy::Never, Policy::Patience(1)];
        policies.push(Policy::Entropy(vec![-1.0; n]));
        for policy in policies {
            let runs = program.runs(&policy);
            let work = work_to_exits(&program, &policy);
            assert_eq!(work.len(), n + 1);
            for (depth, work) in program.depths().into_iter().zip(work) {
                let expected: u64 = (0..depth).filter(|&s| runs[s]).map(macs).sum();
                assert_eq!(work.macs, expected, "program {i}, {policy}");
                assert!(work.bops <= 64 * work.macs && work.bops_edges_at_8 >= work.bops);
            }
        }
        let shut = work_to_exits(&program, &Policy::Entropy(vec![-1.0; n]));
        assert_eq!(shut, work_to_exits(&program, &Policy::Never));
    }
}
