//! Depthwise convolution: each channel with its own window, many channels at a time.
//!
//! A kernel loads one code of each tap for a block of neighbouring channels, and interleaves the
//! taps so that each channel's lie side by side, as multiply-accumulate instructions want them.
//! Interleaving keeps to 128-bit lanes; packing the codes at the end undoes that. In between,
//! channel `16 l + 4 j + e` of a block is entry `4 l + e` of vector `j`, and so are its constants
//! and its weights.

use crate::{ConvShape, Epilogue, Finish, Target};

/// The most channels of a block.
const MAX_LANES: usize = 64;

/// A kernel for lines of a depthwise convolution.
pub(crate) trait Channels: Copy {
    /// A code of a weight.
    type Weight: Copy + Default + From<i8>;
    /// Channels of a block.
    const LANES: usize;
    /// The kernel's name.
    const NAME: &'static str;

    /// Entries that the weights of one block take, filled up with zeros.
    fn weights_len(kernel: [usize; 2]) -> usize;

    /// Where the weight of tap `[ky, kx]` lies for entry `i` of vector `j`.
    fn place(kernel: [usize; 2], tap: [usize; 2], j: usize, i: usize) -> usize;

    /// The codes of a line.
    fn codes(self, line: &Line<'_, Self::Weight>, out: &mut ClipLine<'_>);

    /// The sums of one block of one pixel, as vectors hold them.
    fn sums(
        self,
        line: &Line<'_, Self::Weight>,
        x: usize,
        block: usize,
        sums: &mut [i32; MAX_LANES],
    );

    /// Runs plain code compiled for its instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

/// One line of output to be made.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a, W> {
    /// The whole input, and `SLACK` bytes more.
    pub(crate) input: &'a [u8],
    pub(crate) shape: &'a ConvShape,
    /// The code of zero.
    pub(crate) zero: u8,
    /// Which line of the output.
    pub(crate) y: usize,
    /// `weights_len` for each block of channels.
    pub(crate) weights: &'a [W],
    /// Where the sums begin, in the order of the vectors.
    pub(crate) start: &'a [i32],
}

impl<W> Line<'_, W> {
    pub(crate) fn channels(&self) -> usize {
        self.shape.input[2]
    }

    /// Pixels of the output.
    pub(crate) fn width(&self) -> usize {
        self.shape.output[1]
    }

    /// Where row `ky` of the windows begins in the input; `None` outside the image.
    pub(crate) fn row(&self, ky: usize) -> Option<usize> {
        let ([h, w, channels], window) = (self.shape.input, self.shape.window);
        let y = (self.y * window.stride[0] + ky * window.dilation[0]).checked_sub(window.pads[0]);
        y.filter(|&y| y < h).map(|y| y * w * channels)
    }

    /// Where in a row of the input the column that tap `kx` of pixel `x` reads begins; `None`
    /// outside the image.
    #[inline(always)]
    pub(crate) fn column(&self, x: usize, kx: usize) -> Option<usize> {
        let ([_, w, channels], window) = (self.shape.input, &self.shape.window);
        let x = x * window.stride[1] + kx * window.dilation[1];
        (x >= window.pads[1] && x - window.pads[1] < w).then(|| (x - window.pads[1]) * channels)
    }
}

/// Where the codes of a line go, and through which clip.
pub(crate) struct ClipLine<'a> {
    /// In the order of the vectors.
    pub(crate) m: &'a [f32],
    /// In the order of the vectors.
    pub(crate) b: &'a [f32],
    pub(crate) lo: u8,
    pub(crate) hi: u8,
    pub(crate) codes: &'a mut [u8],
}

/// A depthwise convolution packed for one kernel.
#[derive(Clone, Debug)]
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

    pub(crate) fn name(&self) -> &'static str {
        M::NAME
    }

    pub(crate) fn run(&self, input: &[u8], residual: Option<&[u8]>, target: &mut Target<'_>) {
        let [height, width, channels] = self.shape.output;
        for y in 0..height {
            let line = Line {
                input,
                shape: &self.shape,
                zero: self.zero,
                y,
                weights: &self.weights,
                start: &self.start,
            };
            let at = y * width * channels;
            match (&mut *target, self.epilogue.finish) {
                (Target::Codes(y), Finish::Clip { lo, hi }) if self.fused => {
                    let codes = &mut y[at..at + width * channels];
                    let (m, b, lo, hi) = (&self.m, &self.b, lo as u8, hi as u8);
                    self.micro.codes(
                        &line,
                        &mut ClipLine {
                            m,
                            b,
                            lo,
                            hi,
                            codes,
                        },
                    );
                }
                (target, _) => self.finish(&line, at, residual, target),
            }
        }
    }

    /// A line whose sums the kernel itself cannot finish.
    fn finish(
        &self,
        line: &Line<'_, M::Weight>,
        at: usize,
        residual: Option<&[u8]>,
        target: &mut Target<'_>,
    ) {
        let (mut vectors, mut sums) = ([0; MAX_LANES], [0; MAX_LANES]);
        for x in 0..line.width() {
            for first in (0..line.channels()).step_by(M::LANES) {
                self.micro.sums(line, x, first / M::LANES, &mut vectors);
                for (lane, sum) in sums[..M::LANES].iter_mut().enumerate() {
                    *sum = vectors[entry(lane, M::LANES)];
                }
                let channels = first..line.channels().min(first + M::LANES);
                let place = at + x * line.channels() + first;
                let place = place..place + channels.len();
                let (sums, r) = (&sums[..channels.len()], residual.map(|r| &r[place.clone()]));
                self.micro.run(|| match target {
                    Target::Codes(y) => self.epilogue.codes(sums, channels, r, &mut y[place]),
                    Target::Real(y) => self.epilogue.reals(sums, channels, r, &mut y[place]),
                });
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
