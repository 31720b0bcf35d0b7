//! Times as a text: TOML that a person can read, edit, and bring from another machine.

use std::path::Path;

use exbit_kernels::Bits;
use serde::{Deserialize, Serialize};

use super::{LayerTimes, Times};
use crate::file::{read_text, write_whole};
use crate::{Error, ErrorKind, Result};

/// A longer file is no table of times.
const LONGEST: u64 = 1 << 24;

const HEAD: &str = "# Times of one image on one thread, measured by exbit: a row for each bit-width \
                    of the weights,\n# an entry for each of the activation that the layer reads, in \
                    microseconds.\n\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    network: String,
    cpu: String,
    isa: String,
    version: String,
    weight_bits: Vec<u8>,
    activation_bits: Vec<u8>,
    rest_us: f64,
    layers: Vec<Layer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    name: String,
    us: Vec<Vec<f64>>,
}

impl Times {
    /// The times in the file `path`.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, otherwise as [`Times::parse`].
    pub fn open(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let text = read_text(path, LONGEST)
            .map_err(|e| Error::new(ErrorKind::Io, place(), e.to_string()))?;
        Self::parse(&text).map_err(|e| Error::new(e.kind(), place(), e.to_string()))
    }

    /// The times that `text` has.
    ///
    /// # Errors
    /// `Malformed` for what is no such text, bits outside 1 to 8, a time that is not positive, or
    /// rows that do not match the bits.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |place: &str, message: String| Error::new(ErrorKind::Malformed, place, message);
        let text: Text = toml::from_str(text)
            .map_err(|e| bad("latency table", e.message().trim().to_owned()))?;
        let bits = |field: &str, all: &[u8]| -> Result<Vec<Bits>> {
            let one = |&b: &u8| Bits::new(b);
            let known: Option<Vec<Bits>> = all.iter().map(one).collect();
            known
                .filter(|bits| !bits.is_empty())
                .ok_or_else(|| bad(field, "expected bits from 1 to 8".into()))
        };
        let weights = bits("weight_bits", &text.weight_bits)?;
        let activations = bits("activation_bits", &text.activation_bits)?;
        if !(text.rest_us.is_finite() && text.rest_us >= 0.0) {
            return Err(bad("rest_us", "expected a time, 0 or more".into()));
        }
        for layer in &text.layers {
            let shaped = layer.us.len() == weights.len()
                && layer.us.iter().all(|row| row.len() == activations.len());
            if !shaped || !layer.us.iter().flatten().all(|t| t.is_finite() && *t > 0.0) {
                let (w, a) = (weights.len(), activations.len());
                let message = format!("expected {w} rows of {a} times above 0");
                return Err(bad(&format!("layer {}", layer.name), message));
            }
        }
        let layer = |Layer { name, us }| LayerTimes { name, us };
        Ok(Self {
            cpu: text.cpu,
            isa: text.isa,
            version: text.version,
            network: text.network,
            weights,
            activations,
            rest_us: text.rest_us,
            layers: text.layers.into_iter().map(layer).collect(),
        })
    }

    /// Writes the text to the file `path`, whole or not at all.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, self.to_text().as_bytes())
            .map_err(|e| Error::new(ErrorKind::Io, path.display().to_string(), e.to_string()))
    }

    /// As a text.
    pub fn to_text(&self) -> String {
        // Nanoseconds are as fine as any clock here.
        let short = |us: f64| (us * 1e3).round() / 1e3;
        let rows = |us: &Vec<Vec<f64>>| -> Vec<Vec<f64>> {
            let row = |row: &Vec<f64>| row.iter().map(|&t| short(t).max(1e-3)).collect();
            us.iter().map(row).collect()
        };
        let layer = |l: &LayerTimes| Layer {
            name: l.name.clone(),
            us: rows(&l.us),
        };
        let bits = |all: &[Bits]| all.iter().map(|b| b.get()).collect();
        let text = Text {
            network: self.network.clone(),
            cpu: self.cpu.clone(),
            isa: self.isa.clone(),
            version: self.version.clone(),
            weight_bits: bits(&self.weights),
            activation_bits: bits(&self.activations),
            rest_us: short(self.rest_us),
            layers: self.layers.iter().map(layer).collect(),
        };
        // Names, numbers and lists: nothing that TOML cannot say.
        HEAD.to_owned() + &toml::to_string(&text).unwrap_or_default()
    }
}
