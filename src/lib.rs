//! exbit turns a pretrained float network and a budget into a small integer network.

pub mod cost;
mod error;
pub mod plan;

pub use cost::{Cost, Precisions, Sizes, Table};
pub use error::{Error, ErrorKind, Result};
pub use plan::Plan;
