//! Vectors that wait on disk between passes, so that memory does not grow with the images.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::{Error, ErrorKind, Result};

/// Vectors in a file without a name, which goes when the shelf does.
pub(super) struct Shelf {
    file: File,
    /// Numbers of each vector.
    lens: Vec<usize>,
}

impl Shelf {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            file: tempfile::tempfile().map_err(on_disk)?,
            lens: Vec::new(),
        })
    }

    /// Puts `vector` behind all others; only between passes of [`Shelf::each`].
    pub(super) fn push(&mut self, vector: &[f32]) -> Result<()> {
        self.lens.push(vector.len());
        let bytes = bytemuck::cast_slice(vector);
        self.file.write_all(bytes).map_err(on_disk)
    }

    /// All vectors in order.
    pub(super) fn each(&self) -> Result<impl Iterator<Item = Result<Vec<f32>>>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(on_disk)?;
        Ok(self.lens.iter().map(move |&len| {
            let mut vector = vec![0.0; len];
            let bytes = bytemuck::cast_slice_mut(&mut vector);
            file.read_exact(bytes).map_err(on_disk)?;
            Ok(vector)
        }))
    }
}

fn on_disk(e: io::Error) -> Error {
    let place = std::env::temp_dir();
    let message = format!("activations cannot be kept there: {e}; TMPDIR names another folder");
    Error::new(ErrorKind::Io, place.display().to_string(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_back_in_order_as_often_as_asked() {
        let mut shelf = Shelf::new().unwrap();
        let vectors = [vec![1.5, -0.0, f32::MAX], vec![], vec![7.0]];
        for v in &vectors {
            shelf.push(v).unwrap();
        }
        for _ in 0..2 {
            let back: Vec<Vec<f32>> = shelf.each().unwrap().map(Result::unwrap).collect();
            assert_eq!(back, vectors);
        }
    }
}
