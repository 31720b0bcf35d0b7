//! Times of each layer at each pair of bit-widths, measured on the engine's own kernels on this
//! machine: what a `latency=` budget is kept with.
//!
//! For every pair (weight bits, activation bits) the whole network is lowered with made-up codes,
//! as the time of a layer does not depend on their values, and run step by step on one thread. A
//! layer is thus timed where it will stand, with the caches as its neighbours leave them. The
//! networks take turns, so that a machine that slows down slows all of them; a time is the lower
//! quartile over all turns and over all layers of one shape. All other steps are one sum.
//!
//! Times are kept in a file ([`Kept`]), to which pairs that it lacks are added. When times are used
//! ([`Times::of`]) they depart from what the clock said in one way, so that the allocation does not
//! buy noise: times of one layer that hardly differ count as equal.

mod file;
mod kept;
mod made_up;
mod measure;

use std::fmt;

use exbit_kernels::Bits;

pub use kept::Kept;
pub(crate) use measure::layer_steps;
pub use measure::turns;

use crate::cost::Latency;
use crate::prepare::Network;
use crate::sensitivity::Candidates;
use crate::{Error, ErrorKind, Result};

/// Times of one layer that differ by less than this share are taken as equal.
const NOISE: f64 = 0.05;
/// The threads that times are of.
const THREADS: usize = 1;

/// Measured times of one network on one machine, of one image on one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// The processor's name.
    pub cpu: String,
    /// The instructions that the kernels used.
    pub isa: String,
    /// The version of exbit whose kernels were measured.
    pub version: String,
    /// The network's name.
    pub network: String,
    /// What decides the times besides bits, as a fingerprint: the shapes of all steps, in order.
    pub geometry: String,
    /// The names of the layers, in running order.
    pub layers: Vec<String>,
    /// The times of each pair that was measured, by weight bits, then by activation bits.
    pub pairs: Vec<PairTimes>,
}

/// The times of a network whose weights all have the same bits, and whose activations have.
#[derive(Clone, Debug, PartialEq)]
pub struct PairTimes {
    /// The bits of both.
    pub bits: Pair,
    /// Everything but the layers, in microseconds.
    pub rest_us: f64,
    /// Of each layer, in microseconds.
    pub layers_us: Vec<f64>,
}

impl PairTimes {
    /// Of the whole network.
    fn total_us(&self) -> f64 {
        self.rest_us + self.layers_us.iter().sum::<f64>()
    }

    /// Multiplies every time by `factor`.
    fn scale(&mut self, factor: f64) {
        self.rest_us *= factor;
        self.layers_us.iter_mut().for_each(|us| *us *= factor);
    }
}

/// Bits of the weights, and of the activation that they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Of the weights.
    pub weights: Bits,
    /// Of the activation.
    pub activations: Bits,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "W{}A{}", self.weights, self.activations)
    }
}

/// Every pair of `candidates`, by weight bits, then by activation bits.
pub fn pairs(candidates: &Candidates) -> Vec<Pair> {
    let with = |&weights: &Bits| {
        let pair = move |&activations| Pair {
            weights,
            activations,
        };
        candidates.activations.iter().map(pair)
    };
    candidates.weights.iter().flat_map(with).collect()
}

/// The processor's name as the system tells it, or its architecture.
pub fn cpu_name() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told
        .lines()
        .filter(|line| line.starts_with("model name"))
        .find_map(|line| line.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim())
        .to_owned()
}

impl Times {
    /// No times yet of `network` on this machine.
    ///
    /// # Errors
    /// `Unsupported` when `EXBIT_ISA` names instructions that this CPU has not.
    pub fn none(network: &Network) -> Result<Self> {
        let model = &network.model;
        let name = |id| model.node(id).name.clone();
        Ok(Self {
            cpu: cpu_name(),
            isa: exbit_engine::isa()?.to_owned(),
            version: format!("{}+{}", env!("CARGO_PKG_VERSION"), exbit_kernels::REVISION),
            network: model.name().to_owned(),
            geometry: measure::geometry(network),
            layers: network.layers().into_iter().map(name).collect(),
            pairs: Vec::new(),
        })
    }

    /// Where these times come from, if not from this machine as it is now.
    pub fn foreign(&self, network: &Network) -> Option<String> {
        let here = Self::none(network).ok()?;
        let of = |t: &Self| format!("{}, {}, by exbit {}", t.cpu, t.isa, t.version);
        (of(self) != of(&here)).then(|| {
            format!(
                "The times come from a file: measured on {}. This is {}.",
                of(self),
                of(&here)
            )
        })
    }

    /// Those of `pairs` that were not measured.
    pub fn missing(&self, pairs: &[Pair]) -> Vec<Pair> {
        let known = |pair: &Pair| self.pairs.iter().any(|p| p.bits == *pair);
        pairs.iter().filter(|p| !known(p)).copied().collect()
    }

    /// The times of `pairs` alone, in their order, each layer's with its clusters' means in place
    /// of what hardly differs.
    ///
    /// # Errors
    /// `Mismatch` when one was not measured.
    pub fn of(&self, pairs: &[Pair]) -> Result<Self> {
        let find = |pair: &Pair| {
            let known = self.pairs.iter().find(|p| p.bits == *pair);
            known.cloned().ok_or_else(|| {
                let place = format!("latency table of {}", self.network);
                let message = format!("{pair} was not measured");
                Error::new(ErrorKind::Mismatch, place, message)
            })
        };
        let mut times = Self {
            pairs: pairs.iter().map(find).collect::<Result<_>>()?,
            ..self.clone()
        };
        for l in 0..times.layers.len() {
            let own = times.pairs.iter().map(|p| p.layers_us[l]).collect();
            let merged = without_noise(own).into_iter();
            let places = times.pairs.iter_mut().map(|p| &mut p.layers_us[l]);
            places.zip(merged).for_each(|(place, us)| *place = us);
        }
        Ok(times)
    }

    /// The times as the allocation takes them.
    ///
    /// # Errors
    /// `Mismatch` when one of the pairs of `candidates` was not measured.
    pub fn latency(&self, candidates: &Candidates) -> Result<Latency> {
        let times = self.of(&pairs(candidates))?;
        let layer = |l: usize| {
            let all: Vec<f64> = times.pairs.iter().map(|p| p.layers_us[l] / 1e3).collect();
            let rows = all.chunks(candidates.activations.len());
            rows.map(<[f64]>::to_vec).collect()
        };
        Ok(Latency {
            layers: (0..times.layers.len()).map(layer).collect(),
            rest_ms: times.rest_us() / 1e3,
        })
    }

    /// Everything that no bit-width changes, in microseconds.
    pub fn rest_us(&self) -> f64 {
        quartile(self.pairs.iter().map(|p| p.rest_us).collect())
    }

    /// The time of the whole network with the same bits everywhere, in microseconds.
    pub fn uniform_us(&self, pair: &PairTimes) -> f64 {
        self.rest_us() + pair.layers_us.iter().sum::<f64>()
    }

    /// In plain words, whether fewer bits are faster here.
    pub fn verdict(&self) -> String {
        let time = |pair: &&PairTimes| self.uniform_us(pair);
        let fastest = self.pairs.iter().min_by(|x, y| time(x).total_cmp(&time(y)));
        let widest = self.pairs.iter().max_by_key(|p| p.bits);
        let (Some(best), Some(widest)) = (fastest, widest) else {
            return "Nothing was measured.".to_owned();
        };
        let (cpu, isa) = (&self.cpu, &self.isa);
        if time(&best) >= (1.0 - NOISE) * time(&widest) {
            return format!(
                "Fewer bits than {} do not pay in time on this CPU ({cpu}, {isa}): every pair of \
                 bit-widths takes {:.0} µs an image, or longer.",
                widest.bits,
                time(&best)
            );
        }
        format!(
            "On this CPU ({cpu}, {isa}) {} everywhere takes {:.0} µs an image, {} {:.0} µs.",
            best.bits,
            time(&best),
            widest.bits,
            time(&widest)
        )
    }
}

/// The times with their clusters' means in place of what hardly differs: in ascending order, a
/// time joins the one before it where it is longer by at most [`NOISE`], and the first of them
/// where it is by twice that: a ladder of close times is no cluster.
fn without_noise(mut times: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|&i, &j| times[i].total_cmp(&times[j]));
    let near = |i: usize, j: usize, most: f64| times[j] - times[i] <= most * times[j];
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    for j in order {
        match clusters.last_mut() {
            Some(cluster)
                if near(cluster[cluster.len() - 1], j, NOISE)
                    && near(cluster[0], j, 2.0 * NOISE) =>
            {
                cluster.push(j);
            }
            Some(_) | None => clusters.push(vec![j]),
        }
    }
    for cluster in clusters {
        let mean = cluster.iter().map(|&i| times[i]).sum::<f64>() / cluster.len() as f64;
        cluster.into_iter().for_each(|i| times[i] = mean);
    }
    times
}

/// The time that a quarter of the samples stay within: what other programs and an unlucky place in
/// memory do to a time is to add to it.
fn quartile(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 4).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
