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

    /// At most `most` of the images, spread over all of them.
    pub fn thinned(&self, most: usize) -> Samples<'_> {
        let step = self.images().div_ceil(most.max(1)).max(1);
        let kept: Vec<usize> = (0..self.images()).step_by(step).collect();
        self.ordered(&kept)
    }

    /// The images at `order`, in that order.
    ///
    /// # Panics
    /// Where one of `order` is not below [`images`](Self::images).
    pub fn ordered(&self, order: &[usize]) -> Samples<'_> {
        match self {
            Samples::Set {
                set,
                preprocess,
                indices,
            } => Samples::Set {
                set,
                preprocess,
                indices: order.iter().map(|&i| indices[i]).collect(),
            },
            Samples::Memory { x, images, labels } => {
                let len = x.len() / (*images).max(1);
                let image = |&i: &usize| &x[i * len..(i + 1) * len];
                Samples::Memory {
                    images: order.len(),
                    x: order.iter().flat_map(image).copied().collect(),
                    labels: labels
                        .as_ref()
                        .map(|l| order.iter().map(|&i| l[i]).collect()),
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinned_samples_are_spread_over_all() {
        let all = Samples::Memory {
            x: (0..20).map(|i| i as f32).collect(),
            images: 10,
            labels: Some((0..10).collect()),
        };
        let thinned = |most| all.thinned(most).batches(99).next().unwrap().unwrap();
        let few = thinned(4);
        assert_eq!(few.x, [0.0, 1.0, 6.0, 7.0, 12.0, 13.0, 18.0, 19.0]);
        assert_eq!((few.images, few.labels), (4, Some(vec![0, 3, 6, 9])));
        assert_eq!(thinned(10).images, 10);
        assert_eq!(thinned(1).images, 1);
        let mixed = all.ordered(&[7, 0]).batches(2).next().unwrap().unwrap();
        assert_eq!(mixed.x, [14.0, 15.0, 0.0, 1.0]);
        assert_eq!(mixed.labels, Some(vec![7, 0]));
    }
}
