//! The same network at eight bits everywhere: whether fewer bits save time on this machine.

use std::path::Path;

use exbit_engine::{Bits, Format, Program, Session, StepKind};
use exbit_model::data::Batch;
use serde::Serialize;

use super::layers::{LayerTime, repeated};
use crate::exit::Failure;

/// Turns that the two networks take.
const TURNS: usize = 3;
/// What is no shorter than this share of another time is not faster.
const FASTER: f64 = 0.97;

/// Both times are of one image on one thread, layer by layer, in microseconds.
#[derive(Serialize)]
pub(super) struct EightBits {
    microseconds: f64,
    microseconds_at_eight_bits: f64,
    ratio: f64,
}

impl EightBits {
    /// For people.
    pub(super) fn text(&self) -> String {
        let verdict = match self.ratio < FASTER {
            true => "",
            false => ": fewer bits save memory here, and no time",
        };
        format!(
            "layer by layer {:.1} µs, at 8x8 bits {:.1} µs: {:.2}x{verdict}\n",
            self.microseconds, self.microseconds_at_eight_bits, self.ratio
        )
    }
}

/// The Program at `path`, which `session` runs, beside itself at eight bits, and the times of its
/// layers; `None` where it has eight bits already.
pub(super) fn beside(
    path: &Path,
    session: &mut Session,
    image: &Batch,
) -> Result<Option<(EightBits, Vec<LayerTime>)>, Failure> {
    let Some(eight) = at_eight_bits(&Program::load(path)?) else {
        return Ok(None);
    };
    // What does not fit 32 bits at eight bits has nothing to be compared with.
    let Ok(mut eight) = Session::new(&eight, 1) else {
        return Ok(None);
    };
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        own.push(repeated(session, image)?);
        other.push(repeated(&mut eight, image)?);
    }
    let mut layers = least(own);
    let eight = least(other);
    for (layer, eight) in layers.iter_mut().zip(&eight) {
        layer.compare(eight);
    }
    let sum = |layers: &[LayerTime]| layers.iter().map(LayerTime::microseconds).sum::<f64>();
    let (own, other) = (sum(&layers), sum(&eight));
    let found = EightBits {
        microseconds: own,
        microseconds_at_eight_bits: other,
        ratio: own / other,
    };
    Ok(Some((found, layers)))
}

/// Each layer in the turn in which it took least.
fn least(turns: Vec<Vec<LayerTime>>) -> Vec<LayerTime> {
    let shorter = |best: Vec<LayerTime>, turn: Vec<LayerTime>| {
        let pairs = best.into_iter().zip(turn);
        let shorter = |(a, b): (LayerTime, LayerTime)| match a.microseconds() <= b.microseconds() {
            true => a,
            false => b,
        };
        pairs.map(shorter).collect()
    };
    turns.into_iter().reduce(shorter).unwrap_or_default()
}

/// `program` with codes of eight bits, of all values: what they are takes no time. `None` where all
/// have eight bits.
fn at_eight_bits(program: &Program) -> Option<Program> {
    let mut eight = program.clone();
    eight.packed.clear();
    let mut fewer = false;
    for value in &mut eight.values {
        if let Format::Codes(grid) = &mut value.format {
            fewer |= grid.bits != Bits::EIGHT;
            grid.bits = Bits::EIGHT;
        }
    }
    for step in &mut eight.steps {
        if let StepKind::Conv(conv) = &mut step.kind {
            fewer |= conv.weights.bits != Bits::EIGHT;
            conv.weights.bits = Bits::EIGHT;
            let codes = conv.weights.codes.iter_mut();
            // A prime step: all values, in no order that a kernel could profit from.
            (0usize..)
                .zip(codes)
                .for_each(|(i, code)| *code = (i * 7919 % 65_537) as i8);
        } else if let StepKind::Table { codes } = &mut step.kind {
            codes.resize(256, 0);
        }
    }
    fewer.then_some(eight)
}
