//! How a report was made: enough to make it again.

use serde::Serialize;

/// How a report was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Origin {
    /// The version of exbit.
    pub version: String,
    /// The command line.
    pub command: Option<String>,
    /// The data that ranges and sensitivities were taken from.
    pub calibration_data: Option<String>,
    /// Images used for them.
    pub calibration_images: Option<u64>,
    /// The data that was evaluated.
    pub evaluation_data: Option<String>,
    /// The seed of everything random.
    pub seed: Option<u64>,
    /// All other settings, in the order to show them.
    pub settings: Vec<Setting>,
    /// How long each stage took, in the order they ran.
    pub stages: Vec<StageTime>,
    /// Where it ran.
    pub machine: Option<Machine>,
}

/// One setting and its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value, as it would be written on the command line.
    pub value: String,
}

/// How long one stage took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageTime {
    /// The stage: `calibrate`, `sensitivity`, ..
    pub stage: String,
    /// Its time, in seconds.
    pub seconds: f64,
}

/// The machine that times were measured on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// The instruction set that the kernels used.
    pub isa: String,
    /// Threads used.
    pub threads: u64,
}
