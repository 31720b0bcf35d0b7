//! From raw pixels to the codes of the input.

use std::ops::Range;

use exbit_kernels::Isa;

use crate::Value;

/// What each of `threads` threads makes of the input's codes: whole pixels.
pub(crate) fn parts(input: &Value, threads: usize) -> Vec<Range<usize>> {
    let [height, width, channels] = input.shape;
    let cut = |i: usize| i * height * width / threads * channels;
    (0..threads).map(|i| cut(i)..cut(i + 1)).collect()
}

/// The code of each pixel, a table for each channel.
pub(crate) fn look_up(isa: Isa, tables: &[[u8; 256]], pixels: &[u8], codes: &mut [u8]) {
    match tables {
        [table, others @ ..] if others.iter().all(|other| other == table) => {
            exbit_kernels::lookup(isa, table, pixels, codes);
        }
        // As fast as any: the compiler knows how many tables there are.
        [red, green, blue] => look_up_in(&[red, green, blue], pixels, codes),
        tables => {
            let pixels = pixels.chunks_exact(tables.len());
            for (pixel, codes) in pixels.zip(codes.chunks_exact_mut(tables.len())) {
                for ((code, &p), table) in codes.iter_mut().zip(pixel).zip(tables) {
                    *code = table[usize::from(p)];
                }
            }
        }
    }
}

/// The code of each pixel, a table for each of `N` channels.
fn look_up_in<const N: usize>(tables: &[&[u8; 256]; N], pixels: &[u8], codes: &mut [u8]) {
    for (pixel, codes) in pixels
        .as_chunks::<N>()
        .0
        .iter()
        .zip(codes.as_chunks_mut::<N>().0)
    {
        *codes = std::array::from_fn(|c| tables[c][usize::from(pixel[c])]);
    }
}
