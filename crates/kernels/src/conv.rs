//! Convolution prepared for one CPU: which kernels can run it, its weights packed as the fastest of
//! them (`tune`) reads them.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

#[cfg(target_arch = "x86_64")]
use crate::depthwise::{Channels, PackedDepthwise};
use crate::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::lookup::Look;
use crate::lookup::Sums;
#[cfg(target_arch = "x86_64")]
use crate::micro::{BLOCK, Micro};
#[cfg(target_arch = "x86_64")]
use crate::tiles::Packed;
#[cfg(target_arch = "x86_64")]
use crate::x86::{Avx2, Avx512Vnni, AvxVnni, Ones};
use crate::{ConvShape, Epilogue, Grid, Isa, Source, Target, Window, scalar, tune};

/// A convolution, ready to run.
#[derive(Clone, Debug)]
pub struct PackedConv {
    shape: ConvShape,
    kernel: Arc<dyn Prepared>,
}

/// A convolution as one kernel wants it.
pub(crate) trait Prepared: Debug + Send + Sync {
    /// The kernel's name.
    fn name(&self) -> &'static str;

    /// Bytes of packed weights and constants.
    fn len_bytes(&self) -> usize;

    /// Whether it makes codes, not real numbers.
    fn has_codes(&self) -> bool;

    /// The bytes of scratch that a run takes which makes at most `lines` lines.
    fn scratch_bytes(&self, lines: usize) -> usize;

    /// Grows `scratch` to them.
    fn reserve(&self, lines: usize, scratch: &mut Scratch);

    /// Part `i` of `n` nearly equal ones, which begins and ends where this kernel can.
    fn part(&self, i: usize, n: usize) -> Range<usize>;

    /// Makes the entries `part` of the output, at least one, which go to `target`; a residual is
    /// that part of it, or what `target` holds.
    fn run(
        &self,
        part: Range<usize>,
        input: Source<'_>,
        residual: Option<&[u8]>,
        scratch: &mut Scratch,
        target: &mut Target<'_>,
    );
}

/// A convolution with its weights and epilogue, to be packed.
struct Draft<'a> {
    shape: ConvShape,
    grid: Grid,
    weights: &'a [i8],
    epilogue: Epilogue,
}

/// Memory that kernels work in; one for each thread, shared by all its steps.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) words: Vec<i16>,
    pub(crate) tables: Vec<Sums>,
    pub(crate) bits: Vec<u32>,
}

impl Scratch {
    /// Its size in bytes.
    pub fn len_bytes(&self) -> usize {
        let Self {
            bytes,
            words,
            tables,
            bits,
        } = self;
        bytes.len() + size_of_val(&words[..]) + size_of_val(&tables[..]) + size_of_val(&bits[..])
    }
}

impl PackedConv {
    /// Packs `weights`, `[Cout, kh, kw, Cin / groups]`, for input codes on `grid`, for the kernel
    /// that is the fastest on this CPU.
    pub fn new(isa: Isa, shape: ConvShape, grid: Grid, weights: &[i8], epilogue: Epilogue) -> Self {
        let draft = Draft {
            shape,
            grid,
            weights,
            epilogue,
        };
        let kernel = tune::fastest(&draft.kernels(isa), &shape, grid);
        Self { shape, kernel }
    }

    /// As [`PackedConv::new`], for each kernel that can run it.
    pub fn all(
        isa: Isa,
        shape: ConvShape,
        grid: Grid,
        weights: &[i8],
        epilogue: Epilogue,
    ) -> Vec<Self> {
        let draft = Draft {
            shape,
            grid,
            weights,
            epilogue,
        };
        let kernels = draft.kernels(isa).into_iter();
        let packed = kernels.map(|kernel| Self {
            shape,
            kernel: (kernel.pack)(),
        });
        packed.collect()
    }

    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        self.kernel.name()
    }

    /// Its geometry.
    pub fn window(&self) -> &Window {
        &self.shape.window
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> u64 {
        self.shape.macs()
    }

    /// Bytes of packed weights and constants.
    pub fn len_bytes(&self) -> usize {
        self.kernel.len_bytes()
    }

    /// The bytes of scratch that a run takes which makes at most `lines` lines.
    pub fn scratch_bytes(&self, lines: usize) -> usize {
        self.kernel.scratch_bytes(lines)
    }

    /// Grows `scratch` to what a run that makes at most `lines` lines takes.
    pub fn reserve(&self, lines: usize, scratch: &mut Scratch) {
        self.kernel.reserve(lines, scratch);
    }

    /// Part `i` of `n` nearly equal ones, as a range of the output's entries; it may be empty.
    pub fn part(&self, i: usize, n: usize) -> Range<usize> {
        self.kernel.part(i, n)
    }

    /// Makes the entries `part` of the output, one of [`PackedConv::part`] or whole lines, in
    /// `scratch`, which [`PackedConv::reserve`] has seen; they go to `target`. `input`, the lines
    /// that `part` is made of at least, goes on for [`SLACK`](crate::SLACK) bytes of any content
    /// after its codes. Where a residual sum is folded into the epilogue, `residual` holds the
    /// codes of `part`; `None` where `target` does, and they are overwritten.
    pub fn run(
        &self,
        part: Range<usize>,
        input: Source<'_>,
        residual: Option<&[u8]>,
        scratch: &mut Scratch,
        mut target: Target<'_>,
    ) {
        if !part.is_empty() {
            self.kernel.run(part, input, residual, scratch, &mut target);
        }
    }
}

/// A kernel that can run a convolution.
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'static str,
    /// Packs the convolution for it.
    pub(crate) pack: Box<dyn Fn() -> Arc<dyn Prepared> + 'a>,
}

impl Draft<'_> {
    /// The kernels of `isa` that can run it, exactly; the last one is the dense kernel, which is
    /// taken where nothing may be measured.
    fn kernels(&self, isa: Isa) -> Vec<Candidate<'_>> {
        match isa.0 {
            Level::Scalar => vec![Candidate {
                name: SCALAR,
                pack: Box::new(|| {
                    Arc::new(Definition {
                        shape: self.shape,
                        zero: self.grid.zero,
                        weights: self.weights.to_vec(),
                        epilogue: self.epilogue.clone(),
                    })
                }),
            }],
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => self.avx2(token),
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni(token) => self.avxvnni(token),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni(token) => self.avx512vnni(token),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Draft<'_> {
    fn avx2(&self, token: Avx2) -> Vec<Candidate<'_>> {
        let levels = self.grid.bits.levels();
        if self.shape.is_depthwise() {
            return vec![self.depthwise(token)];
        }
        let look = Look::new(token, Avx2::DEPTH, &self.shape, levels, self.weights);
        let dense = match token.low(levels, self.weights) {
            Some(low) => self.dense(low),
            None => self.dense(token.wide()),
        };
        look.map(|look| self.dense(look))
            .into_iter()
            .chain([dense])
            .collect()
    }

    fn avxvnni(&self, token: AvxVnni) -> Vec<Candidate<'_>> {
        let levels = self.grid.bits.levels();
        if self.shape.is_depthwise() {
            return vec![self.depthwise(token.avx2)];
        }
        let look = Look::new(token.avx2, Avx2::DEPTH, &self.shape, levels, self.weights);
        let dense = self.dense(token);
        look.map(|look| self.dense(look))
            .into_iter()
            .chain([dense])
            .collect()
    }

    fn avx512vnni(&self, token: Avx512Vnni) -> Vec<Candidate<'_>> {
        let (shape, levels, weights) = (&self.shape, self.grid.bits.levels(), self.weights);
        if shape.is_depthwise() {
            return vec![self.depthwise(token)];
        }
        let ones = Ones::new(token, shape, levels, weights).map(|ones| self.dense(ones));
        let look = Look::new(token, Avx512Vnni::DEPTH, shape, levels, weights);
        let look = look.map(|look| self.dense(look));
        // Half of the memory and no slower, but that of a single block a half would be empty.
        let blocks = (shape.output[2] / shape.groups).div_ceil(BLOCK);
        let nibbles = token.nibbles(levels, weights, shape.depth());
        let dense = match nibbles.filter(|_| blocks > 1) {
            Some(nibbles) => self.dense(nibbles),
            None => self.dense(token),
        };
        ones.into_iter().chain(look).chain([dense]).collect()
    }

    fn dense<M: Micro>(&self, micro: M) -> Candidate<'_> {
        Candidate {
            name: micro.name(),
            pack: Box::new(move || {
                let (zero, epilogue) = (self.grid.zero, self.epilogue.clone());
                Arc::new(Packed::new(micro, self.shape, zero, self.weights, epilogue))
            }),
        }
    }

    fn depthwise<M: Channels>(&self, micro: M) -> Candidate<'_> {
        Candidate {
            name: M::NAME,
            pack: Box::new(move || {
                let (zero, epilogue) = (self.grid.zero, self.epilogue.clone());
                Arc::new(PackedDepthwise::new(
                    micro,
                    self.shape,
                    zero,
                    self.weights,
                    epilogue,
                ))
            }),
        }
    }
}

/// The name of the definition.
const SCALAR: &str = "conv-scalar";

/// The definition itself.
#[derive(Debug)]
struct Definition {
    shape: ConvShape,
    zero: u8,
    weights: Vec<i8>,
    epilogue: Epilogue,
}

impl Prepared for Definition {
    fn name(&self) -> &'static str {
        SCALAR
    }

    fn len_bytes(&self) -> usize {
        self.weights.len() + 8 * self.epilogue.m.len()
    }

    fn has_codes(&self) -> bool {
        self.epilogue.finish.has_codes()
    }

    fn scratch_bytes(&self, _: usize) -> usize {
        0
    }

    fn reserve(&self, _: usize, _: &mut Scratch) {}

    fn part(&self, i: usize, n: usize) -> Range<usize> {
        let len: usize = self.shape.output.iter().product();
        i * len / n..(i + 1) * len / n
    }

    fn run(
        &self,
        part: Range<usize>,
        input: Source<'_>,
        residual: Option<&[u8]>,
        _: &mut Scratch,
        target: &mut Target<'_>,
    ) {
        let Self {
            shape,
            zero,
            weights,
            epilogue,
        } = self;
        scalar::conv(
            shape, *zero, weights, epilogue, part, input, residual, target,
        );
    }
}
