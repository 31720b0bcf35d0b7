//! Everything that moves in training, as one list, and its way into the model and out of gradients.
//!
//! Weights are kept unrounded here; the model holds them rounded. Each quantizer has three entries:
//! alpha, beta and n; which of them move is the method's and the phase's business.
//!
//! What has eight bits by rule (first and last layers, streams) is not learned: a weight's step is
//! its row's largest entry over 127, an activation's follows the largest of its batches (Jacob et
//! al. 2018). There is nothing to gain at eight bits, and learned, such steps drift: their gradient
//! is a sum of rounding errors whatever the step, which pushes a small step far and a large one
//! nowhere back. Of a trained ResNet-20, two of the first layer's 16 channels had two codes left,
//! one of ten classes had three, and the classifier read steps of 0.35 where 0.02 cover the range.

mod adopt;
mod gradient;
mod model;

use exbit_kernels::Bits;
use exbit_model::NodeId;

pub(crate) use model::{follow, tensors};

use super::graph::{Graph, Layer, Role};
use super::pdq::{self, Rows};
use super::recipe::{Method, Phase, Recipe};
use super::start::Magnitude;
use crate::{Error, ErrorKind, Pin, Result};

/// Some numbers that move together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// The node's or site's name, a dot, and what it is.
    pub(crate) name: String,
    pub(crate) what: What,
    pub(crate) value: Vec<f32>,
    pub(crate) velocity: Vec<f32>,
    /// The running mean of squared gradients, where the optimizer keeps one.
    pub(crate) square: Vec<f32>,
    /// The least that an entry may be: of alpha and beta a part of the first step, since a
    /// quantizer that clips everything has no gradient that leads back.
    pub(crate) least: f32,
}

/// What a parameter is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A weight without a quantizer, a BatchNorm's gamma, an Affine's scale.
    Weight(NodeId),
    /// A bias, a BatchNorm's beta, an Affine's shift.
    Bias(NodeId),
    /// A weight with a quantizer; an index into [`Graph::layers`], as in the next three.
    Rounded(usize),
    /// Its alpha, one a row.
    Alpha(usize),
    /// Its beta, one a row.
    Beta(usize),
    /// Its bits.
    Bits(usize),
    /// An activation's alpha; an index into [`Graph::sites`], as in the next two.
    SiteAlpha(usize),
    /// Its beta.
    SiteBeta(usize),
    /// Its bits.
    SiteBits(usize),
}

impl What {
    /// Whether it belongs to a quantizer: then it does not decay.
    pub(crate) fn is_quantizer(self) -> bool {
        !matches!(self, What::Weight(_) | What::Bias(_) | What::Rounded(_))
    }
}

/// How far below its first step a quantizer may go: from two bits to eight, and as far again.
const LEAST_OF_FIRST: f32 = 256.0;

/// All parameters, and where those of quantizers stand among them.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub(crate) all: Vec<Parameter>,
    method: Method,
    /// Of each layer: the first of weight, alpha, beta, n.
    layers: Vec<usize>,
    /// Of each site: the first of alpha, beta, n.
    sites: Vec<usize>,
}

impl Parameters {
    /// The parameters of `graph` at their start: quantizers of `bits`, but of eight at the edges.
    /// `magnitudes` are those of each site.
    pub(crate) fn new(graph: &Graph, method: Method, bits: Bits, magnitudes: &[Magnitude]) -> Self {
        let mut out = Self {
            all: Vec::new(),
            method,
            layers: Vec::new(),
            sites: Vec::new(),
        };
        for (i, node) in graph.model.nodes().iter().enumerate() {
            let layer = graph.layers.iter().position(|l| l.node == NodeId(i));
            let (weight, bias) = tensors(&node.op);
            match layer.filter(|_| method != Method::Float) {
                Some(l) => out.push_layer(graph, l, weight, bits),
                None if !weight.is_empty() => {
                    out.push(
                        &node.name,
                        "weight",
                        What::Weight(NodeId(i)),
                        weight.to_vec(),
                    );
                }
                None => {}
            }
            if !bias.is_empty() {
                out.push(&node.name, "bias", What::Bias(NodeId(i)), bias.to_vec());
            }
        }
        if method != Method::Float {
            for (s, site) in graph.sites.iter().enumerate() {
                let Magnitude { mean, most } = magnitudes[s];
                let (n, step) = match site.role {
                    Role::Layer => {
                        let n = f32::from(bits.get());
                        (n, pdq::first_step(mean, n, site.signed))
                    }
                    Role::Input | Role::Stream | Role::Edge => {
                        (pdq::MOST, pdq::covering_step(most, site.signed))
                    }
                };
                out.sites.push(out.all.len());
                out.push(&site.name, "alpha", What::SiteAlpha(s), vec![step]);
                out.push(&site.name, "beta", What::SiteBeta(s), vec![step]);
                out.push(&site.name, "n", What::SiteBits(s), vec![n]);
            }
        }
        out.project(graph);
        out
    }

    /// The parameters of `graph` as `recipe` begins.
    ///
    /// # Errors
    /// As [`Parameters::keep`].
    pub(crate) fn begin(graph: &Graph, recipe: &Recipe, magnitudes: &[Magnitude]) -> Result<Self> {
        let mut own = Self::new(graph, recipe.method, recipe.first_bits(), magnitudes);
        own.keep(graph, &recipe.pins()?)?;
        Ok(own)
    }

    fn push(&mut self, node: &str, part: &str, what: What, value: Vec<f32>) {
        let first = value.iter().copied().fold(f32::INFINITY, f32::min);
        let least = match what {
            What::Alpha(_) | What::Beta(_) | What::SiteAlpha(_) | What::SiteBeta(_) => {
                first / LEAST_OF_FIRST
            }
            What::Bits(_) | What::SiteBits(_) => pdq::LEAST,
            What::Weight(_) | What::Bias(_) | What::Rounded(_) => f32::NEG_INFINITY,
        };
        self.all.push(Parameter {
            least,
            name: format!("{node}.{part}"),
            what,
            velocity: vec![0.0; value.len()],
            square: Vec::new(),
            value,
        });
    }

    fn push_layer(&mut self, graph: &Graph, l: usize, weight: &[f32], bits: Bits) {
        let layer = &graph.layers[l];
        let n = if layer.is_edge {
            8.0
        } else {
            f32::from(bits.get())
        };
        let rows = graph
            .model
            .node(layer.node)
            .op
            .weight()
            .map_or(1, |w| w.shape()[0]);
        let steps = first_steps(weight, rows, n);
        self.layers.push(self.all.len());
        self.push(&layer.name, "weight", What::Rounded(l), weight.to_vec());
        self.push(&layer.name, "alpha", What::Alpha(l), steps.clone());
        self.push(&layer.name, "beta", What::Beta(l), steps);
        self.push(&layer.name, "n", What::Bits(l), vec![n]);
    }

    /// Layer `l`'s weight and quantizer.
    pub(crate) fn layer(&self, l: usize) -> Rows<'_> {
        let at = self.layers[l];
        let value = |i: usize| self.all[at + i].value.as_slice();
        Rows {
            weight: value(0),
            alpha: value(1),
            beta: value(2),
            n: self.all[at + 3].value[0],
        }
    }

    /// Alpha, beta and n of site `s`.
    pub(crate) fn site(&self, s: usize) -> [f32; 3] {
        let at = self.sites[s];
        [0, 1, 2].map(|i| self.all[at + i].value[0])
    }

    /// Gives the layers that `pins` name their bits, and first steps for them.
    ///
    /// # Errors
    /// `Mismatch` for a pin that names no layer but those of eight bits by rule.
    pub(crate) fn keep(&mut self, graph: &Graph, pins: &[Pin]) -> Result<()> {
        let count = graph.layers.len();
        for pin in pins {
            let named = |(l, layer): (usize, &Layer)| {
                (!layer.is_edge && pin.names((l, count), &layer.name)).then_some(l)
            };
            let found: Vec<usize> = graph.layers.iter().enumerate().filter_map(named).collect();
            if found.is_empty() {
                let message = "names no layer, or only such as have eight bits";
                let place = format!("recipe: keep {pin}");
                return Err(Error::new(ErrorKind::Mismatch, place, message));
            }
            for l in found {
                if let Some(bits) = pin.weights {
                    let own = &mut self.all[self.layers[l] + 3];
                    let n = f32::from(bits.get());
                    (own.value[0], own.least) = (n, n.min(pdq::LEAST));
                    self.begin_steps(l);
                }
                if let Some(bits) = pin.input {
                    self.set_site_bits(graph, graph.layers[l].site, f32::from(bits.get()));
                }
            }
        }
        Ok(())
    }

    /// Gives layer `l`'s quantizer LSQ's first steps for its weight and its bits.
    fn begin_steps(&mut self, l: usize) {
        let (at, rows) = (self.layers[l], self.layer(l));
        let steps = first_steps(rows.weight, rows.alpha.len(), rows.n);
        self.all[at + 1].value.clone_from(&steps);
        self.all[at + 2].value = steps;
    }

    /// Gives layer `l`'s weight `n` bits.
    pub(crate) fn set_bits(&mut self, l: usize, n: f32) {
        self.requantize(self.layers[l] + 1, n, true);
    }

    /// Gives site `s` `n` bits.
    pub(crate) fn set_site_bits(&mut self, graph: &Graph, s: usize, n: f32) {
        self.requantize(self.sites[s], n, graph.sites[s].signed);
    }

    /// Gives the quantizer whose alpha, beta and n stand from `at` on another number of bits, and
    /// steps as LSQ's first ones depend on bits: `1 / sqrt(Qp)`.
    fn requantize(&mut self, at: usize, n: f32, signed: bool) {
        let most = |n: f32| pdq::ends(n, signed).1;
        let longer = (most(self.all[at + 2].value[0]) / most(n)).sqrt();
        for scale in [at, at + 1] {
            self.all[scale].value.iter_mut().for_each(|x| *x *= longer);
        }
        self.all[at + 2].value[0] = n;
    }

    /// Whether parameters of this kind move in `phase`.
    pub(crate) fn moves(&self, graph: &Graph, what: What, phase: Phase) -> bool {
        match what {
            What::Weight(_) | What::Bias(_) | What::Rounded(_) => true,
            What::Alpha(l) => !graph.layers[l].is_edge,
            // Where there is one scale, beta follows alpha.
            What::Beta(l) => self.is_decoupled(graph, l),
            What::Bits(l) => phase == Phase::Search && !graph.layers[l].is_edge,
            What::SiteAlpha(s) => graph.sites[s].role == Role::Layer,
            What::SiteBeta(s) => self.is_site_decoupled(graph, s),
            What::SiteBits(s) => phase == Phase::Search && graph.sites[s].role == Role::Layer,
        }
    }

    /// Whether layer `l`'s weight has two scales.
    ///
    /// Tied, their gradient is a sum of rounding errors, below half a code each. Apart it is a sum
    /// of codes, up to 255: it stays small only where a BatchNorm behind takes every scale out.
    /// Without one quantizers of eight bits grow until nothing is left of what they round. So we
    /// decided to decouple where a BatchNorm follows and bits are few.
    fn is_decoupled(&self, graph: &Graph, l: usize) -> bool {
        let layer = &graph.layers[l];
        self.method == Method::Mcqueen && layer.is_normed && !layer.is_edge
    }

    /// Whether site `s` has two scales: what sums read can have but one, and others as the layers
    /// that read them.
    fn is_site_decoupled(&self, graph: &Graph, s: usize) -> bool {
        let mut readers = (0..graph.layers.len()).filter(|&l| graph.layers[l].site == s);
        graph.sites[s].role == Role::Layer && readers.all(|l| self.is_decoupled(graph, l))
    }

    /// Keeps every quantizer one: alpha and beta positive, bits from 2 to 8, tied scales equal;
    /// those of weights at the edges cover their rows.
    pub(crate) fn project(&mut self, graph: &Graph) {
        for parameter in &mut self.all {
            let most = match parameter.what {
                What::Bits(_) | What::SiteBits(_) => pdq::MOST,
                What::Alpha(_) | What::Beta(_) | What::SiteAlpha(_) | What::SiteBeta(_) => f32::MAX,
                What::Weight(_) | What::Bias(_) | What::Rounded(_) => continue,
            };
            let pairs = parameter.value.iter_mut().zip(&mut parameter.velocity);
            for (value, velocity) in pairs {
                let inside = value.clamp(parameter.least, most);
                if inside != *value {
                    // What pushes against the end must not have to be slowed down before it turns.
                    (*value, *velocity) = (inside, 0.0);
                }
            }
        }
        for (l, &at) in self.layers.iter().enumerate() {
            if graph.layers[l].is_edge {
                self.all[at + 1].value =
                    covering_steps(&self.all[at].value, &self.all[at + 1].value);
            }
            if !self.is_decoupled(graph, l) {
                let alpha = self.all[at + 1].value.clone();
                self.all[at + 2].value = alpha;
            }
        }
        for (s, &at) in self.sites.iter().enumerate() {
            if !self.is_site_decoupled(graph, s) {
                self.all[at + 1].value[0] = self.all[at].value[0];
            }
        }
    }
}

/// The steps of eight bits that cover the rows of `weight`, as many as there are `steps`.
fn covering_steps(weight: &[f32], steps: &[f32]) -> Vec<f32> {
    let len = (weight.len() / steps.len().max(1)).max(1);
    let rows = weight.chunks_exact(len).map(pdq::largest);
    rows.map(|most| pdq::covering_step(most, true)).collect()
}

/// LSQ's first step of each of the rows of `weight`.
fn first_steps(weight: &[f32], rows: usize, n: f32) -> Vec<f32> {
    let len = (weight.len() / rows.max(1)).max(1);
    let step = |row: &[f32]| {
        let mean = row.iter().map(|w| w.abs()).sum::<f32>() / len as f32;
        pdq::first_step(mean, n, true)
    };
    weight.chunks_exact(len).map(step).collect()
}
