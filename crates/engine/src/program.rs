//! What a Program is: values that hold codes, steps that turn codes into codes, and the weights
//! of the steps at their true bit-widths.
//!
//! Arithmetic is defined in [`exbit_kernels::Epilogue`]; shapes are `[height, width, channels]` and
//! codes lie in that order (NHWC). A Program is plain data: [`Program::check`] says whether it can
//! run, once, and nothing checks again.

use exbit_kernels::{Activation, Bits, Grid, Window};

use crate::{Exit, Policy};

/// A small integer network, as it ships.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The network's name.
    pub name: String,
    /// How raw pixels become the codes of value 0.
    pub input: Input,
    /// Every value; 0 is the input.
    pub values: Vec<Value>,
    /// The steps, in running order; each reads values already written, and writes a new one.
    pub steps: Vec<Step>,
    /// The values whose codes may lie in the arena at their true width, line by line, ascending;
    /// those of all others take a byte each, which is faster. Values that share a place, since a
    /// sum is written over one of them, lie so where all of them are listed, at the width of the
    /// widest.
    pub packed: Vec<usize>,
    /// The value that holds the answer (logits before any softmax).
    pub output: usize,
    /// Where an image may leave before the end, in running order.
    pub exits: Vec<Exit>,
    /// When it does, unless a Session is told otherwise.
    pub policy: Policy,
    /// Class names, if known; as many as the output has entries.
    pub classes: Vec<String>,
    /// Facts about how this Program was made (tool version, plan, seed); carried, not interpreted.
    pub notes: Vec<(String, String)>,
}

impl Program {
    /// The first note under `key`.
    pub fn note(&self, key: &str) -> Option<&str> {
        let note = self.notes.iter().find(|(own, _)| own == key);
        note.map(|(_, text)| text.as_str())
    }
}

/// How pixels become codes: `x = pixel * scale[c] + shift[c]`, then the grid of value 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// One per channel.
    pub scale: Vec<f32>,
    /// One per channel.
    pub shift: Vec<f32>,
    /// The whole preprocessing (resize, crop, ..) as TOML; carried, not interpreted.
    pub preprocess: String,
}

/// A tensor that flows through the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// `[height, width, channels]`; a vector is `[1, 1, F]`.
    pub shape: [usize; 3],
    /// What its entries are.
    pub format: Format,
}

/// What the entries of a value are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// Codes on a grid.
    Codes(Grid),
    /// Real numbers: only the Program's output and its exits, written by a Conv, AvgPool or Add.
    Real,
}

/// One step: what it does, what it reads, what it writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The name of the layer that it came from.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
    /// The values that it reads.
    pub inputs: Vec<usize>,
    /// The value that it writes.
    pub output: usize,
}

/// The closed set of steps.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// Convolution, also fully connected (a 1x1 convolution of one position) and depthwise.
    /// Reads one value, or two where a residual sum is fused: the second has the output's shape
    /// and is added before the activation.
    Conv(Conv),
    /// Maximum over the taps inside the image; keeps the grid of its input, which the output's
    /// must equal.
    MaxPool(Window),
    /// Mean over a window (all positions for global pooling), then the output's grid. The taps
    /// outside the image count as 0.0, or not at all.
    AvgPool {
        /// Geometry.
        window: Window,
        /// Whether padding counts in the divisor.
        count_include_pad: bool,
    },
    /// Sum of two values of one shape, its activation, then the output's grid.
    Add {
        /// Applied to the sum.
        activation: Activation,
    },
    /// Concatenation along channels; each input is brought to the output's grid.
    Concat,
    /// Code by code through a table of `2^bits` entries: any element-wise function.
    Table {
        /// `codes[i]` is the output's code for the input's code `i`.
        codes: Vec<u8>,
    },
    /// Spatial padding by a constant code; keeps the grid.
    Pad {
        /// `[top, left, bottom, right]`.
        pads: [usize; 4],
        /// The code that is put there.
        code: u8,
    },
    /// Padding of channels by a constant code: `before` of them, and as many after as the output
    /// has more; keeps the grid.
    PadChannels {
        /// Channels before those of the input.
        before: usize,
        /// The code that is put there.
        code: u8,
    },
    /// Entries moved by a chain of (shape, axes permuted) views of memory order; keeps the grid.
    /// The input, read as `views[0].0`, has its axes permuted by `views[0].1`; that result, read
    /// as `views[1].0`, and so on. The last result is the output in memory order.
    Shuffle {
        /// The chain.
        views: Vec<(Vec<usize>, Vec<usize>)>,
    },
}

/// A convolution on codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Weight codes and their scales.
    pub weights: Weights,
    /// One per output channel, in real units.
    pub bias: Vec<f32>,
    /// Geometry.
    pub window: Window,
    /// Number of groups; the input's channels for depthwise.
    pub groups: usize,
    /// Applied after bias and residual.
    pub activation: Activation,
}

/// Weight codes of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Bit-width of each code.
    pub bits: Bits,
    /// `[Cout, kh, kw, Cin / groups]`.
    pub shape: [usize; 4],
    /// Codes in `bits.weight_range()`, row-major.
    pub codes: Vec<i8>,
    /// One per output channel: `w = scale[c] * code`.
    pub scale: Vec<f32>,
}
