//! The integer network run in floats: codes and sums of codes are whole numbers, and floats below
//! 2^24 hold whole numbers exactly, so a float convolution of codes is the integer one.
//!
//! It works on the model's side of `lower`, in `(N, C, H, W)` order and with the training core's
//! convolution, and shares only the epilogue with the engine: that both give the same codes at
//! every step is what shows that lowering and engine are right. Where `sum |w| * levels` could
//! reach 2^24, rows of weights are cut into pieces that could not, and their sums are joined as
//! integers.

mod layer;

use std::collections::BTreeMap;

use exbit_engine::Input;
use exbit_kernels::{Epilogue, Grid, pixel_table, regrid_table};
use exbit_model::{Model, NodeId, Op, Pad, Pool, Result, ValueId, Window};
use rayon::prelude::*;

use crate::lower::{engine_activation, window};
use crate::prepare::{Network, Stage, StageKind};
use crate::quantized::Quantized;
use layer::{CodeLayer, code_layer};

/// A quantized network ready to be run in floats.
#[derive(Debug)]
pub struct Simulator<'a> {
    network: &'a Network,
    quantized: &'a Quantized,
    layers: BTreeMap<NodeId, CodeLayer>,
}

/// What a simulated batch gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Simulated {
    /// The codes of every value that has any, `(N, C, H, W)`.
    pub codes: BTreeMap<ValueId, Vec<u8>>,
    /// What each exit answers, as real numbers, one row an image.
    pub exits: Vec<Vec<f32>>,
    /// The output as real numbers, one row an image.
    pub output: Vec<f32>,
}

impl<'a> Simulator<'a> {
    /// Prepares the layers of `network`.
    ///
    /// # Errors
    /// `Mismatch` when `quantized` is not of this network.
    pub fn new(network: &'a Network, quantized: &'a Quantized) -> Result<Self> {
        let mut layers = BTreeMap::new();
        for stage in &network.stages {
            if let StageKind::Layer(activation) = stage.kind {
                layers.insert(
                    stage.node,
                    code_layer(network, quantized, stage, activation)?,
                );
            }
        }
        Ok(Self {
            network,
            quantized,
            layers,
        })
    }

    /// The codes of raw pixels, `(N, H, W, C)`, on the grid of the input, `(N, C, H, W)`.
    pub fn input_codes(&self, pixels: &[u8], input: &Input) -> Vec<u8> {
        let id = self.network.model.input();
        let grid = self.quantized.grid(self.network, id);
        let shape = &self.network.model.value(id).shape;
        let channels = shape[0];
        let positions: usize = shape[1..].iter().product();
        let table = |c: usize| pixel_table(input.scale[c], input.shift[c], grid);
        let tables: Vec<[u8; 256]> = (0..channels).map(table).collect();
        let image = |pixels: &[u8]| -> Vec<u8> {
            let code = |c: usize, p: usize| tables[c][usize::from(pixels[p * channels + c])];
            (0..channels)
                .flat_map(|c| (0..positions).map(move |p| code(c, p)))
                .collect()
        };
        pixels
            .chunks_exact(positions * channels)
            .flat_map(image)
            .collect()
    }

    /// Runs a batch of input codes, `(N, C, H, W)`.
    pub fn run(&self, input: Vec<u8>, images: usize) -> Simulated {
        let mut out = Simulated::default();
        out.codes.insert(self.network.model.input(), input);
        let mut real = BTreeMap::new();
        for stage in &self.network.stages {
            let result = self.stage(stage, &out.codes, images);
            match result {
                Outcome::Codes(codes) => drop(out.codes.insert(stage.output, codes)),
                Outcome::Real(numbers) => drop(real.insert(stage.output, numbers)),
            }
        }
        let model = &self.network.model;
        let mut answer = |id: ValueId| {
            let codes = out.codes.get(&id).map(|codes| {
                let grid = self.quantized.grid(self.network, id);
                codes.iter().map(|&c| grid.value(c)).collect()
            });
            codes.or_else(|| real.remove(&id)).unwrap_or_default()
        };
        let exits = model.exits().iter().map(|&id| answer(id)).collect();
        out.output = answer(model.output());
        out.exits = exits;
        out
    }

    fn stage(&self, stage: &Stage, codes: &BTreeMap<ValueId, Vec<u8>>, images: usize) -> Outcome {
        let model = &self.network.model;
        let op = &model.node(stage.node).op;
        let x: Vec<&[u8]> = stage.inputs.iter().map(|v| codes[v].as_slice()).collect();
        let grid = |v: ValueId| self.quantized.grid(self.network, v);
        let shape = &model.value(stage.inputs[0]).shape;
        match &stage.kind {
            StageKind::Layer(_) => self.layer(stage, &x, images),
            StageKind::Add(activation) => {
                let [a, b] = [grid(stage.inputs[0]), grid(stage.inputs[1])];
                let target = self.target(stage);
                let e = Epilogue::add(a, b, engine_activation(*activation), target);
                let pairs = x[0].iter().zip(x[1]).map(|(&a, &b)| (i32::from(a), 0, b));
                finish(&e, target.is_some(), pairs)
            }
            StageKind::Table(activation) => {
                let (from, to) = (grid(stage.inputs[0]), grid(stage.output));
                let code = |&c: &u8| to.code(activation.apply(from.value(c)));
                Outcome::Codes(x[0].iter().map(code).collect())
            }
            StageKind::Round => {
                let table = regrid_table(grid(stage.inputs[0]), grid(stage.output));
                Outcome::Codes(x[0].iter().map(|&c| table[usize::from(c)]).collect())
            }
            StageKind::AvgPool => self.average(stage, op, x[0]),
            StageKind::MaxPool => {
                let max = |codes: &mut dyn Iterator<Item = u8>| codes.max().unwrap_or(0);
                Outcome::Codes(pooled(&window(op), shape, x[0], |taps, _| max(taps)))
            }
            StageKind::Concat => Outcome::Codes(self.concat(stage, &x, images)),
            StageKind::Pad => {
                let Op::Pad(pad) = op else {
                    return Outcome::Codes(Vec::new());
                };
                let fill = grid(stage.inputs[0]).code(pad.value);
                Outcome::Codes(padded(pad, shape, x[0], fill))
            }
            StageKind::PadChannels { before, value } => {
                let fill = grid(stage.inputs[0]).code(*value);
                let image = shape.iter().product::<usize>();
                let plane = image / shape[0];
                let before = vec![fill; before * plane];
                let len = model.value(stage.output).len();
                let padded = x[0].chunks_exact(image).flat_map(|x| {
                    let mut y = [&before[..], x].concat();
                    y.resize(len, fill);
                    y
                });
                Outcome::Codes(padded.collect())
            }
            StageKind::Shuffle(chain) => {
                let transposed = |x: Vec<u8>, id: &NodeId| transpose(model, *id, x, images);
                Outcome::Codes(chain.iter().fold(x[0].to_vec(), transposed))
            }
        }
    }

    /// The grid that a summing stage writes on, or `None` for real numbers.
    fn target(&self, stage: &Stage) -> Option<Grid> {
        let real = self.network.is_real(stage.output);
        (!real).then(|| self.quantized.grid(self.network, stage.output))
    }

    fn layer(&self, stage: &Stage, x: &[&[u8]], images: usize) -> Outcome {
        let layer = &self.layers[&stage.node];
        let zero = f32::from(self.quantized.grid(self.network, stage.inputs[0]).zero);
        let centred: Vec<f32> = x[0].iter().map(|&c| f32::from(c) - zero).collect();
        let mut sums = Vec::new();
        for part in &layer.parts {
            let part = exbit_grad::infer(part, &centred, images);
            sums.resize(part.len(), 0);
            sums.iter_mut().zip(part).for_each(|(s, p)| *s += p as i32);
        }
        let shape = &self.network.model.value(stage.output).shape;
        let positions: usize = shape[1..].iter().product();
        let channel = |i: usize| i / positions % shape[0];
        let residual = |i: usize| x.get(1).map_or(0, |r| r[i]);
        let all = sums
            .iter()
            .enumerate()
            .map(|(i, &s)| (s, channel(i), residual(i)));
        finish(&layer.epilogue, self.target(stage).is_some(), all)
    }

    fn average(&self, stage: &Stage, op: &Op, x: &[u8]) -> Outcome {
        let shape = &self.network.model.value(stage.inputs[0]).shape;
        let whole = Window {
            kernel: [shape[1], shape[2]],
            ..Window::square(1, 1, 0)
        };
        let (window, whole_count) = if let Op::AvgPool(Pool {
            window,
            count_include_pad,
        }) = op
        {
            (
                *window,
                count_include_pad.then_some(window.kernel[0] * window.kernel[1]),
            )
        } else {
            (whole, None)
        };
        let input = self.quantized.grid(self.network, stage.inputs[0]);
        let target = self.target(stage);
        let zero = i32::from(input.zero);
        let sums = pooled(&window, shape, x, |taps, inside| {
            let sum: i32 = taps.map(|c| i32::from(c) - zero).sum();
            (sum, whole_count.unwrap_or(inside))
        });
        let e = |count| Epilogue::mean(input, count, target);
        match target {
            Some(_) => Outcome::Codes(sums.iter().map(|&(s, n)| e(n).code(s, 0, 0)).collect()),
            None => Outcome::Real(sums.iter().map(|&(s, n)| e(n).real(s, 0, 0)).collect()),
        }
    }

    fn concat(&self, stage: &Stage, x: &[&[u8]], images: usize) -> Vec<u8> {
        let to = self.quantized.grid(self.network, stage.output);
        let mut parts = Vec::new();
        for (&id, &codes) in stage.inputs.iter().zip(x) {
            let table = regrid_table(self.quantized.grid(self.network, id), to);
            let codes: Vec<u8> = codes.iter().map(|&c| table[usize::from(c)]).collect();
            parts.push((codes.len() / images, codes));
        }
        let image = |i: usize| {
            parts
                .iter()
                .flat_map(move |(n, codes)| &codes[i * n..(i + 1) * n])
        };
        (0..images).flat_map(image).copied().collect()
    }
}

enum Outcome {
    Codes(Vec<u8>),
    Real(Vec<f32>),
}

fn finish(e: &Epilogue, codes: bool, all: impl Iterator<Item = (i32, usize, u8)>) -> Outcome {
    match codes {
        true => Outcome::Codes(all.map(|(acc, c, r)| e.code(acc, c, r)).collect()),
        false => Outcome::Real(all.map(|(acc, c, r)| e.real(acc, c, r)).collect()),
    }
}

/// For every output of a window over `(N, C, H, W)` codes, `take` the codes inside the image and
/// how many they are.
fn pooled<T: Send>(
    window: &Window,
    shape: &[usize],
    x: &[u8],
    take: impl Fn(&mut dyn Iterator<Item = u8>, usize) -> T + Sync,
) -> Vec<T> {
    let (h, w) = (shape[1], shape[2]);
    let [ho, wo] = window.output(h, w).unwrap_or([0, 0]);
    let taps = |axis: usize, o: usize, extent: usize| -> Vec<usize> {
        let at = |k: usize| {
            (o * window.stride[axis] + k * window.dilation[axis]).checked_sub(window.pads[axis])
        };
        (0..window.kernel[axis])
            .filter_map(at)
            .filter(|&i| i < extent)
            .collect()
    };
    let rows: Vec<Vec<usize>> = (0..ho).map(|o| taps(0, o, h)).collect();
    let columns: Vec<Vec<usize>> = (0..wo).map(|o| taps(1, o, w)).collect();
    let plane = |plane: &[u8]| -> Vec<T> {
        let mut out = Vec::with_capacity(ho * wo);
        for ys in &rows {
            for xs in &columns {
                let codes = &mut ys
                    .iter()
                    .flat_map(|y| xs.iter().map(move |x| plane[y * w + x]));
                out.push(take(codes, ys.len() * xs.len()));
            }
        }
        out
    };
    x.par_chunks_exact(h * w).flat_map_iter(plane).collect()
}

fn padded(pad: &Pad, shape: &[usize], x: &[u8], fill: u8) -> Vec<u8> {
    let (h, w) = (shape[1], shape[2]);
    let [top, left, bottom, right] = pad.pads;
    let mut out = Vec::new();
    for plane in x.chunks_exact(h * w) {
        let width = left + w + right;
        out.resize(out.len() + top * width, fill);
        for row in plane.chunks_exact(w) {
            out.resize(out.len() + left, fill);
            out.extend(row);
            out.resize(out.len() + right, fill);
        }
        out.resize(out.len() + bottom * width, fill);
    }
    out
}

/// One node of a chain: a Transpose permutes each image, a Reshape does nothing to its order.
fn transpose(model: &Model, id: NodeId, x: Vec<u8>, images: usize) -> Vec<u8> {
    let node = model.node(id);
    let Op::Transpose { perm } = &node.op else {
        return x;
    };
    let shape = &model.value(node.inputs[0]).shape;
    let image = |x: &[u8]| crate::lower::permute(x, shape, perm);
    x.chunks_exact(x.len() / images).flat_map(image).collect()
}
