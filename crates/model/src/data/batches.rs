//! Streaming: batches in the order asked for, each image decoded and preprocessed on its own core.

use std::ops::Range;

use rayon::prelude::*;

use super::preprocess::Preprocess;
use super::set::DataSet;
use crate::{Error, Result};

/// Some images, as a network reads them; N of them in the order asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Which images of the data set these are.
    pub indices: Vec<usize>,
    /// (N, H, W, C): the bytes that a Program reads.
    pub pixels: Vec<u8>,
    /// (N, C, H, W): the numbers that a Model reads.
    pub x: Vec<f32>,
    /// The class of each, where known.
    pub labels: Option<Vec<usize>>,
}

/// An iterator over batches; after an error it ends.
pub struct Batches<'a> {
    set: &'a DataSet,
    preprocess: &'a Preprocess,
    indices: Vec<usize>,
    size: usize,
    next: usize,
}

impl DataSet {
    /// The images `indices`, in that order, `size` (at least 1) at a time, the last batch as
    /// long as what is left. One batch is in memory at a time.
    pub fn batches<'a>(
        &'a self,
        preprocess: &'a Preprocess,
        indices: impl Into<Vec<usize>>,
        size: usize,
    ) -> Batches<'a> {
        Batches {
            set: self,
            preprocess,
            indices: indices.into(),
            size: size.max(1),
            next: 0,
        }
    }

    /// The images `indices` as one batch.
    ///
    /// # Errors
    /// The first in order that cannot be read, decoded or preprocessed: it names its image.
    pub fn batch(&self, preprocess: &Preprocess, indices: &[usize]) -> Result<Batch> {
        let one = preprocess.byte_count();
        let mut pixels = vec![0; indices.len() * one];
        let mut x = vec![0.0; indices.len() * one];
        let parts = pixels
            .par_chunks_exact_mut(one)
            .zip(x.par_chunks_exact_mut(one));
        let failures: Vec<Option<Error>> = parts
            .zip(indices)
            .map(|((pixels, x), &i)| self.fill(preprocess, i, pixels, x).err())
            .collect();
        if let Some(first) = failures.into_iter().flatten().next() {
            return Err(first);
        }
        let class = |labels: &[usize]| indices.iter().map(|&i| labels[i]).collect();
        let labels = self.labels().map(class);
        Ok(Batch {
            indices: indices.to_vec(),
            pixels,
            x,
            labels,
        })
    }

    fn fill(
        &self,
        preprocess: &Preprocess,
        i: usize,
        pixels: &mut [u8],
        x: &mut [f32],
    ) -> Result<()> {
        let image = self.image(i)?;
        let bytes = preprocess
            .pixels(&image)
            .map_err(|e| e.within(self.name(i)))?;
        preprocess.apply_into(&bytes, x);
        pixels.copy_from_slice(&bytes);
        Ok(())
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let part: Range<usize> = self.next..self.indices.len().min(self.next + self.size);
        if part.is_empty() {
            return None;
        }
        self.next = part.end;
        let batch = self.set.batch(self.preprocess, &self.indices[part]);
        if batch.is_err() {
            self.next = self.indices.len();
        }
        Some(batch)
    }
}
