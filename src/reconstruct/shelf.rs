//! Vectors that wait between passes, in memory up to a bound and on disk beyond it, so that memory
//! does not grow with the images.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::{Error, ErrorKind, Result};

/// Bytes that a shelf keeps in memory: a few images, so that the peak is the same from a hundred
/// images on. ResNet-20 over 1024 images takes as much processor time with 8 MiB as with 32 or 192,
/// and 93 MiB at the peak in place of 155 and 237; over 4096 it takes 94.
const IN_MEMORY: usize = 8 << 20;

/// Vectors in order of [`Shelf::push`]: the first in memory, the rest in a file without a name,
/// which goes when the shelf does.
pub(super) struct Shelf {
    kept: Vec<Vec<f32>>,
    bytes: usize,
    limit: usize,
    file: Option<File>,
    /// Numbers of each vector in the file.
    filed: Vec<usize>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self::keeping(IN_MEMORY)
    }

    fn keeping(limit: usize) -> Self {
        Self {
            kept: Vec::new(),
            bytes: 0,
            limit,
            file: None,
            filed: Vec::new(),
        }
    }

    /// Puts `vector` behind all others; only between passes of [`Shelf::each`].
    pub(super) fn push(&mut self, vector: Vec<f32>) -> Result<()> {
        self.bytes += size_of_val(vector.as_slice());
        if self.bytes <= self.limit {
            self.kept.push(vector);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(on_disk)?),
        };
        self.filed.push(vector.len());
        file.write_all(bytemuck::cast_slice(&vector))
            .map_err(on_disk)
    }

    /// All vectors in order.
    pub(super) fn each(&self) -> Result<impl Iterator<Item = Result<Vec<f32>>>> {
        if let Some(mut file) = self.file.as_ref() {
            file.seek(SeekFrom::Start(0)).map_err(on_disk)?;
        }
        let read = |&len: &usize| {
            let mut vector = vec![0.0; len];
            if let Some(mut file) = self.file.as_ref() {
                file.read_exact(bytemuck::cast_slice_mut(&mut vector))
                    .map_err(on_disk)?;
            }
            Ok(vector)
        };
        Ok(self
            .kept
            .iter()
            .cloned()
            .map(Ok)
            .chain(self.filed.iter().map(read)))
    }
}

fn on_disk(e: io::Error) -> Error {
    let place = std::env::temp_dir();
    let message = format!("activations cannot be kept there: {e}; TMPDIR names another folder");
    Error::new(ErrorKind::writing(&e), place.display().to_string(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_back_in_order_as_often_as_asked() {
        let vectors = [vec![1.5, -0.0, f32::MAX], vec![], vec![7.0]];
        for (limit, filed) in [(0, 3), (12, 1), (16, 0)] {
            let mut shelf = Shelf::keeping(limit);
            for v in &vectors {
                shelf.push(v.clone()).unwrap();
            }
            for _ in 0..2 {
                let back: Vec<Vec<f32>> = shelf.each().unwrap().map(Result::unwrap).collect();
                assert_eq!(back, vectors);
            }
            assert_eq!(shelf.filed.len(), filed, "{limit}");
        }
    }
}
