//! Bit-operations of a network in training, and the penalty that brings them to a target:
//!
//! ```text
//! B = sum_l n_w(l) n_a(l) MACs(l)
//! penalty = lambda |B / T - 1|        (McQueen's gamma |B - T| with gamma T = lambda = 0.7)
//! ```
//!
//! Every layer counts: the first, the last, and those of all exits.

use super::graph::{Graph, Role};
use super::parameters::{Parameters, What};

/// `B`, with bits as they are or rounded.
pub(crate) fn bops(graph: &Graph, parameters: &Parameters, rounded: bool) -> f64 {
    let bits = |n: f32| f64::from(if rounded { n.round() } else { n });
    let layers = graph.layers.iter().enumerate();
    layers
        .map(|(l, layer)| {
            let n_a = parameters.site(layer.site)[2];
            bits(parameters.layer(l).n) * bits(n_a) * layer.macs as f64
        })
        .sum()
}

/// Adds the gradient of the penalty to those of the bits; gives the penalty.
pub(crate) fn add_gradient(
    graph: &Graph,
    parameters: &Parameters,
    (lambda, target): (f32, f64),
    gradient: &mut [Vec<f32>],
) -> f64 {
    let lambda = f64::from(lambda);
    let off = bops(graph, parameters, false) / target - 1.0;
    let slope = lambda * off.signum() / target;
    for (parameter, g) in parameters.all.iter().zip(gradient) {
        let of_bits: f64 = match parameter.what {
            What::Bits(l) => {
                let layer = &graph.layers[l];
                f64::from(parameters.site(layer.site)[2]) * layer.macs as f64
            }
            What::SiteBits(s) => {
                let readers = graph.layers.iter().enumerate().filter(|(_, l)| l.site == s);
                readers
                    .map(|(l, layer)| f64::from(parameters.layer(l).n) * layer.macs as f64)
                    .sum()
            }
            What::Weight(_)
            | What::Bias(_)
            | What::Rounded(_)
            | What::Alpha(_)
            | What::Beta(_)
            | What::SiteAlpha(_)
            | What::SiteBeta(_) => continue,
        };
        g[0] += (slope * of_bits) as f32;
    }
    lambda * off.abs()
}

/// Makes all learned bits whole: the nearest after a common shift, which is as high as it can be with
/// `B` no more than `target` (or the lowest possible, where none keeps it).
pub(crate) fn round_bits(graph: &Graph, parameters: &mut Parameters, target: Option<f64>) {
    let shifted = |shift: f32| {
        let mut parameters = parameters.clone();
        for (l, layer) in graph.layers.iter().enumerate() {
            if !layer.is_edge {
                whole(parameters.bits_mut(l), shift);
            }
        }
        for (s, site) in graph.sites.iter().enumerate() {
            if site.role == Role::Layer {
                whole(parameters.site_bits_mut(s), shift);
            }
        }
        parameters
    };
    // From no shift downwards in steps that move few layers at a time.
    let steps = (0..=640).map(|i| i as f32 / -128.0);
    let fits = |p: &Parameters| target.is_none_or(|t| bops(graph, p, true) <= t);
    let mut last = shifted(0.0);
    for shift in steps {
        last = shifted(shift);
        if fits(&last) {
            break;
        }
    }
    *parameters = last;
}

fn whole(n: &mut f32, shift: f32) {
    *n = (*n + shift)
        .round()
        .clamp(super::pdq::LEAST, super::pdq::MOST);
}
