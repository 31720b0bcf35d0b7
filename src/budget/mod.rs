//! What a plan may cost: budgets and pins, as they are written on the command line.
//!
//! ```text
//! weights=8x  weights=96KiB  weights=4.0bits    packed weight bytes
//! activations=120KB                             bytes of all activations together
//! peak-activations=64KiB                        bytes of the activations alive at once
//! memory=0.5MiB                                 weights and the activations' peak together
//! bops=0.4G  bops=20x                           bit-operations of one image, as planned
//! latency=2ms                                   measured time of one image
//! ```
//!
//! `x` is times smaller than the float network, `bits` the mean over all weights or activations; an
//! answer keeps its 32 bits an entry. Bytes take B, KB, MB, GB (powers of 1000) or KiB, MiB, GiB
//! (powers of 1024).

mod pin;

use std::fmt;
use std::str::FromStr;

pub use pin::Pin;
use serde::Serialize;

use crate::cost::{Cost, REAL_BITS, Sizes, float_cost};
use crate::{Error, ErrorKind, Result};

/// Something that a plan uses up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Resource {
    /// Packed weight bytes.
    #[serde(rename = "weight_bytes")]
    Weights,
    /// Bytes of all activations together.
    #[serde(rename = "activation_bytes_sum")]
    Activations,
    /// Bytes of the activations that are alive at once.
    #[serde(rename = "activation_bytes_peak")]
    PeakActivations,
    /// Weights and the activations' peak together.
    #[serde(rename = "memory_bytes")]
    Memory,
    /// Bit-operations, as planned.
    #[serde(rename = "bops")]
    Bops,
    /// Measured time, in milliseconds.
    #[serde(rename = "latency_ms")]
    Latency,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 6] = [
        Resource::Weights,
        Resource::Activations,
        Resource::PeakActivations,
        Resource::Memory,
        Resource::Bops,
        Resource::Latency,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Weights => "weights",
            Resource::Activations => "activations",
            Resource::PeakActivations => "peak-activations",
            Resource::Memory => "memory",
            Resource::Bops => "bops",
            Resource::Latency => "latency",
        }
    }

    /// How much of it `cost` has, in bytes, bit-operations or milliseconds; `None` for a latency
    /// that was not measured.
    pub fn of(self, cost: &Cost) -> Option<f64> {
        let count = match self {
            Resource::Weights => cost.weight_bytes,
            Resource::Activations => cost.activation_bytes_sum,
            Resource::PeakActivations => cost.activation_bytes_peak,
            Resource::Memory => cost.memory_bytes(),
            Resource::Bops => cost.bops,
            Resource::Latency => return cost.latency_ms,
        };
        Some(count as f64)
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Resource::Weights
            | Resource::Activations
            | Resource::PeakActivations
            | Resource::Memory => Unit::Bytes,
            Resource::Bops => Unit::Operations,
            Resource::Latency => Unit::Milliseconds,
        }
    }

    /// Units of amounts, the smallest first, and what one of each is.
    fn units(self) -> &'static [(&'static str, f64)] {
        match self.unit() {
            Unit::Operations => &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)],
            Unit::Milliseconds => &[("us", 1e-3), ("ms", 1.0), ("s", 1e3)],
            Unit::Bytes => &[
                ("B", 1.0),
                ("KB", 1e3),
                ("KiB", 1024.0),
                ("MB", 1e6),
                ("MiB", 1048576.0),
                ("GB", 1e9),
                ("GiB", 1073741824.0),
            ],
        }
    }

    /// `amount` in the largest unit in which it is a short number that is read back as it is:
    /// `96KiB`, `400M`.
    fn written(self, amount: f64) -> String {
        let plain = match self.unit() {
            Unit::Operations => amount.to_string(),
            Unit::Bytes => format!("{amount}B"),
            Unit::Milliseconds => format!("{amount}ms"),
        };
        let short = |&(name, size): &(&str, f64)| {
            let number = (amount / size).to_string();
            let same = number.parse::<f64>().is_ok_and(|n| n * size == amount);
            (amount >= size && same && number.len() <= 6).then(|| number + name)
        };
        self.units().iter().rev().find_map(short).unwrap_or(plain)
    }

    fn expected(self) -> &'static str {
        match self.unit() {
            Unit::Operations => "a number of bit-operations as 0.4G or 400M, or 20x",
            Unit::Milliseconds => "a time as 2ms, 500us or 0.1s",
            Unit::Bytes => "8x, 4.0bits, or bytes with their unit as 96KiB or 120KB",
        }
    }
}

/// What amounts of a resource are counted in.
pub(crate) enum Unit {
    Bytes,
    Operations,
    Milliseconds,
}

/// How much of a resource a plan may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Bytes, bit-operations or milliseconds.
    Amount(f64),
    /// This many times less than the float network; nothing for times, which it has none of.
    Ratio(f64),
    /// Bits on average over all weights or activations, each rounded up to whole bytes; nothing
    /// for operations and times.
    MeanBits(f64),
}

/// A resource and how much of it a plan may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// What is limited.
    pub resource: Resource,
    /// To how much.
    pub limit: Limit,
}

impl Budget {
    /// The limit in bytes, bit-operations or milliseconds for a network of `sizes`.
    pub fn amount(&self, sizes: &Sizes) -> f64 {
        let at_bits = |bits: f64| mean_bits_amount(self.resource, sizes, bits);
        match self.limit {
            Limit::Amount(amount) => amount,
            Limit::MeanBits(bits) => at_bits(bits),
            Limit::Ratio(ratio) if self.resource == Resource::Bops => {
                float_cost(sizes).bops as f64 / ratio
            }
            Limit::Ratio(ratio) => at_bits(32.0 / ratio),
        }
    }
}

/// What uniform `bits`, whole or not, cost: each layer rounds up, so that a uniform plan of
/// 4 bits meets `4bits` and `8x` exactly.
fn mean_bits_amount(resource: Resource, sizes: &Sizes, bits: f64) -> f64 {
    let bytes = |count: u64| (count as f64 * bits / 8.0).ceil();
    let values: Vec<f64> = sizes
        .values()
        .iter()
        .map(|v| match v.activation {
            Some(_) => v.lines as f64 * bytes(v.line),
            None => v.bytes(REAL_BITS) as f64,
        })
        .collect();
    let alive = |moment: &Vec<usize>| moment.iter().map(|&v| values[v]).sum();
    let weights = || sizes.layers().iter().map(|l| bytes(l.weights)).sum::<f64>();
    let peak = || sizes.moments().iter().map(alive).fold(0.0, f64::max);
    match resource {
        Resource::Weights => weights(),
        Resource::Activations => values.iter().sum(),
        Resource::PeakActivations => peak(),
        Resource::Memory => weights() + peak(),
        Resource::Bops | Resource::Latency => f64::INFINITY,
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |message: String| {
            Err(Error::new(
                ErrorKind::Malformed,
                format!("budget {text}"),
                message,
            ))
        };
        let Some((name, value)) = text.split_once('=') else {
            return fail("expected RESOURCE=LIMIT, as weights=8x".into());
        };
        let Some(resource) = Resource::ALL.into_iter().find(|r| r.name() == name.trim()) else {
            let (name, names) = (name.trim(), Resource::ALL.map(Resource::name).join(", "));
            return fail(format!("unknown resource {name}; expected one of {names}"));
        };
        let Some(limit) = parse_limit(resource, value.trim()) else {
            return fail(format!(
                "cannot read {:?}; expected {}",
                value.trim(),
                resource.expected()
            ));
        };
        let (Limit::Amount(n) | Limit::Ratio(n) | Limit::MeanBits(n)) = limit;
        if !(n.is_finite() && n > 0.0) {
            return fail(format!("the limit is {n}; expected more than 0"));
        }
        let whole = !matches!(resource.unit(), Unit::Milliseconds);
        if matches!(limit, Limit::Amount(n) if whole && n < 1.0) {
            let expected = resource.expected();
            return fail(format!(
                "less than one; is a unit missing? expected {expected}"
            ));
        }
        Ok(Self { resource, limit })
    }
}

fn parse_limit(resource: Resource, value: &str) -> Option<Limit> {
    let unit_at = value.trim_end_matches(|c: char| c.is_alphabetic()).len();
    let (number, unit) = value.split_at(unit_at);
    let number: f64 = number.trim().parse().ok()?;
    match (unit.to_ascii_lowercase().as_str(), resource) {
        ("x", Resource::Latency) => None,
        ("x", _) => Some(Limit::Ratio(number)),
        ("bits" | "bit", Resource::Bops | Resource::Latency) => None,
        ("bits" | "bit", _) => Some(Limit::MeanBits(number)),
        (unit, resource) => {
            let called = |(name, _): &&(&str, f64)| name.eq_ignore_ascii_case(unit);
            let (_, size) = resource.units().iter().find(called)?;
            Some(Limit::Amount(number * size))
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.resource.name();
        match self.limit {
            Limit::Amount(amount) => write!(f, "{name}={}", self.resource.written(amount)),
            Limit::Ratio(ratio) => write!(f, "{name}={ratio}x"),
            Limit::MeanBits(bits) => write!(f, "{name}={bits}bits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{LayerSize, Precisions, ValueSize, cost};
    use exbit_kernels::Bits;

    fn sizes() -> Sizes {
        let layer = |n, input| LayerSize {
            name: format!("l{n}"),
            weights: n,
            macs: 10 * n,
            input,
            tie: None,
        };
        let value = |i: usize, line: u64| ValueSize {
            activation: Some(i),
            lines: 1,
            line,
            place: i,
        };
        let moments = vec![vec![0], vec![0, 1]];
        Sizes::new(
            vec![layer(101, 0), layer(77, 1)],
            vec!["a33".into(), "a47".into()],
            vec![value(0, 33), value(1, 47)],
            moments,
        )
        .unwrap()
    }

    #[test]
    fn limits_in_every_unit() {
        let check = |text: &str, expected: f64| {
            let budget: Budget = text.parse().unwrap();
            assert_eq!(budget.amount(&sizes()), expected, "{text}");
            assert_eq!(budget.to_string().parse(), Ok(budget), "{text}");
        };
        check("weights=96KiB", 98304.0);
        check("weights = 120 kb", 120_000.0);
        check("weights=4.0bits", 51.0 + 39.0);
        check("weights=8x", 51.0 + 39.0);
        check("activations=0.5MiB", 524288.0);
        check("activations=8bits", 80.0);
        check("peak-activations=4x", 80.0);
        check("memory=2e3B", 2000.0);
        check("memory=32x", 13.0 + 10.0 + 5.0 + 6.0);
        check("bops=0.4G", 4e8);
        check("bops=1000", 1000.0);
        check("bops=1024x", 1780.0);
        check("latency=2ms", 2.0);
        check("latency=500us", 0.5);
        check("latency=0.1s", 100.0);
    }

    #[test]
    fn limits_are_written_as_people_write_them() {
        for (text, expected) in [
            ("weights=98304B", "weights=96KiB"),
            ("memory=120kb", "memory=120KB"),
            ("bops=0.4g", "bops=400M"),
            ("bops=1234567890", "bops=1234567890"),
            ("latency=0.5ms", "latency=500us"),
            ("latency=0.0001ms", "latency=0.0001ms"),
            ("weights=8x", "weights=8x"),
        ] {
            let budget: Budget = text.parse().unwrap();
            assert_eq!(budget.to_string(), expected);
            assert_eq!(expected.parse(), Ok(budget));
        }
        let forgotten = "bops=0.4".parse::<Budget>().unwrap_err().to_string();
        assert!(forgotten.contains("unit missing"), "{forgotten}");
    }

    #[test]
    fn a_uniform_plan_meets_its_own_mean_exactly() {
        let four = Bits::new(4).unwrap();
        let cost = cost(&sizes(), &Precisions::uniform(&sizes(), four, four));
        for resource in [Resource::Weights, Resource::Activations, Resource::Memory] {
            let budget = Budget {
                resource,
                limit: Limit::MeanBits(4.0),
            };
            assert_eq!(resource.of(&cost), Some(budget.amount(&sizes())));
        }
    }

    #[test]
    fn what_is_no_budget_is_an_error_that_says_what_one_is() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert_eq!(error, format!("budget {text}: {expected}"));
        };
        let bytes = "8x, 4.0bits, or bytes with their unit as 96KiB or 120KB";
        check("8x", "expected RESOURCE=LIMIT, as weights=8x");
        check(
            "weigths=8x",
            "unknown resource weigths; expected one of \
            weights, activations, peak-activations, memory, bops, latency",
        );
        check("weights=4", &format!("cannot read \"4\"; expected {bytes}"));
        check(
            "weights=nan",
            &format!("cannot read \"nan\"; expected {bytes}"),
        );
        check(
            "weights=4MHz",
            &format!("cannot read \"4MHz\"; expected {bytes}"),
        );
        check("weights=0x", "the limit is 0; expected more than 0");
        check("weights=-4bits", "the limit is -4; expected more than 0");
        check("weights=1e999KiB", "the limit is inf; expected more than 0");
        check(
            "latency=8x",
            "cannot read \"8x\"; expected a time as 2ms, 500us or 0.1s",
        );
        check(
            "bops=4bits",
            "cannot read \"4bits\"; expected a number of bit-operations as 0.4G \
            or 400M, or 20x",
        );
    }
}
