//! Sensitivity: the table layer x bits -> expected increase of the loss, for weights and for
//! activations, that the allocation minimises the sum of.
//!
//! With `g_i` the gradient of image `i`'s loss, `d_b = Q_b(w) - w` the error of a tensor at `b`
//! bits, and the mean taken over calibration images of the float network:
//!
//! | metric | formula | reads |
//! | --- | --- | --- |
//! | F1 | `abs(mean <g_i, d_b>)` | the first-order Taylor term as it stands |
//! | F2 | `mean abs(<g_i, d_b>)` | the same, nothing cancels between images |
//! | F3 | `1/2 mean <g_i, d_b>^2` | Fisher (Gauss-Newton) quadratic form |
//! | F4 | `1/2 sum_j mean(g_ij^2) d_bj^2` | diagonal Fisher |
//! | F5 | `mean(sum_j g_ij^2) / n * sum_j d_bj^2` | Fisher trace, as HAWQ uses the Hessian's |
//! | F6 | `1/2 mean sum_k (g_ik e_ik)^2` | `e` the error of the layer's result, `g` its gradient |
//! | measured | `mean KL(p_float, p_b)` | the network run with just this tensor quantized |
//!
//! Chauhan, Tiwari and Vikram (ICCVW 2023) publish that the gradient alone suffices but not the
//! formula; F1 to F6 are the candidates, F4 our default. We decided that F3 to F6 take the gradient
//! of `KL(p_float, p)`, whose Hessian at the float network is the Fisher matrix: its seed at the
//! logits is `z = sqrt(p) * e - p <sqrt(p), e>` with `e` random signs, `E[z z'] = diag(p) - p p'`.
//! It needs no labels, and a confident image still says where it is tender: the more so since `p`
//! is the softmax at temperature 2, and the loss `T^2 KL` of cooled answers (Hinton et al. 2015). A
//! network is sure of nearly all images that it was trained on, and at temperature 1 the few others
//! decide alone; on images kept apart, plans at 8x came out nearer to the float network at 2, or as
//! near, for all of our four. F1 and F2 are about the loss itself and take the labels, or the
//! network's own answers where there are none.

mod measured;
mod output;
mod rank;
mod seed;
mod tables;
mod taylor;

use exbit_kernels::Bits;
use serde::{Deserialize, Serialize};

pub(crate) use measured::kl_sum;
pub use measured::{divergence, insert_after, kl};
pub use rank::{Rank, ranks, spearman};
pub use tables::{Conditions, Tables};

use crate::calibrate::{Calibration, Clipping};
use crate::prepare::Network;
use crate::samples::Samples;
use crate::{Error, ErrorKind, Result};

/// How expected loss is estimated; the module's table has the formulas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// First-order Taylor term.
    F1,
    /// Mean absolute first-order term.
    F2,
    /// Fisher quadratic form.
    F3,
    /// Diagonal Fisher.
    F4,
    /// Fisher trace.
    F5,
    /// Gradient-weighted error of the layer's result.
    F6,
    /// The loss itself, one tensor quantized at a time.
    Measured,
}

impl Metric {
    /// Every metric, F1 first.
    pub const ALL: [Metric; 7] = [
        Metric::F1,
        Metric::F2,
        Metric::F3,
        Metric::F4,
        Metric::F5,
        Metric::F6,
        Metric::Measured,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Metric::F1 => "f1",
            Metric::F2 => "f2",
            Metric::F3 => "f3",
            Metric::F4 => "f4",
            Metric::F5 => "f5",
            Metric::F6 => "f6",
            Metric::Measured => "measured",
        }
    }

    /// What it is, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Metric::F1 => "first-order Taylor term",
            Metric::F2 => "mean absolute first-order term",
            Metric::F3 => "Fisher quadratic form",
            Metric::F4 => "diagonal Fisher",
            Metric::F5 => "Fisher trace",
            Metric::F6 => "gradient-weighted error of the result",
            Metric::Measured => "the loss itself, one tensor quantized at a time",
        }
    }
}

impl std::str::FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Metric::ALL
            .into_iter()
            .find(|m| m.name() == name)
            .ok_or_else(|| {
                let message = "expected f1, f2, f3, f4, f5, f6 or measured";
                Error::new(ErrorKind::Malformed, format!("metric {name:?}"), message)
            })
    }
}

/// The bit-widths that tensors may get, and how each is quantized while its loss is estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// For weights, ascending.
    pub weights: Vec<Bits>,
    /// For activations, ascending.
    pub activations: Vec<Bits>,
    /// Clipping of activations.
    pub clipping: Clipping,
}

/// Expected increase of the loss for each tensor and candidate, nats an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sensitivity {
    /// `[layer][candidate]`, layers as [`Network::layers`].
    pub weights: Vec<Vec<f64>>,
    /// `[site][candidate]`, sites as [`Network::sites`].
    pub activations: Vec<Vec<f64>>,
}

/// What is measured, on what: all that expected losses depend on besides the metric.
#[derive(Clone, Copy)]
pub struct Study<'a> {
    /// The float network.
    pub network: &'a Network,
    /// The ranges of its activations.
    pub calibration: &'a Calibration,
    /// The bit-widths to estimate.
    pub candidates: &'a Candidates,
    /// The images.
    pub samples: &'a Samples<'a>,
    /// Of the random signs.
    pub seed: u64,
}

impl Study<'_> {
    /// Images that `metric` reads in all, counted as often as it reads them: the measured one reads
    /// every image for each tensor and candidate.
    pub fn images(&self, metric: Metric) -> usize {
        let images = self.samples.images();
        match metric {
            Metric::Measured => images * measured::passes(self),
            Metric::F1 | Metric::F2 | Metric::F3 | Metric::F4 | Metric::F5 | Metric::F6 => images,
        }
    }
}

/// Estimates the table of `study` with `metric`. `progress` hears of the images done, of which
/// [`Study::images`] says how many there are.
///
/// # Errors
/// As reading the samples.
pub fn measure(
    study: &Study,
    metric: Metric,
    progress: &mut dyn FnMut(usize),
) -> Result<Sensitivity> {
    match metric {
        Metric::Measured => {
            let nothing = Sensitivity::default();
            measured::measure(study, nothing, &mut |_| Ok(()), progress)
        }
        Metric::F6 => output::measure(study, progress),
        Metric::F1 | Metric::F2 | Metric::F3 | Metric::F4 | Metric::F5 => {
            taylor::measure(study, metric, progress)
        }
    }
}
