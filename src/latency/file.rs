//! Times as a text: TOML that a person can read, edit, and bring from another machine.

use std::path::Path;

use exbit_engine::write_whole;
use exbit_kernels::Bits;
use serde::{Deserialize, Serialize};

use super::{Pair, PairTimes, Times};
use crate::file::read_parsed;
use crate::{Error, ErrorKind, Result};

/// A longer file is no table of times.
const LONGEST: u64 = 1 << 24;

const HEAD: &str = "# Times of one image on one thread, measured by exbit, in microseconds: for each \
                    pair of bit-widths,\n# of each layer in the order of their names, and of the \
                    rest.\n\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    network: String,
    cpu: String,
    isa: String,
    version: String,
    geometry: String,
    layers: Vec<String>,
    pairs: Vec<PairText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PairText {
    weight_bits: u8,
    activation_bits: u8,
    rest_us: f64,
    layers_us: Vec<f64>,
}

impl Times {
    /// The times in the file `path`.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, otherwise as [`Times::parse`].
    pub fn open(path: &Path) -> Result<Self> {
        read_parsed(path, LONGEST, Self::parse)
    }

    /// The times that `text` has.
    ///
    /// # Errors
    /// `Malformed` for what is no such text, bits outside 1 to 8, a pair that is there twice, a
    /// time that is not positive, or other than one for each layer.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |place: &str, message: String| Error::new(ErrorKind::Malformed, place, message);
        let text: Text = toml::from_str(text)
            .map_err(|e| bad("latency table", e.message().trim().to_owned()))?;
        let count = text.layers.len();
        let mut pairs = Vec::with_capacity(text.pairs.len());
        for pair in text.pairs {
            pairs.push(pair_times(pair, count).map_err(|(place, message)| bad(&place, message))?);
        }
        pairs.sort_by_key(|p| p.bits);
        if let Some(twice) = pairs.windows(2).find(|p| p[0].bits == p[1].bits) {
            return Err(bad(&twice[0].bits.to_string(), "is there twice".into()));
        }
        Ok(Self {
            cpu: text.cpu,
            isa: text.isa,
            version: text.version,
            network: text.network,
            geometry: text.geometry,
            layers: text.layers,
            pairs,
        })
    }

    /// Writes the text to the file `path`, whole or not at all.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, self.to_text().as_bytes()).map_err(|e| Error::writing(path, &e))
    }

    /// As a text.
    pub fn to_text(&self) -> String {
        // Nanoseconds are as fine as any clock here.
        let short = |us: f64| (us * 1e3).round() / 1e3;
        let pair = |p: &PairTimes| PairText {
            weight_bits: p.bits.weights.get(),
            activation_bits: p.bits.activations.get(),
            rest_us: short(p.rest_us),
            layers_us: p.layers_us.iter().map(|&us| short(us).max(1e-3)).collect(),
        };
        let text = Text {
            network: self.network.clone(),
            cpu: self.cpu.clone(),
            isa: self.isa.clone(),
            version: self.version.clone(),
            geometry: self.geometry.clone(),
            layers: self.layers.clone(),
            pairs: self.pairs.iter().map(pair).collect(),
        };
        // Names, numbers and lists: nothing that TOML cannot say.
        HEAD.to_owned() + &toml::to_string(&text).unwrap_or_default()
    }
}

/// The times of a pair, `layers` of them, or the field that is wrong and what it should be.
fn pair_times(text: PairText, layers: usize) -> std::result::Result<PairTimes, (String, String)> {
    let bits = |field: &str, bits: u8| {
        let wrong = || (field.to_owned(), "expected bits from 1 to 8".to_owned());
        Bits::new(bits).ok_or_else(wrong)
    };
    let bits = Pair {
        weights: bits("weight_bits", text.weight_bits)?,
        activations: bits("activation_bits", text.activation_bits)?,
    };
    let wrong = |message: String| Err((bits.to_string(), message));
    if !(text.rest_us.is_finite() && text.rest_us >= 0.0) {
        return wrong("expected a rest_us of 0 or more".into());
    }
    let positive = |us: &f64| us.is_finite() && *us > 0.0;
    if text.layers_us.len() != layers || !text.layers_us.iter().all(positive) {
        return wrong(format!("expected {layers} times above 0 in layers_us"));
    }
    Ok(PairTimes {
        bits,
        rest_us: text.rest_us,
        layers_us: text.layers_us,
    })
}
