//! Steps of a Program that has to do with little memory, because some of its values lie packed:
//! a few lines of output at a time, for which a thread unpacks the lines that it reads and packs
//! those that it makes, at a desk of its own.

use std::ops::Range;

use exbit_kernels::{Isa, SLACK, Scratch, Source, Target, code_at, concat_part, narrow, widen};

use crate::crew::{Crew, Desk};
use crate::kernel::Kernel;
use crate::memory::Place;
use crate::step::Ready;

/// What a strip takes at a desk at most, unless one line takes more: a part of an L1 cache, and
/// little beside the values of all but the smallest networks.
const DESK_BYTES: usize = 8 * 1024;

/// How a step is cut.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Lines of output made at a time.
    lines: usize,
    /// The codes that a desk holds meanwhile: of what is made, of what is summed in, of what is
    /// read.
    lens: [usize; 3],
}

impl Ready {
    /// Cuts the step into strips.
    pub(crate) fn cut(&mut self) {
        let height = self.output.lines;
        let scratch = |n| self.kernel.conv().map_or(0, |conv| conv.scratch_bytes(n));
        let bytes = |n: usize| scratch(n) + self.cut_at(n).lens.iter().sum::<usize>();
        // The most that fit: more lines never take less.
        let (mut lines, mut most) = (1, height);
        while lines < most {
            let middle = lines + (most - lines).div_ceil(2);
            match bytes(middle) <= DESK_BYTES {
                true => lines = middle,
                false => most = middle - 1,
            }
        }
        self.cut = Some(self.cut_at(lines));
        let n = self.parts.len().min(height);
        self.parts = (0..n)
            .map(|i| i * height / n..(i + 1) * height / n)
            .collect();
    }

    fn cut_at(&self, lines: usize) -> Cut {
        let held = |place: &Place, lines: usize| match place.is_packed() {
            true => lines * place.line,
            false => 0,
        };
        let made = match self.has_codes {
            true => held(&self.output, lines),
            false => 0,
        };
        let (x, second) = (&self.inputs[0], self.inputs.get(1));
        let lens = match &self.kernel {
            // One input after another, packed or not.
            Kernel::Concat(..) => {
                let widest = self.inputs.iter().map(|x| x.line).max().unwrap_or(0);
                [made, 0, lines * widest]
            }
            // From anywhere: of all, or one by one from where they lie.
            Kernel::Shuffle(_) => {
                let all = held(x, x.lines);
                [made, 0, if all <= DESK_BYTES { all } else { 0 }]
            }
            Kernel::Conv(_)
            | Kernel::MaxPool { .. }
            | Kernel::AvgPool { .. }
            | Kernel::Add(_)
            | Kernel::Table(_)
            | Kernel::Pad { .. }
            | Kernel::PadChannels { .. } => {
                let reads = self.kernel.window().map_or(lines, |w| w.span(lines));
                let second = second.map_or(0, |r| held(r, lines));
                [made, second, held(x, reads.min(x.lines))]
            }
        };
        Cut { lines, lens }
    }

    /// Grows `desk` to what `cut` takes.
    pub(crate) fn reserve_cut(&self, cut: &Cut, desk: &mut Desk) {
        if let Some(conv) = self.kernel.conv() {
            conv.reserve(cut.lines, &mut desk.scratch);
        }
        match cut.lens.iter().sum() {
            0 => {}
            len => desk.reserve(len + SLACK),
        }
    }

    /// [`Ready::run`], some lines of output at a time.
    pub(crate) fn run_cut(
        &self,
        cut: &Cut,
        arena: &mut [u8],
        crew: &mut Crew<'_>,
        answer: &mut [f32],
    ) {
        if let Kernel::Concat(parts, channels) = &self.kernel {
            for y in strips(0..self.output.lines, cut.lines) {
                self.concat_strip(
                    parts,
                    *channels,
                    y,
                    arena,
                    cut.split(&mut crew.desks[0].lines),
                );
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
            for y in strips(part, cut.lines) {
                let (own, others) = rest.split_at(y.len() * unit);
                rest = others;
                let rooms = cut.split(&mut desk.lines);
                self.strip(y, inputs, rooms, &mut desk.scratch, own);
            }
        });
    }

    /// Makes the lines `y`, which go to `target`; an input that is not given is there.
    fn strip(
        &self,
        y: Range<usize>,
        inputs: [Option<&[u8]>; 2],
        [made, r, x]: [&mut [u8]; 3],
        scratch: &mut Scratch,
        target: Target<'_>,
    ) {
        let (isa, output) = (self.isa, &self.output);
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
        [x, r]: [&mut [u8]; 2],
        scratch: &mut Scratch,
        mut target: Target<'_>,
    ) {
        let part = y.start * self.output.line..y.end * self.output.line;
        let from = &self.inputs[0];
        if let (Kernel::Shuffle(table), Target::Codes(made), Some(codes)) =
            (&self.kernel, &mut target, inputs[0])
            && from.is_packed()
            && x.is_empty()
        {
            let table = made.iter_mut().zip(&table[part]);
            table.for_each(|(made, &at)| *made = from.code(codes, at as usize));
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
        room: &'a mut [u8],
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
        [made, _, x]: [&mut [u8]; 3],
    ) {
        let (isa, output) = (self.isa, &self.output);
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

impl Cut {
    /// The rooms of its lengths in `lines`; what is read, if anything, has all that is left.
    fn split<'a>(&self, lines: &'a mut [u8]) -> [&'a mut [u8]; 3] {
        let [made, second, read] = self.lens;
        let (made, rest) = lines.split_at_mut(made);
        let (second, rest) = rest.split_at_mut(second);
        let read = if read == 0 { 0 } else { rest.len() };
        [made, second, &mut rest[..read]]
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
