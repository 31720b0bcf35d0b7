//! Sums of two values and pools, in loops that the compiler vectorizes for the instructions at
//! hand. The same operations in the same order as the definition, which tests compare them with.

use crate::{Activation, Epilogue, Finish, Isa, Target, Window, clip_round, scalar};

/// Channels of a pool that are summed at a time.
const LANES: usize = 64;

/// [`scalar::add`], with the instructions of `isa`.
pub fn add(isa: Isa, epilogue: &Epilogue, a: &[u8], b: &[u8], target: &mut Target<'_>) {
    if isa == Isa::SCALAR {
        return scalar::add(epilogue, a, b, target);
    }
    let sums = Affine {
        m: epilogue.m[0],
        b: epilogue.b[0],
        m_r: epilogue.m_r,
    };
    isa.run(|| sums.finish(epilogue.finish, a, b, target));
}

/// [`scalar::max_pool`], with the instructions of `isa`.
pub fn max_pool(
    isa: Isa,
    shape: [usize; 3],
    window: Window,
    first: usize,
    input: &[u8],
    output: &mut [u8],
) {
    isa.run(|| scalar::max_pool(shape, window, first, input, output));
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
    input: &[u8],
    target: &mut Target<'_>,
) {
    if isa == Isa::SCALAR {
        let padded = count_include_pad;
        return scalar::average_pool(shape, window, padded, zero, epilogues, input, target);
    }
    let [h, w, channels] = shape;
    let [height, width] = window.output(h, w).unwrap_or_default();
    for position in 0..height * width {
        let (oy, ox) = (position / width, position % width);
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
                        let codes = &input[(y * w + x) * channels + first..][..lanes];
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
