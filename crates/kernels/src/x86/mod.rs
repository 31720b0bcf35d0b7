//! Micro-kernels for x86-64: a token for each set of instructions, and the few kernels that the
//! compiler would not find by itself.
//!
//! A token can only be made by its `detect`, so whoever holds one may call functions with those
//! target features: that is what every `unsafe` call of them rests on. Inside such a function
//! intrinsics on values are safe; what is left are loads and stores through pointers.

mod avx2;
mod avx512vnni;
mod avxvnni;
mod bits512;
mod clip512;
mod dense2;
mod depthwise2;
mod depthwise512;
mod line512;
mod look2;
mod look512;
mod table;

pub(crate) use avx2::Avx2;
pub(crate) use avx512vnni::Avx512Vnni;
pub(crate) use avxvnni::AvxVnni;
pub(crate) use bits512::Ones;
