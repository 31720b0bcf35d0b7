//! Times of each layer at each pair of bit-widths, measured on the engine's own kernels on this
//! machine: what a `latency=` budget is kept with.
//!
//! For every pair (weight bits, activation bits) the whole network is lowered with made-up codes,
//! as the time of a layer does not depend on their values, and run step by step on one thread. A
//! layer is thus timed where it will stand, with the caches as its neighbours leave them. The
//! networks take turns, so that a machine that slows down slows all of them; a time is the lower
//! quartile over all turns and over all layers of one shape. All other steps are one sum.
//!
//! Two departures from what the clock says, so that the allocation does not buy noise: times of one
//! layer that hardly differ count as equal, and layers of one shape have one time.

mod file;
mod made_up;
mod measure;

use exbit_kernels::Bits;

pub use measure::measure;
pub(crate) use measure::{engine_error, layer_steps, turns};

use crate::cost::Latency;
use crate::sensitivity::Candidates;
use crate::{Error, ErrorKind, Result};

/// Times of one layer that differ by less than this share are taken as equal.
const NOISE: f64 = 0.05;

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
    /// Bit-widths of weights that were measured.
    pub weights: Vec<Bits>,
    /// Bit-widths of activations that were measured.
    pub activations: Vec<Bits>,
    /// Everything that no bit-width changes, in microseconds.
    pub rest_us: f64,
    /// The layers, in running order.
    pub layers: Vec<LayerTimes>,
}

/// The times of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTimes {
    /// Its node's name.
    pub name: String,
    /// `us[w][a]`, in microseconds: with weight bits `w`, reading an activation of bits `a`, by
    /// their places in [`Times`].
    pub us: Vec<Vec<f64>>,
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
    /// The times as the allocation takes them, for the layers and candidates given.
    ///
    /// # Errors
    /// `Mismatch` when a layer or a candidate was not measured.
    pub fn latency(&self, layers: &[&str], candidates: &Candidates) -> Result<Latency> {
        let place = || format!("latency table of {}", self.network);
        let places = |of: &[Bits], all: &[Bits]| -> Result<Vec<usize>> {
            let at = |b: &Bits| all.iter().position(|x| x == b);
            let missing = |b: &Bits| {
                let message = format!("{b} bits were not measured; measure anew: remove the file");
                Error::new(ErrorKind::Mismatch, place(), message)
            };
            of.iter().map(|b| at(b).ok_or_else(|| missing(b))).collect()
        };
        let names = self.layers.iter().map(|l| l.name.as_str());
        if !names.eq(layers.iter().copied()) {
            let message = "its layers are not those of this network; measure anew: remove the file";
            return Err(Error::new(ErrorKind::Mismatch, place(), message));
        }
        let weights = places(&candidates.weights, &self.weights)?;
        let activations = places(&candidates.activations, &self.activations)?;
        let layer = |l: &LayerTimes| {
            let row = |&w: &usize| activations.iter().map(|&a| l.us[w][a] / 1e3).collect();
            weights.iter().map(row).collect()
        };
        Ok(Latency {
            layers: self.layers.iter().map(layer).collect(),
            rest_ms: self.rest_us / 1e3,
        })
    }

    /// The time of the whole network with the same bits everywhere, in microseconds, by the places
    /// of the bit-widths.
    pub fn uniform_us(&self, weights: usize, activations: usize) -> f64 {
        let layers = self.layers.iter().map(|l| l.us[weights][activations]);
        self.rest_us + layers.sum::<f64>()
    }

    /// In plain words, whether fewer bits are faster here.
    pub fn verdict(&self) -> String {
        let (w, a) = (self.weights.len() - 1, self.activations.len() - 1);
        let all = (0..=w).flat_map(|w| (0..=a).map(move |a| (w, a)));
        let time = |&(w, a): &(usize, usize)| self.uniform_us(w, a);
        let fastest = all.min_by(|x, y| time(x).total_cmp(&time(y)));
        let name = |(w, a): (usize, usize)| format!("W{}A{}", self.weights[w], self.activations[a]);
        let (widest, cpu, isa) = ((w, a), &self.cpu, &self.isa);
        let Some(best) = fastest.filter(|b| time(b) < (1.0 - NOISE) * time(&widest)) else {
            return format!(
                "Fewer bits than {} do not pay in time on this CPU ({cpu}, {isa}): every pair of \
                 bit-widths takes {:.0} µs an image, or longer.",
                name(widest),
                time(&widest)
            );
        };
        format!(
            "On this CPU ({cpu}, {isa}) {} everywhere takes {:.0} µs an image, {} {:.0} µs.",
            name(best),
            time(&best),
            name(widest),
            time(&widest)
        )
    }
}

#[cfg(test)]
mod tests;
