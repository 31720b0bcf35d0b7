//! What the walk in reverse starts from: one cotangent at the logits of each image.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Softmax of one row of logits, in `f64`.
pub(super) fn softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits
        .iter()
        .fold(f64::NEG_INFINITY, |m, &z| m.max(f64::from(z)));
    let exp: Vec<f64> = logits.iter().map(|&z| (f64::from(z) - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}

/// What logits are divided by before their Fisher matrix is taken.
const TEMPERATURE: f32 = 2.0;

/// `sqrt(p) * e - p <sqrt(p), e>` with `p = softmax(logits / T)` and `e` random signs: its mean
/// square is the Fisher matrix `diag(p) - p p'`. Image `image` of a run always gets the same signs.
pub(super) fn fisher(logits: &[f32], seed: u64, image: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(image as u64);
    let cooled: Vec<f32> = logits.iter().map(|z| z / TEMPERATURE).collect();
    let p = softmax(&cooled);
    let mut signs = 0u64;
    let root: Vec<f64> = p
        .iter()
        .enumerate()
        .map(|(k, p)| {
            if k % 64 == 0 {
                signs = random.next_u64();
            }
            signs = signs.rotate_left(1);
            if signs & 1 == 0 { p.sqrt() } else { -p.sqrt() }
        })
        .collect();
    let dot: f64 = root.iter().sum();
    root.iter()
        .zip(&p)
        .map(|(r, p)| (r - p * dot) as f32)
        .collect()
}

/// The gradient of cross-entropy, `p - 1[label]`; without a label the network's own answer is it.
pub(super) fn cross_entropy(logits: &[f32], label: Option<usize>) -> Vec<f32> {
    let p = softmax(logits);
    let best = (0..p.len()).fold(0, |b, k| if p[k] > p[b] { k } else { b });
    let label = label.unwrap_or(best);
    p.iter()
        .enumerate()
        .map(|(k, &p)| (p - f64::from(u8::from(k == label))) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_square_of_the_seed_is_the_fisher_matrix() {
        let logits = [1.0, -0.5, 0.3, 2.0];
        let p = softmax(&logits.map(|z| z / TEMPERATURE));
        let n = 20_000;
        let mut f = [[0.0; 4]; 4];
        for i in 0..n {
            let z = fisher(&logits, 7, i);
            for (row, &a) in f.iter_mut().zip(&z) {
                row.iter_mut()
                    .zip(&z)
                    .for_each(|(f, &b)| *f += f64::from(a * b) / n as f64);
            }
        }
        for i in 0..4 {
            for j in 0..4 {
                let exact = if i == j {
                    p[i] - p[i] * p[i]
                } else {
                    -p[i] * p[j]
                };
                // Entries are at most 1/4 and means of n terms: 5 deviations are about 0.01.
                assert!(
                    (f[i][j] - exact).abs() < 0.01,
                    "{i} {j}: {} {exact}",
                    f[i][j]
                );
            }
        }
    }

    #[test]
    fn an_image_keeps_its_signs() {
        assert_eq!(fisher(&[0.1; 100], 3, 5), fisher(&[0.1; 100], 3, 5));
        assert_ne!(fisher(&[0.1; 100], 3, 5), fisher(&[0.1; 100], 3, 6));
    }
}
