//! The lines of an input as kernels see them: as they lie, or a few at a time copied between
//! margins of the code of zero, so that no kernel knows where an image ends.

use crate::conv::Scratch;
use crate::lookup::Sums;
use crate::micro::Micro;
use crate::{ConvShape, SLACK, Source, Window};

/// The most pixels made from one batch of lines, but that a line is never cut.
const PIXELS: usize = 1024;

/// What a kernel reads at a time of an activation: a code, or something made of some.
pub(crate) trait Lane: Copy + Default {
    /// The codes that make one.
    const CODES: usize;
    /// Bytes of the lines copied at a time: a small part of an L2 cache, so that the weights stay
    /// there.
    const LINE_BYTES: usize = 48 * 1024;
    /// The codes themselves, where nothing is to be made of them.
    fn in_place(codes: &[u8]) -> Option<&[Self]>;
    /// The part of the scratch that holds such lanes.
    fn scratch(scratch: &mut Scratch) -> &mut Vec<Self>;
}

impl Lane for u8 {
    const CODES: usize = 1;

    fn in_place(codes: &[u8]) -> Option<&[Self]> {
        Some(codes)
    }

    fn scratch(scratch: &mut Scratch) -> &mut Vec<Self> {
        &mut scratch.bytes
    }
}

impl Lane for i16 {
    const CODES: usize = 1;

    fn in_place(_: &[u8]) -> Option<&[Self]> {
        None
    }

    fn scratch(scratch: &mut Scratch) -> &mut Vec<Self> {
        &mut scratch.words
    }
}

impl Lane for Sums {
    const CODES: usize = 4;
    // Four times what codes take: lines that two batches share are made twice.
    const LINE_BYTES: usize = 4 * 48 * 1024;

    fn in_place(_: &[u8]) -> Option<&[Self]> {
        None
    }

    fn scratch(scratch: &mut Scratch) -> &mut Vec<Self> {
        &mut scratch.tables
    }
}

/// The bits of 32 codes of one.
impl Lane for u32 {
    const CODES: usize = 32;

    fn in_place(_: &[u8]) -> Option<&[Self]> {
        None
    }

    fn scratch(scratch: &mut Scratch) -> &mut Vec<Self> {
        &mut scratch.bits
    }
}

/// The lines of the input as kernels see them: as they lie, or copied between margins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    pub(crate) copied: bool,
    /// Lanes of a line, margins included.
    pub(crate) len: usize,
    /// Lines of output made at a time.
    pub(crate) outputs: usize,
    /// Says which lines of input make a line of output.
    window: Window,
}

impl Lines {
    pub(crate) fn new<L: Lane>(shape: &ConvShape) -> Self {
        let [_, w, channels] = shape.input;
        let window = shape.window;
        let [_, left, _, right] = window.pads;
        let copied = window.pads != [0; 4] || L::in_place(&[]).is_none();
        let len = (left + w + right) * channels / L::CODES;
        let height = shape.output[0];
        let inputs = |outputs: usize| window.span(outputs);
        // Read in place, the lines made at a time are only as many as need one table of places.
        let fits = |n: &usize| {
            let bytes = inputs(*n) * len * size_of::<L>();
            n * shape.output[1] <= PIXELS && (!copied || bytes <= L::LINE_BYTES)
        };
        let most = (1..=height).take_while(fits).last().unwrap_or(1);
        // Batches of nearly equal size.
        let outputs = height.div_ceil(height.div_ceil(most));
        Self {
            copied,
            len,
            outputs,
            window,
        }
    }

    /// The codes from line `y` on, the margin counted, where they can be read as they lie.
    pub(crate) fn in_place<'a, L: Lane>(&self, input: Source<'a>, y: usize) -> Option<&'a [L]> {
        let codes = L::in_place(input.codes).filter(|_| !self.copied)?;
        Some(&codes[(y - input.first) * self.len..])
    }

    /// The lanes that a copy for `outputs` lines of output takes.
    pub(crate) fn scratch_len(&self, outputs: usize) -> usize {
        match self.copied {
            true => self.window.span(self.outputs.min(outputs)) * self.len + SLACK,
            false => 0,
        }
    }

    /// Copies the lines of input that make `outputs` lines of output, the first of them at `y` with
    /// the margin counted. What lies behind them is zero: there the last pixel's steps are filled
    /// up, and a look-up takes an entry that must be none of another layer's.
    #[inline(always)]
    pub(crate) fn copy<M: Micro>(
        &self,
        micro: M,
        shape: &ConvShape,
        zero: u8,
        input: Source<'_>,
        [y, outputs]: [usize; 2],
        copy: &mut [M::Lane],
    ) {
        let [h, w, channels] = shape.input;
        let [top, left, ..] = shape.window.pads;
        let (zero, lanes) = (micro.lane([zero; 4]), channels / M::Lane::CODES);
        let read = self.window.span(outputs);
        let (copy, behind) = copy.split_at_mut(read * self.len);
        behind[..SLACK].fill(M::Lane::default());
        for (line, y) in copy.chunks_exact_mut(self.len).zip(y..y + read) {
            match y.checked_sub(top).filter(|&y| y < h) {
                None => line.fill(zero),
                Some(y) => {
                    let (before, line) = line.split_at_mut(left * lanes);
                    let (codes, after) = line.split_at_mut(w * lanes);
                    before.fill(zero);
                    let from = input.from(y * w * channels, w * channels);
                    micro.widen(&from[..w * channels], codes);
                    after.fill(zero);
                }
            }
        }
    }
}
