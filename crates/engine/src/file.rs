//! A Program as one file: a safetensors container, so that any tool can look inside and a reader
//! can map it into memory.
//!
//! | tensor | type | what it holds |
//! | --- | --- | --- |
//! | `program` | U8 | a JSON description: shapes, bit-widths, steps; no floats |
//! | `reals` | F32 | the input's scales and shifts, scales of values, activations, thresholds |
//! | `scales` | F32 | the weight scales of all convolutions |
//! | `biases` | F32 | their biases |
//! | `tables` | U8 | the codes of all tables |
//! | `weights` | U8 | all weight codes at their true bit-widths, each layer from a whole byte on |
//! | `xxh3` | U64 | the sum (XXH3, 64 bits) of what these hold, in this order |
//!
//! Everything lies in the order of the steps. Floats are kept out of the JSON so that they survive
//! exactly, infinities included. The metadata entry `exbit-program` is the format's version; by the
//! sum a file that was damaged on its way is told from one that answers. A reader takes memory for
//! nothing that the file's bytes do not fill, at most eight codes from a byte, once the shapes have
//! passed their check. It holds no weights but the codes: their bytes pass through a buffer that
//! stays in a cache, since fresh memory is what loading takes most of its time for.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use exbit_kernels::{Bits, packed_len, unpack};
use safetensors::tensor::{Dtype, View};
use xxhash_rust::xxh3::Xxh3;

use crate::container::{Container, SUM, VERSION, VERSION_KEY, malformed, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::whole::write_whole;
use crate::wire;
use crate::{Program, StepKind};

/// What lies beside the description, in the order of the steps.
#[derive(Default)]
pub(crate) struct Bulk {
    pub(crate) reals: Vec<f32>,
    pub(crate) scales: Vec<f32>,
    pub(crate) biases: Vec<f32>,
    pub(crate) tables: Vec<u8>,
    pub(crate) weights: Vec<u8>,
}

/// The same as [`Bulk`] but for the weights, being read: each part is what is left of it.
pub(crate) struct Rest<'a> {
    pub(crate) reals: Floats<'a>,
    pub(crate) scales: Floats<'a>,
    pub(crate) biases: Floats<'a>,
    pub(crate) tables: Bytes<'a>,
}

/// What is left of a tensor of little-endian floats.
pub(crate) struct Floats<'a>(Bytes<'a>);

/// What is left of a tensor of bytes, and its name.
pub(crate) struct Bytes<'a>(&'static str, &'a [u8]);

/// What is left of the weights: so many bytes of a file.
pub(crate) struct Codes<R> {
    file: R,
    left: usize,
    /// Of everything read so far, and what it must come to, where the file says that.
    sum: Box<Xxh3>,
    expected: Option<u64>,
}

/// Codes that are unpacked at a time; whole bytes for any bit-width.
const PIECE: usize = 1 << 16;

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
        let mut sum = Xxh3::new();
        tensors.iter().for_each(|(_, t)| sum.update(&t.bytes));
        let sum = (SUM, Stored::number(sum.digest()));
        let version = [(VERSION_KEY.to_owned(), VERSION.to_owned())];
        let tensors = tensors.into_iter().chain([sum]);
        safetensors::serialize(tensors, Some(version.into_iter().collect()))
            .map_err(|e| Error::new(ErrorKind::Malformed, "container", e.to_string()))
    }

    /// The Program in the bytes of a file.
    ///
    /// # Errors
    /// `Malformed` where the bytes are no Program, `Unsupported` for another version, `Mismatch`
    /// where a Program does not pass [`Program::check`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(Cursor::new(bytes))
    }

    fn read(file: impl Read + Seek) -> Result<Self> {
        let (mut program, mut codes) = Self::read_frame(file)?;
        program.check_frame()?;
        for i in 0..program.steps.len() {
            codes.fill(&mut program, i)?;
            program.check_codes(i)?;
        }
        codes.finish()?;
        Ok(program)
    }

    /// All of a Program but the codes of its weights, which come next, step by step; not checked.
    pub(crate) fn read_frame<R: Read + Seek>(file: R) -> Result<(Self, Codes<R>)> {
        let mut file = Container::open(file)?;
        let expected = file.sum()?;
        let mut sum = Box::new(Xxh3::new());
        let mut tensor = |name, dtype| {
            let bytes = file.tensor(name, dtype)?;
            sum.update(&bytes);
            Ok::<_, Error>(bytes)
        };
        let text = tensor("program", Dtype::U8)?;
        let [reals, scales, biases] = [
            tensor("reals", Dtype::F32)?,
            tensor("scales", Dtype::F32)?,
            tensor("biases", Dtype::F32)?,
        ];
        let tables = tensor("tables", Dtype::U8)?;
        let description =
            serde_json::from_slice(&text).map_err(|e| malformed("description", e.to_string()))?;
        drop(text);
        let mut rest = Rest {
            reals: Floats(Bytes("reals", &reals)),
            scales: Floats(Bytes("scales", &scales)),
            biases: Floats(Bytes("biases", &biases)),
            tables: Bytes("tables", &tables),
        };
        let program = wire::program(description, &mut rest)?;
        rest.finish()?;
        let left = file.find("weights", Dtype::U8)?;
        let codes = Codes {
            file: file.file,
            left,
            sum,
            expected,
        };
        Ok((program, codes))
    }

    /// Writes the file, by [`write_whole`].
    ///
    /// # Errors
    /// `Io`, or as [`Program::to_bytes`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.to_bytes().map_err(|e| e.within(path.display()))?;
        write_whole(path, &bytes)
            .map_err(|e| Error::new(ErrorKind::Io, path.display(), e.to_string()))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `Io`, or as [`Program::from_bytes`]; the place begins with the path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        open(path)
            .and_then(Self::read)
            .map_err(|e| e.within(path.display()))
    }
}

pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(unreadable)
}

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.1.split_at_checked(count) else {
            return Err(too_short(self.0, count, self.1.len()));
        };
        self.1 = rest;
        Ok(taken)
    }

    fn finish(&self) -> Result<()> {
        nothing_left(self.0, self.1.len())
    }
}

impl<R: Read> Codes<R> {
    /// Reads the codes of step `i`, the next one, where it has weights; into the memory that these
    /// have.
    pub(crate) fn fill(&mut self, program: &mut Program, i: usize) -> Result<()> {
        let step = &mut program.steps[i];
        let StepKind::Conv(conv) = &mut step.kind else {
            return Ok(());
        };
        let weights = &mut conv.weights;
        self.take(weights.bits, &weights.shape, &mut weights.codes)
            .map_err(|e| e.within(format!("step {i} ({})", step.name)))
    }

    fn take(&mut self, bits: Bits, shape: &[usize], codes: &mut Vec<i8>) -> Result<()> {
        let count = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
        let len = count.and_then(|n| packed_len(bits, n));
        let left = len.and_then(|len| self.left.checked_sub(len));
        let (Some(count), Some(left)) = (count, left) else {
            return Err(too_short("weights", len.unwrap_or(usize::MAX), self.left));
        };
        self.left = left;
        codes.resize(count, 0);
        let mut bytes = [0; PIECE];
        for codes in codes.chunks_mut(PIECE) {
            let len = packed_len(bits, codes.len()).unwrap_or(PIECE);
            let bytes = &mut bytes[..len];
            self.file.read_exact(bytes).map_err(unreadable)?;
            self.sum.update(bytes);
            if !unpack(bits, bytes, codes) {
                let message = "the filling after a layer is not zero";
                return Err(malformed("tensor weights", message.into()));
            }
        }
        Ok(())
    }

    /// Whether that was all, and what was written. Fuzzing goes on behind a wrong sum.
    pub(crate) fn finish(&self) -> Result<()> {
        nothing_left("weights", self.left)?;
        let sum = self.sum.digest();
        if cfg!(not(fuzzing)) && self.expected.is_some_and(|expected| expected != sum) {
            let message = "is not that of the bytes: the file is damaged, fetch or make it again";
            return Err(malformed(&format!("tensor {SUM}"), message.into()));
        }
        Ok(())
    }
}

fn too_short(name: &str, expected: usize, left: usize) -> Error {
    let message = format!("{expected} bytes more expected, {left}");
    malformed(&format!("tensor {name}"), message)
}

fn nothing_left(name: &str, left: usize) -> Result<()> {
    match left {
        0 => Ok(()),
        n => {
            let message = format!("{n} bytes too many");
            Err(malformed(&format!("tensor {name}"), message))
        }
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
        } = self;
        [&reals.0, &scales.0, &biases.0, tables]
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

    fn number(number: u64) -> Self {
        Self {
            dtype: Dtype::U64,
            shape: [1],
            bytes: number.to_le_bytes().to_vec(),
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
