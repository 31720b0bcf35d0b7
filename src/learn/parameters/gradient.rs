//! Parameters' gradients, from those of the nodes of the graph.

use exbit_grad::{Gradients, NodeGradient};
use exbit_model::NodeId;

use super::{Parameters, What};
use crate::learn::graph::Graph;
use crate::learn::pdq;

impl Parameters {
    /// The gradient of every parameter under one loss, each as long as the parameter: zeros where
    /// the loss does not depend on it.
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
                    if !self.is_decoupled(graph, l) {
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
        let alpha = match self.is_site_decoupled(graph, s) {
            true => alpha,
            false => alpha + beta,
        };
        let n = pdq::growth(n, site.signed) * (above - if site.signed { below } else { 0.0 });
        [vec![scaling * alpha], vec![scaling * beta], vec![n]]
    }
}
