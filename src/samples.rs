//! Images for calibration, sensitivity and reconstruction, handed out in batches as often as they
//! are asked for, never all at once unless they already lie in memory.

use crate::Result;

/// A source of images that can be read again and again, each time in the same order.
#[derive(Clone, Debug)]
pub enum Samples {
    /// Preprocessed images in memory.
    Memory {
        /// `(N, C, H, W)`.
        x: Vec<f32>,
        /// N.
        images: usize,
        /// One class an image, where known.
        labels: Option<Vec<usize>>,
    },
}

/// Some images, preprocessed.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `(N, C, H, W)`.
    pub x: Vec<f32>,
    /// N.
    pub images: usize,
    /// One class an image, where known.
    pub labels: Option<Vec<usize>>,
}

impl Samples {
    /// The number of images.
    pub fn images(&self) -> usize {
        match self {
            Samples::Memory { images, .. } => *images,
        }
    }

    /// All images in order, `size` at a time; the last batch may be smaller.
    pub fn batches(&self, size: usize) -> Box<dyn Iterator<Item = Result<Batch>> + '_> {
        match self {
            Samples::Memory { x, images, labels } => {
                let len = x.len() / (*images).max(1);
                let batch = move |first: usize| {
                    let last = (first + size).min(*images);
                    let labels = labels.as_ref().map(|l| l[first..last].to_vec());
                    let x = x[first * len..last * len].to_vec();
                    Ok(Batch {
                        x,
                        images: last - first,
                        labels,
                    })
                };
                Box::new((0..*images).step_by(size.max(1)).map(batch))
            }
        }
    }
}
