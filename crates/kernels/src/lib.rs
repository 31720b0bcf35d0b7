//! Arithmetic on small integers: what a code is, how one is rounded, and the kernels that sum
//! products of codes.
//!
//! The scalar functions are the definition. Every SIMD path equals them bit for bit, and what
//! training simulates are the same integers. Slices in, slices out: a kernel has no threads, no
//! errors and, but for those of training (feature `float`), no allocation. This is the only crate
//! that may write `unsafe`; for that reason alone the [`Team`] of threads that share a step lies
//! here.
//!
//! Read in this order: [`Bits`], `quantize` (one definition of rounding), [`Epilogue`] (from a sum
//! to a code), then [`scalar`].

mod activation;
mod bits;
mod conv;
mod depthwise;
mod elementwise;
mod epilogue;
#[cfg(feature = "float")]
mod float;
mod isa;
mod lines;
mod lookup;
mod micro;
mod narrow;
mod pack;
mod quantize;
pub mod scalar;
mod shape;
mod team;
mod tiles;
mod tune;
mod window;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activation::Activation;
pub use bits::{Bits, every};
pub use conv::{PackedConv, Scratch};
pub use elementwise::{add, average_pool, concat_part, lookup, max_pool};
pub use epilogue::{Epilogue, Finish, magnitude};
#[cfg(feature = "float")]
pub use float::{Matrix, MatrixMut, bf16, gemm, lanes, shifted};
pub use isa::{Isa, peak};
pub use narrow::{code_at, narrow, narrow_len, widen};
pub use pack::{pack, packed_len, unpack};
pub use quantize::{Grid, clip_round, pixel_table, regrid_table};
pub use scalar::{Source, Target};
pub use shape::ConvShape;
pub use team::Team;
pub use window::Window;

/// Raised whenever a layer takes another time than before, by its kernel or by which one is taken:
/// times that were measured are of one.
pub const REVISION: u32 = 5;

/// Bytes past the end of an input's codes that a kernel may read, and ignores.
pub const SLACK: usize = 64;
