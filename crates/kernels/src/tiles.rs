//! Dense convolution as products of tiles: some pixels by some channels at a time.
//!
//! No matrix is built. What the window of a pixel covers is a few runs of neighbouring codes (one
//! for each row of the window where its taps are neighbours), at the same distances for every
//! pixel: so a kernel is given where its pixels begin, and the distances. Where the window reaches
//! outside the image, a few lines of the input are first copied between margins (`lines`);
//! `sum a * w - zero * sum w` is then the sum that the definition asks for.
//!
//! Weights are packed in panels of up to four blocks of 16 channels, for each `[run][step]` as the
//! kernel reads them: a step is what one multiply-accumulate instruction takes of the depth. Runs
//! and channels are filled up with zero weights. What a kernel reads there does not matter, but
//! that tables must be this layer's or zero: an index of 0 is looked up, too.

use std::ops::Range;

use crate::conv::{Prepared, Scratch};
use crate::lines::{Lane, Lines};
use crate::micro::{BLOCK, ClipOut, Job, LINE, Micro, Out};
use crate::{ConvShape, Epilogue, Finish, Source, Target};

/// The most blocks of a panel.
const MAX_BLOCKS: usize = 4;
/// Pixels multiplied at a time where the kernel does not make codes of their sums.
const MAX_ROWS: usize = 12;

/// Rows of weights that are packed at a time, so few that a line of each stays in a cache.
const PACKED_ROWS: usize = 8;

/// A dense or grouped convolution packed for one kernel.
#[derive(Debug)]
pub(crate) struct Packed<M: Micro> {
    micro: M,
    shape: ConvShape,
    zero: u8,
    lines: Lines,
    /// Where the runs of a pixel begin, for a group that begins at channel 0.
    runs: Vec<usize>,
    /// The length of a run, in steps.
    steps: usize,
    /// As [`Job::line`].
    line: Option<usize>,
    /// Where the pixels of one copy's outputs begin.
    pixels: Vec<u32>,
    panels: Vec<Panel>,
    weights: Vec<M::Weight>,
    /// Where the sums of each channel of each panel begin, blocks filled up.
    start: Vec<i32>,
    m: Vec<f32>,
    b: Vec<f32>,
    epilogue: Epilogue,
    /// Whether the kernel makes codes of its sums: a clip of numbers within `i32`.
    fused: bool,
}

/// Some blocks of output channels of one group.
#[derive(Clone, Debug)]
struct Panel {
    group: usize,
    /// Output channels.
    channels: Range<usize>,
    blocks: usize,
    /// Where its weights begin.
    weights: usize,
    /// Where its constants begin.
    constants: usize,
}

impl<M: Micro> Packed<M> {
    pub(crate) fn new(
        micro: M,
        shape: ConvShape,
        zero: u8,
        weights: &[i8],
        epilogue: Epilogue,
    ) -> Self {
        let lines = Lines::new::<M::Lane>(&shape);
        let (runs, run_len) = runs(&shape, lines.len, M::Lane::CODES);
        let steps = run_len.div_ceil(M::DEPTH);
        let step_len = |panel: &Panel| micro.step_len(panel.blocks);
        let panels = panels(&shape, micro, runs.len() * steps);
        let lanes: usize = panels.iter().map(|p| p.blocks * BLOCK).sum();
        let len: usize = panels.iter().map(step_len).sum();
        let mut packed = vec![M::Weight::default(); len * runs.len() * steps];
        let (mut start, mut m, mut b) = (vec![0; lanes], vec![0.0; lanes], vec![0.0; lanes]);
        let mut fused = matches!(epilogue.finish, Finish::Clip { .. });
        for panel in &panels {
            let rows: Vec<&[i8]> = panel
                .channels
                .clone()
                .map(|c| &weights[c * shape.depth()..][..shape.depth()])
                .collect();
            let places = &mut packed[panel.weights..];
            pack(micro, &rows, [runs.len(), run_len], places, step_len(panel));
            for (lane, (channel, row)) in panel.channels.clone().zip(rows).enumerate() {
                fused &= epilogue.stays_whole(channel, row);
                start[panel.constants + lane] = micro.start(zero, row);
                m[panel.constants + lane] = epilogue.m[channel];
                b[panel.constants + lane] = epilogue.b[channel];
            }
        }
        let weights = packed;
        Self {
            micro,
            shape,
            zero,
            lines,
            runs,
            steps,
            line: (shape.output[1] >= LINE).then(|| pitch(&shape, M::Lane::CODES)),
            pixels: pixels(&shape, &lines, M::Lane::CODES),
            panels,
            weights,
            start,
            m,
            b,
            epilogue,
            fused,
        }
    }

    /// Multiplies a panel of channels with pixels.
    fn multiply(
        &self,
        panel: &Panel,
        made: &Made<'_, M::Lane>,
        residual: Option<&[u8]>,
        target: &mut Target<'_>,
    ) {
        let stride = self.shape.output[2];
        let lanes = panel.blocks * BLOCK;
        let constants = panel.constants..panel.constants + lanes;
        let group = panel.group * self.shape.input[2] / self.shape.groups / M::Lane::CODES;
        let weights = self.micro.step_len(panel.blocks) * self.runs.len() * self.steps;
        let job = Job {
            codes: &made.codes[group..],
            pixels: &self.pixels[made.pixels.start - made.first..made.pixels.end - made.first],
            runs: &self.runs,
            steps: self.steps,
            line: self.line,
            weights: &self.weights[panel.weights..][..weights],
            start: &self.start[constants.clone()],
        };
        let at = made.pixels.start * stride + panel.channels.start;
        let at = at - made.start;
        let residual = residual.map(|r| &r[at..]);
        if let (true, Target::Codes(y), Finish::Clip { lo, hi }) =
            (self.fused, &mut *target, self.epilogue.finish)
        {
            let out = ClipOut {
                m: &self.m[constants.clone()],
                b: &self.b[constants],
                m_r: self.epilogue.m_r,
                residual,
                lo,
                hi,
                codes: &mut y[at..],
                stride,
                channels: panel.channels.len(),
            };
            return self.micro.multiply(&job, &mut Out::Codes(out));
        }
        let mut sums = [0; MAX_ROWS * MAX_BLOCKS * BLOCK];
        for (tile, pixels) in job.pixels.chunks(MAX_ROWS).enumerate() {
            self.micro
                .multiply(&Job { pixels, ..job }, &mut Out::Sums(&mut sums));
            let first = tile * MAX_ROWS * stride;
            let residual = residual.map(|r| &r[first..]);
            let mut target = target.part(at + first..target.len());
            self.micro
                .run(|| self.finish(&sums, panel, pixels.len(), residual, &mut target));
        }
    }

    /// What becomes of the `sums` of a tile that the kernel itself cannot finish; residual and
    /// target begin with the first of them.
    #[inline(always)]
    fn finish(
        &self,
        sums: &[i32],
        panel: &Panel,
        rows: usize,
        residual: Option<&[u8]>,
        target: &mut Target<'_>,
    ) {
        let (stride, count) = (self.shape.output[2], panel.channels.len());
        let rows = sums.chunks_exact(panel.blocks * BLOCK).take(rows);
        for (row, sums) in rows.enumerate() {
            let place = row * stride..row * stride + count;
            let residual = residual.map(|r| &r[place.clone()]);
            let channels = panel.channels.clone();
            self.epilogue
                .finish(&sums[..count], channels, residual, &mut target.part(place));
        }
    }
}

impl<M: Micro> Prepared for Packed<M> {
    fn name(&self) -> &'static str {
        self.micro.name()
    }

    fn len_bytes(&self) -> usize {
        let constants = size_of_val(&self.start[..]) + 2 * size_of_val(&self.m[..]);
        size_of_val(&self.weights[..]) + constants + size_of_val(&self.pixels[..])
    }

    fn has_codes(&self) -> bool {
        self.epilogue.finish.has_codes()
    }

    fn scratch_bytes(&self, lines: usize) -> usize {
        self.lines.scratch_len(lines) * size_of::<M::Lane>()
    }

    fn reserve(&self, lines: usize, scratch: &mut Scratch) {
        let held = M::Lane::scratch(scratch);
        let needed = self.lines.scratch_len(lines);
        held.resize(held.len().max(needed), M::Lane::default());
    }

    /// Whole pixels, or whole panels of a single one.
    fn part(&self, i: usize, n: usize) -> Range<usize> {
        let [height, width, channels] = self.shape.output;
        if height * width == 1 {
            let end = |i: usize| match (i * self.panels.len() / n).checked_sub(1) {
                Some(last) => self.panels[last].channels.end,
                None => 0,
            };
            return end(i)..end(i + 1);
        }
        let cut = |i: usize| i * height * width / n * channels;
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
        let [height, width, channels] = self.shape.output;
        let all = part.start / channels..part.end.div_ceil(channels);
        let (alone, end) = (height * width == 1, all.end.div_ceil(width));
        for first in (all.start / width..end).step_by(self.lines.outputs) {
            let lines = self.lines.outputs.min(end - first);
            let y = first * self.shape.window.stride[0];
            let codes = match self.lines.in_place::<M::Lane>(input, y) {
                Some(codes) => codes,
                None => {
                    let copy = M::Lane::scratch(scratch);
                    let (micro, shape, place) = (self.micro, &self.shape, [y, lines]);
                    micro.run(|| self.lines.copy(micro, shape, self.zero, input, place, copy));
                    &copy[..]
                }
            };
            let made = Made {
                codes,
                first: first * width,
                pixels: all.start.max(first * width)..all.end.min((first + lines) * width),
                start: part.start,
            };
            for panel in &self.panels {
                if !alone || part.contains(&panel.channels.start) {
                    self.multiply(panel, &made, residual, target);
                }
            }
        }
    }
}

/// Pixels to be made of some lines of the input.
struct Made<'a, L> {
    /// Where the lines begin.
    codes: &'a [L],
    /// The first pixel that could be made of them, and those that are.
    first: usize,
    pixels: Range<usize>,
    /// The entry of the output with which the target begins.
    start: usize,
}

/// How far apart pixels beside each other begin, in lanes of `codes`.
fn pitch(shape: &ConvShape, codes: usize) -> usize {
    shape.window.stride[1] * shape.input[2] / codes
}

/// Where the pixels of one copy's outputs begin, in lanes of `codes`.
fn pixels(shape: &ConvShape, lines: &Lines, codes: usize) -> Vec<u32> {
    let (down, right) = (shape.window.stride[0] * lines.len, pitch(shape, codes));
    let line = |y: usize| (0..shape.output[1]).map(move |x| (y * down + x * right) as u32);
    (0..lines.outputs).flat_map(line).collect()
}

/// Where the runs of a pixel begin, in lines of `line` lanes of `codes`, and how many codes they
/// hold.
fn runs(shape: &ConvShape, line: usize, codes: usize) -> (Vec<usize>, usize) {
    let channels = shape.input[2];
    let [kh, kw] = shape.window.kernel;
    let [down, right] = shape.window.dilation;
    if shape.groups == 1 && (right == 1 || kw == 1) {
        return ((0..kh).map(|ky| ky * down * line).collect(), kw * channels);
    }
    let place = |ky: usize, kx: usize| ky * down * line + kx * right * channels / codes;
    let places = (0..kh).flat_map(|ky| (0..kw).map(move |kx| place(ky, kx)));
    (places.collect(), channels / shape.groups)
}

/// The panels of all groups, with runs of `steps` in all.
fn panels<M: Micro>(shape: &ConvShape, micro: M, steps: usize) -> Vec<Panel> {
    let per_group = shape.output[2] / shape.groups;
    let mut panels = Vec::new();
    let (mut weights, mut constants) = (0, 0);
    for group in 0..shape.groups {
        let end = (group + 1) * per_group;
        let mut first = group * per_group;
        while first < end {
            let blocks = micro.blocks((end - first).div_ceil(BLOCK));
            let channels = first..end.min(first + blocks * BLOCK);
            first = channels.end;
            panels.push(Panel {
                group,
                channels,
                blocks,
                weights,
                constants,
            });
            weights += micro.step_len(blocks) * steps;
            constants += blocks * BLOCK;
        }
    }
    panels
}

/// Packs the rows of a panel, `runs` runs of `run_len` weights each, into steps of `step_len`.
fn pack<M: Micro>(
    micro: M,
    rows: &[&[i8]],
    [runs, run_len]: [usize; 2],
    packed: &mut [M::Weight],
    step_len: usize,
) {
    let (whole, last) = (run_len / M::DEPTH, run_len % M::DEPTH);
    // A few rows at a time, step after step as they lie: packing is much of loading.
    for (group, rows) in rows.chunks(PACKED_ROWS).enumerate() {
        let mut places = packed.chunks_exact_mut(step_len);
        for run in (0..runs).map(|run| run * run_len) {
            for (i, step) in places.by_ref().take(whole).enumerate() {
                for (lane, row) in rows.iter().enumerate() {
                    // Of a known length, which leaves `place` one move.
                    let codes = &row[run + i * M::DEPTH..][..M::DEPTH];
                    micro.place(step, group * PACKED_ROWS + lane, codes);
                }
            }
            if last > 0
                && let Some(step) = places.next()
            {
                for (lane, row) in rows.iter().enumerate() {
                    let codes = &row[run + whole * M::DEPTH..][..last];
                    micro.place(step, group * PACKED_ROWS + lane, codes);
                }
            }
        }
    }
}
