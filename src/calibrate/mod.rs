//! Calibration: what each activation looks like over real images, in constant memory, and the grid
//! that follows from it at any bit-width.

mod grid;
mod histogram;

use std::collections::BTreeMap;

use exbit_kernels::{Bits, Grid};
use exbit_model::ValueId;
use xxhash_rust::xxh3::Xxh3;

pub use grid::{Clipping, grid};
pub use histogram::Histogram;

use crate::fingerprint::Fingerprint;
use crate::prepare::Network;
use crate::samples::Samples;
use crate::{Error, ErrorKind, Result};

/// What was seen of every site of a network.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Per site.
    pub seen: BTreeMap<ValueId, Histogram>,
    /// Images that went in.
    pub images: usize,
    /// Of what the network read and of the labels: tells whether another run saw the same.
    pub fingerprint: Fingerprint,
}

impl Calibration {
    /// The grid of `site` at `bits`.
    ///
    /// # Panics
    /// When `site` was not calibrated.
    pub fn grid(&self, site: ValueId, bits: Bits, clipping: Clipping) -> Grid {
        grid(&self.seen[&site], bits, clipping)
    }
}

/// Beyond this the squares of numbers, summed over images, are no `f32`.
const LARGEST: f32 = 1e15;

/// Runs `samples` through the float network and counts every site. `progress` hears of the images
/// of each batch as it is done.
///
/// # Errors
/// `Unsupported` where the network gives what is no number, or beyond 1e15; or as reading
/// `samples`.
pub fn calibrate(
    network: &Network,
    samples: &Samples,
    progress: &mut dyn FnMut(usize),
) -> Result<Calibration> {
    const BATCH: usize = 16;
    let mut seen: BTreeMap<ValueId, Histogram> = network
        .sites()
        .into_iter()
        .map(|s| (s, Histogram::default()))
        .collect();
    let (mut images, mut wild) = (0, None);
    let mut read = Xxh3::new();
    for batch in samples.batches(BATCH) {
        let batch = batch?;
        exbit_grad::infer_with(&network.model, &batch.x, batch.images, |value, numbers| {
            if let Some(histogram) = seen.get_mut(&value) {
                histogram.add(numbers);
            }
            if !numbers.iter().all(|x| x.abs() <= LARGEST) {
                wild.get_or_insert(value);
            }
        });
        if let Some(value) = wild {
            let message = "what it gives is no number, or beyond 1e15: the network overflows on \
                           these images (are its weights whole, and is the preprocessing its own?)";
            let place = format!("node {}", network.model.value(value).name);
            return Err(Error::new(ErrorKind::Unsupported, place, message));
        }
        read.update(bytemuck::cast_slice(&batch.x));
        let labels = batch.labels.iter().flatten();
        labels.for_each(|&label| read.update(&(label as u64).to_le_bytes()));
        images += batch.images;
        progress(batch.images);
    }
    Ok(Calibration {
        seen,
        images,
        fingerprint: Fingerprint::of_stream(&read),
    })
}
