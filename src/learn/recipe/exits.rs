//! Which exits training attaches: how many or where, and what each consists of.

use serde::{Deserialize, Serialize};

/// What stands between a block and the classes of an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// 3x3 convolution, BatchNorm, ReLU, mean over positions, Linear: McQueen's head, but for its
    /// learned mixture of mean and maximum, of which we keep the mean.
    Conv,
    /// The same with stride 2: a quarter of the work.
    Strided,
    /// Mean over positions, Linear.
    Pool,
    /// As many 3x3 convolutions of stride 2 as the network itself still has halvings of its sides
    /// to go, at least one, each of these to twice the channels, with BatchNorm and ReLU; mean,
    /// Linear. What an early exit lacks is a wide view and many channels; this is the shortest way
    /// there (our own).
    Tower,
}

/// Where an exit stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Position {
    /// Behind the cut of the network nearest to this share of its MACs, from 0 to 1.
    Share(f64),
    /// Behind the node of this name.
    Name(String),
}

/// Which exits a network has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Exits {
    /// So many, at places of our choice: evenly apart from 0.4 to 0.8 of the MACs, a lone one at
    /// 0.6. Earlier ones are seldom sure, later ones save little (our own rule).
    Count(usize),
    /// At these places.
    At(Vec<Position>),
}

impl Default for Exits {
    /// None.
    fn default() -> Self {
        Self::At(Vec::new())
    }
}

impl Exits {
    /// Where they stand.
    pub fn positions(&self) -> Vec<Position> {
        match self {
            Self::Count(1) => vec![Position::Share(0.6)],
            Self::Count(n) => {
                let share = |i: usize| Position::Share(0.4 + 0.4 * i as f64 / (n - 1) as f64);
                (0..*n).map(share).collect()
            }
            Self::At(positions) => positions.clone(),
        }
    }
}
