//! Sums of two values and pools, in loops that the compiler vectorizes for the instructions at
//! hand, and tables. The same operations in the same order as the definition, which tests compare
//! them with.

use crate::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::x86::Avx2;
use crate::{Activation, Epilogue, Finish, Isa, Source, Target, Window, clip_round, scalar};

/// Channels of a pool that are summed at a time.
const LANES: usize = 64;
/// Codes of a sum in place that are held at a time.
const HELD: usize = 1024;

/// [`scalar::add`], with the instructions of `isa`.
pub fn add(isa: Isa, epilogue: &Epilogue, pair: [Option<&[u8]>; 2], target: &mut Target<'_>) {
    if isa == Isa::SCALAR {
        return scalar::add(epilogue, pair, target);
    }
    let sums = Affine {
        m: epilogue.m[0],
        b: epilogue.b[0],
        m_r: epilogue.m_r,
    };
    isa.run(|| match pair {
        [Some(a), Some(b)] => sums.finish(epilogue.finish, a, b, target),
        [a, b] => {
            let (len, mut held) = (target.len(), [0; HELD]);
            for first in (0..len).step_by(HELD) {
                let some = first..len.min(first + HELD);
                let mut target = target.part(some.clone());
                if let Target::Codes(codes) = &target {
                    held[..codes.len()].copy_from_slice(codes);
                }
                let [a, b] = [a, b].map(|given| given.map_or(&held[..], |c| &c[some.clone()]));
                sums.finish(epilogue.finish, a, b, &mut target);
            }
        }
    });
}

/// [`scalar::max_pool`], with the instructions of `isa`.
pub fn max_pool(
    isa: Isa,
    shape: [usize; 3],
    window: Window,
    first: usize,
    input: Source<'_>,
    output: &mut [u8],
) {
    if window.area() == 1 && isa != Isa::SCALAR {
        return pick(shape, window, first, input, output);
    }
    isa.run(|| scalar::max_pool(shape, window, first, input, output));
}

/// The maximum of a window of one tap: pixels at strides.
fn pick(
    [h, w, channels]: [usize; 3],
    window: Window,
    first: usize,
    input: Source<'_>,
    output: &mut [u8],
) {
    let [_, width] = window.output(h, w).unwrap_or_default();
    for (oy, line) in (first..).zip(output.chunks_exact_mut(width * channels)) {
        let start = window.position(0, oy, 0) * w;
        for (ox, pixel) in line.chunks_exact_mut(channels).enumerate() {
            let at = (start + window.position(1, ox, 0)) * channels;
            pixel.copy_from_slice(&input.from(at, w * channels)[..channels]);
        }
    }
}

/// [`scalar::lookup`] in a table with an entry for every byte, with the instructions of `isa`.
pub fn lookup(isa: Isa, table: &[u8; 256], input: &[u8], output: &mut [u8]) {
    match isa.0 {
        Level::Scalar => scalar::lookup(table, input, output),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(token) => token.lookup(table, input, output),
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni(token) => token.avx2.lookup(table, input, output),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni(token) => match (token.bytes(), Avx2::detect()) {
            (Some(token), _) => token.lookup(table, input, output),
            (None, Some(token)) => token.lookup(table, input, output),
            (None, None) => scalar::lookup(table, input, output),
        },
    }
}

/// Channels from which on a row is worth a vector of its own.
const WIDE: usize = 64;

/// [`scalar::concat_part`], with the instructions of `isa`.
pub fn concat_part(
    isa: Isa,
    table: &[u8; 256],
    channels: usize,
    input: &[u8],
    [first, stride]: [usize; 2],
    output: &mut [u8],
) {
    let is_identity = (0..=255).zip(table).all(|(i, &code)| i == code);
    let pixels = input.chunks_exact(channels);
    for (from, row) in pixels.zip(output.chunks_exact_mut(stride)) {
        let to = &mut row[first..first + channels];
        if is_identity && isa != Isa::SCALAR {
            to.copy_from_slice(from);
        } else if channels >= WIDE {
            lookup(isa, table, from, to);
        } else {
            scalar::lookup(table, from, to);
        }
    }
}

/// [`scalar::average_pool`], with the instructions of `isa`.
#[allow(
    clippy::too_many_arguments,
    reason = "those of the definition, and the instructions"
)]
pub fn average_pool(
    isa: Isa,
    shape: [usize; 3],
    window: Window,
    count_include_pad: bool,
    zero: u8,
    epilogues: &[Epilogue],
    first: usize,
    input: Source<'_>,
    target: &mut Target<'_>,
) {
    if isa == Isa::SCALAR {
        let padded = count_include_pad;
        return scalar::average_pool(shape, window, padded, zero, epilogues, first, input, target);
    }
    let [h, w, channels] = shape;
    let [_, width] = window.output(h, w).unwrap_or_default();
    for position in 0..target.len() / channels {
        let (oy, ox) = (first + position / width, position % width);
        let (ys, xs) = (window.taps(0, oy, h), window.taps(1, ox, w));
        let taps = ys.len() * xs.len();
        let count = if count_include_pad {
            window.area()
        } else {
            taps
        };
        let Epilogue { m, b, finish, .. } = &epilogues[count - 1];
        let affine = Affine {
            m: m[0],
            b: b[0],
            m_r: None,
        };
        let start = -(i32::from(zero) * taps as i32);
        for first in (0..channels).step_by(LANES) {
            let lanes = LANES.min(channels - first);
            isa.run(|| {
                let mut sums = [start; LANES];
                for y in ys.clone().map(|ky| window.position(0, oy, ky)) {
                    for x in xs.clone().map(|kx| window.position(1, ox, kx)) {
                        let at = (y * w + x) * channels + first;
                        let codes = &input.from(at, w * channels)[..lanes];
                        sums.iter_mut()
                            .zip(codes)
                            .for_each(|(sum, &c)| *sum += i32::from(c));
                    }
                }
                let at = position * channels + first;
                affine.finish(
                    *finish,
                    &sums[..lanes],
                    &[0; LANES],
                    &mut target.part(at..at + lanes),
                );
            });
        }
    }
}

/// `t` of an epilogue of one channel.
#[derive(Clone, Copy)]
struct Affine {
    m: f32,
    b: f32,
    m_r: Option<f32>,
}

/// A sum, or the first code of two.
trait Sum: Copy {
    fn real(self) -> f32;
}

impl Sum for u8 {
    #[inline(always)]
    fn real(self) -> f32 {
        f32::from(self)
    }
}

impl Sum for i32 {
    #[inline(always)]
    fn real(self) -> f32 {
        self as f32
    }
}

impl Affine {
    #[inline(always)]
    fn finish<S: Sum>(self, finish: Finish, sums: &[S], r: &[u8], target: &mut Target<'_>) {
        match (finish, target) {
            (Finish::Clip { lo, hi }, Target::Codes(y)) => {
                self.each(sums, r, y, |t| clip_round(t, lo, hi));
            }
            (
                Finish::Curve {
                    activation,
                    inverse_scale,
                    zero,
                    levels,
                },
                Target::Codes(y),
            ) => {
                let code = |y: f32| clip_round(y * inverse_scale + zero, 0.0, levels);
                if activation == Activation::HardSwish {
                    self.each(sums, r, y, |t| code(Activation::HardSwish.apply(t)));
                } else {
                    self.each(sums, r, y, |t| code(activation.apply(t)));
                }
            }
            (Finish::Real { activation }, Target::Real(y)) => {
                self.each(sums, r, y, |t| activation.apply(t));
            }
            (Finish::Real { .. }, Target::Codes(_))
            | (Finish::Clip { .. } | Finish::Curve { .. }, Target::Real(_)) => {
                unreachable!("an epilogue and its target agree")
            }
        }
    }

    #[inline(always)]
    fn each<S: Sum, T>(self, sums: &[S], r: &[u8], out: &mut [T], finish: impl Fn(f32) -> T) {
        let Self { m, b, m_r } = self;
        let sums = sums.iter().map(|s| s.real() * m + b);
        match m_r {
            None => out
                .iter_mut()
                .zip(sums)
                .for_each(|(out, t)| *out = finish(t)),
            Some(m_r) => {
                let sums = sums.zip(r).map(|(t, &r)| t + f32::from(r) * m_r);
                out.iter_mut()
                    .zip(sums)
                    .for_each(|(out, t)| *out = finish(t));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_an_entry_for_every_code() {
        let table: [u8; 256] = std::array::from_fn(|i| (i * 167 + 13) as u8);
        let codes: Vec<u8> = (0..1000).map(|i| (i * 59 % 256) as u8).collect();
        for len in [0, 1, 31, 32, 63, 64, 65, 300, 1000] {
            let mut expected = vec![0; len];
            scalar::lookup(&table, &codes[..len], &mut expected);
            for isa in Isa::present() {
                let mut found = vec![0; len];
                lookup(isa, &table, &codes[..len], &mut found);
                assert_eq!(found, expected, "{}, {len}", isa.name());
            }
        }
    }

    #[test]
    fn a_sum_may_take_the_place_of_either() {
        let grid = |scale, zero| crate::Grid {
            bits: crate::Bits::EIGHT,
            scale,
            zero,
        };
        let activation = Activation::LeakyRelu { slope: 0.1 };
        let (a, b, y) = (grid(0.02, 100), grid(0.03, 128), grid(0.04, 90));
        let epilogue = Epilogue::add(a, b, activation, Some(y));
        let codes = |step: usize| -> Vec<u8> { (0..200).map(|i| (i * step) as u8).collect() };
        let (a, b) = (codes(59), codes(83));
        let sum = |isa, pair, mut held: Vec<u8>| {
            add(isa, &epilogue, pair, &mut Target::Codes(&mut held));
            held
        };
        let expected = sum(Isa::SCALAR, [Some(&a), Some(&b)], vec![0; 200]);
        for isa in Isa::present() {
            assert_eq!(sum(isa, [Some(&a), Some(&b)], vec![0; 200]), expected);
            assert_eq!(sum(isa, [None, Some(&b)], a.clone()), expected);
            assert_eq!(sum(isa, [Some(&a), None], b.clone()), expected);
        }
    }

    #[test]
    fn parts_lie_side_by_side() {
        let same: [u8; 256] = std::array::from_fn(|i| i as u8);
        let other = same.map(|i| i.wrapping_mul(3));
        let codes: Vec<u8> = (0..400).map(|i| (i * 59 % 256) as u8).collect();
        for (table, channels) in [(&same, 5), (&other, 5), (&same, 80), (&other, 80)] {
            let (stride, pixels) = (channels + 7, 400 / channels);
            let mut expected = vec![9; pixels * stride];
            scalar::concat_part(table, channels, &codes, [4, stride], &mut expected);
            for isa in Isa::present() {
                let mut found = vec![9; pixels * stride];
                concat_part(isa, table, channels, &codes, [4, stride], &mut found);
                assert_eq!(found, expected, "{}, {channels}", isa.name());
            }
        }
    }

    #[test]
    fn a_window_of_one_tap_picks() {
        let (shape, codes) = ([7, 5, 3], (0..105).collect::<Vec<u8>>());
        for (stride, pad) in [(1, 0), (2, 0), (3, 0), (2, 1)] {
            let mut window = Window::square(1, stride, 0);
            window.pads[2] = pad;
            let [height, width] = window.output(7, 5).unwrap();
            // With a pad below, a last line may lie outside.
            let lines = (0..height).take_while(|oy| oy * stride < 7).count();
            for first in 0..lines {
                let mut expected = vec![0; (lines - first) * width * 3];
                let mut found = expected.clone();
                scalar::max_pool(shape, window, first, Source::whole(&codes), &mut expected);
                max_pool(
                    Isa::best(),
                    shape,
                    window,
                    first,
                    Source::whole(&codes),
                    &mut found,
                );
                assert_eq!(found, expected);
            }
        }
    }
}
