//! A number that tells contents apart: XXH3 of 64 bits, of the bytes as this machine holds them.
//!
//! It guards against mistakes, such as other images under an old name, not against an opponent.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The fingerprint of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }

    /// The fingerprint of all bytes that were `read` one after another.
    pub(crate) fn of_stream(read: &Xxh3) -> Self {
        Self(read.digest())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
