//! The products in tiles of 16 by 16 sums, for factors of bfloat16. Rows that lie equally far
//! apart, those of one tap in 16 planes, are a tile as they stand: nothing is unfolded here either.

use super::dots::Dots;
use super::product::Product;
use super::{ROUND, Shifts, Term};
use crate::float::amx::{self, Lines, SIDE, Shapes, Tiles};
use crate::float::bf16::{Half, Pair};

/// Positions that a product computes at once.
const WIDTH: usize = 4 * SIDE;

/// Positions that gradients are summed over at once: 16 rows of planes and 16 of `y` are 32 KiB.
const RUN: usize = 512;

/// Taps whose gradients are summed at once.
const TAPS: usize = 3;

const _: () = assert!(ROUND == 2 * SIDE && RUN.is_multiple_of(ROUND));

/// Whether there are taps, and positions for four tiles side by side, and whether so many rows and
/// columns of each tap fill tiles well enough to be worth their setting up.
fn fills<T>(rows: usize, columns: usize, b: &Shifts<'_, T>) -> bool {
    let full = rows >= SIDE / 2 && columns >= SIDE / 2 && b.positions() >= WIDTH;
    full && !b.taps.is_empty()
}

/// Whether a product is one for tiles; then it keeps the promises of [`product`].
pub(super) fn suits_product(p: &Product<Pair>) -> bool {
    fills(p.c.count, 2 * p.b.planes, &p.b)
}

/// Whether dot products are for tiles; then they keep the promises of [`dots`].
pub(super) fn suits_dots(d: &Dots<Half>) -> bool {
    fills(d.y.count, d.b.planes, &d.b)
}

/// Things in equal parts of at most [`SIDE`]. Where they do not come out even, the last part
/// begins early.
#[derive(Clone, Copy)]
struct Parts {
    count: usize,
    size: usize,
}

/// One of them.
#[derive(Clone, Copy)]
struct Part {
    /// Its first thing.
    start: usize,
    /// How many of its things the part before has too.
    again: usize,
}

impl Parts {
    fn new(count: usize) -> Self {
        let size = count.div_ceil(count.div_ceil(SIDE).max(1));
        Self { count, size }
    }

    fn iter(self) -> impl Iterator<Item = Part> {
        (0..self.count).step_by(self.size.max(1)).map(move |at| {
            let start = at.min(self.count - self.size);
            let again = at - start;
            Part { start, again }
        })
    }
}

/// As `super::product_pairs`. Where planes do not come out even, some are multiplied by zero once
/// more: an infinity among them gives no number.
///
/// # Safety
/// The promises of `p`; [`suits_product`].
pub(super) unsafe fn product(_: Tiles, p: &Product<Pair>) {
    let b = &p.b;
    let (rows, depth) = (Parts::new(p.c.count), Parts::new(b.planes));
    let (sums, a) = ([rows.size, SIDE], [rows.size, depth.size]);
    let factor = [depth.size, SIDE];
    let shapes = Shapes::new([sums, sums, sums, sums, a, factor, factor, factor]);
    // SAFETY: the caller's promises.
    let weights = unsafe { weights(p, [rows, depth]) };
    let of_rows = b.taps.len() * depth.iter().count() * rows.size * SIDE;
    let bytes = |places: usize| places * size_of::<Pair>();
    let row = |tap: &Term, part: Part| bytes(tap.b + part.start * b.apart.b);
    let steps: Vec<usize> = (b.taps.iter())
        .flat_map(|tap| depth.iter().map(move |part| row(tap, part)))
        .collect();
    for at in (0..p.n).step_by(WIDTH).map(|at| at.min(p.n - WIDTH)) {
        for (part, a) in rows.iter().zip(weights.chunks_exact(of_rows)) {
            // SAFETY: `p.n` positions of each row of `c` and of each term are in their buffers,
            // and so are `WIDTH` from `at` on; `a` holds a tile for each step.
            unsafe {
                let c = Lines {
                    at: p.c.data.add(part.start * p.c.stride + at),
                    apart: size_of::<f32>() * p.c.stride,
                };
                let b = Lines {
                    at: p.b.data.as_ptr().add(at),
                    apart: bytes(b.apart.b),
                };
                amx::product(&shapes, c, a.as_ptr(), b, &steps);
            }
        }
    }
}

/// The left factor, a tile for each part of its rows, tap, and part of the planes.
///
/// # Safety
/// The promises of `p`.
unsafe fn weights(p: &Product<Pair>, [rows, depth]: [Parts; 2]) -> Vec<Pair> {
    let b = &p.b;
    let mut all = Vec::new();
    for row in rows.iter() {
        for tap in b.taps {
            for plane in depth.iter() {
                let at = all.len();
                all.resize(at + rows.size * SIDE, [0; 2]);
                for (i, line) in all[at..].chunks_exact_mut(SIDE).enumerate() {
                    let from = tap.a + (row.start + i) * p.a.stride + plane.start * b.apart.a;
                    // What the part before has counted is zero here.
                    for (j, to) in line[..depth.size].iter_mut().enumerate().skip(plane.again) {
                        // SAFETY: `p` has every term's entry of every row.
                        *to = unsafe { *p.a.data.add(from + j * b.apart.a) };
                    }
                }
            }
        }
    }
    all
}

/// As `super::dots_halves`.
///
/// # Safety
/// The promises of `d`; [`suits_dots`].
pub(super) unsafe fn dots(_: Tiles, d: &Dots<Half>) {
    let b = &d.b;
    let (rows, planes) = (Parts::new(d.y.count), Parts::new(b.planes));
    let (sums, y) = ([planes.size, rows.size], [SIDE, rows.size]);
    let factor = [planes.size, SIDE];
    let shapes = Shapes::new([sums, sums, sums, y, factor, factor, factor, factor]);
    let mut packed = vec![[0; 2]; RUN / 2 * SIDE];
    let triples = b.taps.len().div_ceil(TAPS);
    let mut all =
        vec![[[0.0; SIDE * SIDE]; TAPS]; rows.iter().count() * planes.iter().count() * triples];
    for from in (0..d.n).step_by(RUN) {
        let run = RUN.min(d.n - from);
        let mut sums = all.iter_mut();
        for row in rows.iter() {
            // SAFETY: rows of `y` have `n` entries, and `from + run` is at most `n`.
            unsafe {
                let y = d.y.data.add(row.start * d.y.stride + from);
                transpose(&mut packed, y, d.y.stride, rows.size, run);
            }
            for plane in planes.iter() {
                for (taps, sums) in b.taps.chunks(TAPS).zip(&mut sums) {
                    // SAFETY: every row of `b` has `n` entries from its term on.
                    unsafe {
                        let tap = |i: usize| taps[i.min(taps.len() - 1)].b;
                        let place =
                            |i| b.data.as_ptr().add(tap(i) + plane.start * b.apart.b + from);
                        let lines = Lines {
                            at: [place(0), place(1), place(2)],
                            apart: size_of::<Half>() * b.apart.b,
                        };
                        let steps = run / ROUND;
                        amx::dots(
                            &shapes,
                            sums.as_mut_ptr().cast(),
                            packed.as_ptr(),
                            lines,
                            steps,
                        );
                    }
                }
            }
        }
    }
    // SAFETY: the caller's promises.
    unsafe { add(d, [rows, planes], &all) };
}

/// Adds sums to `d`: tile by tile, planes down and rows across, each once.
///
/// # Safety
/// The promises of `d`.
unsafe fn add(d: &Dots<Half>, [rows, planes]: [Parts; 2], all: &[[[f32; SIDE * SIDE]; TAPS]]) {
    let b = &d.b;
    let mut all = all.iter();
    for row in rows.iter() {
        for plane in planes.iter() {
            for (taps, sums) in b.taps.chunks(TAPS).zip(&mut all) {
                for (i, m) in (row.again..rows.size).map(|i| (i, row.start + i)) {
                    for (j, c) in (plane.again..planes.size).map(|j| (j, plane.start + j)) {
                        for (tap, sums) in taps.iter().zip(sums) {
                            // SAFETY: `d` has every term's entry of every row.
                            unsafe {
                                let at = m * d.d.stride + tap.a + c * b.apart.a;
                                *d.d.data.add(at) += sums[j * SIDE + i];
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `to[p][m]` is `rows[m][p]`, where `p` counts pairs of halves: for every 16 of them, of `count`
/// rows `stride` halves apart, a tile. Columns without a row are 0.
///
/// # Safety
/// The CPU has AVX-512F; there are `len` halves, a multiple of 32, in every row, and as many
/// tiles in `to`.
#[target_feature(enable = "avx512f")]
unsafe fn transpose(to: &mut [Pair], rows: *const Half, stride: usize, count: usize, len: usize) {
    use std::arch::x86_64::*;
    for (step, to) in to
        .chunks_exact_mut(SIDE * SIDE)
        .take(len / ROUND)
        .enumerate()
    {
        let mut x = [_mm512_setzero_si512(); SIDE];
        for (i, x) in x.iter_mut().enumerate().take(count) {
            // SAFETY: the row has these 32 halves.
            *x = unsafe { _mm512_loadu_si512(rows.add(i * stride + step * ROUND).cast()) };
        }
        // Two rows woven by pairs, then by two pairs: each lane of 16 bytes is a square of 4 by 4.
        let mut y = x;
        for i in (0..SIDE).step_by(2) {
            y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
            y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        }
        for i in (0..SIDE).step_by(4) {
            x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
            x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
            x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
            x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
        }
        // `x[4 g + i]` has in lane `l`, of row `4 l + i` of the result, columns `4 g` to `4 g + 3`.
        for i in 0..4 {
            let [a, b, c, d] = [x[i], x[4 + i], x[8 + i], x[12 + i]];
            let (ab, cd) = (
                [
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
                ],
                [
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
                ],
            );
            let lanes = [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(ab[0], cd[0]),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(ab[1], cd[1]),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(ab[0], cd[0]),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(ab[1], cd[1]),
            ];
            for (lane, row) in lanes.into_iter().enumerate() {
                // SAFETY: row `4 lane + i` of a tile of 16.
                unsafe {
                    _mm512_storeu_si512(to.as_mut_ptr().add((4 * lane + i) * SIDE).cast(), row)
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_every_thing_once() {
        for count in 1..200 {
            let parts = Parts::new(count);
            assert!((1..=SIDE).contains(&parts.size), "{count}");
            let own = |part: Part| part.start + part.again..part.start + parts.size;
            let all: Vec<usize> = parts.iter().flat_map(own).collect();
            assert!(all.into_iter().eq(0..count), "{count}");
        }
        assert_eq!(Parts::new(0).iter().count(), 0);
    }

    #[test]
    fn few_rows_columns_taps_or_positions_are_not_for_tiles() {
        let data = [0u16; 64];
        let taps = [Term { a: 0, b: 0 }];
        let of = |taps, len| Shifts {
            data: &data,
            taps,
            planes: 1,
            apart: Term { a: 0, b: 0 },
            len,
        };
        assert!(fills(8, 8, &of(&taps, 33)));
        assert!(!fills(7, 8, &of(&taps, 64)) && !fills(8, 7, &of(&taps, 64)));
        assert!(!fills(8, 8, &of(&taps, 32)) && !fills(8, 8, &of(&[], 64)));
    }
}
