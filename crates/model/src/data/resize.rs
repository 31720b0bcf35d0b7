//! Resizing with antialiasing: the two-pass fixed-point resampling of Pillow, level for level, so
//! that an image means here what it meant where the network was trained.
//!
//! Along one axis, output `x` is the mean of the inputs around `centre = (x + 1/2) * scale`
//! weighted by `filter((i + 1/2 - centre) / max(scale, 1))`: a shrunken image averages all that it
//! covers. Weights are rounded to 22 fractional bits, sums to 8-bit levels after each pass; an
//! axis whose size stays has no pass.

use serde::{Deserialize, Serialize};

/// The kernel that weighs input pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle of support 1 (torchvision's default).
    #[default]
    Bilinear,
    /// Keys' cubic with a = -1/2, support 2.
    Bicubic,
}

/// A part of a resized image: output pixels `[first, first + count)` of `size`, made from
/// `source` pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) source: usize,
    pub(super) size: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// A part of `image`, `[height, width, channels]` of one or three channels, resized to the whole
/// size: `height` x `width` pixels from `top`, `left` on, which lie inside it. Bilinear.
///
/// # Panics
/// When `image` is not of its shape, or the part not inside.
pub fn resized_part(
    image: &[u8],
    [rows, columns, channels]: [usize; 3],
    [top, left, height, width]: [usize; 4],
) -> Vec<u8> {
    let rows_of_part = image.chunks_exact(columns * channels).skip(top);
    let part = left * channels..(left + width) * channels;
    let cut: Vec<u8> = rows_of_part
        .take(height)
        .flat_map(|row| &row[part.clone()])
        .copied()
        .collect();
    let axis = |source: usize, size: usize| Axis {
        source,
        size,
        first: 0,
        count: size,
    };
    let (y, x) = (axis(height, rows), axis(width, columns));
    resample(&cut, channels, y, x, Filter::Bilinear)
}

/// The window of `y` by `x` of the resized image; `image` is (y.source, x.source, C) levels and
/// so is the result: (y.count, x.count, C).
pub(super) fn resample(image: &[u8], channels: usize, y: Axis, x: Axis, filter: Filter) -> Vec<u8> {
    let rows = taps(y, filter);
    // Only the rows that the second pass will read.
    let top = rows.iter().map(|t| t.first).min().unwrap_or(0);
    let bottom = rows
        .iter()
        .map(|t| t.first + t.weights.len())
        .max()
        .unwrap_or(0);
    let stride = x.source * channels;
    let image = &image[top * stride..bottom * stride];
    let narrow = match channels {
        1 => horizontal::<1>(image, x, filter),
        _ => horizontal::<3>(image, x, filter),
    };
    if y.source == y.size {
        return narrow;
    }
    let stride = x.count * channels;
    let mut out = Vec::with_capacity(y.count * stride);
    let mut sums = vec![0i32; stride];
    for tap in &rows {
        sums.fill(HALF);
        for (i, &weight) in tap.weights.iter().enumerate() {
            let row = &narrow[(tap.first - top + i) * stride..][..stride];
            for (sum, &level) in sums.iter_mut().zip(row) {
                *sum += i32::from(level) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| level(sum)));
    }
    out
}

/// The first pass, along each row of `image` (rows, x.source, C): the result is
/// (rows, x.count, C).
fn horizontal<const C: usize>(image: &[u8], x: Axis, filter: Filter) -> Vec<u8> {
    let rows = image.chunks_exact(x.source * C);
    let mut out = Vec::with_capacity(rows.len() * x.count * C);
    if x.source == x.size {
        for row in rows {
            out.extend_from_slice(&row[x.first * C..(x.first + x.count) * C]);
        }
        return out;
    }
    let columns = taps(x, filter);
    for row in rows {
        for tap in &columns {
            let mut sums = [HALF; C];
            let pixels = row[tap.first * C..].chunks_exact(C);
            for (pixel, &weight) in pixels.zip(&tap.weights) {
                for (sum, &level) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(level) * weight;
                }
            }
            out.extend(sums.map(level));
        }
    }
    out
}

/// Fractional bits of a weight: 8 for the levels and 2 for overshoot leave 22 of 32.
const FRACTION: u32 = 22;
const HALF: i32 = 1 << (FRACTION - 1);

fn level(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

/// What one output reads: `weights.len()` inputs from `first` on.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

fn taps(axis: Axis, filter: Filter) -> Vec<Tap> {
    let positions = axis.first..axis.first + axis.count;
    if axis.source == axis.size {
        return positions
            .map(|first| Tap {
                first,
                weights: vec![1 << FRACTION],
            })
            .collect();
    }
    let scale = axis.source as f64 / axis.size as f64;
    let spread = scale.max(1.0);
    let support = filter.support() * spread;
    let tap = |position: usize| {
        let centre = (position as f64 + 0.5) * scale;
        // Float casts saturate: a negative end is 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(axis.source);
        let weigh = |i: usize| filter.weight((i as f64 - centre + 0.5) / spread);
        let real: Vec<f64> = (first..end).map(weigh).collect();
        let total: f64 = real.iter().sum();
        let fixed = |w: f64| (w / total * f64::from(1 << FRACTION)).round() as i32;
        Tap {
            first,
            weights: real.into_iter().map(fixed).collect(),
        }
    };
    positions.map(tap).collect()
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Filter::Bicubic => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(source: usize, size: usize) -> Axis {
        Axis {
            source,
            size,
            first: 0,
            count: size,
        }
    }

    #[test]
    fn weights_sum_to_one() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (source, size) in [(7, 3), (3, 7), (500, 256), (1, 9), (9, 1), (16384, 5)] {
                for tap in taps(whole(source, size), filter) {
                    let sum: i64 = tap.weights.iter().map(|&w| i64::from(w)).sum();
                    // Each weight is off by at most half a unit.
                    let slack = tap.weights.len() as i64;
                    assert!(
                        (sum - (1 << FRACTION)).abs() <= slack,
                        "{source} -> {size}: {sum}"
                    );
                    assert!(tap.first + tap.weights.len() <= source);
                }
            }
        }
    }

    #[test]
    fn a_ramp_is_resized_as_pillow_does() {
        // Image.fromarray(uint8 [[0, 10, 40, 90, 160, 250]]).resize((w, 1), filter), Pillow 13.
        let ramp = [0, 10, 40, 90, 160, 250];
        let cases: [(Filter, &[u8]); 4] = [
            (Filter::Bilinear, &[10, 70, 189]),
            (Filter::Bilinear, &[0, 5, 15, 35, 65, 102, 148, 205, 250]),
            (Filter::Bicubic, &[4, 65, 200]),
            (Filter::Bicubic, &[0, 3, 14, 34, 63, 100, 147, 212, 255]),
        ];
        for (filter, expected) in cases {
            let x = whole(ramp.len(), expected.len());
            assert_eq!(
                resample(&ramp, 1, whole(1, 1), x, filter),
                expected,
                "{filter:?}"
            );
            // The same along the other axis.
            assert_eq!(
                resample(&ramp, 1, x, whole(1, 1), filter),
                expected,
                "{filter:?}"
            );
        }
    }

    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let image: Vec<u8> = (0..20 * 30 * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let (y, x) = (whole(20, 11), whole(30, 17));
        let all = resample(&image, 3, y, x, Filter::Bicubic);
        let (y, x) = (
            Axis {
                first: 2,
                count: 5,
                ..y
            },
            Axis {
                first: 9,
                count: 6,
                ..x
            },
        );
        let part = resample(&image, 3, y, x, Filter::Bicubic);
        for row in 0..5 {
            let expected = &all[((row + 2) * 17 + 9) * 3..][..6 * 3];
            assert_eq!(&part[row * 6 * 3..][..6 * 3], expected);
        }
    }
}
