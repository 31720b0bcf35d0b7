//! A safetensors container, read piece by piece: eight bytes with the length of the header, the
//! header in JSON, then the tensors, one after another to the end of the file. Only the header is
//! read at once; what a tensor holds is read when it is asked for.

use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::{Dtype, Metadata};

use crate::error::{Error, ErrorKind, Result};

/// The version of the format that is written and read, and where it stands in the metadata.
pub(crate) const VERSION: &str = "1";
pub(crate) const VERSION_KEY: &str = "exbit-program";
/// The tensor that holds the sum of what the others hold; older files have none.
pub(crate) const SUM: &str = "xxh3";

/// A safetensors file whose tensors lie one after another and fill it.
pub(crate) struct Container<R> {
    /// Where the last [`Container::find`] went.
    pub(crate) file: R,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl<R: Read + Seek> Container<R> {
    /// Reads the header; the version is this one.
    pub(crate) fn open(mut file: R) -> Result<Self> {
        let len = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut header_len = [0; 8];
        let short = || malformed("container", "no Program, or one that is cut short".into());
        len.checked_sub(8).ok_or_else(short)?;
        file.read_exact(&mut header_len).map_err(unreadable)?;
        let start = u64::from_le_bytes(header_len).checked_add(8);
        let start = start.filter(|&n| n <= len).ok_or_else(short)?;
        let header_len = usize::try_from(start - 8).map_err(|_| short())?;
        let header = bytes(&mut file, header_len)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| malformed("container", e.to_string()))?;
        let version = header.metadata().as_ref().and_then(|m| m.get(VERSION_KEY));
        match version.map(String::as_str) {
            Some(VERSION) => {}
            Some(other) => {
                let message = format!("written as version {other:.20}; this reads {VERSION}");
                return Err(Error::new(ErrorKind::Unsupported, VERSION_KEY, message));
            }
            None => {
                let message = "is not there: a safetensors file, but no Program";
                return Err(malformed(VERSION_KEY, message.into()));
            }
        }
        let mut places: Vec<_> = header.tensors().values().map(|t| t.data_offsets).collect();
        places.sort_unstable();
        let follow =
            |end: usize, &(from, to): &(usize, usize)| (from == end && to >= from).then_some(to);
        if places.iter().try_fold(0, follow).map(|end| end as u64) != Some(len - start) {
            let message =
                "its tensors do not fill it: cut short or damaged; fetch or make it again";
            return Err(malformed("container", message.into()));
        }
        Ok(Self {
            file,
            header,
            start,
        })
    }

    /// The sum that the file says its tensors have, where it says one.
    pub(crate) fn sum(&mut self) -> Result<Option<u64>> {
        if self.header.info(SUM).is_none() {
            return Ok(None);
        }
        let sum = self.tensor(SUM, Dtype::U64)?;
        let sum = <[u8; 8]>::try_from(sum);
        let wrong = |_| malformed(&format!("tensor {SUM}"), "is no single number".into());
        sum.map(|sum| Some(u64::from_le_bytes(sum))).map_err(wrong)
    }

    /// Goes to where a tensor begins, and returns its length in bytes.
    pub(crate) fn find(&mut self, name: &str, dtype: Dtype) -> Result<usize> {
        let wrong = |message| malformed(&format!("tensor {name}"), message);
        let info = self.header.info(name);
        let info = info.ok_or_else(|| wrong("is not there".into()))?;
        let (from, to) = info.data_offsets;
        let size = dtype.bitsize() / 8;
        let fits = |&[n]: &[usize; 1]| n.checked_mul(size) == Some(to - from);
        let shape = info.shape.first_chunk().filter(|_| info.shape.len() == 1);
        if info.dtype != dtype || !shape.is_some_and(fits) {
            let message = format!("is {:?} of shape {:?}", info.dtype, info.shape);
            return Err(wrong(message));
        }
        let place = SeekFrom::Start(self.start + from as u64);
        self.file.seek(place).map_err(unreadable)?;
        Ok(to - from)
    }

    /// The bytes of a tensor.
    pub(crate) fn tensor(&mut self, name: &str, dtype: Dtype) -> Result<Vec<u8>> {
        let len = self.find(name, dtype)?;
        bytes(&mut self.file, len)
    }
}

/// The next `len` bytes, which the file has.
fn bytes(file: &mut impl Read, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(len);
    reserved.map_err(|e| Error::new(ErrorKind::Io, "", e.to_string()))?;
    bytes.resize(len, 0);
    file.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Bytes that are no Program.
pub(crate) fn malformed(place: &str, message: String) -> Error {
    Error::new(ErrorKind::Malformed, place, message)
}

/// A file that could not be read.
pub(crate) fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "", error.to_string())
}
