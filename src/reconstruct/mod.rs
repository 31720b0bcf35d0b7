//! Quantization without training: codes that reproduce what the float layers give, rather than the
//! codes nearest to the weights.
//!
//! The network is walked block by block with a pool of images at the boundary: `x`, what the float
//! network has there, and `z`, what the quantized network has. Each layer in turn is rounded so
//! that on `z` it gives what the float layer gives on `x`, which takes back errors made before it.
//! The pool lies on disk beyond a bound, so that memory does not grow with the number of images.
//! Layers that read too much for moments ([`Moments::are_taken`]) get the nearest codes, which
//! descent may move.

mod adaround;
mod block;
mod gain;
mod lattice;
mod moments;
mod rounding;
mod shelf;

use std::collections::BTreeMap;

use exbit_grad::infer;
use exbit_kernels::{Bits, Grid};
use exbit_model::{Conv, Linear, Model, NodeId, Op, Tensor, ValueId};

pub use adaround::Descent;
pub use block::{Block, blocks, cuts};
pub use gain::gains;
pub use moments::Moments;
pub use rounding::round;

use self::shelf::Shelf;
use crate::Result;
use crate::prepare::Network;
use crate::quantized::{Quantized, QuantizedLayer, set_layer};
use crate::samples::Samples;
use crate::weights::{WeightRange, quantize_weight};

/// How codes are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rounding {
    /// The nearest to each weight.
    Nearest,
    /// The best for the layer's result, from second moments of what it reads.
    Moments,
    /// That, and then the best for the block's result, by descent over its images.
    Blocks(Descent),
}

/// Images that a pass takes at once.
const BATCH: usize = 16;

/// Bytes of images that a descent, which takes them in random order, holds in memory.
const DESCENT_BYTES: usize = 1 << 29;

/// Chooses codes of `bits` for every layer; activations go onto `grids`. `progress` hears of each
/// layer as it is done.
///
/// # Errors
/// As reading `samples`.
pub fn reconstruct(
    network: &Network,
    bits: &BTreeMap<NodeId, Bits>,
    grids: &BTreeMap<ValueId, Grid>,
    samples: &Samples,
    rounding: Rounding,
    progress: &mut dyn FnMut(usize),
) -> Result<Quantized> {
    let mut layers = BTreeMap::new();
    if rounding == Rounding::Nearest {
        for id in network.layers() {
            layers.insert(id, nearest(&network.model.node(id).op, bits[&id]));
            progress(1);
        }
        return Ok(Quantized {
            layers,
            grids: grids.clone(),
        });
    }
    let mut pool = Pool::new(network, grids, samples)?;
    for mut block in blocks(network, &|v| grids.get(&v).copied())? {
        let mut found = Vec::new();
        for [id, float, rounded] in block.layers.clone() {
            let op = &block.float.node(float).op;
            let (weight, bias) = parameters(op);
            let layer = match pool.moments(&block, float, rounded)? {
                Some(moments) => round(&weight, &bias, bits[&id], &moments),
                None => nearest(op, bits[&id]),
            };
            set_layer(&mut block.rounded, rounded, &layer);
            found.push((id, rounded, weight, layer));
            progress(1);
        }
        pool.advance_float(&block)?;
        if let Rounding::Blocks(how) = &rounding {
            let mut open: Vec<_> = found
                .iter()
                .filter(|(.., layer)| layer.weight.bits.get() > 1)
                .map(|(_, node, weight, layer)| (*node, weight.data().to_vec(), layer.clone()))
                .collect();
            pool.descend(&mut block.rounded, &mut open, how)?;
            for (node, _, layer) in open {
                found
                    .iter_mut()
                    .filter(|f| f.1 == node)
                    .for_each(|f| f.3 = layer.clone());
            }
        }
        layers.extend(found.into_iter().map(|(id, _, _, layer)| (id, layer)));
        pool.advance_rounded(&block)?;
    }
    Ok(Quantized {
        layers,
        grids: grids.clone(),
    })
}

/// The layer rounded to the nearest codes, its bias as it was.
fn nearest(op: &Op, bits: Bits) -> QuantizedLayer {
    let (weight, bias) = parameters(op);
    QuantizedLayer {
        weight: quantize_weight(&weight, bits, WeightRange::Mse, &[]),
        bias,
    }
}

/// Weight and bias of a layer, zeros where it has none.
fn parameters(op: &Op) -> (Tensor, Vec<f32>) {
    if let Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias }) = op {
        let zeros = || vec![0.0; weight.shape()[0]];
        return (weight.clone(), bias.clone().unwrap_or_else(zeros));
    }
    Default::default()
}

/// Images at a block's boundary.
struct Pool {
    /// Of each batch.
    images: Vec<usize>,
    /// What the float network has there, a vector a batch.
    x: Shelf,
    /// What the quantized network has.
    z: Shelf,
}

impl Pool {
    fn new(network: &Network, grids: &BTreeMap<ValueId, Grid>, samples: &Samples) -> Result<Self> {
        let mut pool = Self {
            images: Vec::new(),
            x: Shelf::new(),
            z: Shelf::new(),
        };
        for batch in samples.batches(BATCH) {
            let mut batch = batch?;
            pool.images.push(batch.images);
            pool.x.push(batch.x.clone())?;
            if let Some(grid) = grids.get(&network.model.input()) {
                let rounded = |x: &mut f32| *x = grid.value(grid.code(*x));
                batch.x.iter_mut().for_each(rounded);
            }
            pool.z.push(batch.x)?;
        }
        Ok(pool)
    }

    /// The moments of what a layer of `block` reads, where they can be taken.
    fn moments(&self, block: &Block, float: NodeId, rounded: NodeId) -> Result<Option<Moments>> {
        let op = &block.float.node(float).op;
        if !Moments::are_taken(op) {
            return Ok(None);
        }
        let read = block.float.node(float).inputs[0];
        let shape = &block.float.value(read).shape;
        let (before, after) = (until(&block.float, float)?, until(&block.rounded, rounded)?);
        let mut moments = Moments::new(op);
        for ((x, z), &images) in self.x.each()?.zip(self.z.each()?).zip(&self.images) {
            let (x, z) = (infer(&before, &x?, images), infer(&after, &z?, images));
            moments.add(op, shape, &x, &z, images);
        }
        Ok(Some(moments).filter(Moments::are_numbers))
    }

    /// Takes the float side of every image to the end of `block`.
    fn advance_float(&mut self, block: &Block) -> Result<()> {
        self.x = advanced(&self.x, &block.float, &self.images)?;
        Ok(())
    }

    /// Takes the quantized side after it.
    fn advance_rounded(&mut self, block: &Block) -> Result<()> {
        self.z = advanced(&self.z, &block.rounded, &self.images)?;
        Ok(())
    }

    /// Descends over as many images as [`DESCENT_BYTES`] hold.
    fn descend(
        &self,
        rounded: &mut Model,
        layers: &mut [(NodeId, Vec<f32>, QuantizedLayer)],
        how: &Descent,
    ) -> Result<()> {
        let (mut y, mut z, mut images) = (Vec::new(), Vec::new(), 0);
        for ((after, before), &more) in self.x.each()?.zip(self.z.each()?).zip(&self.images) {
            if size_of_val(y.as_slice()) + size_of_val(z.as_slice()) > DESCENT_BYTES {
                break;
            }
            y.extend(after?);
            z.extend(before?);
            images += more;
        }
        let pairs = adaround::Pairs {
            z: &z,
            y: &y,
            images,
        };
        adaround::descend(rounded, layers, pairs, how);
        Ok(())
    }
}

/// What `model` makes of each batch of `shelf`.
fn advanced(shelf: &Shelf, model: &Model, images: &[usize]) -> Result<Shelf> {
    let mut next = Shelf::new();
    for (x, &images) in shelf.each()?.zip(images) {
        next.push(infer(model, &x?, images))?;
    }
    Ok(next)
}

/// The part of `model` that computes what `node` reads.
fn until(model: &Model, node: NodeId) -> Result<Model> {
    let input = model.value(model.input());
    let mut part = Model::new(model.name(), input.name.clone(), input.shape.clone());
    for n in &model.nodes()[..node.0] {
        part.push(&n.name, n.op.clone(), &n.inputs)?;
    }
    part.set_output(model.node(node).inputs[0]);
    Ok(part)
}
