//! The geometry of a sliding window: which positions of its input an output position reads.

use std::ops::Range;

/// The geometry of a sliding window, `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Extent.
    pub kernel: [usize; 2],
    /// Step between outputs.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// `[top, left, bottom, right]`: positions outside the input that the window may reach. There
    /// a convolution and a counting mean read 0.0; a maximum and an excluding mean read nothing.
    pub pads: [usize; 4],
}

impl Window {
    /// A `kernel` x `kernel` window with stride `stride` and `pad` on every side.
    pub const fn square(kernel: usize, stride: usize, pad: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pads: [pad; 4],
        }
    }

    /// The output extents `[height, width]` on an input of `height` x `width`; `None` where the
    /// window does not fit, an extent of it is zero, or a sum overflows.
    pub fn output(&self, height: usize, width: usize) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.pads;
        let extent = |size: usize, before: usize, after: usize, axis: usize| {
            let taps = self.kernel[axis].checked_sub(1)?;
            let span = taps.checked_mul(self.dilation[axis])?.checked_add(1)?;
            let padded = size.checked_add(before)?.checked_add(after)?;
            let steps = padded.checked_sub(span)?.checked_div(self.stride[axis])?;
            (self.dilation[axis] > 0).then_some(steps + 1)
        };
        Some([
            extent(height, top, bottom, 0)?,
            extent(width, left, right, 1)?,
        ])
    }

    /// The taps along `axis` (0: height, 1: width) that lie inside an input of `size` positions
    /// when the window makes output `o`.
    #[inline]
    pub fn taps(&self, axis: usize, o: usize, size: usize) -> Range<usize> {
        let (step, start) = (self.dilation[axis], o * self.stride[axis]);
        let pad = self.pads[axis];
        // Hardly any window is dilated, and a division takes as long as a row.
        let taps = |n: usize| if step == 1 { n } else { n.div_ceil(step) };
        let first = taps(pad.saturating_sub(start));
        let last = taps((size + pad).saturating_sub(start));
        first.min(self.kernel[axis])..last.min(self.kernel[axis])
    }

    /// The lines of an input of `height` that the lines `outputs`, one at least, are made of.
    pub fn lines(&self, outputs: Range<usize>, height: usize) -> Range<usize> {
        let inside = |line: usize| line.saturating_sub(self.pads[0]).min(height);
        let start = outputs.start * self.stride[0];
        inside(start)..inside(start + self.span(outputs.len()))
    }

    /// How many lines, those outside the input counted, make `outputs` lines, one at least.
    pub fn span(&self, outputs: usize) -> usize {
        (outputs - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
    }

    /// The input position along `axis` that tap `tap` of output `o` reads; the tap lies inside.
    #[inline]
    pub fn position(&self, axis: usize, o: usize, tap: usize) -> usize {
        o * self.stride[axis] + tap * self.dilation[axis] - self.pads[axis]
    }

    /// The number of taps.
    pub fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_extents_round_down_and_never_overflow() {
        assert_eq!(Window::square(3, 2, 1).output(32, 31), Some([16, 16]));
        assert_eq!(Window::square(3, 1, 0).output(2, 8), None);
        assert_eq!(Window::square(0, 1, 0).output(2, 8), None);
        assert_eq!(Window::square(1, 0, 0).output(2, 8), None);
        assert_eq!(Window::square(3, 1, usize::MAX).output(2, 8), None);
        let flat = Window {
            dilation: [0, 0],
            ..Window::square(3, 1, 0)
        };
        assert_eq!(flat.output(8, 8), None);
    }

    #[test]
    fn taps_are_those_whose_position_lies_inside() {
        for (kernel, stride, dilation, pad, size) in [
            (3, 1, 1, 1, 5),
            (3, 2, 2, 3, 6),
            (5, 3, 1, 4, 7),
            (2, 1, 3, 5, 4),
            (7, 2, 1, 3, 3),
        ] {
            let square = Window::square(kernel, stride, pad);
            let window = Window {
                dilation: [dilation; 2],
                ..square
            };
            for o in 0..window.output(size, size).unwrap()[0] {
                let at = |tap: usize| (o * stride + tap * dilation).checked_sub(pad);
                let inside: Vec<usize> = (0..kernel)
                    .filter(|&t| at(t).is_some_and(|i| i < size))
                    .collect();
                let taps: Vec<usize> = window.taps(0, o, size).collect();
                assert_eq!(taps, inside, "{window:?} at {o}");
                let lines = window.lines(o..o + 1, size);
                let read = |&t: &usize| lines.contains(&window.position(0, o, t));
                assert!(taps.iter().all(read), "{window:?} at {o}");
                assert!(
                    taps.iter()
                        .all(|&t| window.position(0, o, t) == at(t).unwrap())
                );
            }
        }
    }
}
