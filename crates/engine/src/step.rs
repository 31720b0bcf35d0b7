//! A step made ready: constants folded, weights packed, geometry resolved; and how it runs.

use std::ops::Range;

use exbit_kernels::{
    Epilogue, Isa, PackedConv, Scratch, Source, Target, Window, regrid_table, scalar,
};

use crate::check::{conv_shape, epilogue};
use crate::crew::{Crew, Desk};
use crate::memory::Place;
use crate::strip::Cut;
use crate::{Program, Step, StepKind, Value};

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

/// Multiply-accumulates, and bytes of other work, for which a thread more is called: the threads
/// wait for each other for about as long as these take.
const MACS_OF_A_THREAD: u64 = 100_000;
const BYTES_OF_A_THREAD: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) enum Kernel {
    Conv(Box<PackedConv>),
    MaxPool {
        shape: [usize; 3],
        window: Window,
    },
    AvgPool {
        shape: [usize; 3],
        window: Window,
        padded: bool,
        zero: u8,
        means: Vec<Epilogue>,
    },
    Add(Epilogue),
    /// For each input its table and its channels; then all channels.
    Concat(Vec<([u8; 256], usize)>, usize),
    Table(Box<[u8; 256]>),
    Pad {
        shape: [usize; 3],
        corner: [usize; 2],
        width: usize,
        code: u8,
    },
    /// `output[i] = input[table[i]]`.
    Shuffle(Vec<u32>),
}

impl Ready {
    /// Prepares `step` of a Program that has passed its check, its values lying at `places`, for
    /// up to `threads` threads.
    pub(crate) fn new(
        isa: Isa,
        program: &Program,
        step: &Step,
        places: &[Place],
        threads: usize,
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
        if !program.packed.is_empty() {
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
            Kernel::Pad { .. } => "pad",
            Kernel::Shuffle(_) => "shuffle",
        }
    }

    /// Multiply-accumulates of one image.
    pub(crate) fn macs(&self) -> u64 {
        match &self.kernel {
            Kernel::Conv(conv) => conv.macs(),
            Kernel::MaxPool { .. }
            | Kernel::AvgPool { .. }
            | Kernel::Add(_)
            | Kernel::Concat(..)
            | Kernel::Table(_)
            | Kernel::Pad { .. }
            | Kernel::Shuffle(_) => 0,
        }
    }

    /// Bytes of its packed weights, constants and tables.
    pub(crate) fn weight_bytes(&self) -> usize {
        match &self.kernel {
            Kernel::Conv(conv) => conv.len_bytes(),
            Kernel::Table(codes) => codes.len(),
            Kernel::Shuffle(table) => size_of_val(&table[..]),
            Kernel::Concat(parts, _) => size_of_val(&parts[..]),
            Kernel::AvgPool { means, .. } => means.len() * 2 * size_of::<f32>(),
            Kernel::MaxPool { .. } | Kernel::Add(_) | Kernel::Pad { .. } => 0,
        }
    }

    /// Grows `desk` to what a run takes.
    pub(crate) fn reserve(&self, desk: &mut Desk) {
        match (&self.cut, &self.kernel) {
            (Some(cut), _) => self.reserve_cut(cut, desk),
            (None, Kernel::Conv(conv)) => conv.reserve(self.output.lines, &mut desk.scratch),
            (None, _) => {}
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
        match (&self.kernel, &mut target) {
            (Kernel::Conv(conv), _) => conv.run(part, x, r, scratch, target),
            (
                Kernel::AvgPool {
                    shape,
                    window,
                    padded,
                    zero,
                    means,
                },
                y,
            ) => exbit_kernels::average_pool(
                isa, *shape, *window, *padded, *zero, means, first, x, y,
            ),
            (Kernel::MaxPool { shape, window }, Target::Codes(y)) => {
                exbit_kernels::max_pool(isa, *shape, *window, first, x, y)
            }
            (Kernel::Table(codes), Target::Codes(y)) => {
                exbit_kernels::lookup(isa, codes, x.part(part, line), y)
            }
            (
                Kernel::Pad {
                    shape,
                    corner,
                    width,
                    code,
                },
                Target::Codes(y),
            ) => scalar::pad(*shape, *corner, *width, *code, first, x, y),
            (Kernel::Shuffle(table), Target::Codes(y)) => y
                .iter_mut()
                .zip(&table[part])
                .for_each(|(y, &from)| *y = x.codes[from as usize]),
            (
                Kernel::Concat(..)
                | Kernel::Add(_)
                | Kernel::MaxPool { .. }
                | Kernel::Table(_)
                | Kernel::Pad { .. }
                | Kernel::Shuffle(_),
                _,
            ) => unreachable!("checked: this step writes codes"),
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

impl Kernel {
    fn new(isa: Isa, program: &Program, step: &Step) -> Self {
        let value = |v: usize| &program.values[v];
        let grid = |v: &Value| v.grid().expect("checked: steps read codes");
        let (x, output) = (value(step.inputs[0]), value(step.output));
        let second = step.inputs.get(1).map(|&v| value(v));
        match &step.kind {
            StepKind::Conv(conv) => {
                let shape = conv_shape(conv, x, output).expect("checked: shapes fit");
                let epilogue = epilogue(conv, grid(x), second, output);
                let packed = PackedConv::new(isa, shape, grid(x), &conv.weights.codes, epilogue);
                Kernel::Conv(Box::new(packed))
            }
            StepKind::MaxPool(window) => Kernel::MaxPool {
                shape: x.shape,
                window: *window,
            },
            StepKind::AvgPool {
                window,
                count_include_pad,
            } => Kernel::AvgPool {
                shape: x.shape,
                window: *window,
                padded: *count_include_pad,
                zero: grid(x).zero,
                means: (1..=window.area())
                    .map(|n| Epilogue::mean(grid(x), n, output.grid()))
                    .collect(),
            },
            StepKind::Add { activation } => {
                let b = grid(second.expect("checked: a sum has two values"));
                Kernel::Add(Epilogue::add(grid(x), b, *activation, output.grid()))
            }
            StepKind::Concat => {
                let table = |v: &Value| (regrid_table(grid(v), grid(output)), v.shape[2]);
                let parts = step.inputs.iter().map(|&v| table(value(v))).collect();
                Kernel::Concat(parts, output.shape[2])
            }
            StepKind::Table { codes } => {
                let mut table = Box::new([0; 256]);
                table[..codes.len()].copy_from_slice(codes);
                Kernel::Table(table)
            }
            StepKind::Pad {
                pads: [top, left, ..],
                code,
            } => Kernel::Pad {
                shape: x.shape,
                corner: [*top, *left],
                width: output.shape[1],
                code: *code,
            },
            StepKind::Shuffle { views } => Kernel::Shuffle(gather_table(x.len(), views)),
        }
    }

    /// What each of as many threads as pay, up to `threads`, makes of `output`; a step that is not
    /// shared has one part.
    fn parts(&self, output: &Value, threads: usize) -> Vec<Range<usize>> {
        let len = output.len();
        let lines = |line: usize| {
            let n = threads.min(1 + len / BYTES_OF_A_THREAD).min(len / line);
            let cut = |i: usize| i * (len / line) / n * line;
            (0..n).map(|i| cut(i)..cut(i + 1)).collect()
        };
        match self {
            Kernel::Conv(conv) => {
                let n = 1 + (conv.macs() / MACS_OF_A_THREAD).min(threads as u64 - 1) as usize;
                (0..n).map(|i| conv.part(i, n)).collect()
            }
            Kernel::MaxPool { .. } => lines(output.shape[1] * output.shape[2]),
            Kernel::Add(_) | Kernel::Table(_) | Kernel::Shuffle(_) => lines(1),
            Kernel::AvgPool { .. } | Kernel::Concat(..) | Kernel::Pad { .. } => lines(len),
        }
    }
}

/// Where each entry of the last view comes from.
fn gather_table(len: usize, views: &[(Vec<usize>, Vec<usize>)]) -> Vec<u32> {
    let mut table: Vec<u32> = (0..len as u32).collect();
    for (shape, axes) in views {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let from = |mut i: usize| {
            let mut at = 0;
            for &axis in axes.iter().rev() {
                at += i % shape[axis] * strides[axis];
                i /= shape[axis];
            }
            at
        };
        table = (0..len).map(|i| table[from(i)]).collect();
    }
    table
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_shuffle_is_one_view() {
        // 2 positions of 6 channels in 3 groups of 2.
        let table = gather_table(12, &[(vec![2, 3, 2], vec![0, 2, 1])]);
        assert_eq!(table, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn views_follow_each_other() {
        let there = (vec![2, 3], vec![1, 0]);
        let back = (vec![3, 2], vec![1, 0]);
        assert_eq!(gather_table(6, &[there.clone(), back]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(gather_table(6, &[there.clone(), there]), [0, 4, 3, 2, 1, 5]);
    }
}
