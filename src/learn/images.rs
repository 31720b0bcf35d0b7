//! The training images in memory, as bytes of the network's size, and batches of them.

use exbit_kernels::{Bits, Grid};
use exbit_model::data::{DataSet, Preprocess, shuffled, spread};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use xxhash_rust::xxh3::Xxh3;

use super::augment::view;
use super::recipe::{Augment, Recipe};
use crate::{Error, ErrorKind, Fingerprint, Result};

/// The most bytes of images that are held.
const MOST_BYTES: usize = 4 << 30;

/// Images with their classes.
pub(crate) struct Images {
    bytes: Vec<u8>,
    labels: Vec<usize>,
    /// `[height, width, channels]`.
    shape: [usize; 3],
    /// Scale and shift of each channel.
    affine: (Vec<f32>, Vec<f32>),
    /// Which are trained on.
    pub(crate) train: Vec<usize>,
    /// Which are kept apart.
    pub(crate) held_out: Vec<usize>,
}

/// Some images: as bytes, as the network reads them, and what they are.
pub(crate) struct Batch {
    /// `(N, H, W, C)`.
    pub(crate) bytes: Vec<u8>,
    /// `[height, width, channels]`.
    pub(crate) shape: [usize; 3],
    /// `(N, C, H, W)`.
    pub(crate) x: Vec<f32>,
    pub(crate) labels: Vec<usize>,
}

/// The images of a set of `images` that a recipe with `held_out` keeps apart from training, in
/// order; whatever its seed, so that runs of other seeds are judged on the same ones.
pub fn kept_apart(images: usize, held_out: usize) -> Vec<usize> {
    let mut order = shuffled(images, 0);
    let mut apart = order.split_off(images.saturating_sub(held_out));
    apart.sort_unstable();
    apart
}

impl Images {
    /// Reads all images of `set`; `progress` hears of each.
    ///
    /// # Errors
    /// As reading them; `Mismatch` when they have no classes below `classes`, are too many to hold,
    /// or fewer than the recipe takes apart and into one batch.
    pub(crate) fn read(
        set: &DataSet,
        preprocess: &Preprocess,
        classes: usize,
        recipe: &Recipe,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let fail =
            |message: String| Err(Error::new(ErrorKind::Mismatch, "training images", message));
        let labels = set.labels_below(classes)?.to_vec();
        let [height, width] = preprocess.size();
        let shape = [height, width, preprocess.channels()];
        let len: usize = shape.iter().product();
        if len.saturating_mul(labels.len()) > MOST_BYTES {
            return fail(format!(
                "{} images of {len} bytes; at most {MOST_BYTES} bytes are held in memory",
                labels.len()
            ));
        }
        if labels.len() < recipe.held_out.saturating_add(recipe.batch) {
            return fail(format!(
                "{} are there; {} are kept apart (held_out) and a step takes {} (batch)",
                labels.len(),
                recipe.held_out,
                recipe.batch
            ));
        }
        let mut bytes = Vec::with_capacity(len * labels.len());
        for i in 0..labels.len() {
            bytes.extend(preprocess.pixels(&set.image(i)?)?);
            progress(1);
        }
        let held_out = kept_apart(labels.len(), recipe.held_out);
        let is_free = |i: &usize| held_out.binary_search(i).is_err();
        Ok(Self {
            train: (0..labels.len()).filter(is_free).collect(),
            bytes,
            labels,
            shape,
            affine: preprocess.affine(),
            held_out,
        })
    }

    /// `count` training images from all over the set.
    pub(crate) fn some(&self, count: usize) -> Vec<usize> {
        let places = spread(self.train.len(), count, 0);
        places.into_iter().map(|i| self.train[i]).collect()
    }

    /// The images `indices`; with a seed, each in a view of its own.
    pub(crate) fn batch(&self, indices: &[usize], augment: Option<(Augment, u64)>) -> Batch {
        let len: usize = self.shape.iter().product();
        let mut bytes = Vec::with_capacity(indices.len() * len);
        let mut random = augment.map(|(_, seed)| ChaCha8Rng::seed_from_u64(seed));
        for &i in indices {
            let image = &self.bytes[i * len..][..len];
            match (augment, &mut random) {
                (Some((how, _)), Some(random)) => view(image, self.shape, how, random, &mut bytes),
                _ => bytes.extend_from_slice(image),
            }
        }
        Batch {
            x: numbers(&bytes, self.shape, &self.affine),
            bytes,
            shape: self.shape,
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
        }
    }

    /// What tells these images and their classes from others.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut read = Xxh3::new();
        read.update(&self.bytes);
        let labels = self.labels.iter();
        labels.for_each(|&label| read.update(&(label as u64).to_le_bytes()));
        Fingerprint::of_stream(&read)
    }

    /// The grid of the network's input: eight bits from the number of the darkest to that of the
    /// brightest pixel.
    pub(crate) fn grid(&self) -> Grid {
        let ends = self.affine.0.iter().zip(&self.affine.1);
        let ends = ends.flat_map(|(scale, shift)| [*shift, 255.0 * scale + shift]);
        let (lo, hi) = ends.fold((0.0f32, 0.0f32), |(lo, hi), x| (lo.min(x), hi.max(x)));
        let scale = (hi - lo).max(f32::MIN_POSITIVE) / 255.0;
        Grid {
            bits: Bits::EIGHT,
            scale,
            zero: (-lo / scale).round() as u8,
        }
    }
}

/// What a network reads of images: of `(N, H, W, C)` bytes `(N, C, H, W)` numbers, each channel's
/// being `scale p + shift`.
pub(crate) fn numbers(
    bytes: &[u8],
    [height, width, channels]: [usize; 3],
    (scale, shift): &(Vec<f32>, Vec<f32>),
) -> Vec<f32> {
    let mut x = Vec::with_capacity(bytes.len());
    for image in bytes.chunks_exact(height * width * channels) {
        for c in 0..channels {
            let (scale, shift) = (scale[c], shift[c]);
            let pixels = image[c..].iter().step_by(channels);
            x.extend(pixels.map(|&p| f32::from(p) * scale + shift));
        }
    }
    x
}
