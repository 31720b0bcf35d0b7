//! Views of an image: shifted by up to an eighth of its sides, mirrored half of the time.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// The images `x`, `(N, C, H, W)`, each seen in its own way; borders are repeated where a shift
/// uncovers them. Inputs of another rank come back as they are.
pub(super) fn seen(x: &[f32], shape: &[usize], random: &mut ChaCha8Rng) -> Vec<f32> {
    let &[channels, h, w] = shape else {
        return x.to_vec();
    };
    let mut out = Vec::with_capacity(x.len());
    for image in x.chunks_exact(channels * h * w) {
        let (dy, dx) = (shift(h, random), shift(w, random));
        let mirrored = random.next_u32().is_multiple_of(2);
        for plane in image.chunks_exact(h * w) {
            for y in 0..h {
                let row = &plane[y.saturating_add_signed(dy).min(h - 1) * w..][..w];
                out.extend((0..w).map(|x| {
                    let x = if mirrored { w - 1 - x } else { x };
                    row[x.saturating_add_signed(dx).min(w - 1)]
                }));
            }
        }
    }
    out
}

/// A shift along a side of `extent`, at most an eighth of it either way.
fn shift(extent: usize, random: &mut ChaCha8Rng) -> isize {
    let most = extent / 8;
    (random.next_u64() % (2 * most as u64 + 1)) as isize - most as isize
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_view_is_the_image_shifted_and_perhaps_mirrored() {
        let (h, w) = (16, 16);
        let x: Vec<f32> = (0..h * w).map(|i| i as f32).collect();
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut mirrored = 0;
        for _ in 0..64 {
            let view = seen(&x, &[1, h, w], &mut random);
            // The middle is far from any border: where the pixel came from says what was done.
            let (at, next) = (view[8 * w + 8], view[8 * w + 9]);
            let step = next - at;
            assert!(step.abs() == 1.0, "{step}");
            mirrored += usize::from(step < 0.0);
            let (y, x) = (at as usize / w, at as usize % w);
            let x = if step < 0.0 { w - 1 - x } else { x };
            assert!((6..=10).contains(&y) && (5..=10).contains(&x), "{y} {x}");
        }
        assert!((16..48).contains(&mirrored), "{mirrored} of 64");
    }

    #[test]
    fn vectors_stay_as_they_are() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(seen(&[1.0, 2.0], &[2], &mut random), [1.0, 2.0]);
    }
}
