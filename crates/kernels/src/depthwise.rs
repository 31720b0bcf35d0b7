//! Depthwise convolution: each channel with its own window, many channels at a time.
//!
//! A kernel loads one code of each tap for a block of neighbouring channels, and interleaves the
//! taps so that each channel's lie side by side, as multiply-accumulate instructions want them.
//! Interleaving keeps to 128-bit lanes; packing the codes at the end undoes that. In between,
//! channel `16 l + 4 j + e` of a block is entry `4 l + e` of vector `j`, and so are its constants
//! and its weights.

use std::fmt::Debug;
use std::ops::Range;

use crate::conv::{Prepared, Scratch};
use crate::{ConvShape, Epilogue, Finish, SLACK, Source, Target};

/// The most channels of a block.
const MAX_LANES: usize = 64;
/// Lines made at a time: each takes constants and weights of a block once.
const STRIP: usize = 8;

/// A kernel for depthwise convolutions.
pub(crate) trait Channels: Copy + Debug + Send + Sync + 'static {
    /// A code of a weight.
    type Weight: Copy + Default + From<i8> + Debug + Send + Sync;
    /// Channels of a block.
    const LANES: usize;
    /// The kernel's name.
    const NAME: &'static str;

    /// Entries that the weights of one block take, filled up with zeros.
    fn weights_len(kernel: [usize; 2]) -> usize;

    /// Where the weight of tap `[ky, kx]` lies for entry `i` of vector `j`.
    fn place(kernel: [usize; 2], tap: [usize; 2], j: usize, i: usize) -> usize;

    /// The codes of a strip.
    fn codes(self, strip: &Strip<'_, Self::Weight>, out: &mut ClipOut<'_>);

    /// The sums of one block of the pixel at `[y, x]`, as vectors hold them.
    fn sums(
        self,
        strip: &Strip<'_, Self::Weight>,
        place: [usize; 2],
        block: usize,
        sums: &mut [i32; MAX_LANES],
    );

    /// Runs plain code compiled for its instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

/// Neighbouring lines of output to be made.
#[derive(Clone, Copy)]
pub(crate) struct Strip<'a, W> {
    /// The lines of input that they are made of at least, and `SLACK` bytes more.
    pub(crate) input: Source<'a>,
    /// What a line outside the image is: the code of zero, `SLACK` bytes longer than a line.
    pub(crate) outside: &'a [u8],
    pub(crate) shape: &'a ConvShape,
    /// The first line, and how many.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// `weights_len` for each block of channels.
    pub(crate) weights: &'a [W],
    /// Where the sums begin, in the order of the vectors.
    pub(crate) start: &'a [i32],
}

impl<'a, W> Strip<'a, W> {
    pub(crate) fn channels(&self) -> usize {
        self.shape.input[2]
    }

    /// Pixels of the output.
    pub(crate) fn width(&self) -> usize {
        self.shape.output[1]
    }

    /// Row `ky` of the windows of line `y`, from channel `first` on.
    pub(crate) fn row(&self, y: usize, ky: usize, first: usize) -> &'a [u8] {
        let ([h, w, channels], window) = (self.shape.input, &self.shape.window);
        let y = (y * window.stride[0] + ky * window.dilation[0]).checked_sub(window.pads[0]);
        match y.filter(|&y| y < h) {
            Some(y) => self.input.from(y * w * channels + first, w * channels),
            None => &self.outside[first..],
        }
    }

    /// Where in a row the columns begin.
    pub(crate) fn columns(&self) -> Columns {
        let window = &self.shape.window;
        Columns {
            stride: window.stride[1],
            dilation: window.dilation[1],
            pad: window.pads[1],
            width: self.shape.input[1],
            channels: self.channels(),
        }
    }

    /// Where the last column of a row begins.
    pub(crate) fn last_column(&self) -> usize {
        (self.shape.input[1] - 1) * self.channels()
    }
}

/// Where in a row the columns begin; a copy of what says so, which stays in registers.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    stride: usize,
    dilation: usize,
    pad: usize,
    width: usize,
    channels: usize,
}

impl Columns {
    /// Where the column that tap `kx` of pixel `x` reads begins; `None` outside the image.
    #[inline(always)]
    pub(crate) fn at(self, x: usize, kx: usize) -> Option<usize> {
        let x = (x * self.stride + kx * self.dilation).wrapping_sub(self.pad);
        (x < self.width).then(|| x * self.channels)
    }
}

/// Where the codes of a strip go, and through which clip.
pub(crate) struct ClipOut<'a> {
    /// In the order of the vectors.
    pub(crate) m: &'a [f32],
    /// In the order of the vectors.
    pub(crate) b: &'a [f32],
    pub(crate) lo: u8,
    pub(crate) hi: u8,
    pub(crate) codes: &'a mut [u8],
}

/// A depthwise convolution packed for one kernel.
#[derive(Debug)]
pub(crate) struct PackedDepthwise<M: Channels> {
    micro: M,
    shape: ConvShape,
    zero: u8,
    weights: Vec<M::Weight>,
    start: Vec<i32>,
    m: Vec<f32>,
    b: Vec<f32>,
    epilogue: Epilogue,
    /// Whether the kernel makes codes of its sums.
    fused: bool,
}

/// The entry of the vectors, all of them one after another, that channel `lane` of a block is.
fn entry(lane: usize, lanes: usize) -> usize {
    lane / 4 % 4 * (lanes / 4) + lane / 16 * 4 + lane % 4
}

impl<M: Channels> PackedDepthwise<M> {
    pub(crate) fn new(
        micro: M,
        shape: ConvShape,
        zero: u8,
        weights: &[i8],
        epilogue: Epilogue,
    ) -> Self {
        let kernel = shape.window.kernel;
        let area = shape.window.area();
        let blocks = shape.output[2].div_ceil(M::LANES);
        let block_len = M::weights_len(kernel);
        let mut packed = vec![M::Weight::default(); blocks * block_len];
        let lanes = blocks * M::LANES;
        let (mut start, mut m, mut b) = (vec![0; lanes], vec![0.0; lanes], vec![0.0; lanes]);
        let clips = matches!(epilogue.finish, Finish::Clip { .. }) && epilogue.m_r.is_none();
        let mut fused = clips;
        for (channel, taps) in weights.chunks_exact(area).enumerate() {
            let (block, entry) = (channel / M::LANES, entry(channel % M::LANES, M::LANES));
            let vector = M::LANES / 4;
            for (tap, &w) in taps.iter().enumerate() {
                let tap = [tap / kernel[1], tap % kernel[1]];
                let at = M::place(kernel, tap, entry / vector, entry % vector);
                packed[block * block_len + at] = w.into();
            }
            fused &= epilogue.stays_whole(channel, taps);
            let sum: i32 = taps.iter().map(|&w| i32::from(w)).sum();
            let at = block * M::LANES + entry;
            start[at] = -(i32::from(zero) * sum);
            (m[at], b[at]) = (epilogue.m[channel], epilogue.b[channel]);
        }
        Self {
            micro,
            shape,
            zero,
            weights: packed,
            start,
            m,
            b,
            epilogue,
            fused,
        }
    }

    /// A strip whose sums the kernel itself cannot finish; residual and target are those of the
    /// strip.
    fn finish(
        &self,
        strip: &Strip<'_, M::Weight>,
        residual: Option<&[u8]>,
        target: &mut Target<'_>,
    ) {
        let (width, count) = (strip.width(), strip.channels());
        let (mut vectors, mut sums) = ([0; MAX_LANES], [0; MAX_LANES]);
        for pixel in 0..strip.count * width {
            for first in (0..count).step_by(M::LANES) {
                let place = [strip.first + pixel / width, pixel % width];
                self.micro
                    .sums(strip, place, first / M::LANES, &mut vectors);
                for (lane, sum) in sums[..M::LANES].iter_mut().enumerate() {
                    *sum = vectors[entry(lane, M::LANES)];
                }
                let channels = first..count.min(first + M::LANES);
                let place = pixel * count + first..pixel * count + channels.end;
                let (sums, r) = (&sums[..channels.len()], residual.map(|r| &r[place.clone()]));
                let mut target = target.part(place);
                self.micro
                    .run(|| self.epilogue.finish(sums, channels, r, &mut target));
            }
        }
    }
}

impl<M: Channels> Prepared for PackedDepthwise<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn len_bytes(&self) -> usize {
        let constants = size_of_val(&self.start[..]) + 2 * size_of_val(&self.m[..]);
        size_of_val(&self.weights[..]) + constants
    }

    fn has_codes(&self) -> bool {
        self.epilogue.finish.has_codes()
    }

    fn scratch_bytes(&self, _: usize) -> usize {
        self.shape.input[1] * self.shape.input[2] + SLACK
    }

    fn reserve(&self, lines: usize, scratch: &mut Scratch) {
        let needed = self.scratch_bytes(lines);
        scratch.bytes.resize(scratch.bytes.len().max(needed), 0);
    }

    /// Whole lines.
    fn part(&self, i: usize, n: usize) -> Range<usize> {
        let [height, width, channels] = self.shape.output;
        let cut = |i: usize| i * height / n * width * channels;
        cut(i)..cut(i + 1)
    }

    fn run(
        &self,
        part: Range<usize>,
        input: Source<'_>,
        residual: Option<&[u8]>,
        scratch: &mut Scratch,
        target: &mut Target<'_>,
    ) {
        let [_, width, channels] = self.shape.output;
        let line = width * channels;
        let outside = &mut scratch.bytes[..self.shape.input[1] * channels + SLACK];
        outside.fill(self.zero);
        let lines = part.start / line..part.end / line;
        for first in lines.clone().step_by(STRIP) {
            let strip = Strip {
                input,
                outside,
                shape: &self.shape,
                first,
                count: STRIP.min(lines.end - first),
                weights: &self.weights,
                start: &self.start,
            };
            let made = first * line..(first + strip.count) * line;
            let made = made.start - part.start..made.end - part.start;
            let residual = residual.map(|r| &r[made.clone()]);
            let mut target = target.part(made);
            match (&mut target, self.epilogue.finish) {
                (Target::Codes(codes), Finish::Clip { lo, hi }) if self.fused => {
                    let (m, b, lo, hi) = (&self.m, &self.b, lo as u8, hi as u8);
                    self.micro.codes(
                        &strip,
                        &mut ClipOut {
                            m,
                            b,
                            lo,
                            hi,
                            codes,
                        },
                    );
                }
                (target, _) => self.finish(&strip, residual, target),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_four_vectors() {
        for lanes in [32, 64] {
            let mut seen = vec![false; lanes];
            for lane in 0..lanes {
                let (l, j, e) = (lane / 16, lane / 4 % 4, lane % 4);
                assert_eq!(entry(lane, lanes), j * (lanes / 4) + 4 * l + e);
                seen[entry(lane, lanes)] = true;
            }
            assert!(seen.into_iter().all(|s| s));
        }
    }
}
