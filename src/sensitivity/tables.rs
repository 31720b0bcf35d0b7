//! Sensitivities kept in a file: measured once, and resumed where the work was cut off.
//!
//! A file holds the tables of any number of metrics, all measured under the same conditions, which
//! it names. It is also the state of unfinished work: the measured metric, which takes minutes,
//! writes the file anew after each row, and goes on at the first row that is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use exbit_engine::write_whole;

use super::{Metric, Sensitivity, Study, measure, measured};
use crate::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result};

mod text;

/// What tables depend on. Tables made under other conditions are of no use.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// The version of exbit.
    pub version: String,
    /// The network's name.
    pub network: String,
    /// The fingerprint of the network as it was when it was measured: folded, perhaps equalised.
    pub network_fingerprint: String,
    /// Images that were read.
    pub images: u64,
    /// The fingerprint of what the network read of them, and of their labels.
    pub images_fingerprint: String,
    /// Seed of the random signs.
    pub seed: u64,
    /// Bit-widths of weights.
    pub weight_bits: Vec<u8>,
    /// Bit-widths of activations.
    pub activation_bits: Vec<u8>,
    /// How activations were clipped.
    pub clipping: String,
}

/// The tables of some metrics, of one study.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Under which conditions they were measured.
    pub conditions: Conditions,
    /// Names of the layers, in running order; the rows of a table that is whole.
    layers: Vec<String>,
    /// Names of the sites, likewise.
    sites: Vec<String>,
    /// The tables; the last rows of one may be missing.
    metrics: BTreeMap<Metric, Sensitivity>,
    /// Where they are kept.
    file: Option<PathBuf>,
}

impl Tables {
    /// The tables of `study` that `file` has, where it exists; none otherwise. Whatever
    /// [`Tables::measure`] finds is written there.
    ///
    /// # Errors
    /// `Io` and `Malformed` for a file that cannot be read, `Mismatch` when it was made under other
    /// conditions; the message says which.
    pub fn open(study: &Study, file: Option<&Path>) -> Result<Self> {
        let model = &study.network.model;
        let node = |id| model.node(id).name.clone();
        let site = |id| model.value(id).name.clone();
        let mut tables = Self {
            conditions: conditions(study)?,
            layers: study.network.layers().into_iter().map(node).collect(),
            sites: study.network.sites().into_iter().map(site).collect(),
            metrics: BTreeMap::new(),
            file: file.map(Path::to_owned),
        };
        if let Some(path) = file.filter(|path| path.exists()) {
            let at = |e: Error| Error::new(e.kind(), path.display().to_string(), e.to_string());
            let kept = Self::read(path)?;
            tables.conditions.check(&kept.conditions).map_err(at)?;
            if (&kept.layers, &kept.sites) != (&tables.layers, &tables.sites) {
                let message = "its layers or activations are not those of this network; remove it";
                return Err(at(Error::new(ErrorKind::Mismatch, "", message)));
            }
            tables.metrics = kept.metrics;
        }
        Ok(tables)
    }

    /// The table of `metric`, if every row of it is there.
    pub fn whole(&self, metric: Metric) -> Option<&Sensitivity> {
        let rows = (self.layers.len(), self.sites.len());
        let table = self.metrics.get(&metric)?;
        ((table.weights.len(), table.activations.len()) == rows).then_some(table)
    }

    /// The table of `metric`: as it was kept, completed or measured. `progress` hears of images as
    /// from [`measure`]; rows that were kept count as done.
    ///
    /// # Errors
    /// As [`measure`], and `Io` when the file cannot be written.
    pub fn measure(
        &mut self,
        study: &Study,
        metric: Metric,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Sensitivity> {
        if let Some(table) = self.whole(metric) {
            progress(study.images(metric));
            return Ok(table.clone());
        }
        let table = match metric {
            Metric::Measured => {
                let done = self.metrics.get(&metric).cloned().unwrap_or_default();
                let mut keep = |table: &Sensitivity| self.keep(metric, table);
                measured::measure(study, done, &mut keep, progress)?
            }
            Metric::F1 | Metric::F2 | Metric::F3 | Metric::F4 | Metric::F5 | Metric::F6 => {
                measure(study, metric, progress)?
            }
        };
        self.keep(metric, &table)?;
        Ok(table)
    }

    fn keep(&mut self, metric: Metric, table: &Sensitivity) -> Result<()> {
        self.metrics.insert(metric, table.clone());
        let Some(path) = &self.file else {
            return Ok(());
        };
        write_whole(path, self.to_text().as_bytes()).map_err(|e| Error::writing(path, &e))
    }
}

fn conditions(study: &Study) -> Result<Conditions> {
    let model = &study.network.model;
    let bits = |all: &[exbit_kernels::Bits]| all.iter().map(|b| b.get()).collect();
    Ok(Conditions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        network: model.name().to_owned(),
        network_fingerprint: Fingerprint::of(&exbit_model::onnx::write(model)?).to_string(),
        images: study.calibration.images as u64,
        images_fingerprint: study.calibration.fingerprint.to_string(),
        seed: study.seed,
        weight_bits: bits(&study.candidates.weights),
        activation_bits: bits(&study.candidates.activations),
        clipping: study.candidates.clipping.to_string(),
    })
}

impl Conditions {
    /// Says in what `kept` differs.
    fn check(&self, kept: &Conditions) -> Result<()> {
        let all = |c: &Conditions| {
            let list = |bits: &[u8]| {
                let bits: Vec<String> = bits.iter().map(u8::to_string).collect();
                bits.join(",")
            };
            [
                ("exbit", c.version.clone()),
                ("network", c.network.clone()),
                ("weights of the network", c.network_fingerprint.clone()),
                ("number of images", c.images.to_string()),
                ("images", c.images_fingerprint.clone()),
                ("seed", c.seed.to_string()),
                ("weight bits", list(&c.weight_bits)),
                ("activation bits", list(&c.activation_bits)),
                ("clipping", c.clipping.clone()),
            ]
        };
        let pairs = all(kept).into_iter().zip(all(self));
        let other = pairs.filter(|(kept, now)| kept != now);
        let told = other.map(|((what, kept), (_, now))| format!("{what} {kept}, now {now}"));
        let told: Vec<String> = told.collect();
        if told.is_empty() {
            return Ok(());
        }
        let message = format!(
            "measured under other conditions: {}; repeat those, name another file, or remove this \
             one to measure anew",
            told.join("; ")
        );
        Err(Error::new(ErrorKind::Mismatch, "", message))
    }
}

#[cfg(test)]
mod tests;
