//! Accuracy against cost, for a network whose images leave early: a page of its own.

use serde::Serialize;

/// What thresholds, and networks beside them, give; drawn by [`Tradeoff::to_html`] over mean BOPs
/// and, where it is known, over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tradeoff {
    /// The network's name.
    pub network: String,
    /// Images that accuracy is of.
    pub images: u64,
    /// The data set, in words.
    pub data: String,
    /// One threshold for all exits, from nobody leaving to everybody at the first exit.
    pub curve: Vec<TradeoffPoint>,
    /// The policy that was chosen.
    pub chosen: Option<TradeoffPoint>,
    /// What to compare with: each exit alone, the network without exits, other networks.
    pub others: Vec<TradeoffPoint>,
    /// Sentences that the reader must know.
    pub remarks: Vec<String>,
}

/// A policy or a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TradeoffPoint {
    /// What it is, where it is worth a label.
    pub label: Option<String>,
    /// Percent of right answers.
    pub top1: f64,
    /// BOPs of an image on average.
    pub bops_mean: f64,
    /// Milliseconds of an image on average.
    pub ms_mean: Option<f64>,
}
