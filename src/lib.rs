//! exbit turns a pretrained float network and a budget into a small integer network.

mod error;

pub use error::{Error, ErrorKind, Result};
