//! What came out: a network before and after, in one type.
//!
//! [`Report`] is plain numbers and names, filled in by whoever did the work. The command line
//! prints [`Report::to_text`], `--json` serialises it, and `report.html` is
//! [`Report::to_html`]: one file, with no scripts, fonts or pictures from elsewhere. What is not
//! known is `None` or empty, and is left out of the text and of the page.
//!
//! Units stand last in each name: bytes, milliseconds, percent. Counts are of one image.

mod column;
mod headline;
mod html;
mod origin;
mod row;
#[cfg(test)]
mod sample;
mod text;
mod tradeoff;
mod training;

pub use origin::{Machine, Origin, Setting, StageTime};
pub use row::{LayerRow, SiteRow, Step};
pub use text::printable;
pub use tradeoff::{Tradeoff, TradeoffPoint};
pub use training::Training;

use serde::Serialize;

use crate::Resource;

/// A network before and after, what it cost to get there and what else was to be had.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The network's name.
    pub network: String,
    /// The budgets asked for and what came out.
    pub budgets: Vec<Budget>,
    /// The float network.
    pub float: Figures,
    /// The integer network.
    pub quantized: Figures,
    /// Sentences that the reader must know: layers kept at 8 bits, an allocation cut short, ..
    pub remarks: Vec<String>,
    /// The layers with weights, in running order.
    pub layers: Vec<LayerRow>,
    /// The activations kept as codes, in running order.
    pub activations: Vec<SiteRow>,
    /// The plans that nothing else beats on both loss and cost.
    pub front: Option<Front>,
    /// How well each sensitivity metric orders what was measured.
    pub metrics: Vec<MetricRank>,
    /// How the report was made.
    pub origin: Origin,
}

/// The figures of one network, for one image.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Weights as packed; biases and scales not counted.
    pub weight_bytes: u64,
    /// Bits of a weight, averaged over all weights.
    pub weight_bits_mean: f64,
    /// The file that ships.
    pub file_bytes: Option<u64>,
    /// The most activation bytes alive at once.
    pub activation_bytes_peak: Option<u64>,
    /// All activations together.
    pub activation_bytes_sum: Option<u64>,
    /// Bit-operations: MACs x weight bits x activation bits.
    pub bops: Option<u64>,
    /// Bit-operations with the first and the last layer counted at 8x8.
    pub bops_edges_at_8: Option<u64>,
    /// Loss that the sensitivities expect over the float network's.
    pub expected_loss: Option<f64>,
    /// How often it is right, where that was evaluated.
    pub accuracy: Option<Accuracy>,
    /// How long it takes, where that was measured.
    pub timing: Option<Timing>,
}

/// How often a network is right.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Accuracy {
    /// Images evaluated.
    pub images: u64,
    /// Percent of images whose first answer is right.
    pub top1: f64,
    /// Percent of images with the right answer among the first five.
    pub top5: Option<f64>,
    /// Mean cross-entropy, in nats.
    pub cross_entropy: Option<f64>,
    /// Percent of images with the same first answer as the float network.
    pub agreement_float: Option<f64>,
}

/// How long one image takes, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Median time of one image, in milliseconds.
    pub latency_ms_p50: f64,
    /// Images in one call.
    pub batch: u64,
    /// Threads that worked on it.
    pub threads: u64,
}

/// A budget that was asked for, and what came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// As it was asked: `weights=8x`.
    pub asked: String,
    /// What it limits.
    pub resource: Resource,
    /// The most it allows, in the resource's unit.
    pub limit: f64,
    /// What the plan needs, in the resource's unit.
    pub reached: f64,
}

impl Budget {
    /// Whether the plan keeps it.
    pub fn met(&self) -> bool {
        self.reached <= self.limit
    }
}

/// Plans of which none is beaten by another on both loss and cost, and others to compare with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Front {
    /// What the plans cost.
    pub resource: Resource,
    /// The front, in any order.
    pub points: Vec<FrontPoint>,
    /// Plans with the same bits everywhere, for comparison.
    pub uniform: Vec<FrontPoint>,
    /// The plan of this report.
    pub chosen: Option<FrontPoint>,
}

/// One plan, as a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FrontPoint {
    /// Its cost, in the front's resource.
    pub cost: f64,
    /// Its expected loss over the float network's; may be zero or less where it was measured.
    pub loss: f64,
    /// A short name, such as `W4A8`.
    pub label: Option<String>,
    /// Bits of a weight, averaged over all weights.
    pub weight_bits_mean: Option<f64>,
}

/// How well a sensitivity metric orders the layers as the measured loss does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricRank {
    /// The metric: `F4`.
    pub metric: String,
    /// What it is, in a few words.
    pub meaning: String,
    /// Spearman's rank correlation with the measured loss increase over all layers and bit-widths,
    /// -1 to 1.
    pub spearman: f64,
    /// The same among the layers at one bit-width, mean over the bit-widths: whether the metric
    /// knows one layer from another, and not only that fewer bits cost more.
    pub spearman_at_same_bits: f64,
    /// Whether this report's bits were decided with it.
    pub used: bool,
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn json_names_what_the_fields_are_and_writes_no_number_that_is_none() {
        let mut report = sample::resnet(20);
        report.layers[0].sensitivity = Some(f64::NAN);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["network"], "resnet20");
        assert_eq!(json["budgets"][0]["resource"], "weight_bytes");
        assert_eq!(json["quantized"]["accuracy"]["top1"], 91.46);
        assert_eq!(json["layers"][1]["more"]["weight_bytes"], 288);
        assert!(json["layers"][0]["sensitivity"].is_null());
        assert!(json["float"]["expected_loss"].is_null());
    }
}
