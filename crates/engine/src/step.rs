//! A step made ready, and how it runs on the values of an arena.

use std::ops::Range;

use exbit_kernels::{Isa, PackedConv, Scratch, Source, Target, scalar};

use crate::crew::{Crew, Desk};
use crate::kernel::Kernel;
use crate::memory::Place;
use crate::strip::Cut;
use crate::{Program, Step};

/// A step, ready to run on the values of an arena.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) isa: Isa,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<Place>,
    pub(crate) output: Place,
    /// Whether it makes codes.
    pub(crate) has_codes: bool,
    /// How it is cut into strips, where the Program has to do with little memory.
    pub(crate) cut: Option<Cut>,
    /// What each thread makes of the output, where they share it: entries, or lines of strips.
    pub(crate) parts: Vec<Range<usize>>,
}

impl Ready {
    /// Prepares `step` of a Program that has passed its check, its values lying at `places`, for
    /// up to `threads` threads; some lines at a time where it runs `in_strips`.
    pub(crate) fn new(
        isa: Isa,
        program: &Program,
        step: &Step,
        places: &[Place],
        threads: usize,
        in_strips: bool,
    ) -> Self {
        let output = &program.values[step.output];
        let kernel = Kernel::new(isa, program, step);
        let mut ready = Self {
            isa,
            parts: kernel.parts(output, threads),
            kernel,
            inputs: step.inputs.iter().map(|&v| places[v].clone()).collect(),
            output: places[step.output].clone(),
            has_codes: output.grid().is_some(),
            cut: None,
        };
        if in_strips {
            ready.cut();
        }
        ready
    }

    /// The name of the kernel that runs it.
    pub(crate) fn kernel_name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Conv(conv) => conv.name(),
            Kernel::MaxPool { .. } => "max-pool",
            Kernel::AvgPool { .. } => "average-pool",
            Kernel::Add(_) => "add",
            Kernel::Concat(..) => "concat",
            Kernel::Table(_) => "table",
            Kernel::Pad { .. } | Kernel::PadChannels { .. } => "pad",
            Kernel::Shuffle(_) => "shuffle",
        }
    }

    /// Multiply-accumulates of one image.
    pub(crate) fn macs(&self) -> u64 {
        self.kernel.conv().map_or(0, PackedConv::macs)
    }

    /// Bytes of its packed weights, constants and tables.
    pub(crate) fn weight_bytes(&self) -> usize {
        match &self.kernel {
            Kernel::Conv(conv) => conv.len_bytes(),
            Kernel::Table(codes) => codes.len(),
            Kernel::Shuffle(table) => size_of_val(&table[..]),
            Kernel::Concat(parts, _) => size_of_val(&parts[..]),
            Kernel::AvgPool { means, .. } => means.len() * 2 * size_of::<f32>(),
            Kernel::MaxPool { .. }
            | Kernel::Add(_)
            | Kernel::Pad { .. }
            | Kernel::PadChannels { .. } => 0,
        }
    }

    /// Grows `desk` to what a run takes.
    pub(crate) fn reserve(&self, desk: &mut Desk) {
        if let Some(cut) = &self.cut {
            self.reserve_cut(cut, desk);
        } else if let Some(conv) = self.kernel.conv() {
            conv.reserve(self.output.lines, &mut desk.scratch);
        }
    }

    /// Runs it on the values in `arena`; a real output goes to `answer`.
    pub(crate) fn run(&self, arena: &mut [u8], crew: &mut Crew<'_>, answer: &mut [f32]) {
        if let Some(cut) = &self.cut {
            return self.run_cut(cut, arena, crew, answer);
        }
        if let Kernel::Concat(parts, channels) = &self.kernel {
            return self.concat(parts, *channels, arena);
        }
        let (inputs, y) = self.borrow(arena);
        let target = y.map_or(Target::Real(answer), Target::Codes);
        crew.share(&self.parts, 1, target, |part, desk, target| {
            let x = inputs[0].map(Source::whole);
            let r = inputs[1].map(|r| &r[part.clone()]);
            self.make(part, x, r, &mut desk.scratch, target);
        });
    }

    /// Makes a part of the output, which goes to `target`, of the lines `x` and of that part of a
    /// second value; an input that is not given is what `target` holds.
    pub(crate) fn make(
        &self,
        part: Range<usize>,
        x: Option<Source<'_>>,
        r: Option<&[u8]>,
        scratch: &mut Scratch,
        mut target: Target<'_>,
    ) {
        let (isa, line) = (self.isa, self.output.line);
        if let Kernel::Add(e) = &self.kernel {
            let x = x.map(|x| x.part(part, line));
            return exbit_kernels::add(isa, e, [x, r], &mut target);
        }
        let x = x.expect("only sums are written over what they read");
        let first = part.start / line;
        match (&self.kernel, target) {
            (Kernel::Conv(conv), target) => conv.run(part, x, r, scratch, target),
            (
                Kernel::AvgPool {
                    shape,
                    window,
                    padded,
                    zero,
                    means,
                },
                mut y,
            ) => exbit_kernels::average_pool(
                isa, *shape, *window, *padded, *zero, means, first, x, &mut y,
            ),
            (_, Target::Codes(y)) => self.make_codes(part, x, y),
            (_, Target::Real(_)) => unreachable!("checked: this step writes codes"),
        }
    }

    /// [`Ready::make`] of a step that writes nothing but codes.
    fn make_codes(&self, part: Range<usize>, x: Source<'_>, y: &mut [u8]) {
        let (isa, line) = (self.isa, self.output.line);
        let first = part.start / line;
        match &self.kernel {
            Kernel::MaxPool { shape, window } => {
                exbit_kernels::max_pool(isa, *shape, *window, first, x, y);
            }
            Kernel::Table(codes) => exbit_kernels::lookup(isa, codes, x.part(part, line), y),
            Kernel::Pad {
                shape,
                corner,
                width,
                code,
            } => scalar::pad(*shape, *corner, *width, *code, first, x, y),
            Kernel::PadChannels {
                channels,
                before,
                stride,
                code,
            } => {
                let pixels = part.start / stride..part.end / stride;
                let from = pixels.start * channels..pixels.end * channels;
                let x = x.part(from, line / stride * channels);
                scalar::pad_channels(*channels, [*before, *stride], *code, x, y);
            }
            Kernel::Shuffle(table) => y
                .iter_mut()
                .zip(&table[part])
                .for_each(|(y, &from)| *y = x.codes[from as usize]),
            Kernel::Conv(_) | Kernel::AvgPool { .. } | Kernel::Add(_) | Kernel::Concat(..) => {
                unreachable!("made elsewhere")
            }
        }
    }

    /// The first two inputs, and the output where it has codes.
    pub(crate) fn borrow<'a>(&self, arena: &'a mut [u8]) -> Borrowed<'a> {
        let output = self.has_codes.then(|| self.output.codes());
        borrow(arena, &self.inputs, output)
    }

    fn concat(&self, parts: &[([u8; 256], usize)], channels: usize, arena: &mut [u8]) {
        let mut first = 0;
        for ((table, width), place) in parts.iter().zip(&self.inputs) {
            let place = std::slice::from_ref(place);
            let ([x, _], y) = borrow(arena, place, Some(self.output.codes()));
            let (x, y) = x.zip(y).expect("checked: a concatenation writes codes");
            exbit_kernels::concat_part(self.isa, table, *width, x, [first, channels], y);
            first += width;
        }
    }
}

/// Inputs that are given, and an output.
type Borrowed<'a> = ([Option<&'a [u8]>; 2], Option<&'a mut [u8]>);

/// The first two inputs of a step, and its output. They lie apart but for the inputs being one, and
/// for an input that the output is written over: that is not given.
fn borrow<'a>(arena: &'a mut [u8], inputs: &[Place], output: Option<Range<usize>>) -> Borrowed<'a> {
    let start = output.as_ref().map(|y| y.start);
    let apart = |x: &&Place| Some(x.range.start) != start;
    let inputs = [0, 1].map(|i| Some(inputs.get(i).filter(apart)?.range.clone()));
    let Some(y) = output else {
        return (inputs.map(|x| x.map(|x| &arena[x])), None);
    };
    let lie = "values alive together lie apart";
    match inputs {
        [Some(x), Some(r)] if r != x => {
            let [x, r, y] = arena.get_disjoint_mut([x, r, y]).expect(lie);
            ([Some(x), Some(r)], Some(y))
        }
        [Some(x), r] => {
            let [x, y] = arena.get_disjoint_mut([x, y]).expect(lie);
            ([Some(x), r.map(|_| &*x)], Some(y))
        }
        [None, Some(r)] => {
            let [r, y] = arena.get_disjoint_mut([r, y]).expect(lie);
            ([None, Some(r)], Some(y))
        }
        [None, None] => ([None, None], Some(&mut arena[y])),
    }
}
