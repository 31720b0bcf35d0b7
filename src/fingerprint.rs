//! A number that tells contents apart: FNV-1a of 64 bits, over words of 32 bits.
//!
//! It guards against mistakes, such as other images under an old name, not against an opponent.

use std::fmt;

/// The fingerprint of the words added so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    /// Of nothing.
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds a word.
    pub fn add(&mut self, word: u32) {
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
        // A product carries upwards only: without this the high bits of a word would be lost.
        self.0 ^= self.0 >> 32;
    }

    /// The fingerprint of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut all = Self::default();
        bytes.iter().for_each(|&byte| all.add(u32::from(byte)));
        all
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_order_count() {
        let of = |words: &[u32]| {
            let mut all = Fingerprint::default();
            words.iter().for_each(|&w| all.add(w));
            all
        };
        let same = of(&[1, 2, 3]);
        assert_eq!(same, of(&[1, 2, 3]));
        assert_ne!(same, of(&[2, 1, 3]));
        for bit in 0..32 {
            assert_ne!(same, of(&[1, 2 ^ (1 << bit), 3]), "{bit}");
        }
        assert_eq!(Fingerprint::default().to_string().len(), 16);
    }
}
