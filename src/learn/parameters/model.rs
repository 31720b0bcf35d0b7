//! Between parameters and the ops of a model: where their tensors are, how they get there, and how
//! running statistics follow a batch.

use exbit_grad::Tape;
use exbit_model::{Model, NodeId, Op};
use rayon::prelude::*;

use super::{Parameters, What};
use crate::learn::graph::{Graph, Role};
use crate::learn::pdq;

impl Parameters {
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
}

/// The weight and the bias of an op, gamma and beta of a BatchNorm; empty where there is none. A
/// quantizer has parameters of its own.
pub(crate) fn tensors(op: &Op) -> (&[f32], &[f32]) {
    match op.parameters()[..] {
        [weight, bias, ..] => (weight, bias),
        _ => (&[], &[]),
    }
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

impl Parameters {
    /// Moves the steps of activations that have eight bits by rule towards those that cover the
    /// batch on `tape`.
    pub(crate) fn cover(&mut self, graph: &Graph, tape: &Tape) {
        for (site, &at) in graph.sites.iter().zip(&self.sites) {
            match site.role {
                Role::Input | Role::Layer => continue,
                Role::Stream | Role::Edge => {}
            }
            let rounded = tape.value(graph.model.node(site.node).inputs[0]);
            let chunks = rounded.par_chunks(1 << 14);
            let most = chunks.map(pdq::largest).reduce(|| 0.0, f32::max);
            let step = pdq::covering_step(most, site.signed);
            let own = &mut self.all[at].value[0];
            *own += STATISTICS * (step - *own);
        }
    }
}

/// Moves the running statistics of every BatchNorm towards those of the batch on `tape`, the
/// variance without bias, as PyTorch does.
pub(crate) fn follow(model: &mut Model, tape: &Tape) {
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
