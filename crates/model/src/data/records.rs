//! Records of one length in a file, read one at a time; a compressed file is held in memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use flate2::read::MultiGzDecoder;

use crate::{Error, ErrorKind, Result};

/// The most that a compressed file may hold.
const MAX_INFLATED: u64 = 1 << 30;
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// A file of which parts are read, from several threads.
pub(super) struct Records {
    place: String,
    store: Store,
    len: u64,
}

enum Store {
    /// One cursor for all threads: a record is read in microseconds.
    File(Mutex<File>),
    Memory(Vec<u8>),
}

impl Records {
    /// The file at `path`, seen through its compression if it begins as gzip does.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let io = |e: std::io::Error| Error::new(ErrorKind::Io, place.clone(), e.to_string());
        let mut file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let mut head = Vec::new();
        file.by_ref().take(2).read_to_end(&mut head).map_err(io)?;
        if head == GZIP {
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            return Self::inflate(file, place);
        }
        Ok(Self {
            place,
            store: Store::File(Mutex::new(file)),
            len,
        })
    }

    /// `bytes` already in memory, seen through their compression; `place` names them in errors.
    pub(super) fn from_bytes(bytes: Vec<u8>, place: &str) -> Result<Self> {
        if bytes.starts_with(&GZIP) {
            return Self::inflate(bytes.as_slice(), place.into());
        }
        Ok(Self {
            place: place.into(),
            len: bytes.len() as u64,
            store: Store::Memory(bytes),
        })
    }

    fn inflate(compressed: impl Read, place: String) -> Result<Self> {
        let mut bytes = Vec::new();
        let result = MultiGzDecoder::new(compressed)
            .take(MAX_INFLATED + 1)
            .read_to_end(&mut bytes);
        if let Err(e) = result {
            return Err(Error::new(
                ErrorKind::Malformed,
                place,
                format!("corrupt gzip: {e}"),
            ));
        }
        if bytes.len() as u64 > MAX_INFLATED {
            let message = format!("holds over {MAX_INFLATED} bytes; unpack it with gunzip first");
            return Err(Error::new(ErrorKind::Unsupported, place, message));
        }
        Ok(Self {
            place,
            len: bytes.len() as u64,
            store: Store::Memory(bytes),
        })
    }

    /// Bytes in all.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The name of the file, for errors.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Fills `out` with the bytes from `start` on.
    pub(super) fn read(&self, start: u64, out: &mut [u8]) -> Result<()> {
        match &self.store {
            Store::Memory(bytes) => {
                let part = usize::try_from(start)
                    .ok()
                    .and_then(|start| bytes.get(start..));
                let Some(part) = part.and_then(|part| part.get(..out.len())) else {
                    let message = format!("ends before byte {start} + {}", out.len());
                    return Err(Error::new(
                        ErrorKind::Malformed,
                        self.place.clone(),
                        message,
                    ));
                };
                out.copy_from_slice(part);
                Ok(())
            }
            Store::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let result = file
                    .seek(SeekFrom::Start(start))
                    .and_then(|_| file.read_exact(out));
                result.map_err(|e| Error::new(ErrorKind::Io, self.place.clone(), e.to_string()))
            }
        }
    }
}
