//! Where times are kept: in a file that the user names, or in a folder of this machine's, one file
//! for each geometry.

use std::path::PathBuf;

use super::{Pair, Times};
use crate::fingerprint::Fingerprint;
use crate::prepare::Network;
use crate::{Error, ErrorKind, Result};

/// Where measured times are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Nowhere: they are measured each time.
    #[default]
    Nowhere,
    /// In this file.
    File(PathBuf),
    /// In a file of this folder, whose name comes from all that decides the times: CPU,
    /// instructions, threads, exbit's version, and the network's geometry. Networks that differ
    /// only in their weights share it.
    Folder(PathBuf),
}

impl Kept {
    /// The file of the times of `network` on this machine; `None` where none is kept.
    ///
    /// # Errors
    /// As [`Times::none`].
    pub fn file(&self, network: &Network) -> Result<Option<PathBuf>> {
        Ok(match self {
            Self::Nowhere => None,
            Self::File(path) => Some(path.clone()),
            Self::Folder(folder) => Some(folder.join(name(&Times::none(network)?))),
        })
    }

    /// The times of `network` that are kept; none where there is no file yet.
    ///
    /// # Errors
    /// As [`Times::open`]; `Mismatch` when they are of a network of other shapes.
    pub fn open(&self, network: &Network) -> Result<Times> {
        let none = Times::none(network)?;
        let Some(path) = self.file(network)?.filter(|path| path.exists()) else {
            return Ok(none);
        };
        let again = format!("to measure anew, remove {}", path.display());
        let times =
            Times::open(&path).map_err(|e| Error::new(e.kind(), "", format!("{e}; {again}")))?;
        if times.geometry == none.geometry && times.layers.len() == none.layers.len() {
            // Measured on another network of these shapes, perhaps; the names are this one's.
            let Times {
                network, layers, ..
            } = none;
            return Ok(Times {
                network,
                layers,
                ..times
            });
        }
        let message = format!(
            "of {}, not of this network's shapes; {again}",
            times.network
        );
        Err(Error::new(ErrorKind::Mismatch, "latency table", message))
    }

    /// Keeps `times`, which are of `network`; the folder need not be there yet.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub fn save(&self, network: &Network, times: &Times) -> Result<()> {
        if let Self::Folder(folder) = self {
            std::fs::create_dir_all(folder).map_err(|e| Error::writing(folder, &e))?;
        }
        match self.file(network)? {
            Some(path) => times.save(&path),
            None => Ok(()),
        }
    }
}

impl Times {
    /// Makes sure that times of `pairs`, at least one, can be added: those that are there were
    /// measured on this machine, by this version.
    ///
    /// # Errors
    /// `Mismatch` when they were measured elsewhere; names the first of `pairs`.
    pub(super) fn check_here(&self, here: &Times, pairs: &[Pair]) -> Result<()> {
        let origin = |t: &Times| format!("{}, {}, exbit {}", t.cpu, t.isa, t.version);
        let (there, here) = (origin(self), origin(here));
        let Some(pair) = pairs.first().filter(|_| there != here) else {
            return Ok(());
        };
        let message = format!(
            "has no {pair}, and none can be added here: it was measured on \
             {there}; this is {here}"
        );
        let place = format!("latency table of {}", self.network);
        Err(Error::new(ErrorKind::Mismatch, place, message))
    }
}

/// A name for the file of times like these.
fn name(times: &Times) -> String {
    let Times {
        cpu,
        isa,
        version,
        geometry,
        ..
    } = times;
    let key = format!("{cpu}\n{isa}\n{}\n{version}\n{geometry}", super::THREADS);
    format!("{}.toml", Fingerprint::of(key.as_bytes()))
}
