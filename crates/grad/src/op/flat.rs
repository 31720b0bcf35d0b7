//! Planes laid end to end so that a window's tap is a shift.
//!
//! Row after row, image after image, with zeros between: reading a tap of every output of a batch
//! is reading the plane from another place on, and a convolution is a product with shifted rows
//! (`exbit_kernels::shifted`). The zeros between two rows serve as the right padding of one and
//! the left padding of the next. A stride of `s` splits a plane into `s * s` phases, every
//! `s`-th pixel of every `s`-th row; each tap falls on one phase, again as a shift.

use exbit_kernels::lanes::{Plane, collect, spread};
use exbit_kernels::shifted::ROUND;
use exbit_model::Window;

/// How one axis of a plane is laid out. A tap at distance `u = tap * dilation - pad` reads phase
/// `u mod stride`, `u div stride` further on.
#[derive(Clone, Copy, Debug)]
struct Axis {
    stride: usize,
    dilation: usize,
    pad: usize,
    input: usize,
    output: usize,
    /// Places that one row (or one image) takes, with the zeros behind it.
    pitch: usize,
    /// The furthest that a tap reaches, back or ahead.
    reach: usize,
}

impl Axis {
    fn new(window: &Window, axis: usize, input: usize, output: usize) -> Self {
        let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
        let pad = window.pads[axis];
        let own = Self {
            stride,
            dilation,
            pad,
            input,
            output,
            pitch: 0,
            reach: 0,
        };
        let back = own.tap(0).1.min(0).unsigned_abs();
        let ahead = own.tap(window.kernel[axis] - 1).1.max(0) as usize;
        let longest = own.extent(0);
        let after = (ahead + output).saturating_sub(longest);
        let pitch = (longest + back.max(after)).max(output);
        Self {
            pitch,
            reach: back.max(ahead),
            ..own
        }
    }

    /// The phase and the shift of a tap.
    fn tap(&self, tap: usize) -> (usize, isize) {
        let distance = (tap * self.dilation) as isize - self.pad as isize;
        let stride = self.stride as isize;
        (
            distance.rem_euclid(stride) as usize,
            distance.div_euclid(stride),
        )
    }

    /// Entries of a phase.
    fn extent(&self, phase: usize) -> usize {
        (self.input + self.stride - 1 - phase) / self.stride
    }
}

/// A tap of a window: the phase that it reads, as a place in [`Layout::phases`], and how far on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) phase: usize,
    pub(super) shift: isize,
}

/// The layout of the planes of some images, on both sides of a window.
#[derive(Debug)]
pub(super) struct Layout {
    axes: [Axis; 2],
    images: usize,
    /// Zeros before the first row: as far as a tap reaches back.
    pub(super) lead: usize,
    /// Floats of a plane of all images.
    pub(super) len: usize,
    /// The phases that taps read, `[vertical, horizontal]`.
    pub(super) phases: Vec<[usize; 2]>,
    /// Every tap, row-major.
    pub(super) taps: Vec<Tap>,
}

impl Layout {
    /// For `images` planes of `input` to `output` (height, width).
    pub(super) fn new(
        window: &Window,
        input: [usize; 2],
        output: [usize; 2],
        images: usize,
    ) -> Self {
        let axis = |a: usize| Axis::new(window, a, input[a], output[a]);
        let axes = [axis(0), axis(1)];
        let pitch = axes[1].pitch;
        let lead = ((axes[0].reach + 1) * pitch).next_multiple_of(ROUND);
        let len = (lead + images * axes[0].pitch * pitch).next_multiple_of(ROUND) + lead + ROUND;
        let (mut phases, mut taps) = (Vec::new(), Vec::new());
        for ky in 0..window.kernel[0] {
            for kx in 0..window.kernel[1] {
                let ((py, y), (px, x)) = (axes[0].tap(ky), axes[1].tap(kx));
                let phase = phases
                    .iter()
                    .position(|&p| p == [py, px])
                    .unwrap_or_else(|| {
                        phases.push([py, px]);
                        phases.len() - 1
                    });
                taps.push(Tap {
                    phase,
                    shift: y * pitch as isize + x,
                });
            }
        }
        Self {
            axes,
            images,
            lead,
            len,
            phases,
            taps,
        }
    }

    /// Places from the first output to the last.
    pub(super) fn outputs(&self) -> usize {
        self.span([self.axes[0].output, self.axes[1].output])
    }

    /// Places from the first entry of a phase to the last.
    pub(super) fn inputs(&self) -> usize {
        self.span([self.axes[0].extent(0), self.axes[1].extent(0)])
    }

    fn span(&self, [height, width]: [usize; 2]) -> usize {
        let [y, x] = &self.axes;
        (self.images * y.pitch + height).saturating_sub(y.pitch + 1) * x.pitch + width
    }

    /// Lays out one phase of one channel: `x` holds the channel's plane of each image, `distance`
    /// apart.
    pub(super) fn put_phase(&self, phase: [usize; 2], x: &[f32], distance: usize, to: &mut [f32]) {
        self.put(self.phase(phase), x, distance, to);
    }

    /// The reverse of [`Layout::put_phase`]; `from` begins with the first entry, not the lead.
    pub(super) fn get_phase(
        &self,
        phase: [usize; 2],
        from: &[f32],
        x: &mut [f32],
        distance: usize,
    ) {
        self.get(self.phase(phase), from, x, distance);
    }

    /// Lays out one channel of an output, as [`Layout::put_phase`] one of an input.
    pub(super) fn put_output(&self, y: &[f32], distance: usize, to: &mut [f32]) {
        self.put((0, self.whole_output()), y, distance, to);
    }

    /// The reverse of [`Layout::put_output`]; `from` begins with the first entry, not the lead.
    pub(super) fn get_output(&self, from: &[f32], y: &mut [f32], distance: usize) {
        self.get((0, self.whole_output()), from, y, distance);
    }

    /// Where a phase begins in its plane, and how it lies there.
    fn phase(&self, [top, left]: [usize; 2]) -> (usize, Plane) {
        let [y, x] = &self.axes;
        let (height, width) = (y.extent(top), x.extent(left));
        let plane = Plane {
            height,
            width,
            pitch: y.stride * x.input,
            step: x.stride,
        };
        (top * x.input + left, plane)
    }

    fn whole_output(&self) -> Plane {
        let [height, width] = [self.axes[0].output, self.axes[1].output];
        Plane {
            height,
            width,
            pitch: width,
            step: 1,
        }
    }

    fn put(&self, (start, plane): (usize, Plane), x: &[f32], distance: usize, to: &mut [f32]) {
        let [pitch, rows] = [self.axes[1].pitch, self.axes[0].pitch];
        let (lead, to) = to.split_at_mut(self.lead);
        lead.fill(0.0);
        for (image, to) in (0..self.images).zip(to.chunks_exact_mut(rows * pitch)) {
            if plane.height * plane.width > 0 {
                spread(to, pitch, &x[image * distance + start..], plane);
            }
            to[plane.height * pitch..].fill(0.0);
        }
        to[self.images * rows * pitch..].fill(0.0);
    }

    fn get(&self, (start, plane): (usize, Plane), from: &[f32], x: &mut [f32], distance: usize) {
        let [pitch, rows] = [self.axes[1].pitch, self.axes[0].pitch];
        for image in 0..self.images {
            if plane.height * plane.width > 0 {
                let x = &mut x[image * distance + start..];
                collect(x, plane, &from[image * rows * pitch..], pitch);
            }
        }
    }
}
