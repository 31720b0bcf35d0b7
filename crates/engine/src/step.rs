//! A step made ready: constants folded, weights packed, geometry resolved; and how it runs.

use std::ops::Range;

use exbit_kernels::{Epilogue, Isa, PackedConv, Scratch, Target, Window, regrid_table, scalar};

use crate::check::{conv_shape, epilogue};
use crate::{Program, Step, StepKind, Value};

/// A step, ready to run on the values of an arena.
#[derive(Debug)]
pub(crate) struct Ready {
    isa: Isa,
    kernel: Kernel,
    /// Where the inputs lie, each with the bytes that a kernel may read after it.
    inputs: Vec<Range<usize>>,
    /// Where the output's codes lie; `None` where it is real.
    output: Option<Range<usize>>,
}

#[derive(Debug)]
enum Kernel {
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
    Table(Vec<u8>),
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
    /// Prepares `step` of a Program that has passed its check, its values lying at `places`.
    pub(crate) fn new(isa: Isa, program: &Program, step: &Step, places: &[Range<usize>]) -> Self {
        let output = &program.values[step.output];
        let start = places[step.output].start;
        Self {
            isa,
            kernel: Kernel::new(isa, program, step),
            inputs: step.inputs.iter().map(|&v| places[v].clone()).collect(),
            output: output.grid().map(|_| start..start + output.len()),
        }
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

    /// Grows `scratch` to what a run takes.
    pub(crate) fn reserve(&self, scratch: &mut Scratch) {
        if let Kernel::Conv(conv) = &self.kernel {
            conv.reserve(scratch);
        }
    }

    /// Runs it on the values in `arena`; a real output goes to `answer`.
    pub(crate) fn run(&self, arena: &mut [u8], scratch: &mut Scratch, answer: &mut [f32]) {
        if let Kernel::Concat(parts, channels) = &self.kernel {
            return self.concat(parts, *channels, arena);
        }
        let (isa, second) = (self.isa, self.inputs.get(1).cloned());
        let (x, r, y) = borrow(arena, self.inputs[0].clone(), second, self.output.clone());
        match (&self.kernel, y) {
            (Kernel::Conv(conv), Some(y)) => conv.run(x, r, scratch, Target::Codes(y)),
            (Kernel::Conv(conv), None) => conv.run(x, r, scratch, Target::Real(answer)),
            (Kernel::Add(e), y) => {
                let mut target = y.map_or(Target::Real(answer), Target::Codes);
                exbit_kernels::add(isa, e, x, r.unwrap_or(x), &mut target);
            }
            (
                Kernel::AvgPool {
                    shape,
                    window,
                    padded,
                    zero,
                    means,
                },
                y,
            ) => {
                let mut target = y.map_or(Target::Real(answer), Target::Codes);
                exbit_kernels::average_pool(
                    isa,
                    *shape,
                    *window,
                    *padded,
                    *zero,
                    means,
                    x,
                    &mut target,
                );
            }
            (Kernel::MaxPool { shape, window }, Some(y)) => {
                exbit_kernels::max_pool(isa, *shape, *window, x, y)
            }
            (Kernel::Table(codes), Some(y)) => scalar::lookup(codes, x, y),
            (
                Kernel::Pad {
                    shape,
                    corner,
                    width,
                    code,
                },
                Some(y),
            ) => {
                scalar::pad(*shape, *corner, *width, *code, x, y);
            }
            (Kernel::Shuffle(table), Some(y)) => {
                y.iter_mut()
                    .zip(table)
                    .for_each(|(y, &from)| *y = x[from as usize]);
            }
            (
                Kernel::Concat(..)
                | Kernel::MaxPool { .. }
                | Kernel::Table(_)
                | Kernel::Pad { .. }
                | Kernel::Shuffle(_),
                _,
            ) => unreachable!("checked: this step writes codes"),
        }
    }

    fn concat(&self, parts: &[([u8; 256], usize)], channels: usize, arena: &mut [u8]) {
        let mut first = 0;
        for ((table, width), place) in parts.iter().zip(&self.inputs) {
            let (x, _, y) = borrow(arena, place.clone(), None, self.output.clone());
            let y = y.expect("checked: a concatenation writes codes");
            scalar::concat_part(table, *width, x, [first, channels], y);
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
            StepKind::Table { codes } => Kernel::Table(codes.clone()),
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

/// The two inputs and the output of a step, which lie apart but for the inputs being one.
fn borrow(
    arena: &mut [u8],
    x: Range<usize>,
    r: Option<Range<usize>>,
    y: Option<Range<usize>>,
) -> (&[u8], Option<&[u8]>, Option<&mut [u8]>) {
    let apart = "values alive together lie apart";
    match (r, y) {
        (r, None) => (&arena[x], r.map(|r| &arena[r]), None),
        (Some(r), Some(y)) if r != x => {
            let [x, r, y] = arena.get_disjoint_mut([x, r, y]).expect(apart);
            (x, Some(r), Some(y))
        }
        (r, Some(y)) => {
            let [x, y] = arena.get_disjoint_mut([x, y]).expect(apart);
            (x, r.map(|_| &*x), Some(y))
        }
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
