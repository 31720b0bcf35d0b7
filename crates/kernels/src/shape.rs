//! The extents of a convolution, and what follows from them alone.

use crate::Window;

/// The extents of a convolution on codes; all of them fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// `[height, width, channels]`.
    pub input: [usize; 3],
    /// `[height, width, channels]`.
    pub output: [usize; 3],
    /// Geometry.
    pub window: Window,
    /// Number of groups; divides both numbers of channels.
    pub groups: usize,
}

impl ConvShape {
    /// Products per output: the length of one row of weights.
    pub fn depth(&self) -> usize {
        self.window.area() * self.input[2] / self.groups
    }

    /// Whether each channel is convolved with its own window and nothing else.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.input[2] && self.groups == self.output[2]
    }

    /// Bytes that no kernel's packed weights and constants are more than: whoever has a shape from
    /// outside asks before packing.
    pub fn most_packed_bytes(&self) -> usize {
        let [kh, kw] = self.window.kernel;
        let [_, width, channels] = self.output;
        let product = |all: &[usize]| all.iter().fold(1usize, |n, &x| n.saturating_mul(x));
        // Channels fill vectors up, taps or codes fill up steps; a weight has two bytes at most.
        let weights = if self.is_depthwise() {
            let lanes = channels.next_multiple_of(64);
            product(&[lanes, kh.next_multiple_of(4), kw, 2])
        } else {
            let (read, made) = (self.input[2] / self.groups, channels / self.groups);
            let lanes = made.next_multiple_of(if made < 32 { 16 } else { 64 });
            product(&[
                self.groups,
                lanes,
                self.window.area(),
                read.next_multiple_of(16),
                2,
            ])
        };
        // Three numbers for each channel, and where pixels begin, of a batch of lines or of one.
        let constants = 12 * self.groups * (channels / self.groups).next_multiple_of(64);
        weights.saturating_add(constants + 4 * width.max(1024))
    }

    /// Multiply-accumulates of one image, taps outside it included.
    pub fn macs(&self) -> u64 {
        self.output.iter().map(|&n| n as u64).product::<u64>() * self.depth() as u64
    }
}
