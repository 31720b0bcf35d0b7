//! Steps on values that lie packed: a few lines of output at a time, for which a thread unpacks the
//! lines that it reads and packs those that it makes, at a desk of its own.

use std::ops::Range;

use exbit_kernels::{Isa, SLACK, Scratch, Source, Target, code_at, concat_part, narrow, widen};

use crate::crew::{Crew, Desk};
use crate::memory::Place;
use crate::step::{Kernel, Ready};

/// What the lines of a strip take at most, unless one line takes more: a part of an L1 cache, and
/// little beside the values of all but the smallest networks.
const STRIP_BYTES: usize = 8 * 1024;

impl Ready {
    /// Cuts the step into strips, where some of its values lie packed.
    pub(crate) fn cut_strips(&mut self) {
        if !self
            .inputs
            .iter()
            .chain([&self.output])
            .any(Place::is_packed)
        {
            return;
        }
        let height = self.output.lines;
        let fits = |n: &usize| self.lens(*n).iter().sum::<usize>() <= STRIP_BYTES;
        self.strip = Some((1..=height).take_while(fits).last().unwrap_or(1));
        let n = self.parts.len().min(height);
        self.parts = (0..n)
            .map(|i| i * height / n..(i + 1) * height / n)
            .collect();
    }

    /// The codes that a desk has to hold for a strip of `lines`: of what it reads, of what it sums
    /// in and of what it makes.
    pub(crate) fn lens(&self, lines: usize) -> [usize; 3] {
        let held = |place: &Place, lines: usize| match place.is_packed() {
            true => lines * place.line + SLACK,
            false => 0,
        };
        let made = match self.has_codes {
            true => held(&self.output, lines),
            false => 0,
        };
        if let Kernel::Concat(..) = self.kernel {
            let widest = self.inputs.iter().map(|x| x.line).max().unwrap_or(0);
            return [lines * widest, 0, made];
        }
        let (x, second) = (&self.inputs[0], self.inputs.get(1));
        let reads = strips(0..self.output.lines, lines).map(|y| self.kernel.reads(y, x.lines));
        let most = reads.map(|lines| lines.len()).max().unwrap_or(0);
        [held(x, most), second.map_or(0, |r| held(r, lines)), made]
    }

    /// [`Ready::run`], `lines` lines of output at a time.
    pub(crate) fn run_strips(
        &self,
        lines: usize,
        arena: &mut [u8],
        crew: &mut Crew<'_>,
        answer: &mut [f32],
    ) {
        if let Kernel::Concat(parts, channels) = &self.kernel {
            for y in strips(0..self.output.lines, lines) {
                self.concat_strip(parts, *channels, y, arena, &mut crew.desks[0]);
            }
            return;
        }
        let unit = match self.has_codes {
            true => self.output.line_bytes(),
            false => self.output.line,
        };
        let (inputs, y) = self.borrow(arena);
        let target = y.map_or(Target::Real(answer), Target::Codes);
        crew.share(&self.parts, unit, target, |part, desk, target| {
            let mut rest = target;
            for y in strips(part, lines) {
                let (own, others) = rest.split_at(y.len() * unit);
                rest = others;
                self.strip(y, inputs, desk, own);
            }
        });
    }

    /// Makes the lines `y`, which go to `target`; an input that is not given is there.
    fn strip(
        &self,
        y: Range<usize>,
        inputs: [Option<&[u8]>; 2],
        desk: &mut Desk,
        target: Target<'_>,
    ) {
        let (isa, output) = (self.isa, &self.output);
        let Desk { scratch, lines } = desk;
        let [x, r, made] = lines.each_mut();
        match target {
            Target::Codes(packed) if output.is_packed() => {
                let made = &mut made[..y.len() * output.line];
                let given = inputs.into_iter().flatten().count();
                if given < self.inputs.len() {
                    output.unpack(isa, packed, 0..y.len(), made);
                }
                self.make_strip(y, inputs, [x, r], scratch, Target::Codes(made));
                output.pack(isa, made, packed);
            }
            target @ (Target::Codes(_) | Target::Real(_)) => {
                self.make_strip(y, inputs, [x, r], scratch, target);
            }
        }
    }

    /// Makes the lines `y`, which go to `target`, a byte for each code.
    fn make_strip(
        &self,
        y: Range<usize>,
        inputs: [Option<&[u8]>; 2],
        [x, r]: [&mut Vec<u8>; 2],
        scratch: &mut Scratch,
        mut target: Target<'_>,
    ) {
        let part = y.start * self.output.line..y.end * self.output.line;
        if let (Kernel::Shuffle(table), Target::Codes(made), Some(codes)) =
            (&self.kernel, &mut target, inputs[0])
        {
            // From anywhere, code by code.
            let from = table[part].iter().map(|&at| at as usize);
            made.iter_mut()
                .zip(from)
                .for_each(|(made, at)| *made = self.inputs[0].code(codes, at));
            return;
        }
        let reads = self.kernel.reads(y.clone(), self.inputs[0].lines);
        let x = self.source(0, inputs[0], reads, x);
        let r = self.source(1, inputs[1], y, r);
        let r = r.map(|r| r.part(part.clone(), self.output.line));
        self.make(part, x, r, scratch, target);
    }

    /// Some lines of input `i`, where it is given, a byte for each code: as they lie, or in `room`.
    fn source<'a>(
        &self,
        i: usize,
        codes: Option<&'a [u8]>,
        lines: Range<usize>,
        room: &'a mut Vec<u8>,
    ) -> Option<Source<'a>> {
        let (codes, place) = (codes?, &self.inputs[i]);
        if !place.is_packed() {
            return Some(Source::whole(codes));
        }
        let (first, len) = (lines.start, lines.len() * place.line);
        place.unpack(self.isa, codes, lines, &mut room[..len]);
        Some(Source { codes: room, first })
    }

    /// Joins the lines `y` of all inputs.
    fn concat_strip(
        &self,
        parts: &[([u8; 256], usize)],
        channels: usize,
        y: Range<usize>,
        arena: &mut [u8],
        desk: &mut Desk,
    ) {
        let (isa, output) = (self.isa, &self.output);
        let [x, _, made] = desk.lines.each_mut();
        let (start, line) = (output.range.start, output.line_bytes());
        let bytes = start + y.start * line..start + y.end * line;
        let mut first = 0;
        for ((table, width), place) in parts.iter().zip(&self.inputs) {
            let x = &mut x[..y.len() * place.line];
            place.unpack(isa, &arena[place.codes()], y.clone(), x);
            let made = match output.is_packed() {
                true => &mut made[..],
                false => &mut arena[bytes.clone()],
            };
            concat_part(isa, table, *width, x, [first, channels], made);
            first += width;
        }
        if output.is_packed() {
            output.pack(isa, &made[..y.len() * output.line], &mut arena[bytes]);
        }
    }
}

impl Kernel {
    /// The lines, of `height`, that the lines `y` of output are made of.
    fn reads(&self, y: Range<usize>, height: usize) -> Range<usize> {
        match self {
            Kernel::Conv(conv) => conv.lines(y),
            Kernel::MaxPool { window, .. } | Kernel::AvgPool { window, .. } => {
                window.lines(y, height)
            }
            Kernel::Add(_) | Kernel::Concat(..) | Kernel::Table(_) => y,
            Kernel::Pad { corner, .. } => {
                let [start, end] = [y.start, y.end].map(|y| y.saturating_sub(corner[0]));
                start.min(height)..end.min(height)
            }
            // Not by lines.
            Kernel::Shuffle(_) => 0..0,
        }
    }
}

impl Place {
    /// The `lines` of the codes in `packed`, a byte for each.
    fn unpack(&self, isa: Isa, packed: &[u8], lines: Range<usize>, codes: &mut [u8]) {
        let bytes = self.line_bytes();
        let packed = &packed[lines.start * bytes..lines.end * bytes];
        let chunk = self.chunk(codes.len());
        let packed = packed.chunks(chunk / self.line * bytes);
        for (packed, codes) in packed.zip(codes.chunks_mut(chunk)) {
            widen(isa, self.width, packed, codes);
        }
    }

    /// The reverse of [`Place::unpack`], of whole lines.
    fn pack(&self, isa: Isa, codes: &[u8], packed: &mut [u8]) {
        let chunk = self.chunk(codes.len());
        let packed = packed.chunks_mut(chunk / self.line * self.line_bytes());
        for (packed, codes) in packed.zip(codes.chunks(chunk)) {
            narrow(isa, self.width, codes, packed);
        }
    }

    /// How many of `len` codes follow each other without a gap: all, or a line.
    fn chunk(&self, len: usize) -> usize {
        match (self.line * usize::from(self.width.get())).is_multiple_of(8) {
            true => len.max(self.line),
            false => self.line,
        }
    }

    /// Code `i` of those in `packed`.
    fn code(&self, packed: &[u8], i: usize) -> u8 {
        let line = &packed[i / self.line * self.line_bytes()..];
        code_at(self.width, line, i % self.line)
    }
}

/// `lines` cut into strips of up to `most`.
fn strips(lines: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = lines.end;
    lines.step_by(most).map(move |y| y..end.min(y + most))
}
