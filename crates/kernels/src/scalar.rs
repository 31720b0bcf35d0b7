//! The definition of every kernel, plainly. Codes lie as `[height, width, channels]`; every other
//! path equals these functions bit for bit.

use std::ops::Range;

use crate::{ConvShape, Epilogue, Window};

/// Where a step reads: the lines of a value from one on.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The codes.
    pub codes: &'a [u8],
    /// The line that they begin with.
    pub first: usize,
}

impl<'a> Source<'a> {
    /// A whole value.
    pub fn whole(codes: &'a [u8]) -> Self {
        Self { codes, first: 0 }
    }

    /// The entries `part` of a value whose lines have `line` entries.
    pub fn part(self, part: Range<usize>, line: usize) -> &'a [u8] {
        &self.from(part.start, line)[..part.len()]
    }

    /// What follows entry `at` of a value whose lines have `line` entries.
    #[inline(always)]
    pub(crate) fn from(self, at: usize, line: usize) -> &'a [u8] {
        &self.codes[at - self.first * line..]
    }
}

/// Where a step writes: codes, or real numbers in the last step of a network.
#[derive(Debug)]
pub enum Target<'a> {
    /// One code per entry.
    Codes(&'a mut [u8]),
    /// One number per entry.
    Real(&'a mut [f32]),
}

impl Target<'_> {
    /// The number of entries.
    #[allow(clippy::len_without_is_empty, reason = "no step writes nothing")]
    pub fn len(&self) -> usize {
        match self {
            Target::Codes(codes) => codes.len(),
            Target::Real(numbers) => numbers.len(),
        }
    }

    /// The code that an entry holds; 0 where it is a number.
    fn held(&self, at: usize) -> u8 {
        match self {
            Target::Codes(codes) => codes[at],
            Target::Real(_) => 0,
        }
    }

    /// The first `at` entries, and the others.
    pub fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Target::Codes(codes) => {
                let (a, b) = codes.split_at_mut(at);
                (Target::Codes(a), Target::Codes(b))
            }
            Target::Real(numbers) => {
                let (a, b) = numbers.split_at_mut(at);
                (Target::Real(a), Target::Real(b))
            }
        }
    }

    /// The entries of a range.
    #[inline(always)]
    pub(crate) fn part(&mut self, range: Range<usize>) -> Target<'_> {
        match self {
            Target::Codes(codes) => Target::Codes(&mut codes[range]),
            Target::Real(numbers) => Target::Real(&mut numbers[range]),
        }
    }
}

/// `sum (a - zero) * w` over the taps inside the image, for output channel `c` at `[oy, ox]`.
/// `weights` are `[Cout, kh, kw, Cin / groups]`.
pub fn dot(
    shape: &ConvShape,
    zero: u8,
    weights: &[i8],
    input: Source<'_>,
    [oy, ox, c]: [usize; 3],
) -> i32 {
    let ([h, w, channels], window) = (shape.input, shape.window);
    let [width, taps] = [channels / shape.groups, window.kernel[1]];
    let first = c / (shape.output[2] / shape.groups) * width;
    let row = &weights[c * shape.depth()..][..shape.depth()];
    let mut acc = 0;
    for ky in window.taps(0, oy, h) {
        for kx in window.taps(1, ox, w) {
            let at = window.position(0, oy, ky) * w + window.position(1, ox, kx);
            let a = &input.from(at * channels + first, w * channels)[..width];
            let k = &row[(ky * taps + kx) * width..][..width];
            for (&a, &k) in a.iter().zip(k) {
                acc += (i32::from(a) - i32::from(zero)) * i32::from(k);
            }
        }
    }
    acc
}

/// Convolution, its residual sum, its activation and its rounding: the entries `part` of its
/// output, which go to `target`. The codes that are summed in are those of the same entries in
/// `residual`, or those that `target` holds.
#[allow(
    clippy::too_many_arguments,
    reason = "what a convolution is made of, and the part"
)]
pub fn conv(
    shape: &ConvShape,
    zero: u8,
    weights: &[i8],
    epilogue: &Epilogue,
    part: Range<usize>,
    input: Source<'_>,
    residual: Option<&[u8]>,
    target: &mut Target<'_>,
) {
    let [_, width, channels] = shape.output;
    for (to, at) in part.enumerate() {
        let (position, c) = (at / channels, at % channels);
        let place = [position / width, position % width, c];
        let acc = dot(shape, zero, weights, input, place);
        let r = residual.map_or_else(|| target.held(to), |r| r[to]);
        finish(epilogue, acc, c, r, target, to);
    }
}

/// Sum of two values: the epilogue with the first code as its sum. One that is not given is what
/// `target` holds.
pub fn add(epilogue: &Epilogue, [a, b]: [Option<&[u8]>; 2], target: &mut Target<'_>) {
    for at in 0..target.len() {
        let held = target.held(at);
        let [a, b] = [a, b].map(|codes| codes.map_or(held, |codes| codes[at]));
        finish(epilogue, i32::from(a), 0, b, target, at);
    }
}

/// Mean over the taps inside the image, the lines of output from `first` on, as many as `target`
/// holds; `epilogues[n - 1]` is for a divisor of `n`.
#[allow(
    clippy::too_many_arguments,
    reason = "what a mean is made of, and the part"
)]
pub fn average_pool(
    [h, w, channels]: [usize; 3],
    window: Window,
    count_include_pad: bool,
    zero: u8,
    epilogues: &[Epilogue],
    first: usize,
    input: Source<'_>,
    target: &mut Target<'_>,
) {
    let [_, width] = window.output(h, w).unwrap_or_default();
    for position in 0..target.len() / channels {
        let (oy, ox) = (first + position / width, position % width);
        let (ys, xs) = (window.taps(0, oy, h), window.taps(1, ox, w));
        let count = if count_include_pad {
            window.area()
        } else {
            ys.len() * xs.len()
        };
        for c in 0..channels {
            let mut acc = 0;
            for y in ys.clone().map(|ky| window.position(0, oy, ky)) {
                for x in xs.clone().map(|kx| window.position(1, ox, kx)) {
                    let code = input.from((y * w + x) * channels + c, w * channels)[0];
                    acc += i32::from(code) - i32::from(zero);
                }
            }
            finish(
                &epilogues[count - 1],
                acc,
                0,
                0,
                target,
                position * channels + c,
            );
        }
    }
}

/// Maximum over the taps inside the image, of which there is at least one: the lines of output from
/// `first` on, as many as `output` holds.
#[inline(always)]
pub fn max_pool(
    [h, w, channels]: [usize; 3],
    window: Window,
    first: usize,
    input: Source<'_>,
    output: &mut [u8],
) {
    let [_, width] = window.output(h, w).unwrap_or_default();
    for (position, row) in output.chunks_exact_mut(channels).enumerate() {
        let (oy, ox) = (first + position / width, position % width);
        for (block, row) in row.chunks_mut(POOLED).enumerate() {
            let mut most = [0; POOLED];
            for y in window.taps(0, oy, h).map(|ky| window.position(0, oy, ky)) {
                for x in window.taps(1, ox, w).map(|kx| window.position(1, ox, kx)) {
                    let at = (y * w + x) * channels + block * POOLED;
                    let codes = &input.from(at, w * channels)[..row.len()];
                    match codes.first_chunk::<POOLED>() {
                        // So many that they stay in registers.
                        Some(codes) => larger(&mut most, codes),
                        None => larger(&mut most[..row.len()], codes),
                    }
                }
            }
            row.copy_from_slice(&most[..row.len()]);
        }
    }
}

/// Channels of a maximum that are compared at a time.
const POOLED: usize = 64;

#[inline(always)]
fn larger(most: &mut [u8], codes: &[u8]) {
    most.iter_mut()
        .zip(codes)
        .for_each(|(most, &code)| *most = code.max(*most));
}

/// `output[i] = table[input[i]]`, an entry of the table for every code of the input.
pub fn lookup(table: &[u8], input: &[u8], output: &mut [u8]) {
    output
        .iter_mut()
        .zip(input)
        .for_each(|(o, &i)| *o = table[usize::from(i)]);
}

/// Pads `[top, left, ..]` with `code`: the lines of output, of `width` pixels, from `first` on, as
/// many as `output` holds. The other two pads follow from the extents of the output.
pub fn pad(
    [h, w, channels]: [usize; 3],
    [top, left]: [usize; 2],
    width: usize,
    code: u8,
    first: usize,
    input: Source<'_>,
    output: &mut [u8],
) {
    output.fill(code);
    for (oy, line) in (first..).zip(output.chunks_exact_mut(width * channels)) {
        if let Some(y) = oy.checked_sub(top).filter(|&y| y < h) {
            let row = &input.from(y * w * channels, w * channels)[..w * channels];
            line[left * channels..][..w * channels].copy_from_slice(row);
        }
    }
}

/// Pads channels with `code`: pixels of `channels` become such of `stride`, `before` of them new.
pub fn pad_channels(
    channels: usize,
    [before, stride]: [usize; 2],
    code: u8,
    input: &[u8],
    output: &mut [u8],
) {
    output.fill(code);
    for (from, to) in input
        .chunks_exact(channels)
        .zip(output.chunks_exact_mut(stride))
    {
        to[before..before + channels].copy_from_slice(from);
    }
}

/// One part of a concatenation along channels: `input` of `channels` goes through `table` to
/// channels `first..first + channels` of `output`, which has `stride` of them.
pub fn concat_part(
    table: &[u8; 256],
    channels: usize,
    input: &[u8],
    [first, stride]: [usize; 2],
    output: &mut [u8],
) {
    for (from, to) in input
        .chunks_exact(channels)
        .zip(output.chunks_exact_mut(stride))
    {
        lookup(table, from, &mut to[first..first + channels]);
    }
}

fn finish(epilogue: &Epilogue, acc: i32, c: usize, r: u8, target: &mut Target<'_>, at: usize) {
    match target {
        Target::Codes(codes) => codes[at] = epilogue.code(acc, c, r),
        Target::Real(numbers) => numbers[at] = epilogue.real(acc, c, r),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_outside_the_image_add_nothing() {
        let shape = ConvShape {
            input: [2, 2, 1],
            output: [2, 2, 1],
            window: Window::square(3, 1, 1),
            groups: 1,
        };
        let (input, weights) = ([1, 2, 3, 4], [1i8, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(
            dot(&shape, 0, &weights, Source::whole(&input), [0, 0, 0]),
            5 + 2 * 6 + 3 * 8 + 4 * 9
        );
        assert_eq!(
            dot(&shape, 1, &weights, Source::whole(&input), [0, 0, 0]),
            6 + 2 * 8 + 3 * 9
        );
        assert_eq!(
            dot(&shape, 0, &weights, Source::whole(&input), [1, 1, 0]),
            1 + 2 * 2 + 3 * 4 + 4 * 5
        );
    }

    #[test]
    fn groups_see_their_own_channels() {
        let shape = ConvShape {
            input: [1, 1, 4],
            output: [1, 1, 2],
            window: Window::square(1, 1, 0),
            groups: 2,
        };
        let input = Source::whole(&[1, 10, 100, 200]);
        let at = |c| dot(&shape, 0, &[1, 2, 3, 4], input, [0, 0, c]);
        assert_eq!((at(0), at(1)), (21, 1100));
    }

    #[test]
    fn pools_ignore_what_lies_outside() {
        let mut max = [0; 4];
        let window = Window {
            pads: [1, 1, 0, 0],
            ..Window::square(2, 1, 0)
        };
        max_pool([2, 2, 1], window, 0, Source::whole(&[5, 0, 0, 9]), &mut max);
        assert_eq!(max, [5, 5, 5, 9]);
    }
}
