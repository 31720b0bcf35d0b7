//! The images that calibrate, train and judge a network, and how they become its input.
//!
//! A [`DataSet`] is opened from a path and its kind is seen from its content: CIFAR-10 binaries,
//! IDX, or a folder of JPEG, PNG and WebP files. [`DataSet::batches`] streams it: batches in
//! order, decoded on all cores, memory constant in the number of images. A [`Preprocess`] says
//! how an image of any size becomes the bytes, and the numbers, that one network reads.
//!
//! Read in this order: [`Preprocess`], [`Pixels`], [`DataSet`], [`Batches`].

mod batches;
mod cifar;
mod decode;
mod folder;
mod idx;
mod jpeg;
mod order;
mod preprocess;
mod preset;
mod records;
mod resize;
mod set;

pub use batches::{Batch, Batches};
pub use decode::{Pixels, decode, read_image};
pub use order::{shuffled, spread};
pub use preprocess::{Channels, Preprocess};
pub use resize::{Filter, resized_part};
pub use set::{DataSet, Split};

#[cfg(test)]
mod tests;
