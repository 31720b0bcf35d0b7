//! A Program as one file: a safetensors container, so that any tool can look inside and a reader
//! can map it into memory.
//!
//! | tensor | type | what it holds |
//! | --- | --- | --- |
//! | `program` | U8 | a JSON description: shapes, bit-widths, steps; no floats |
//! | `reals` | F32 | the input's scales and shifts, the scale of each value, activations |
//! | `scales` | F32 | the weight scales of all convolutions |
//! | `biases` | F32 | their biases |
//! | `tables` | U8 | the codes of all tables |
//! | `weights` | U8 | all weight codes at their true bit-widths, each layer from a whole byte on |
//!
//! Everything lies in the order of the steps. Floats are kept out of the JSON so that they survive
//! exactly, infinities included. The metadata entry `exbit-program` is the format's version. A
//! reader takes no memory that the bytes before it do not fill.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use exbit_kernels::{Bits, packed_len, unpack};
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::Program;
use crate::error::{Error, ErrorKind, Result};
use crate::wire;

const VERSION: &str = "1";
const VERSION_KEY: &str = "exbit-program";

/// What lies beside the description, in the order of the steps.
#[derive(Default)]
pub(crate) struct Bulk {
    pub(crate) reals: Vec<f32>,
    pub(crate) scales: Vec<f32>,
    pub(crate) biases: Vec<f32>,
    pub(crate) tables: Vec<u8>,
    pub(crate) weights: Vec<u8>,
}

/// The same as [`Bulk`], being read: each part is what is left of it.
pub(crate) struct Rest<'a> {
    pub(crate) reals: Floats<'a>,
    pub(crate) scales: Floats<'a>,
    pub(crate) biases: Floats<'a>,
    pub(crate) tables: Bytes<'a>,
    pub(crate) weights: Bytes<'a>,
}

/// What is left of a tensor of little-endian floats.
pub(crate) struct Floats<'a>(Bytes<'a>);

/// What is left of a tensor of bytes, and its name.
pub(crate) struct Bytes<'a>(&'static str, &'a [u8]);

impl Program {
    /// The bytes of this Program's file; the same Program always gives the same bytes.
    ///
    /// # Errors
    /// `Mismatch` when the Program does not pass [`Program::check`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        let mut bulk = Bulk::default();
        let description = serde_json::to_vec(&wire::describe(self, &mut bulk))
            .map_err(|e| Error::new(ErrorKind::Malformed, "description", e.to_string()))?;
        let Bulk {
            reals,
            scales,
            biases,
            tables,
            weights,
        } = bulk;
        let tensors = [
            ("program", Stored::bytes(description)),
            ("reals", Stored::floats(&reals)),
            ("scales", Stored::floats(&scales)),
            ("biases", Stored::floats(&biases)),
            ("tables", Stored::bytes(tables)),
            ("weights", Stored::bytes(weights)),
        ];
        let version = [(VERSION_KEY.to_owned(), VERSION.to_owned())];
        safetensors::serialize(tensors, Some(version.into_iter().collect()))
            .map_err(|e| Error::new(ErrorKind::Malformed, "container", e.to_string()))
    }

    /// The Program in the bytes of a file.
    ///
    /// # Errors
    /// `Malformed` where the bytes are no Program, `Unsupported` for another version, `Mismatch`
    /// where a Program does not pass [`Program::check`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed = |place: &str, e: String| Error::new(ErrorKind::Malformed, place, e);
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|e| malformed("container", e.to_string()))?;
        let version = header.metadata().as_ref().and_then(|m| m.get(VERSION_KEY));
        match version.map(String::as_str) {
            Some(VERSION) => {}
            Some(other) => {
                let message = format!("written as version {other:.20}; this reads {VERSION}");
                return Err(Error::new(ErrorKind::Unsupported, VERSION_KEY, message));
            }
            None => return Err(malformed(VERSION_KEY, "is not there: no Program".into())),
        }
        let file =
            SafeTensors::deserialize(bytes).map_err(|e| malformed("container", e.to_string()))?;
        let mut rest = Rest {
            reals: Floats(tensor(&file, "reals", Dtype::F32)?),
            scales: Floats(tensor(&file, "scales", Dtype::F32)?),
            biases: Floats(tensor(&file, "biases", Dtype::F32)?),
            tables: tensor(&file, "tables", Dtype::U8)?,
            weights: tensor(&file, "weights", Dtype::U8)?,
        };
        let description = serde_json::from_slice(tensor(&file, "program", Dtype::U8)?.1)
            .map_err(|e| malformed("description", e.to_string()))?;
        let program = wire::program(description, &mut rest)?;
        rest.finish()?;
        program.check()?;
        Ok(program)
    }

    /// Writes the file: beside its place first, then renamed, so that no reader meets half a file.
    ///
    /// # Errors
    /// `Io`, or as [`Program::to_bytes`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_bytes().map_err(|e| e.within(path.display()))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.partial", std::process::id()));
        let write = || {
            let mut file = std::fs::File::create(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        write().map_err(|e| {
            // Nothing more can be done where the half-written file cannot be removed either.
            let _ = std::fs::remove_file(&beside);
            Error::new(ErrorKind::Io, path.display(), e.to_string())
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `Io`, or as [`Program::from_bytes`]; the place begins with the path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|e| Error::new(ErrorKind::Io, path.display(), e.to_string()))?;
        Self::from_bytes(&bytes).map_err(|e| e.within(path.display()))
    }
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &'static str, dtype: Dtype) -> Result<Bytes<'a>> {
    let view = file.tensor(name).map_err(|e| {
        Error::new(
            ErrorKind::Malformed,
            format!("tensor {name}"),
            e.to_string(),
        )
    })?;
    if view.dtype() != dtype || view.shape().len() != 1 {
        let message = format!("is {:?} of shape {:?}", view.dtype(), view.shape());
        return Err(Error::new(
            ErrorKind::Malformed,
            format!("tensor {name}"),
            message,
        ));
    }
    Ok(Bytes(name, view.data()))
}

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.1.split_at_checked(count) else {
            return Err(self.malformed(format!("{count} bytes more expected, {}", self.1.len())));
        };
        self.1 = rest;
        Ok(taken)
    }

    pub(crate) fn codes(&mut self, bits: Bits, count: usize) -> Result<Vec<i8>> {
        let bytes = self.take(packed_len(bits, count).unwrap_or(usize::MAX))?;
        unpack(bits, bytes, count)
            .ok_or_else(|| self.malformed("the filling after a layer is not zero".into()))
    }

    fn finish(&self) -> Result<()> {
        match self.1.len() {
            0 => Ok(()),
            n => Err(self.malformed(format!("{n} bytes too many"))),
        }
    }

    fn malformed(&self, message: String) -> Error {
        Error::new(ErrorKind::Malformed, format!("tensor {}", self.0), message)
    }
}

impl Floats<'_> {
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<f32>> {
        let bytes = self.0.take(count.saturating_mul(4))?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect())
    }

    pub(crate) fn one(&mut self) -> Result<f32> {
        let bytes = self.0.take(4)?;
        Ok(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

impl Rest<'_> {
    fn finish(&self) -> Result<()> {
        let Rest {
            reals,
            scales,
            biases,
            tables,
            weights,
        } = self;
        [&reals.0, &scales.0, &biases.0, tables, weights]
            .into_iter()
            .try_for_each(Bytes::finish)
    }
}

/// A one-dimensional tensor on its way into the container.
struct Stored {
    dtype: Dtype,
    shape: [usize; 1],
    bytes: Vec<u8>,
}

impl Stored {
    fn bytes(bytes: Vec<u8>) -> Self {
        Self {
            dtype: Dtype::U8,
            shape: [bytes.len()],
            bytes,
        }
    }

    fn floats(numbers: &[f32]) -> Self {
        let bytes = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: Dtype::F32,
            shape: [numbers.len()],
            bytes,
        }
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
