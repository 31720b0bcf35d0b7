//! Convolution prepared for one CPU: the weights packed as its kernel reads them.

use crate::{ConvShape, Epilogue, Grid, Isa, Target, scalar};

/// A convolution, ready to run.
#[derive(Clone, Debug)]
pub struct PackedConv {
    shape: ConvShape,
    zero: u8,
    weights: Vec<i8>,
    epilogue: Epilogue,
}

impl PackedConv {
    /// Packs `weights`, `[Cout, kh, kw, Cin / groups]`, for input codes on `grid`.
    pub fn new(
        _isa: Isa,
        shape: ConvShape,
        grid: Grid,
        weights: &[i8],
        epilogue: Epilogue,
    ) -> Self {
        Self {
            shape,
            zero: grid.zero,
            weights: weights.to_vec(),
            epilogue,
        }
    }

    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        "conv-scalar"
    }

    /// Multiply-accumulates of one image.
    pub fn macs(&self) -> u64 {
        self.shape.macs()
    }

    /// The scratch bytes that a run takes.
    pub fn scratch_len(&self) -> usize {
        0
    }

    /// Runs it. `input` goes on for [`SLACK`](crate::SLACK) bytes of any content after its codes.
    pub fn run(
        &self,
        input: &[u8],
        residual: Option<&[u8]>,
        _scratch: &mut [u8],
        mut target: Target<'_>,
    ) {
        let Self {
            shape,
            zero,
            weights,
            epilogue,
        } = self;
        scalar::conv(
            shape,
            *zero,
            weights,
            epilogue,
            input,
            residual,
            &mut target,
        );
    }
}
