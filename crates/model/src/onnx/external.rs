//! Tensor data kept in files beside the model, as exporters do above 2 GB.
//!
//! `location` is a path inside the model's own folder and nowhere else: not absolute, no `..`, and
//! no link that leads out. What is asked for is compared with the file's length before it is read.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::malformed;
use super::proto::TensorProto;
use super::tensor::Budget;
use crate::{Error, ErrorKind, Result};

/// The folder that a model's external data lies in.
pub(super) struct Folder {
    path: Option<PathBuf>,
    seen: HashSet<PathBuf>,
}

impl Folder {
    /// No folder: external data is an error.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::new(None)
    }

    pub(super) fn new(path: Option<&Path>) -> Self {
        Self {
            path: path.map(Path::to_owned),
            seen: HashSet::new(),
        }
    }

    /// The `len` bytes of `tensor`, which says that they are external.
    pub(super) fn read(
        &mut self,
        tensor: &TensorProto,
        len: usize,
        budget: &mut Budget,
    ) -> Result<Vec<u8>> {
        let field = |key: &str| {
            let pair = tensor.external_data.iter().find(|p| p.key == key);
            pair.map(|p| p.value.as_str())
        };
        let number = |key: &str| {
            let parse = |text: &str| text.parse::<u64>();
            let value = field(key).map(parse).transpose();
            value.map_err(|_| malformed(format!("external data with {key} {:?}", field(key))))
        };
        let location = field("location").ok_or_else(|| malformed("external data nowhere"))?;
        let offset = number("offset")?.unwrap_or(0);
        if number("length")?.is_some_and(|n| n != len as u64) {
            let message = format!(
                "external data of {:?} bytes where {len} belong",
                field("length")
            );
            return Err(malformed(message));
        }
        let path = self.locate(location)?;
        let io = |e: std::io::Error| Error::new(ErrorKind::Io, location, e.to_string());
        let mut file = File::open(&path).map_err(io)?;
        let file_len = file.metadata().map_err(io)?.len();
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > file_len)
        {
            let message = format!("{location} has {file_len} bytes; {len} at {offset} are outside");
            return Err(malformed(message));
        }
        if self.seen.insert(path) {
            budget.extend(usize::try_from(file_len).unwrap_or(usize::MAX));
        }
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        file.read_exact(&mut bytes).map_err(io)?;
        Ok(bytes)
    }

    fn locate(&self, location: &str) -> Result<PathBuf> {
        let folder = self.path.as_deref().ok_or_else(|| {
            malformed(format!(
                "data in {location}, but the model was not opened from a folder"
            ))
        })?;
        let outside = || malformed(format!("external data at {location:?}, outside the folder"));
        let inward = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(inward) {
            return Err(outside());
        }
        let io = |e: std::io::Error| Error::new(ErrorKind::Io, location, e.to_string());
        let folder = folder.canonicalize().map_err(io)?;
        let path = folder.join(location).canonicalize().map_err(io)?;
        if !path.starts_with(&folder) || !path.is_file() {
            return Err(outside());
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::StringPair;

    fn external(pairs: &[(&str, &str)]) -> TensorProto {
        let pair = |&(key, value): &(&str, &str)| StringPair {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        TensorProto {
            external_data: pairs.iter().map(pair).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn only_bytes_inside_the_folder_are_read() {
        let root = std::env::temp_dir().join(format!("exbit-external-{}", std::process::id()));
        let folder = root.join("model");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("w.bin"), [1, 2, 3, 4, 5]).unwrap();
        std::fs::write(root.join("secret"), [9; 5]).unwrap();
        let mut reader = Folder::new(Some(&folder));
        let mut read =
            |pairs: &[(&str, &str)], len| reader.read(&external(pairs), len, &mut Budget::new(0));
        let at = ("location", "w.bin");
        assert_eq!(
            read(&[at, ("offset", "2"), ("length", "3")], 3),
            Ok(vec![3, 4, 5])
        );
        assert_eq!(read(&[at], 5), Ok(vec![1, 2, 3, 4, 5]));
        for bad in [
            &[at, ("offset", "3")][..],
            &[at, ("offset", "18446744073709551615")],
            &[at, ("offset", "-1")],
            &[at, ("length", "4")],
            &[("location", "../secret")],
            &[("location", root.join("secret").to_str().unwrap())],
            &[("location", "absent")],
            &[("location", ".")],
            &[],
        ] {
            assert!(read(bad, 3).is_err(), "{bad:?}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
