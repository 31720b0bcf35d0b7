//! What training is told: the method, how long, how fast, what moves. A text in TOML, every key
//! with a default.

mod exits;

use exbit_kernels::Bits;
use serde::{Deserialize, Serialize};

pub use exits::{Exits, Head, Position};

use super::optimizer::{Optimizer, Schedule};
use crate::{Error, ErrorKind, Pin, Result};

/// How weights and activations are rounded while they learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Not at all: fine-tuning of the float network.
    Float,
    /// At given bits, one learned step a quantizer (LSQ, Esser et al. 2020).
    Lsq,
    /// PDQ: scale, step and bits learned (McQueen, Saxena and Roy 2023).
    Mcqueen,
}

/// Epochs of each phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Epochs {
    /// Bits frozen where they start; all losses summed.
    pub warm: usize,
    /// Bits learned under the penalty.
    pub search: usize,
    /// Bits whole and frozen.
    pub settle: usize,
}

impl Default for Epochs {
    /// As we decided for CIFAR-10: the method's description has no schedule for it.
    fn default() -> Self {
        Self {
            warm: 2,
            search: 8,
            settle: 20,
        }
    }
}

/// How training images vary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// The least share of the image that a view shows, resized to the whole size: 1 shows all.
    /// Sides differ by up to a third. As photos are trained on; of images of the network's size.
    pub area: f64,
    /// The furthest shift along each axis, pixels; black comes in from outside.
    pub shift: usize,
    /// Whether half of the images, as drawn, are mirrored.
    pub mirror: bool,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            area: 1.0,
            shift: 4,
            mirror: true,
        }
    }
}

/// Everything that training is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// How numbers are rounded.
    pub method: Method,
    /// Bits of weights and activations at the start (of the first and the last layer always 8).
    pub bits: u8,
    /// Layers that have other bits, as [`Pin`] writes them: `layer3.*=w1a2`. The first and the last
    /// keep their eight. Of the method `lsq`; weights may have one bit.
    pub keep: Vec<String>,
    /// How many exits are attached, or where.
    pub exits: Exits,
    /// What an exit consists of.
    pub head: Head,
    /// Whether the exits' gradient is masked by the sign of the final one's.
    pub mask: bool,
    /// Bit-operations of one image through the whole network that the search aims at.
    pub target_bops: Option<f64>,
    /// Weight of the penalty `|B / target - 1|`.
    pub penalty: f32,
    /// Epochs of each phase; only the last one is there for bits that are not learned.
    pub epochs: Epochs,
    /// Images of a step.
    pub batch: usize,
    /// How parameters move.
    pub optimizer: Optimizer,
    /// How the rate falls over a phase.
    pub schedule: Schedule,
    /// The highest learning rate of a phase.
    pub rate: f32,
    /// Steps over which the rate rises at the beginning of a phase.
    pub warmup_steps: usize,
    /// Momentum (Adam has its own).
    pub momentum: f32,
    /// Weight decay; none on what belongs to a quantizer.
    pub decay: f32,
    /// How training images vary.
    pub augment: Augment,
    /// Training images kept apart: accuracy while training, and thresholds of exits, are of them.
    pub held_out: usize,
    /// Points of top-1 on the images kept apart that leaving early may cost.
    pub drop: f64,
    /// Instead: the mean BOPs of an image that leaving early must keep.
    pub mean_bops: Option<f64>,
    /// What the logits of teacher and student are divided by before they are compared: above 1 the
    /// classes that the teacher holds for wrong count too (1 is McQueen's).
    pub temperature: f32,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            method: Method::Mcqueen,
            bits: 8,
            keep: Vec::new(),
            exits: Exits::default(),
            head: Head::Conv,
            mask: true,
            target_bops: None,
            penalty: 0.7,
            epochs: Epochs::default(),
            batch: 128,
            optimizer: Optimizer::Sgd,
            schedule: Schedule::Cosine,
            rate: 0.01,
            warmup_steps: 100,
            momentum: 0.9,
            decay: 1e-4,
            augment: Augment::default(),
            held_out: 2500,
            drop: 0.0,
            mean_bops: None,
            temperature: 1.0,
            seed: 1,
        }
    }
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// `Malformed`, with the line, when the text is not TOML or has an unknown key; `Mismatch` when
    /// a value makes no sense.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_for(text, None)
    }

    /// Reads a recipe for `method`, which the text may say too.
    ///
    /// # Errors
    /// As [`Recipe::parse`], and `Mismatch` when the text says another method.
    pub fn parse_for(text: &str, method: Option<Method>) -> Result<Self> {
        let malformed =
            |e: toml::de::Error| Error::new(ErrorKind::Malformed, "recipe", e.to_string());
        let mut recipe: Self = toml::from_str(text).map_err(malformed)?;
        let says: toml::Table = toml::from_str(text).map_err(malformed)?;
        if let Some(method) = method {
            if says.contains_key("method") && recipe.method != method {
                let message = "another method is asked for: leave it out, or ask for this one";
                return Err(Error::new(ErrorKind::Mismatch, "recipe: method", message));
            }
            recipe.method = method;
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// Whether bits are learned.
    pub(crate) fn searches(&self) -> bool {
        self.method == Method::Mcqueen && self.epochs.search > 0
    }

    /// The text that [`Recipe::parse`] reads.
    ///
    /// # Errors
    /// None for a recipe in hand; the type is that of writing TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::new(ErrorKind::Malformed, "recipe", e.to_string()))
    }

    /// The keys whose values differ from those of `other`, for people: TOML does not hold every
    /// seed that a recipe may have.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let table = |recipe: &Self| toml::Table::try_from(recipe).unwrap_or_default();
        let (own, other) = (table(self), table(other));
        let keys = own
            .keys()
            .chain(other.keys().filter(|k| !own.contains_key(*k)));
        let differ = |key: &&String| own.get(*key) != other.get(*key);
        keys.filter(differ).cloned().collect()
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.check_images()?;
        self.check_descent()?;
        self.check_search()?;
        self.check_exits()
    }

    fn check_images(&self) -> Result<()> {
        if !(1..=1 << 16).contains(&self.batch) {
            return wrong("batch", "expected 1 to 65536 images");
        }
        if self.held_out > 1 << 32 || self.augment.shift > 1 << 12 {
            return wrong("held_out, augment.shift", "expected less");
        }
        if !(0.01..=1.0).contains(&self.augment.area) {
            return wrong("augment.area", "expected a share from 0.01 to 1");
        }
        Ok(())
    }

    fn check_descent(&self) -> Result<()> {
        let Epochs {
            warm,
            search,
            settle,
        } = self.epochs;
        if [warm, search, settle].into_iter().any(|n| n > 100_000) {
            return wrong("epochs", "expected at most 100000 of each");
        }
        let positive = |x: f32| x.is_finite() && x >= 0.0;
        if ![self.rate, self.decay, self.penalty]
            .into_iter()
            .all(positive)
        {
            return wrong("rate, decay, penalty", "expected numbers from 0 on");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return wrong("momentum", "expected a number from 0 to below 1");
        }
        if !(0.1..=100.0).contains(&self.temperature) {
            return wrong("temperature", "expected a number from 0.1 to 100");
        }
        Ok(())
    }

    fn check_search(&self) -> Result<()> {
        if !(2..=8).contains(&self.bits) {
            return wrong("bits", "expected 2 to 8");
        }
        if self.pins()?.iter().any(|pin| pin.input == Bits::new(1)) {
            return wrong(
                "keep",
                "expected a2 to a8: activations of one bit do not learn",
            );
        }
        if !self.keep.is_empty() && self.method != Method::Lsq {
            return wrong("keep", "only the method lsq is given its bits");
        }
        if self.searches() && self.epochs.settle == 0 {
            let message = "a search needs epochs.settle: bits are whole only there";
            return wrong("epochs", message);
        }
        match self.target_bops {
            Some(target) if !(target.is_finite() && target > 0.0) => {
                wrong("target_bops", "expected a positive number, as 0.381e9")
            }
            None if self.searches() => wrong(
                "target_bops",
                "the search for bits needs it: give, say, 0.381e9, or set epochs.search to 0",
            ),
            Some(_) | None => Ok(()),
        }
    }

    fn check_exits(&self) -> Result<()> {
        let outside = |p: &Position| match p {
            Position::Share(share) => !(0.0..=1.0).contains(share),
            Position::Name(_) => false,
        };
        if matches!(self.exits, Exits::Count(n) if n > 64) {
            return wrong("exits", "expected at most 64");
        }
        let exits = self.exits.positions();
        if exits.iter().any(outside) {
            return wrong("exits", "expected shares from 0 to 1, or names of nodes");
        }
        let mean = self.mean_bops.unwrap_or(1.0);
        if !(self.drop.is_finite() && mean.is_finite() && mean > 0.0) {
            return wrong("drop, mean_bops", "expected numbers, as 0.1 and 0.381e9");
        }
        if exits.is_empty() {
            return match self.mean_bops {
                Some(_) => wrong(
                    "mean_bops",
                    "nobody leaves early without exits: give them too",
                ),
                None => Ok(()),
            };
        }
        if self.method == Method::Float {
            return wrong("exits", "a float network with exits cannot be written");
        }
        if self.held_out == 0 {
            let message = "exits need images kept apart, to choose thresholds by";
            return wrong("held_out", message);
        }
        Ok(())
    }

    /// The phases that there are, with their epochs.
    pub(crate) fn phases(&self) -> Vec<(Phase, usize)> {
        let Epochs {
            warm,
            search,
            settle,
        } = self.epochs;
        let all = match self.method {
            Method::Float | Method::Lsq => vec![(Phase::Settle, settle)],
            Method::Mcqueen => vec![
                (Phase::Warm, warm),
                (Phase::Search, search),
                (Phase::Settle, settle),
            ],
        };
        all.into_iter().filter(|(_, epochs)| *epochs > 0).collect()
    }

    /// The layers that have other bits.
    pub(crate) fn pins(&self) -> Result<Vec<Pin>> {
        self.keep.iter().map(|text| text.parse()).collect()
    }

    /// The bits at the start.
    pub(crate) fn first_bits(&self) -> Bits {
        Bits::new(self.bits).unwrap_or(Bits::EIGHT)
    }
}

/// A phase of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Bits frozen where they start, all losses summed without a mask.
    Warm,
    /// Bits learned.
    Search,
    /// Bits whole and frozen.
    Settle,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Warm => "warm",
            Phase::Search => "search",
            Phase::Settle => "settle",
        }
    }
}

fn wrong(field: &str, message: &str) -> Result<()> {
    let place = format!("recipe: {field}");
    Err(Error::new(ErrorKind::Mismatch, place, message))
}
