//! What a kernel of dense products is: the form in which it wants both sides, the work that it is
//! given, and where its results go.

use std::fmt::Debug;

use crate::lines::Lane;

/// Channels of a block.
pub(crate) const BLOCK: usize = 16;

/// Pixels of a line from which on a kernel may make use of their lying evenly.
pub(crate) const LINE: usize = 16;

/// A kernel that multiplies tiles, and the form in which it wants both sides.
pub(crate) trait Micro: Copy + Debug + Send + Sync + 'static {
    /// What it reads of an activation.
    type Lane: Lane + Debug;
    /// What weights are packed in.
    type Weight: Copy + Default + Debug + Send + Sync;
    /// Codes along the depth that one step takes.
    const DEPTH: usize;

    /// The kernel's name.
    fn name(self) -> &'static str;

    /// The blocks of a panel where `left` are not in one yet.
    fn blocks(self, left: usize) -> usize;

    /// What a step of a panel of `blocks` takes.
    fn step_len(self, blocks: usize) -> usize;

    /// Puts up to `DEPTH` codes of the weights of channel `lane` into a step of its panel.
    fn place(self, step: &mut [Self::Weight], lane: usize, codes: &[i8]);

    /// Where the sums of a channel with these `weights` begin: where zeros lead.
    fn start(self, zero: u8, weights: &[i8]) -> i32 {
        let sum = || weights.iter().map(|&w| i32::from(w)).sum::<i32>();
        -(i32::from(zero) * self.run(sum))
    }

    /// The lane of codes that are all the first, or of these four.
    fn lane(self, codes: [u8; 4]) -> Self::Lane;

    /// The lanes of a line.
    fn widen(self, codes: &[u8], lanes: &mut [Self::Lane]);

    /// Multiplies all pixels of a job with its panel.
    fn multiply(self, job: &Job<'_, Self::Lane, Self::Weight>, out: &mut Out<'_>);

    /// Runs plain code compiled for its instructions.
    fn run<R>(self, work: impl FnOnce() -> R) -> R;
}

/// Copies up to four codes, without a call where they are four: packing is much of loading.
#[inline(always)]
pub(crate) fn put_four(to: &mut [i8], codes: &[i8]) {
    match (to.first_chunk_mut::<4>(), codes.first_chunk::<4>()) {
        (Some(to), Some(codes)) => *to = *codes,
        _ => to[..codes.len()].copy_from_slice(codes),
    }
}

/// What every [`Micro`] has that reads codes as the bytes they are, four in a step.
macro_rules! bytes_by_fours {
    () => {
        type Lane = u8;
        type Weight = i8;
        const DEPTH: usize = 4;

        fn lane(self, [code, ..]: [u8; 4]) -> u8 {
            code
        }

        #[inline(always)]
        fn widen(self, codes: &[u8], lanes: &mut [u8]) {
            lanes.copy_from_slice(codes);
        }
    };
}

/// How such a kernel packs a byte for each weight, a lane's four side by side.
macro_rules! weights_as_bytes {
    () => {
        #[inline(always)]
        fn place(self, step: &mut [i8], lane: usize, codes: &[i8]) {
            crate::micro::put_four(&mut step[lane * 4..], codes);
        }
    };
}

pub(crate) use {bytes_by_fours, weights_as_bytes};

/// A panel of weights, and the pixels that it is multiplied with.
pub(crate) struct Job<'a, L, W> {
    pub(crate) codes: &'a [L],
    /// Where the pixels begin in `codes`; at least one.
    pub(crate) pixels: &'a [u32],
    /// Where the runs of a pixel begin, from its beginning.
    pub(crate) runs: &'a [usize],
    /// The length of a run, in steps.
    pub(crate) steps: usize,
    /// How far apart pixels beside each other begin, where lines are [`LINE`] pixels or longer.
    pub(crate) line: Option<usize>,
    /// One panel.
    pub(crate) weights: &'a [W],
    /// Where the sums begin, one per channel of the panel; says how many blocks there are.
    pub(crate) start: &'a [i32],
}

impl<L, W> Job<'_, L, W> {
    /// Makes sure that kernels may read every run of every pixel, `lanes` to a step, and the
    /// weights of every run, `weights` to a step: what their unchecked loads rest on.
    ///
    /// # Panics
    /// When they may not.
    #[inline(always)]
    pub(crate) fn check(&self, lanes: usize, weights: usize) {
        let pixel = self.pixels.iter().copied().max().unwrap_or(0) as usize;
        let run = self.runs.iter().copied().max().unwrap_or(0);
        assert!(
            pixel + run + lanes * self.steps <= self.codes.len(),
            "codes of every pixel"
        );
        let weights = weights * self.steps * self.runs.len();
        assert!(weights <= self.weights.len(), "weights of every run");
    }

    /// Where `R` pixels from `first` on begin. Those that are not there are the last one again: a
    /// kernel computes them and does not store them.
    #[inline(always)]
    pub(crate) fn pointers<const R: usize>(&self, first: usize) -> [*const L; R] {
        let pixels = &self.pixels[first..];
        let places = match pixels.first_chunk() {
            Some(places) => *places,
            None => std::array::from_fn(|r| pixels[r.min(pixels.len() - 1)]),
        };
        places.map(|place: u32| self.codes.as_ptr().wrapping_add(place as usize))
    }
}

/// Where a job's results go.
pub(crate) enum Out<'a> {
    /// `sums[pixel * 16 * blocks + channel]`.
    Sums(&'a mut [i32]),
    /// Codes, by way of a clip.
    Codes(ClipOut<'a>),
}

/// Where codes go, and through which clip.
pub(crate) struct ClipOut<'a> {
    /// One per channel of the panel, the last block filled up.
    pub(crate) m: &'a [f32],
    /// One per channel of the panel, the last block filled up.
    pub(crate) b: &'a [f32],
    /// The factor of a residual, where there is one.
    pub(crate) m_r: Option<f32>,
    /// Its codes, laid out as `codes`; `None` where they are what `codes` holds.
    pub(crate) residual: Option<&'a [u8]>,
    pub(crate) lo: f32,
    pub(crate) hi: f32,
    /// Pixel `p` has its codes from `p * stride` on.
    pub(crate) codes: &'a mut [u8],
    /// Channels of the whole output.
    pub(crate) stride: usize,
    /// Channels of the panel that exist.
    pub(crate) channels: usize,
}
