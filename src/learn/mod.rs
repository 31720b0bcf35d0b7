//! Training: a float network learns to be an integer one, with exits if they are asked for.
//!
//! McQueen (Saxena and Roy, BMVC 2023) in three phases, each with its own fall of the rate: `warm`,
//! where bits are frozen and all losses are summed; `search`, where bits move under a penalty on
//! bit-operations and the exits' gradient is masked; `settle`, where bits are whole and frozen. LSQ
//! and float fine-tuning are the same run with less that moves: every claim of the method can be
//! measured against them under one recipe.
//!
//! Read in this order: `recipe`, `graph` (where quantizers stand), `pdq` (their gradients),
//! `parameters` (what moves), `step`, and `finish` (from there to integers).

mod augment;
mod checkpoint;
mod exits;
mod finish;
mod graph;
mod images;
mod leave;
mod look;
mod optimizer;
mod parameters;
mod pdq;
mod penalty;
mod place;
mod recipe;
mod run;
mod start;
mod step;
mod teacher;
#[cfg(test)]
mod tests;
mod unfold;
mod watch;

pub use checkpoint::{Record, Saved};
pub use exits::{attach, cuts};
pub use images::kept_apart;
pub use optimizer::{Optimizer, Schedule};
pub use place::{Place, Sums};
pub use recipe::{Augment, Epochs, Exits, Head, Method, Phase, Position, Recipe};
pub use run::{Event, Run};
pub use teacher::{Teacher, TeacherNetwork};
