//! Exits: places before the end at which an image may leave, and what has to run to reach them.

use crate::check::require;
use crate::error::{Error, ErrorKind, Result};
use crate::{Format, Policy, Program, Value};

/// A place where an image may leave: right after the step that writes its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its name, for people.
    pub name: String,
    /// The value that holds its logits: real numbers, of the output's shape. It is written before
    /// the output is, and no step reads it.
    pub value: usize,
}

/// The most exits of a Program.
pub(crate) const MOST_EXITS: usize = 63;

impl Program {
    /// How many steps come before each way out: one entry for each exit, in order, then the number
    /// of all steps. For a Program that has passed [`Program::check`].
    pub fn depths(&self) -> Vec<usize> {
        let writer = |value| self.steps.iter().position(|s| s.output == value);
        let exits = self.exits.iter().filter_map(|e| writer(e.value));
        exits.map(|i| i + 1).chain([self.steps.len()]).collect()
    }

    /// Whether each step runs under `policy`, for an image that goes to the end: all but the steps
    /// that lead only to exits at which the policy lets nobody leave.
    pub fn runs(&self, policy: &Policy) -> Vec<bool> {
        let asked = asked(policy, self.exits.len());
        self.ways().into_iter().map(|w| w & asked != 0).collect()
    }

    /// That exits have logits like the output's, written one after another and before it.
    pub(crate) fn check_exits(&self) -> Result<()> {
        let writer = |v: usize| self.steps.iter().position(|s| s.output == v);
        let output = &self.values[self.output];
        let mut before = None;
        for (k, exit) in self.exits.iter().enumerate() {
            let v = exit.value;
            let logits = self.values.get(v).filter(|_| v != self.output);
            let real = |value: &Value| value.format == Format::Real && value.shape == output.shape;
            let check = require(logits.is_some_and(real), || {
                format!("value {v} is no logits like those of the output")
            });
            let check = check.and_then(|()| {
                let between = before < writer(v) && writer(v) < writer(self.output);
                let message = "is not written between the exit before it and the output";
                require(between, || message.into())
            });
            let place = format!("exit {k} ({})", exit.name);
            check.map_err(|message| Error::new(ErrorKind::Mismatch, place, message))?;
            before = writer(v);
        }
        Ok(())
    }

    /// The ways out that each step leads to: bit `k` is exit `k`, the bit after them the end, to
    /// which also belongs what nobody reads.
    pub(crate) fn ways(&self) -> Vec<u64> {
        let mut of_value = vec![0; self.values.len()];
        for (k, exit) in self.exits.iter().enumerate() {
            of_value[exit.value] = 1 << k;
        }
        let end = 1 << self.exits.len();
        of_value[self.output] |= end;
        let mut ways = vec![0; self.steps.len()];
        for (i, step) in self.steps.iter().enumerate().rev() {
            ways[i] = match of_value[step.output] {
                0 => end,
                led_to => led_to,
            };
            step.inputs.iter().for_each(|&v| of_value[v] |= ways[i]);
        }
        ways
    }
}

/// The ways out that `policy` asks for, as [`Program::ways`] has them; the end is always one.
pub(crate) fn asked(policy: &Policy, exits: usize) -> u64 {
    let bit = |k: usize| u64::from(policy.asks(k)) << k;
    (0..exits).map(bit).fold(1 << exits, |all, bit| all | bit)
}
