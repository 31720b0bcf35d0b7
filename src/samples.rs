//! Images for calibration, sensitivity and reconstruction, handed out in batches as often as they
//! are asked for, never all at once unless they already lie in memory.

use exbit_model::data::{DataSet, Preprocess};

use crate::Result;

/// A source of images that can be read again and again, each time in the same order.
#[derive(Clone)]
pub enum Samples<'a> {
    /// Images of a data set, read and decoded anew each time.
    Set {
        /// Where they are.
        set: &'a DataSet,
        /// How they become what the network reads.
        preprocess: &'a Preprocess,
        /// Which, in which order.
        indices: Vec<usize>,
    },
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

impl Samples<'_> {
    /// The number of images.
    pub fn images(&self) -> usize {
        match self {
            Samples::Set { indices, .. } => indices.len(),
            Samples::Memory { images, .. } => *images,
        }
    }

    /// All images in order, `size` at a time; the last batch may be smaller.
    pub fn batches(&self, size: usize) -> Box<dyn Iterator<Item = Result<Batch>> + '_> {
        match self {
            Samples::Set {
                set,
                preprocess,
                indices,
            } => {
                let batches = set.batches(preprocess, indices.clone(), size);
                Box::new(batches.map(|batch| {
                    let batch = batch?;
                    Ok(Batch {
                        images: batch.indices.len(),
                        x: batch.x,
                        labels: batch.labels,
                    })
                }))
            }
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
