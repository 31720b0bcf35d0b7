//! Which instructions the kernels use: a token for each set, got only where the CPU has it.

use std::hint::black_box;

#[cfg(target_arch = "x86_64")]
use crate::x86::{Avx2, Avx512Vnni, AvxVnni};

/// A set of instructions that this CPU has: it can only be got from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(pub(crate) Level);

/// What an [`Isa`] is; each token is the proof that the CPU has its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
}

impl Isa {
    /// What every CPU has: the definition itself.
    pub const SCALAR: Isa = Isa(Level::Scalar);

    /// All that this CPU has, the fastest first, the definition last.
    pub fn present() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512Vnni::detect().map(|token| Isa(Level::Avx512Vnni(token))));
            all.extend(AvxVnni::detect().map(|token| Isa(Level::AvxVnni(token))));
            all.extend(Avx2::detect().map(|token| Isa(Level::Avx2(token))));
        }
        all.push(Self::SCALAR);
        all
    }

    /// The fastest that this CPU has.
    pub fn best() -> Isa {
        Self::present()[0]
    }

    /// The one called `name`, if this CPU has it.
    pub fn named(name: &str) -> Option<Isa> {
        Self::present().into_iter().find(|isa| isa.name() == name)
    }

    /// `scalar`, `avx2`, `avxvnni` or `avx512vnni`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni(_) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni(_) => "avx512vnni",
        }
    }

    /// Runs plain code compiled for these instructions, if it is inlined into the closure: loops
    /// that the compiler vectorizes by itself need no other kernel.
    #[inline(always)]
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        match self.0 {
            Level::Scalar => work(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => token.run(work),
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni(token) => token.avx2.run(work),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni(token) => token.run(work),
        }
    }
}

/// Sums of the definition's peak.
const LANES: usize = 8;

/// Does nothing but multiply and add codes in registers, `rounds` times over, and says how many
/// multiply-accumulates that were: divided by the time it took, the most that `isa` can do.
pub fn peak(isa: Isa, rounds: usize) -> u64 {
    match isa.0 {
        Level::Scalar => {
            // Opaque, or the compiler would find the sum without adding anything.
            let weights = black_box([3i32; LANES]);
            let mut sums = [0i32; LANES];
            for i in 0..rounds {
                let codes = black_box([i as i32; LANES]);
                let products = codes.iter().zip(&weights).map(|(c, w)| c.wrapping_mul(*w));
                let pairs = sums.iter_mut().zip(products);
                pairs.for_each(|(sum, product)| *sum = sum.wrapping_add(product));
            }
            black_box(sums);
            (rounds * LANES) as u64
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(token) => token.peak(rounds),
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni(token) => token.peak(rounds),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni(token) => token.peak(rounds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_present_one_is_found_by_its_name() {
        for isa in Isa::present() {
            assert_eq!(Isa::named(isa.name()), Some(isa));
            assert_eq!(isa.run(|| 7), 7);
        }
        assert_eq!(Isa::named("mmx"), None);
    }
}
