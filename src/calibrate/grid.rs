//! From what was seen of an activation to its grid: range, scale, zero.
//!
//! An activation that is never below zero has its zero at code 0 and all codes above it; another
//! is affine, its zero a whole code so that padding is exact. The range is clipped by one of three
//! rules; `Mse` minimises `sum_x n(x) (x - Q(x))^2` over a line of clippings, each end in turn.

use exbit_kernels::{Bits, Grid};

use super::Histogram;

/// How the range of an activation is clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clipping {
    /// Not at all: the least and the greatest number seen.
    MinMax,
    /// A share of numbers (0.5 to 1, say 0.99999) lies inside each end.
    Percentile(f64),
    /// The least mean squared error of rounding and clipping together.
    Mse,
}

impl std::fmt::Display for Clipping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Clipping::MinMax => f.write_str("minmax"),
            Clipping::Percentile(share) => write!(f, "percentile {share}"),
            Clipping::Mse => f.write_str("mse"),
        }
    }
}

/// The grid of `bits` for what `seen` holds. One that saw nothing, or only zeros, gets scale 1.
pub fn grid(seen: &Histogram, bits: Bits, clipping: Clipping) -> Grid {
    let Some((min, max)) = seen.range() else {
        return Grid {
            bits,
            scale: 1.0,
            zero: 0,
        };
    };
    match clipping {
        Clipping::MinMax => from_range(min, max, bits),
        Clipping::Percentile(p) => from_range(seen.quantile(1.0 - p), seen.quantile(p), bits),
        Clipping::Mse => least_squares(seen, min, max, bits),
    }
}

/// The grid whose ends are near `lo` and `hi`, 0.0 being one of its points.
fn from_range(lo: f32, hi: f32, bits: Bits) -> Grid {
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let levels = f32::from(bits.levels());
    let scale = (hi - lo) / levels;
    if !scale.is_normal() {
        return Grid {
            bits,
            scale: 1.0,
            zero: 0,
        };
    }
    Grid {
        bits,
        scale,
        zero: (-lo / scale).round_ties_even().clamp(0.0, levels) as u8,
    }
}

fn least_squares(seen: &Histogram, min: f32, max: f32, bits: Bits) -> Grid {
    const STEPS: u32 = 50;
    const ROUNDS: usize = 2;
    let bins: Vec<(f64, f64)> = seen.bins().map(|(x, n)| (x, n as f64)).collect();
    let (mut lo, mut hi) = (min.min(0.0), max.max(0.0));
    let mut best = (squared_error(&bins, from_range(lo, hi, bits)), lo, hi);
    for _ in 0..ROUNDS {
        let (full_lo, full_hi) = (min.min(0.0), max.max(0.0));
        for i in 1..=STEPS {
            let candidate = full_hi * i as f32 / STEPS as f32;
            let error = squared_error(&bins, from_range(lo, candidate, bits));
            if error < best.0 {
                best = (error, lo, candidate);
            }
        }
        hi = best.2;
        if full_lo == 0.0 {
            break;
        }
        for i in 1..=STEPS {
            let candidate = full_lo * i as f32 / STEPS as f32;
            let error = squared_error(&bins, from_range(candidate, hi, bits));
            if error < best.0 {
                best = (error, candidate, hi);
            }
        }
        lo = best.1;
    }
    from_range(best.1, best.2, bits)
}

fn squared_error(bins: &[(f64, f64)], grid: Grid) -> f64 {
    let (scale, zero) = (f64::from(grid.scale), f64::from(grid.zero));
    let (first, last) = (-zero, f64::from(grid.bits.levels()) - zero);
    let inverse = 1.0 / scale;
    let error = |x: f64| x - scale * (x * inverse).round_ties_even().clamp(first, last);
    bins.iter().map(|&(x, n)| n * error(x) * error(x)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        h.add(numbers);
        h
    }

    #[test]
    fn zero_is_always_a_point_of_the_grid() {
        for (lo, hi) in [(0.0, 6.0), (-1.0, 3.0), (-5.0, -1.0), (2.0, 4.0)] {
            for b in 1..=8 {
                let bits = Bits::new(b).unwrap();
                for clipping in [Clipping::MinMax, Clipping::Percentile(0.999), Clipping::Mse] {
                    let g = grid(&seen(&[lo, hi]), bits, clipping);
                    assert_eq!(g.value(g.zero), 0.0);
                    assert!(g.zero <= bits.levels() && g.scale > 0.0, "{g:?}");
                }
            }
        }
    }

    #[test]
    fn an_outlier_is_clipped_at_few_bits_only() {
        let mut numbers: Vec<f32> = (0..10_000).map(|i| i as f32 / 10_000.0).collect();
        numbers.push(20.0);
        let top = |b| {
            let bits = Bits::new(b).unwrap();
            let g = grid(&seen(&numbers), bits, Clipping::Mse);
            g.value(bits.levels())
        };
        assert!(top(3) < 4.0, "{}", top(3));
        assert!(top(8) > top(3));
    }

    #[test]
    fn nothing_seen_is_harmless() {
        let bits = Bits::EIGHT;
        assert_eq!(grid(&Histogram::default(), bits, Clipping::Mse).scale, 1.0);
        assert_eq!(grid(&seen(&[0.0, 0.0]), bits, Clipping::Mse).scale, 1.0);
    }
}
