//! Everything that moves in training, as one list, and its way into the model and out of gradients.
//!
//! Weights are kept unrounded here; the model holds them rounded. Each quantizer has three entries:
//! alpha, beta and n; which of them move is the method's and the phase's business.

use exbit_grad::{Gradients, NodeGradient};
use exbit_kernels::Bits;
use exbit_model::{Model, NodeId, Op};

use super::graph::{Graph, Role};
use super::pdq::{self, Rows};
use super::recipe::{Method, Phase};

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
    /// The least that an entry may be: of alpha and beta a part of the first step, since a quantizer
    /// that clips everything has no gradient that leads back.
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
    /// `magnitudes` are the means of `|x|` of each site.
    pub(crate) fn new(graph: &Graph, method: Method, bits: Bits, magnitudes: &[f32]) -> Self {
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
                let n = match site.role {
                    Role::Layer => f32::from(bits.get()),
                    Role::Input | Role::Stream | Role::Edge => 8.0,
                };
                let step = pdq::first_step(magnitudes[s], n, site.signed);
                out.sites.push(out.all.len());
                out.push(&site.name, "alpha", What::SiteAlpha(s), vec![step]);
                out.push(&site.name, "beta", What::SiteBeta(s), vec![step]);
                out.push(&site.name, "n", What::SiteBits(s), vec![n]);
            }
        }
        out
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

    /// Takes over what `find` has of a name and a length; gives how many parameters it had.
    ///
    /// A quantizer comes whole or not at all: not where its bits are frozen here at another number, and
    /// not where the other run had none. A weight that comes without one gets first steps of its own.
    pub(crate) fn adopt(
        &mut self,
        graph: &Graph,
        find: impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> usize {
        let mut found = 0;
        for at in 0..self.all.len() {
            let own = &self.all[at];
            if let (false, Some(value)) =
                (own.what.is_quantizer(), find(&own.name, own.value.len()))
            {
                self.all[at].value = value;
                found += 1;
            }
        }
        for l in 0..self.layers.len() {
            let at = self.layers[l];
            let frozen = self.method == Method::Lsq || graph.layers[l].is_edge;
            if self.adopt_quantizer(at + 1, frozen, &find) {
                found += 3;
            } else {
                let steps = first_steps(
                    &self.all[at].value,
                    self.layer(l).alpha.len(),
                    self.layer(l).n,
                );
                self.all[at + 1].value.clone_from(&steps);
                self.all[at + 2].value = steps;
            }
        }
        for s in 0..self.sites.len() {
            let role = graph.sites[s].role;
            let frozen = self.method == Method::Lsq || role != Role::Layer;
            if role != Role::Input && self.adopt_quantizer(self.sites[s], frozen, &find) {
                found += 3;
            }
        }
        found
    }

    /// Takes over alpha, beta and n, which stand from `at` on; says whether they were there and fit.
    fn adopt_quantizer(
        &mut self,
        at: usize,
        frozen: bool,
        find: &impl Fn(&str, usize) -> Option<Vec<f32>>,
    ) -> bool {
        let own = |i: usize| &self.all[at + i];
        let other = |i: usize| find(&own(i).name, own(i).value.len());
        let (Some(alpha), Some(beta), Some(n)) = (other(0), other(1), other(2)) else {
            return false;
        };
        if frozen && n != own(2).value {
            return false;
        }
        for (i, value) in [alpha, beta, n].into_iter().enumerate() {
            self.all[at + i].value = value;
        }
        true
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

    /// The bits of layer `l`'s weight.
    pub(crate) fn bits_mut(&mut self, l: usize) -> &mut f32 {
        let at = self.layers[l] + 3;
        &mut self.all[at].value[0]
    }

    /// The bits of site `s`.
    pub(crate) fn site_bits_mut(&mut self, s: usize) -> &mut f32 {
        let at = self.sites[s] + 2;
        &mut self.all[at].value[0]
    }

    /// Whether parameters of this kind move in `phase`.
    pub(crate) fn moves(&self, graph: &Graph, what: What, phase: Phase) -> bool {
        let learned = self.method == Method::Mcqueen;
        match what {
            What::Weight(_) | What::Bias(_) | What::Rounded(_) | What::Alpha(_) => true,
            // With one step a quantizer, beta follows alpha.
            What::Beta(_) => learned,
            What::Bits(l) => phase == Phase::Search && !graph.layers[l].is_edge,
            What::SiteAlpha(s) => graph.sites[s].role != Role::Input,
            What::SiteBeta(s) => learned && self.is_decoupled(graph, s),
            What::SiteBits(s) => phase == Phase::Search && graph.sites[s].role == Role::Layer,
        }
    }

    /// Whether site `s` has two scales: what sums read can have but one.
    fn is_decoupled(&self, graph: &Graph, s: usize) -> bool {
        self.method == Method::Mcqueen && matches!(graph.sites[s].role, Role::Layer | Role::Edge)
    }

    /// Writes all of it into the model: weights rounded.
    pub(crate) fn put(&self, graph: &mut Graph) {
        for parameter in &self.all {
            match parameter.what {
                What::Weight(id) => tensors_mut(graph.model.op_mut(id))
                    .0
                    .copy_from_slice(&parameter.value),
                What::Bias(id) => tensors_mut(graph.model.op_mut(id))
                    .1
                    .copy_from_slice(&parameter.value),
                What::Rounded(l) => {
                    let id = graph.layers[l].node;
                    self.layer(l).round(tensors_mut(graph.model.op_mut(id)).0);
                }
                What::SiteAlpha(s) => {
                    let [alpha, beta, n] = self.site(s);
                    let site = &graph.sites[s];
                    if site.role == Role::Input {
                        continue;
                    }
                    let (lo, hi) = pdq::ends(n, site.signed);
                    if let Op::FakeQuant(quantizer) = graph.model.op_mut(site.node) {
                        (quantizer.scale, quantizer.step) = (alpha, beta);
                        (quantizer.zero, quantizer.levels) = (-lo, hi - lo);
                    }
                }
                What::Alpha(_)
                | What::Beta(_)
                | What::Bits(_)
                | What::SiteBeta(_)
                | What::SiteBits(_) => {}
            }
        }
    }

    /// The gradient of every parameter under one loss, each as long as the parameter: zeros where the
    /// loss does not depend on it.
    pub(crate) fn gradient(&self, graph: &Graph, found: &Gradients) -> Vec<Vec<f32>> {
        let mut all: Vec<Vec<f32>> = Vec::with_capacity(self.all.len());
        let of = |id: NodeId| found.node(id);
        let weight = |g: Option<&NodeGradient>| g.map(|g| g.weight.clone()).unwrap_or_default();
        for parameter in &self.all {
            match parameter.what {
                What::Weight(id) => all.push(weight(of(id))),
                What::Bias(id) => all.push(of(id).map(|g| g.bias.clone()).unwrap_or_default()),
                What::Rounded(l) => {
                    let g = weight(of(graph.layers[l].node));
                    let mut own = self.layer(l).gradient(&g);
                    if self.method == Method::Lsq {
                        own.alpha
                            .iter_mut()
                            .zip(&own.beta)
                            .for_each(|(a, b)| *a += b);
                    }
                    all.extend([own.weight, own.alpha, own.beta, vec![own.n]]);
                }
                What::SiteAlpha(s) => {
                    let sums = of(graph.sites[s].node).map_or([0.0; 4], |g| {
                        [0, 1, 2, 3].map(|i| g.weight.get(i).copied().unwrap_or(0.0))
                    });
                    all.extend(self.site_gradient(graph, s, sums));
                }
                // Pushed with the weight or the alpha that they follow.
                What::Alpha(_)
                | What::Beta(_)
                | What::Bits(_)
                | What::SiteBeta(_)
                | What::SiteBits(_) => {}
            }
        }
        all
    }

    /// Of alpha, beta and n, from the four sums of a FakeQuant's gradient.
    fn site_gradient(&self, graph: &Graph, s: usize, sums: [f32; 4]) -> [Vec<f32>; 3] {
        let site = &graph.sites[s];
        let n = self.site(s)[2];
        let scaling = pdq::scaling(site.entries, n, site.signed);
        let [alpha, beta, above, below] = sums;
        let alpha = match self.is_decoupled(graph, s) {
            true => alpha,
            false => alpha + beta,
        };
        let n = pdq::growth(n, site.signed) * (above - if site.signed { below } else { 0.0 });
        [vec![scaling * alpha], vec![scaling * beta], vec![n]]
    }

    /// Keeps every quantizer one: alpha and beta positive, bits from 2 to 8, tied scales equal.
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
        if self.method == Method::Lsq {
            for &at in &self.layers {
                let alpha = self.all[at + 1].value.clone();
                self.all[at + 2].value = alpha;
            }
        }
        for (s, &at) in self.sites.iter().enumerate() {
            if !self.is_decoupled(graph, s) {
                self.all[at + 1].value[0] = self.all[at].value[0];
            }
        }
    }
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

/// The weight and the bias of an op, gamma and beta of a BatchNorm; empty where there is none. A
/// quantizer has parameters of its own.
pub(crate) fn tensors(op: &Op) -> (&[f32], &[f32]) {
    if let Op::Conv(c) = op {
        return (c.weight.data(), c.bias.as_deref().unwrap_or_default());
    }
    if let Op::Linear(l) = op {
        return (l.weight.data(), l.bias.as_deref().unwrap_or_default());
    }
    if let Op::BatchNorm(bn) = op {
        return (&bn.gamma, &bn.beta);
    }
    if let Op::Affine(a) = op {
        return (&a.scale, &a.shift);
    }
    (&[], &[])
}

fn tensors_mut(op: &mut Op) -> (&mut [f32], &mut [f32]) {
    if let Op::Conv(c) = op {
        return (
            c.weight.data_mut(),
            c.bias.as_deref_mut().unwrap_or_default(),
        );
    }
    if let Op::Linear(l) = op {
        return (
            l.weight.data_mut(),
            l.bias.as_deref_mut().unwrap_or_default(),
        );
    }
    if let Op::BatchNorm(bn) = op {
        return (&mut bn.gamma, &mut bn.beta);
    }
    if let Op::Affine(a) = op {
        return (&mut a.scale, &mut a.shift);
    }
    (&mut [], &mut [])
}

/// How far running statistics move to those of a batch.
const STATISTICS: f32 = 0.1;

/// Moves the running statistics of every BatchNorm towards those of the batch on `tape`, the variance
/// without bias, as PyTorch does.
pub(crate) fn follow(model: &mut Model, tape: &exbit_grad::Tape) {
    for i in 0..model.nodes().len() {
        let id = NodeId(i);
        let positions: usize = model.value(model.node(id).output).shape[1..]
            .iter()
            .product();
        let n = (tape.images() * positions) as f32;
        let Some((mean, var)) = tape.batch_statistics(id) else {
            continue;
        };
        if let Op::BatchNorm(bn) = model.op_mut(id) {
            let unbiased = n / (n - 1.0).max(1.0);
            let pairs = bn.mean.iter_mut().zip(mean);
            pairs.for_each(|(r, b)| *r += STATISTICS * (b - *r));
            let pairs = bn.var.iter_mut().zip(var);
            pairs.for_each(|(r, b)| *r += STATISTICS * (b * unbiased - *r));
        }
    }
}
