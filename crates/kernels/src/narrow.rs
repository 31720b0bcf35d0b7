//! Codes of activations at their true bit-width: one after another, lowest bit first, the last
//! byte filled up with zeros; a byte each where kernels work on them.
//!
//! Eight codes of `b` bits are `b` bytes. Held in a word of 64 bits they come apart in three steps:
//! halves to 32 bits each, then quarters to 16, then codes to 8. Those are shifts and masks, which
//! the compiler does for many words at once.

use crate::{Bits, Isa};

/// Bytes of `count` codes.
pub fn narrow_len(bits: Bits, count: usize) -> usize {
    (count * usize::from(bits.get())).div_ceil(8)
}

/// Writes `codes`, none above the levels of `bits`, to the [`narrow_len`] bytes of `narrow`.
pub fn narrow(isa: Isa, bits: Bits, codes: &[u8], narrow: &mut [u8]) {
    match bits.get() {
        1 => isa.run(|| narrow_by::<1>(codes, narrow)),
        2 => isa.run(|| narrow_by::<2>(codes, narrow)),
        3 => isa.run(|| narrow_by::<3>(codes, narrow)),
        4 => isa.run(|| narrow_by::<4>(codes, narrow)),
        5 => isa.run(|| narrow_by::<5>(codes, narrow)),
        6 => isa.run(|| narrow_by::<6>(codes, narrow)),
        7 => isa.run(|| narrow_by::<7>(codes, narrow)),
        _ => narrow.copy_from_slice(codes),
    }
}

/// Fills `codes` with those that [`narrow`] has written.
pub fn widen(isa: Isa, bits: Bits, narrow: &[u8], codes: &mut [u8]) {
    match bits.get() {
        1 => isa.run(|| widen_by::<1>(narrow, codes)),
        2 => isa.run(|| widen_by::<2>(narrow, codes)),
        3 => isa.run(|| widen_by::<3>(narrow, codes)),
        4 => isa.run(|| widen_by::<4>(narrow, codes)),
        5 => isa.run(|| widen_by::<5>(narrow, codes)),
        6 => isa.run(|| widen_by::<6>(narrow, codes)),
        7 => isa.run(|| widen_by::<7>(narrow, codes)),
        _ => codes.copy_from_slice(narrow),
    }
}

/// Code `i` of those that [`narrow`] has written.
pub fn code_at(bits: Bits, narrow: &[u8], i: usize) -> u8 {
    let at = i * usize::from(bits.get());
    let high = narrow.get(at / 8 + 1).copied().unwrap_or(0);
    let two = u16::from_le_bytes([narrow[at / 8], high]);
    (two >> (at % 8)) as u8 & bits.levels()
}

#[inline(always)]
fn narrow_by<const B: usize>(codes: &[u8], narrow: &mut [u8]) {
    let (eights, rest) = codes.as_chunks::<8>();
    let (whole, last) = narrow.split_at_mut(B * eights.len());
    for (to, &from) in whole.as_chunks_mut::<B>().0.iter_mut().zip(eights) {
        let word = gather::<B>(u64::from_le_bytes(from)).to_le_bytes();
        to.copy_from_slice(&word[..B]);
    }
    let mut few = [0; 8];
    few[..rest.len()].copy_from_slice(rest);
    let word = gather::<B>(u64::from_le_bytes(few)).to_le_bytes();
    last.copy_from_slice(&word[..last.len()]);
}

#[inline(always)]
fn widen_by<const B: usize>(narrow: &[u8], codes: &mut [u8]) {
    let (eights, rest) = codes.as_chunks_mut::<8>();
    let (whole, last) = narrow.split_at(B * eights.len());
    for (to, from) in eights.iter_mut().zip(whole.as_chunks::<B>().0) {
        let mut word = [0; 8];
        word[..B].copy_from_slice(from);
        *to = spread::<B>(u64::from_le_bytes(word)).to_le_bytes();
    }
    let mut few = [0; 8];
    few[..last.len()].copy_from_slice(last);
    let few = spread::<B>(u64::from_le_bytes(few)).to_le_bytes();
    rest.copy_from_slice(&few[..rest.len()]);
}

/// Eight fields of `B` bits, side by side, a byte for each.
#[inline(always)]
const fn spread<const B: usize>(word: u64) -> u64 {
    let word = part(word, 4 * B, 32);
    let word = part(word, 2 * B, 16);
    part(word, B, 8)
}

/// The reverse of [`spread`].
#[inline(always)]
const fn gather<const B: usize>(word: u64) -> u64 {
    let word = join(word, B, 8);
    let word = join(word, 2 * B, 16);
    join(word, 4 * B, 32)
}

/// Of every two neighbouring fields of `field` bits that begin each `2 * lane` bits, the second
/// goes up to where the second lane begins.
#[inline(always)]
const fn part(word: u64, field: usize, lane: usize) -> u64 {
    let low = every_other(field, lane);
    (word & low) | ((word & (low << field)) << (lane - field))
}

/// The reverse of [`part`].
#[inline(always)]
const fn join(word: u64, field: usize, lane: usize) -> u64 {
    let low = every_other(field, lane);
    (word & low) | ((word >> (lane - field)) & (low << field))
}

/// A mask of the `field` lowest bits of every `2 * lane`.
const fn every_other(field: usize, lane: usize) -> u64 {
    let (mut mask, mut at) = (0, 0);
    while at < 64 {
        mask |= ((1 << field) - 1) << at;
        at += 2 * lane;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_at_every_width() {
        for bits in (1..=8).filter_map(Bits::new) {
            for len in [0, 1, 7, 8, 9, 64, 200, 333] {
                let mask = bits.levels();
                let codes: Vec<u8> = (0..len).map(|i| (i * 59 + i / 7) as u8 & mask).collect();
                for isa in Isa::present() {
                    let mut bytes = vec![0xff; narrow_len(bits, len)];
                    narrow(isa, bits, &codes, &mut bytes);
                    let mut again = vec![0; len];
                    widen(isa, bits, &bytes, &mut again);
                    assert_eq!(again, codes, "{bits} bits, {}", isa.name());
                    let each = (0..len).map(|i| code_at(bits, &bytes, i));
                    assert_eq!(each.collect::<Vec<_>>(), codes, "{bits} bits");
                }
            }
        }
    }

    #[test]
    fn the_first_code_is_lowest_and_the_filling_is_zero() {
        let mut bytes = [0xff; 2];
        narrow(Isa::SCALAR, Bits::new(3).unwrap(), &[5, 1, 6], &mut bytes);
        assert_eq!(bytes, [0b1000_1101, 0b1]);
    }
}
