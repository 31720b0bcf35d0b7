//! The rows of the report's two tables: layers with weights, and activations.

use serde::Serialize;

/// A layer with weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayerRow {
    /// Its node's name.
    pub name: String,
    /// Its op, in a word: `Conv 3x3`.
    pub op: String,
    /// The output's shape for one image: (C, H, W) or (C).
    pub output_shape: Vec<usize>,
    /// Number of weights, without the bias.
    pub weights: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bits of a weight.
    pub weight_bits: u8,
    /// Bits of an entry of its input.
    pub input_bits: Option<u8>,
    /// Loss that these weight bits are expected to cost.
    pub sensitivity: Option<f64>,
    /// Signal to quantization noise of the weights, in dB.
    pub weight_sqnr_db: Option<f64>,
    /// Signal to quantization noise of the output, in dB: all noise that has gathered up to there.
    pub output_sqnr_db: Option<f64>,
    /// Packed weights.
    pub weight_bytes: u64,
    /// Bit-operations, as planned.
    pub bops: Option<u64>,
    /// Measured time of one image on one thread, in microseconds.
    pub time_us: Option<f64>,
    /// What one bit more would change; `None` where there is no such choice.
    pub more: Option<Step>,
    /// What one bit less would change; `None` where there is no such choice.
    pub less: Option<Step>,
}

/// What changes with the next bit-width up or down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// The bit-width it would be.
    pub bits: u8,
    /// Change of the expected loss: below zero where it gets better.
    pub loss: f64,
    /// Change of the weight bytes.
    pub weight_bytes: i64,
}

/// An activation kept as codes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SiteRow {
    /// Its value's name.
    pub name: String,
    /// Its shape for one image.
    pub shape: Vec<usize>,
    /// Bits of an entry.
    pub bits: u8,
    /// The smallest and the largest number that calibration saw in it; what its codes cannot hold
    /// of that is clipped.
    pub range: Option<(f64, f64)>,
    /// The step between two neighbouring codes.
    pub scale: Option<f64>,
    /// The code of 0.
    pub zero: Option<i32>,
    /// Signal to quantization noise, in dB: of rounding this activation alone.
    pub sqnr_db: Option<f64>,
    /// Loss that these bits are expected to cost.
    pub sensitivity: Option<f64>,
}
