//! Tables as a text: TOML that a person can read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Conditions, Tables};
use crate::file::read_parsed;
use crate::sensitivity::{Metric, Sensitivity};
use crate::{Error, ErrorKind, Result};

/// A longer file is no such text.
const LONGEST: u64 = 1 << 26;

const HEAD: &str = "# Expected increase of the loss, nats an image, measured by exbit: for each metric \
                    a row for each layer\n# and a number for each bit-width of its weights, then the \
                    same for activations. Rows that are missing at\n# the end were not reached yet.\n\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: String,
    network: String,
    network_fingerprint: String,
    images: u64,
    images_fingerprint: String,
    seed: i64,
    weight_bits: Vec<u8>,
    activation_bits: Vec<u8>,
    clipping: String,
    layers: Vec<String>,
    activations: Vec<String>,
    metrics: BTreeMap<Metric, Rows>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    weights: Vec<Vec<f64>>,
    activations: Vec<Vec<f64>>,
}

impl Tables {
    /// The tables in the file `path`, of whatever study.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, otherwise as [`Tables::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        read_parsed(path, LONGEST, Self::parse)
    }

    /// The tables that `text` has.
    ///
    /// # Errors
    /// `Malformed` for what is no such text, more rows than there are names, rows that do not match
    /// the bits, or a loss that is not finite.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |place: &str, message: String| Error::new(ErrorKind::Malformed, place, message);
        let text: Text = toml::from_str(text)
            .map_err(|e| bad("sensitivity table", e.message().trim().to_owned()))?;
        let mut metrics = BTreeMap::new();
        for (metric, rows) in text.metrics {
            let parts = [
                ("weights", &rows.weights, &text.layers, &text.weight_bits),
                (
                    "activations",
                    &rows.activations,
                    &text.activations,
                    &text.activation_bits,
                ),
            ];
            for (part, rows, names, bits) in parts {
                let (most, width) = (names.len(), bits.len());
                let whole =
                    |row: &Vec<f64>| row.len() == width && row.iter().all(|x| x.is_finite());
                if rows.len() > most || !rows.iter().all(whole) {
                    let message = format!("expected at most {most} rows of {width} finite numbers");
                    return Err(bad(&format!("{} of {}", part, metric.name()), message));
                }
            }
            let Rows {
                weights,
                activations,
            } = rows;
            metrics.insert(
                metric,
                Sensitivity {
                    weights,
                    activations,
                },
            );
        }
        Ok(Self {
            conditions: Conditions {
                version: text.version,
                network: text.network,
                network_fingerprint: text.network_fingerprint,
                images: text.images,
                images_fingerprint: text.images_fingerprint,
                seed: text.seed as u64,
                weight_bits: text.weight_bits,
                activation_bits: text.activation_bits,
                clipping: text.clipping,
            },
            layers: text.layers,
            sites: text.activations,
            metrics,
            file: None,
        })
    }

    /// As a text.
    pub fn to_text(&self) -> String {
        let rows = |(&metric, table): (&Metric, &Sensitivity)| {
            let Sensitivity {
                weights,
                activations,
            } = table.clone();
            (
                metric,
                Rows {
                    weights,
                    activations,
                },
            )
        };
        let c = self.conditions.clone();
        let text = Text {
            version: c.version,
            network: c.network,
            network_fingerprint: c.network_fingerprint,
            images: c.images,
            images_fingerprint: c.images_fingerprint,
            // TOML has whole numbers of 64 bits with a sign; reading turns them back.
            seed: c.seed as i64,
            weight_bits: c.weight_bits,
            activation_bits: c.activation_bits,
            clipping: c.clipping,
            layers: self.layers.clone(),
            activations: self.sites.clone(),
            metrics: self.metrics.iter().map(rows).collect(),
        };
        // Names, numbers and lists: nothing that TOML cannot say.
        HEAD.to_owned() + &toml::to_string(&text).unwrap_or_default()
    }
}
