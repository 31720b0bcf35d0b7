//! What runs a step: its constants folded, its weights packed, its geometry resolved.

use std::ops::Range;

use exbit_kernels::{Epilogue, Isa, PackedConv, Window, regrid_table};

use crate::check::{conv_shape, epilogue};
use crate::{Program, Step, StepKind, Value};

/// Multiply-accumulates, and bytes of other work, for which a thread more is called: the threads
/// wait for each other for about as long as these take.
const MACS_OF_A_THREAD: u64 = 100_000;
const BYTES_OF_A_THREAD: usize = 16 * 1024;

/// What makes the output of a step.
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
    PadChannels {
        channels: usize,
        before: usize,
        stride: usize,
        code: u8,
    },
    /// `output[i] = input[table[i]]`.
    Shuffle(Vec<u32>),
}

impl Kernel {
    pub(crate) fn new(isa: Isa, program: &Program, step: &Step) -> Self {
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
            StepKind::PadChannels { before, code } => Kernel::PadChannels {
                channels: x.shape[2],
                before: *before,
                stride: output.shape[2],
                code: *code,
            },
            StepKind::Shuffle { views } => Kernel::Shuffle(gather_table(x.len(), views)),
        }
    }

    /// What each of as many threads as pay, up to `threads`, makes of `output`; a step that is not
    /// shared has one part.
    pub(crate) fn parts(&self, output: &Value, threads: usize) -> Vec<Range<usize>> {
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
            Kernel::AvgPool { .. }
            | Kernel::Concat(..)
            | Kernel::Pad { .. }
            | Kernel::PadChannels { .. } => lines(len),
        }
    }

    /// The convolution, where it is one.
    pub(crate) fn conv(&self) -> Option<&PackedConv> {
        match self {
            Kernel::Conv(conv) => Some(conv),
            Kernel::MaxPool { .. }
            | Kernel::AvgPool { .. }
            | Kernel::Add(_)
            | Kernel::Concat(..)
            | Kernel::Table(_)
            | Kernel::Pad { .. }
            | Kernel::PadChannels { .. }
            | Kernel::Shuffle(_) => None,
        }
    }

    /// The window that it slides, where it has one.
    pub(crate) fn window(&self) -> Option<&Window> {
        match self {
            Kernel::Conv(conv) => Some(conv.window()),
            Kernel::MaxPool { window, .. } | Kernel::AvgPool { window, .. } => Some(window),
            Kernel::Add(_)
            | Kernel::Concat(..)
            | Kernel::Table(_)
            | Kernel::Pad { .. }
            | Kernel::PadChannels { .. }
            | Kernel::Shuffle(_) => None,
        }
    }

    /// The lines, of `height`, that the lines `y` of output are made of.
    pub(crate) fn reads(&self, y: Range<usize>, height: usize) -> Range<usize> {
        match self {
            Kernel::Conv(conv) => conv.window().lines(y, height),
            Kernel::MaxPool { window, .. } | Kernel::AvgPool { window, .. } => {
                window.lines(y, height)
            }
            Kernel::Pad { corner, .. } => {
                let [start, end] = [y.start, y.end].map(|y| y.saturating_sub(corner[0]));
                start.min(height)..end.min(height)
            }
            Kernel::Shuffle(_) => 0..height,
            Kernel::Add(_) | Kernel::Concat(..) | Kernel::Table(_) | Kernel::PadChannels { .. } => {
                y
            }
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
