//! Arithmetic on small integers: what a code is, how one is rounded, and the kernels that sum
//! products of codes.
//!
//! The scalar functions are the definition. Every SIMD path equals them bit for bit, and what
//! training simulates are the same integers. Slices in, slices out: no threads, no allocation, no
//! errors. This is the only crate that may write `unsafe`.
//!
//! Read in this order: [`Bits`], `quantize` (one definition of rounding), then the kernels.

mod bits;
#[cfg(feature = "float")]
mod float;
mod quantize;

pub use bits::Bits;
#[cfg(feature = "float")]
pub use float::{Matrix, MatrixMut, gemm};
pub use quantize::{Grid, clip_round};
