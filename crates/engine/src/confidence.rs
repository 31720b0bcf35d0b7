//! How sure logits are, in arithmetic that every machine does alike: an image leaves at the same
//! exit wherever it runs. Hence our own exponential and logarithm, of additions, products and
//! quotients only; both are within some units of the last place of `f64`, and results are rounded
//! to `f32` once.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// The class of the largest logit; of equal ones the earliest.
pub fn likeliest(logits: &[f32]) -> usize {
    let larger = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).reduce(larger).unwrap_or(0)
}

/// The largest probability of the softmax, `1 / sum_i exp(z_i - max z)`: from `1 / classes` to 1.
/// Not a number where a logit is none.
pub fn max_softmax(logits: &[f32]) -> f32 {
    let max = largest(logits);
    let sum: f64 = logits.iter().map(|&z| exp(f64::from(z) - max)).sum();
    (1.0 / sum) as f32
}

/// The entropy of the softmax as a share of the largest possible, `ln(classes)`: from 0, sure, to
/// 1, no idea. With `d_i = z_i - max z` and `S = sum_i exp(d_i)` it is
/// `(ln S - sum_i d_i exp(d_i) / S) / ln(classes)`. Not a number where a logit is none.
pub fn entropy(logits: &[f32]) -> f32 {
    let max = largest(logits);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for &z in logits {
        let d = f64::from(z) - max;
        let e = exp(d);
        sum += e;
        // A class of no probability adds nothing, also where its logit is minus infinity.
        weighted += if e == 0.0 { 0.0 } else { d * e };
    }
    let most = ln(logits.len().max(2) as f64);
    ((ln(sum) - weighted / sum) / most).clamp(0.0, 1.0) as f32
}

fn largest(logits: &[f32]) -> f64 {
    f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// `1 / n!` from n = 13 down to 0.
const INVERSE_FACTORIALS: [f64; 14] = {
    let (mut inverses, mut factorial, mut n) = ([1.0; 14], 1.0, 1);
    while n < 14 {
        factorial *= n as f64;
        inverses[13 - n] = 1.0 / factorial;
        n += 1;
    }
    inverses
};

/// `e^x` of an `x` of at most 0: `2^k e^r` with `|r| <= ln 2 / 2`, whose Taylor series is below
/// the last place after 14 terms.
fn exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    let k = (x * LOG2_E).round();
    let r = x - k * LN_2;
    let series = INVERSE_FACTORIALS.iter().fold(0.0, |sum, c| sum * r + c);
    series * f64::from_bits(((1023 + k as i64) as u64) << 52)
}

/// `ln x` of an `x` of at least 1: `k ln 2 + 2 artanh((m - 1) / (m + 1))` for `x = 2^k m`, `m`
/// about 1, with a dozen terms of the series of artanh.
fn ln(x: f64) -> f64 {
    let (mut k, mut m) = (((x.to_bits() >> 52) & 0x7ff) as f64 - 1023.0, x);
    m = f64::from_bits((m.to_bits() & ((1 << 52) - 1)) | (1023 << 52));
    if x.is_nan() || x.is_infinite() {
        return x;
    }
    if m > SQRT_2 {
        (k, m) = (k + 1.0, m / 2.0);
    }
    let s = (m - 1.0) / (m + 1.0);
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, n| sum * (s * s) + 1.0 / f64::from(2 * n + 1));
    k * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_and_the_logarithm_are_those_of_the_books() {
        for i in 0..20_000 {
            let x = -f64::from(i) * 0.037;
            let expected = x.exp();
            let close = (exp(x) - expected).abs() <= 1e-13 * expected;
            assert!(close || x < -700.0, "exp({x})");
            let y = 1.0 + f64::from(i) * f64::from(i) * 0.0137;
            assert!((ln(y) - y.ln()).abs() <= 1e-14 * y.ln().max(1.0), "ln({y})");
        }
        assert_eq!((exp(0.0), exp(-1e9), ln(1.0)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn known_distributions() {
        assert_eq!(max_softmax(&[3.0; 8]), 0.125);
        assert!((entropy(&[3.0; 8]) - 1.0).abs() < 1e-6);
        assert_eq!((max_softmax(&[0.0, 1e4]), entropy(&[0.0, 1e4])), (1.0, 0.0));
        assert_eq!((max_softmax(&[7.0]), entropy(&[7.0])), (1.0, 0.0));
        // Odds of three to one.
        let logits = [0.0, 3f32.ln()];
        assert!((max_softmax(&logits) - 0.75).abs() < 1e-6);
        assert!((entropy(&logits) - 0.811_278).abs() < 1e-6);
        assert_eq!(entropy(&[1.0, f32::NEG_INFINITY]), 0.0);
    }

    #[test]
    fn what_is_no_number_is_never_sure() {
        for logits in [
            [0.0, f32::NAN],
            [f32::INFINITY, f32::INFINITY],
            [f32::NAN; 2],
        ] {
            assert!(max_softmax(&logits).is_nan(), "{logits:?}");
            assert!(entropy(&logits).is_nan(), "{logits:?}");
        }
        assert_eq!(likeliest(&[1.0, 2.0, 2.0]), 1);
    }
}
