//! Convolution prepared for one CPU: which kernel runs it, its weights packed as that kernel reads
//! them.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::depthwise::PackedDepthwise;
use crate::isa::Level;
#[cfg(target_arch = "x86_64")]
use crate::tiles::Packed;
#[cfg(target_arch = "x86_64")]
use crate::x86::{Avx2, Avx512Vnni, Low, Wide};
use crate::{ConvShape, Epilogue, Grid, Isa, Target, scalar};

/// A convolution, ready to run.
#[derive(Clone, Debug)]
pub struct PackedConv {
    shape: ConvShape,
    kernel: Kernel,
}

#[derive(Clone, Debug)]
enum Kernel {
    Scalar(Definition),
    #[cfg(target_arch = "x86_64")]
    Wide(Packed<Wide>),
    #[cfg(target_arch = "x86_64")]
    Low(Packed<Low>),
    #[cfg(target_arch = "x86_64")]
    Vnni(Packed<Avx512Vnni>),
    #[cfg(target_arch = "x86_64")]
    DepthwiseAvx2(PackedDepthwise<Avx2>),
    #[cfg(target_arch = "x86_64")]
    DepthwiseVnni(PackedDepthwise<Avx512Vnni>),
}

#[derive(Clone, Debug)]
struct Definition {
    zero: u8,
    weights: Vec<i8>,
    epilogue: Epilogue,
}

/// Memory that kernels work in; one for each thread, shared by all its steps.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) words: Vec<i16>,
}

impl Scratch {
    /// Its size in bytes.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&self.words[..])
    }
}

impl PackedConv {
    /// Packs `weights`, `[Cout, kh, kw, Cin / groups]`, for input codes on `grid`.
    pub fn new(isa: Isa, shape: ConvShape, grid: Grid, weights: &[i8], epilogue: Epilogue) -> Self {
        let zero = grid.zero;
        let kernel = match isa.0 {
            Level::Scalar => Kernel::Scalar(Definition {
                zero,
                weights: weights.to_vec(),
                epilogue,
            }),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) if shape.is_depthwise() => {
                Kernel::DepthwiseAvx2(PackedDepthwise::new(token, shape, zero, weights, epilogue))
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => match token.low(grid.bits.levels(), weights) {
                Some(low) => Kernel::Low(Packed::new(low, shape, zero, weights, epilogue)),
                None => Kernel::Wide(Packed::new(token.wide(), shape, zero, weights, epilogue)),
            },
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni(token) if shape.is_depthwise() => {
                Kernel::DepthwiseVnni(PackedDepthwise::new(token, shape, zero, weights, epilogue))
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Vnni(token) => {
                Kernel::Vnni(Packed::new(token, shape, zero, weights, epilogue))
            }
        };
        Self { shape, kernel }
    }

    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        match &self.kernel {
            Kernel::Scalar(_) => "conv-scalar",
            #[cfg(target_arch = "x86_64")]
            Kernel::Wide(packed) => packed.name(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Low(packed) => packed.name(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni(packed) => packed.name(),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseAvx2(packed) => packed.name(),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseVnni(packed) => packed.name(),
        }
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> u64 {
        self.shape.macs()
    }

    /// Grows `scratch` to what a run takes.
    pub fn reserve(&self, scratch: &mut Scratch) {
        match &self.kernel {
            Kernel::Scalar(_) => {}
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseAvx2(packed) => packed.reserve(scratch),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseVnni(packed) => packed.reserve(scratch),
            #[cfg(target_arch = "x86_64")]
            Kernel::Wide(packed) => packed.reserve(scratch),
            #[cfg(target_arch = "x86_64")]
            Kernel::Low(packed) => packed.reserve(scratch),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni(packed) => packed.reserve(scratch),
        }
    }

    /// Part `i` of `n` nearly equal ones, as a range of the output's entries; it may be empty.
    pub fn part(&self, i: usize, n: usize) -> Range<usize> {
        match &self.kernel {
            Kernel::Scalar(_) => {
                let len: usize = self.shape.output.iter().product();
                i * len / n..(i + 1) * len / n
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Wide(packed) => packed.part(i, n),
            #[cfg(target_arch = "x86_64")]
            Kernel::Low(packed) => packed.part(i, n),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni(packed) => packed.part(i, n),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseAvx2(packed) => packed.part(i, n),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseVnni(packed) => packed.part(i, n),
        }
    }

    /// Makes the entries `part` of the output, one of [`PackedConv::part`], in `scratch`, which
    /// [`PackedConv::reserve`] has seen; they go to `target`. `input` goes on for
    /// [`SLACK`](crate::SLACK) bytes of any content after its codes; where a residual sum is
    /// folded into the epilogue, `residual` holds its codes.
    pub fn run(
        &self,
        part: Range<usize>,
        input: &[u8],
        residual: Option<&[u8]>,
        scratch: &mut Scratch,
        mut target: Target<'_>,
    ) {
        if part.is_empty() {
            return;
        }
        let target = &mut target;
        match &self.kernel {
            Kernel::Scalar(Definition {
                zero,
                weights,
                epilogue,
            }) => {
                scalar::conv(
                    &self.shape,
                    *zero,
                    weights,
                    epilogue,
                    part,
                    input,
                    residual,
                    target,
                );
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Wide(packed) => packed.run(part, input, residual, scratch, target),
            #[cfg(target_arch = "x86_64")]
            Kernel::Low(packed) => packed.run(part, input, residual, scratch, target),
            #[cfg(target_arch = "x86_64")]
            Kernel::Vnni(packed) => packed.run(part, input, residual, scratch, target),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseAvx2(packed) => packed.run(part, input, residual, scratch, target),
            #[cfg(target_arch = "x86_64")]
            Kernel::DepthwiseVnni(packed) => packed.run(part, input, residual, scratch, target),
        }
    }
}
