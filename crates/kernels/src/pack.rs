//! Weight codes at their true bit-width: one after another, lowest bit first, as unsigned numbers
//! `code + 2^(b-1)` (one bit: `(code + 1) / 2`). The last byte is filled up with zeros.

use crate::Bits;

/// The bytes that `count` codes take, or `None` on overflow.
pub fn packed_len(bits: Bits, count: usize) -> Option<usize> {
    Some(count.checked_mul(usize::from(bits.get()))?.div_ceil(8))
}

/// Appends `codes`, all of them in [`Bits::weight_range`], to `bytes`.
pub fn pack(bits: Bits, codes: &[i8], bytes: &mut Vec<u8>) {
    let (mut held, mut filled) = (0u32, 0);
    for &code in codes {
        held |= u32::from(unsigned(bits, code)) << filled;
        filled += bits.get();
        while filled >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        bytes.push(held as u8);
    }
}

/// Fills `codes` with those in `bytes`; whether `bytes` is exactly what [`pack`] makes of them. Of
/// many codes, any multiple of 8 begins a byte and can be unpacked by itself.
pub fn unpack(bits: Bits, bytes: &[u8], codes: &mut [i8]) -> bool {
    if packed_len(bits, codes.len()) != Some(bytes.len()) {
        return false;
    }
    match bits.get() {
        8 => unpack_whole::<1>(bits, bytes, codes),
        4 => unpack_whole::<2>(bits, bytes, codes),
        2 => unpack_whole::<4>(bits, bytes, codes),
        1 => unpack_whole::<8>(bits, bytes, codes),
        _ => unpack_any(bits, bytes, codes),
    }
}

/// As [`unpack`] where `N` codes fill a byte: a network's weights are the larger part of the time
/// that it takes to load.
fn unpack_whole<const N: usize>(bits: Bits, bytes: &[u8], codes: &mut [i8]) -> bool {
    let of = |byte: u8| -> [i8; N] {
        std::array::from_fn(|i| {
            let code = byte >> (i * usize::from(bits.get())) & bits.levels();
            signed(bits, code)
        })
    };
    let (places, rest) = codes.as_chunks_mut();
    let (whole, last) = bytes.split_at(places.len());
    places
        .iter_mut()
        .zip(whole)
        .for_each(|(codes, &byte)| *codes = of(byte));
    if let [byte] = last {
        rest.copy_from_slice(&of(*byte)[..rest.len()]);
        return byte >> (rest.len() * usize::from(bits.get())) == 0;
    }
    true
}

/// As [`unpack`], code by code.
fn unpack_any(bits: Bits, bytes: &[u8], codes: &mut [i8]) -> bool {
    let mask = u32::from(bits.levels());
    let (mut held, mut filled, mut rest) = (0u32, 0, bytes.iter());
    for code in codes {
        if filled < bits.get() {
            held |= u32::from(rest.next().copied().unwrap_or(0)) << filled;
            filled += 8;
        }
        *code = signed(bits, (held & mask) as u8);
        held >>= bits.get();
        filled -= bits.get();
    }
    held == 0
}

fn unsigned(bits: Bits, code: i8) -> u8 {
    match bits.get() {
        1 => u8::from(code > 0),
        b => (code as u8).wrapping_add(1 << (b - 1)) & bits.levels(),
    }
}

fn signed(bits: Bits, unsigned: u8) -> i8 {
    match bits.get() {
        1 => unsigned as i8 * 2 - 1,
        b => unsigned.wrapping_sub(1 << (b - 1)) as i8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_every_width_survives() {
        for bits in (1..=8).filter_map(Bits::new) {
            let (lo, hi) = bits.weight_range();
            let all = (lo..=hi).filter(|&c| bits.get() > 1 || c != 0);
            let codes: Vec<i8> = all.cycle().take(301).collect();
            let mut bytes = vec![7];
            pack(bits, &codes, &mut bytes);
            assert_eq!(bytes.len() - 1, (301 * usize::from(bits.get())).div_ceil(8));
            let mut again = vec![0; 301];
            assert!(unpack(bits, &bytes[1..], &mut again));
            assert_eq!(again, codes);
            assert!(!unpack(bits, &bytes[1..], &mut [0; 310]));
            let spare = (8 - 301 * usize::from(bits.get()) % 8) % 8;
            if spare > 0 {
                let last = bytes.len() - 1;
                bytes[last] |= 0x80;
                assert!(!unpack(bits, &bytes[1..], &mut again), "{bits} bits");
            }
        }
    }

    #[test]
    fn the_first_code_is_lowest_and_the_filling_is_zero() {
        let four = Bits::new(4).unwrap();
        let mut bytes = Vec::new();
        pack(four, &[-8, 7, -7], &mut bytes);
        assert_eq!(bytes, [0xf0, 0x01]);
        assert!(!unpack(four, &[0xf0, 0x11], &mut [0; 3]));
    }
}
