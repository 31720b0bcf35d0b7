//! Bit-operations of a network in training, and the penalty that brings them to a target:
//!
//! ```text
//! B = sum_l n_w(l) n_a(l) MACs(l)
//! penalty = lambda |B / T - 1|        (McQueen's gamma |B - T| with gamma T = lambda = 0.7)
//! ```
//!
//! Every layer counts: the first, the last, and those of all exits. At two bits the penalty pushes
//! no further, so that what the task asks of them is heard (the released code stops both there, and
//! a layer that reaches two bits never grows again).

use super::graph::{Graph, Layer, Role};
use super::parameters::{Parameters, What};
use super::pdq;
use crate::{Error, ErrorKind, Result};

/// `B`, with bits as they are or rounded.
pub(crate) fn bops(graph: &Graph, parameters: &Parameters, rounded: bool) -> f64 {
    let mut bits = Bits::of(graph, parameters);
    if rounded {
        let all = bits.layers.iter_mut().chain(&mut bits.sites);
        all.for_each(|n| *n = n.round());
    }
    bits.bops(graph)
}

/// Adds the gradient of the penalty to those of the bits.
pub(crate) fn add_gradient(
    graph: &Graph,
    parameters: &Parameters,
    (lambda, target): (f32, f64),
    gradient: &mut [Vec<f32>],
) {
    let lambda = f64::from(lambda);
    let off = bops(graph, parameters, false) / target - 1.0;
    let slope = lambda * off.signum() / target;
    for (parameter, g) in parameters.all.iter().zip(gradient) {
        if slope > 0.0 && parameter.value.first().is_some_and(|&n| n <= pdq::LEAST) {
            continue;
        }
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
}

/// Whether bits can be so few that `B` is no more than `target`, and whether eight bits are above
/// it.
///
/// # Errors
/// `Infeasible` with the least that is possible; `Mismatch` where nothing is to be learned.
pub(crate) fn check_target(
    graph: &Graph,
    parameters: &Parameters,
    target: Option<f64>,
) -> Result<()> {
    let all_moved = |by: f32| {
        let mut bits = Bits::of(graph, parameters);
        bits.shift(graph, by);
        bits.bops(graph)
    };
    let (least, most) = (all_moved(-pdq::MOST), all_moved(pdq::MOST));
    let (kind, message) = match target {
        Some(target) if least > target => {
            let message = "cannot be reached: two bits everywhere take";
            (
                ErrorKind::Infeasible,
                format!("{target:.4e} {message} {least:.4e}"),
            )
        }
        Some(target) if target >= most => {
            let message = "leaves nothing to learn: eight bits everywhere take";
            (
                ErrorKind::Mismatch,
                format!("{target:.4e} {message} {most:.4e}"),
            )
        }
        Some(_) | None => return Ok(()),
    };
    Err(Error::new(kind, "recipe: target_bops", message))
}

/// Makes all learned bits whole: the nearest after a common shift, the largest up to half a bit in
/// steps of 1/128 with which `B` is no more than `target`; without one, the nearest.
pub(crate) fn round_bits(graph: &Graph, parameters: &mut Parameters, target: Option<f64>) {
    const STEPS: f32 = 128.0;
    let at_first = Bits::of(graph, parameters);
    let shifted = |by: f32| {
        let mut bits = at_first.clone();
        bits.shift(graph, by);
        bits
    };
    let least = ((pdq::LEAST - pdq::MOST) * STEPS) as i32;
    let found = target.and_then(|target| {
        let shifts = (least..=STEPS as i32 / 2).rev();
        let mut all = shifts.map(|step| shifted(step as f32 / STEPS));
        all.find(|bits| bits.bops(graph) <= target)
    });
    let otherwise = || match target {
        Some(_) => shifted(pdq::LEAST - pdq::MOST),
        None => shifted(0.0),
    };
    found.unwrap_or_else(otherwise).put(graph, parameters);
}

/// The bits of every layer's weight and of every site.
#[derive(Clone, Debug)]
struct Bits {
    layers: Vec<f32>,
    sites: Vec<f32>,
}

impl Bits {
    fn of(graph: &Graph, parameters: &Parameters) -> Self {
        let layers = 0..graph.layers.len();
        let sites = 0..graph.sites.len();
        Self {
            layers: layers.map(|l| parameters.layer(l).n).collect(),
            sites: sites.map(|s| parameters.site(s)[2]).collect(),
        }
    }

    /// Moves what may be learned, and makes it whole.
    fn shift(&mut self, graph: &Graph, by: f32) {
        let whole = |n: f32| (n + by).round().clamp(pdq::LEAST, pdq::MOST);
        for (n, layer) in self.layers.iter_mut().zip(&graph.layers) {
            *n = if layer.is_edge { *n } else { whole(*n) };
        }
        for (n, site) in self.sites.iter_mut().zip(&graph.sites) {
            *n = if site.role == Role::Layer {
                whole(*n)
            } else {
                *n
            };
        }
    }

    fn bops(&self, graph: &Graph) -> f64 {
        let layers = graph.layers.iter().zip(&self.layers);
        let of = |(layer, n): (&Layer, &f32)| {
            f64::from(*n) * f64::from(self.sites[layer.site]) * layer.macs as f64
        };
        layers.map(of).sum()
    }

    fn put(&self, graph: &Graph, parameters: &mut Parameters) {
        for (l, n) in self.layers.iter().enumerate() {
            parameters.set_bits(l, *n);
        }
        for (s, n) in self.sites.iter().enumerate() {
            parameters.set_site_bits(graph, s, *n);
        }
    }
}
