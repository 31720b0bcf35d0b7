//! Runs a [`Program`]: integers only, in an arena whose size is known before it starts.

mod program;

pub use exbit_kernels::{Bits, Grid};
pub use program::*;
