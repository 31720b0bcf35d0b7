//! The images of Fashion-MNIST in memory, and how training changes them.

use std::path::Path;

use exbit_model::data::{DataSet, Preprocess, Split};

pub(crate) const CLASSES: usize = 10;
const SIDE: usize = 28;
/// The farthest that an image is shifted, in pixels, along each axis.
const SHIFT: usize = 2;
/// How a pixel becomes a number; also read by `exbit demo`.
const PREPROCESS: &str = include_str!("../../../cli/data/fashion-mnist/fashion.toml");

/// The images of one part, as bytes.
pub(crate) struct Images {
    preprocess: Preprocess,
    pixels: Vec<u8>,
    pub(crate) labels: Vec<usize>,
}

impl Images {
    pub(crate) fn open(folder: &Path, split: Split) -> exbit_model::Result<Self> {
        let preprocess = Preprocess::from_toml(PREPROCESS)?;
        let set = DataSet::open(folder, split)?;
        let labels = set.labels_below(CLASSES)?.to_vec();
        let mut pixels = Vec::with_capacity(labels.len() * SIDE * SIDE);
        for i in 0..labels.len() {
            pixels.extend(preprocess.pixels(&set.image(i)?)?);
        }
        Ok(Self {
            preprocess,
            pixels,
            labels,
        })
    }

    /// Some images and their classes; with `draw`, mirrored and shifted at random.
    pub(crate) fn batch(
        &self,
        indices: &[usize],
        mut draw: Option<&mut Draw>,
    ) -> (Vec<f32>, Vec<usize>) {
        let mut bytes = Vec::with_capacity(SIDE * SIDE);
        let mut x = Vec::with_capacity(indices.len() * SIDE * SIDE);
        for &i in indices {
            let image = &self.pixels[i * SIDE * SIDE..][..SIDE * SIDE];
            bytes.clear();
            match &mut draw {
                Some(draw) => augment(image, draw, &mut bytes),
                None => bytes.extend(image),
            }
            x.extend(self.preprocess.apply(&bytes));
        }
        (x, indices.iter().map(|&i| self.labels[i]).collect())
    }
}

/// `image` shifted, mirrored every other time; what comes in from outside is black.
fn augment(image: &[u8], draw: &mut Draw, out: &mut Vec<u8>) {
    let [down, right] = [0; 2].map(|_: usize| draw.below(2 * SHIFT + 1));
    let mirrored = draw.below(2) == 1;
    for y in 0..SIDE {
        for x in 0..SIDE {
            let x = if mirrored { SIDE - 1 - x } else { x };
            // Unsigned: what would be negative is far above SIDE.
            let [y, x] = [
                (y + SHIFT).wrapping_sub(down),
                (x + SHIFT).wrapping_sub(right),
            ];
            let inside = y < SIDE && x < SIDE;
            out.push(if inside { image[y * SIDE + x] } else { 0 });
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}
