//! Weight quantizers: codes of a layer's weight at a bit-width, one scale per output channel.
//!
//! The scale of a channel minimises `sum_j h_j (w_j - s q_j)^2`, `q_j = clip(rne(w_j / s))`, over a
//! line of candidates; `h` is the importance of each column (the mean square of what it multiplies)
//! or 1. Codes are two's complement and so reach one step further down than up: a channel whose
//! heavy side is positive takes a negative scale. We decided this; it costs nothing at run time.
//! One bit is -1 and +1 with `s = sum h |w| / sum h`, the minimiser in closed form (XNOR-Net).

use exbit_kernels::Bits;
use exbit_model::Tensor;
use rayon::prelude::*;

/// A layer's weight as codes, in the order of the float weight.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeight {
    /// Bit-width of each code.
    pub bits: Bits,
    /// Codes, row-major; rows are output channels.
    pub codes: Vec<i8>,
    /// One per output channel: `w = scale * code`.
    pub scale: Vec<f32>,
}

impl QuantizedWeight {
    /// The float weight that the codes stand for, in the shape of `like`.
    pub fn dequantize(&self, like: &Tensor) -> Tensor {
        let mut out = Tensor::zeros(like.shape().to_vec());
        let n = like.row_len();
        for (c, &scale) in self.scale.iter().enumerate() {
            let codes = &self.codes[c * n..(c + 1) * n];
            for (w, &code) in out.row_mut(c).iter_mut().zip(codes) {
                *w = scale * f32::from(code);
            }
        }
        out
    }
}

/// How wide the grid of a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightRange {
    /// The largest weight is the largest code.
    MinMax,
    /// The least squared error over a line of candidates.
    Mse,
}

/// Quantizes `weight` to the nearest codes. `importance` has one entry per column (entries of a
/// row), or is empty for 1 everywhere.
pub fn quantize_weight(
    weight: &Tensor,
    bits: Bits,
    range: WeightRange,
    importance: &[f32],
) -> QuantizedWeight {
    let n = weight.row_len();
    let rows: Vec<(f32, Vec<i8>)> = weight
        .data()
        .par_chunks_exact(n)
        .map(|row| {
            let scale = row_scale(row, bits, range, importance);
            (
                scale,
                row.iter().map(|w| bits.weight_code(w / scale)).collect(),
            )
        })
        .collect();
    let scale = rows.iter().map(|(s, _)| *s).collect();
    let codes = rows.into_iter().flat_map(|(_, codes)| codes).collect();
    QuantizedWeight { bits, codes, scale }
}

/// The scale of one channel; never zero.
pub(crate) fn row_scale(row: &[f32], bits: Bits, range: WeightRange, importance: &[f32]) -> f32 {
    const CANDIDATES: usize = 80;
    let largest = row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    if largest == 0.0 || !largest.is_normal() {
        return 1.0;
    }
    if bits.get() == 1 {
        let ones = [1.0f32];
        let h = || {
            if importance.is_empty() {
                ones.iter()
            } else {
                importance.iter()
            }
        };
        let h = || h().cycle().take(row.len());
        let sum: f32 = row.iter().zip(h()).map(|(w, h)| h * w.abs()).sum();
        let total: f32 = h().sum();
        return if sum > 0.0 { sum / total } else { largest };
    }
    let (lo, hi) = bits.weight_range();
    let (down, up) = (-f32::from(lo), f32::from(hi));
    // The side with the larger extreme goes to the longer half of the codes.
    let heavy = row
        .iter()
        .copied()
        .fold(0.0f32, |m, w| if w.abs() > m.abs() { w } else { m });
    let sign = -heavy.signum();
    if range == WeightRange::MinMax {
        return sign * largest / down;
    }
    let widest = largest / up;
    let mut best = (f32::INFINITY, widest);
    for i in 1..=CANDIDATES {
        let step = widest * (0.2 + 0.8 * i as f32 / CANDIDATES as f32);
        for scale in [step, -step] {
            let error = row_error(row, scale, (-down, up), importance);
            if error < best.0 {
                best = (error, scale);
            }
        }
    }
    best.1
}

/// `sum_j h_j (w_j - s q_j)^2`. Rounding by adding and taking away 1.5 * 2^23 is rounding half to
/// even for the few codes there are, and vectorises on any CPU.
fn row_error(row: &[f32], scale: f32, (lo, hi): (f32, f32), importance: &[f32]) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    let inverse = 1.0 / scale;
    let error = |w: f32| {
        let code = ((w * inverse).max(lo).min(hi) + MAGIC) - MAGIC;
        let e = w - scale * code;
        e * e
    };
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let mut rest = 0.0;
    let whole = row.len() / LANES * LANES;
    if importance.is_empty() {
        for chunk in row[..whole].chunks_exact(LANES) {
            for l in 0..LANES {
                sums[l] += error(chunk[l]);
            }
        }
        rest += row[whole..].iter().map(|&w| error(w)).sum::<f32>();
    } else {
        let h = &importance[..row.len()];
        for (chunk, h) in row[..whole].chunks_exact(LANES).zip(h.chunks_exact(LANES)) {
            for l in 0..LANES {
                sums[l] += h[l] * error(chunk[l]);
            }
        }
        rest += row[whole..]
            .iter()
            .zip(&h[whole..])
            .map(|(&w, h)| h * error(w))
            .sum::<f32>();
    }
    rest + sums.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(b: u8) -> Bits {
        Bits::new(b).unwrap()
    }

    #[test]
    fn a_grid_of_weights_is_found_again() {
        for b in 2..=8 {
            let (lo, hi) = bits(b).weight_range();
            let data: Vec<f32> = (lo..=hi).map(|q| 0.25 * f32::from(q)).collect();
            let weight = Tensor::new(vec![1, data.len()], data).unwrap();
            let q = quantize_weight(&weight, bits(b), WeightRange::MinMax, &[]);
            assert_eq!(q.dequantize(&weight), weight, "{b} bits");
        }
    }

    #[test]
    fn the_heavy_side_gets_the_longer_half() {
        let weight = Tensor::new(vec![1, 4], vec![0.0, -0.5, 0.5, 1.0]).unwrap();
        let q = quantize_weight(&weight, bits(2), WeightRange::MinMax, &[]);
        assert_eq!((q.scale[0], &q.codes[..]), (-0.5, &[0, 1, -1, -2][..]));
    }

    #[test]
    fn a_wider_code_never_fits_worse() {
        let data: Vec<f32> = (0..97)
            .map(|i| ((i * 37 % 97) as f32 / 48.0 - 1.0).powi(3))
            .collect();
        let weight = Tensor::new(vec![1, 97], data).unwrap();
        let mut last = f32::INFINITY;
        for b in 1..=8 {
            let q = quantize_weight(&weight, bits(b), WeightRange::Mse, &[]).dequantize(&weight);
            let error = weight
                .data()
                .iter()
                .zip(q.data())
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            assert!(error < last, "{b} bits: {error} after {last}");
            last = error;
        }
    }

    #[test]
    fn a_channel_of_zeros_is_harmless() {
        let weight = Tensor::zeros(vec![2, 3]);
        let q = quantize_weight(&weight, bits(4), WeightRange::Mse, &[]);
        assert_eq!(q.dequantize(&weight), weight);
    }
}
