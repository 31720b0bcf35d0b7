//! Numbers of 16 bits, bfloat16: the upper half of a float. Where a CPU multiplies pairs of them
//! and adds in floats (AVX-512 BF16), that is twice the work of floats in the same time; in tiles
//! (AMX) it is many times as much.

#[cfg(target_arch = "x86_64")]
use super::amx::Tiles;
use super::lanes::{halves, pairs};

/// A bfloat16, as its bits.
pub type Half = u16;

/// Two of them, multiplied and added at once.
pub type Pair = [Half; 2];

/// The proof that this CPU has products of pairs, and perhaps of tiles of them.
#[derive(Clone, Copy, Debug)]
pub struct Bf16 {
    #[cfg(target_arch = "x86_64")]
    tiles: Option<Tiles>,
}

impl Bf16 {
    /// The proof, where the CPU has them. The first call asks the system for tiles, for the whole
    /// process: from then on signals need stacks of the size that it says (`AT_MINSIGSTKSZ`).
    pub fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bf16")
        {
            return Some(Self {
                tiles: Tiles::detect(),
            });
        }
        None
    }

    /// With tiles and without, as far as this CPU has them.
    #[cfg(test)]
    pub(crate) fn present() -> Vec<Self> {
        let mut all: Vec<Self> = Self::detect().into_iter().collect();
        #[cfg(target_arch = "x86_64")]
        if all.iter().any(|best| best.tiles.is_some()) {
            all.push(Self { tiles: None });
        }
        all
    }

    /// The proof that it has tiles, if it does.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn tiles(self) -> Option<Tiles> {
        self.tiles
    }

    /// `to[i]` is `from[i]`, rounded half to even, as far as both reach.
    pub fn round(self, to: &mut [Half], from: &[f32]) {
        halves(to, from);
    }

    /// `to[i]` is `a[i]` beside `b[i]`, rounded half to even, as far as all reach.
    pub fn pair(self, to: &mut [Pair], a: &[f32], b: &[f32]) {
        pairs(to, a, b);
    }
}

/// The nearest, half to even; what is no number stays none.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> Half {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if x.is_nan() { 0x7fc0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_to_the_nearest_and_half_to_even() {
        let float = |half: Half| f32::from_bits(u32::from(half) << 16);
        for whole in -256..=256 {
            assert_eq!(float(nearest(whole as f32)), whole as f32);
        }
        assert_eq!(float(nearest(257.0)), 256.0, "half goes to even");
        assert_eq!(float(nearest(259.0)), 260.0, "half goes to even");
        assert_eq!(float(nearest(-257.1)), -258.0);
        assert_eq!(float(nearest(f32::INFINITY)), f32::INFINITY);
        assert!(float(nearest(f32::from_bits(0x7fff_ffff))).is_nan());
    }
}
