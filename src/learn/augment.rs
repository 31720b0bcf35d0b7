//! How training images vary: shifted, mirrored. On bytes, so that a teacher can see the same.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::recipe::Augment;

/// Appends `image`, `[height, width, channels]`, to `out`, as a fresh view of it; what comes in from
/// outside is black.
pub(crate) fn view(
    image: &[u8],
    [height, width, channels]: [usize; 3],
    how: Augment,
    random: &mut ChaCha8Rng,
    out: &mut Vec<u8>,
) {
    let mut below = |n: usize| ((u64::from(random.next_u32()) * n as u64) >> 32) as usize;
    let [down, right] = [0; 2].map(|_: usize| below(2 * how.shift + 1));
    let mirrored = below(2) == 1 && how.mirror;
    for y in 0..height {
        // Unsigned: what would be negative is far above the height.
        let y = (y + how.shift).wrapping_sub(down);
        for x in 0..width {
            let x = if mirrored { width - 1 - x } else { x };
            let x = (x + how.shift).wrapping_sub(right);
            if y < height && x < width {
                out.extend_from_slice(&image[(y * width + x) * channels..][..channels]);
            } else {
                out.resize(out.len() + channels, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_view_is_the_image_moved_and_perhaps_mirrored() {
        let shape = [8, 8, 1];
        let image: Vec<u8> = (100..164).collect();
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let (mut mirrored, mut moved) = (0, 0);
        for _ in 0..64 {
            let mut out = Vec::new();
            let how = Augment {
                shift: 2,
                mirror: true,
            };
            view(&image, shape, how, &mut random, &mut out);
            assert_eq!(out.len(), 64);
            // The middle always comes from inside the image.
            let step = i16::from(out[4 * 8 + 4]) - i16::from(out[4 * 8 + 3]);
            assert!(step.abs() == 1, "{out:?}");
            mirrored += usize::from(step < 0);
            moved += usize::from(out.contains(&0));
        }
        assert!(
            (16..48).contains(&mirrored) && moved > 32,
            "{mirrored} {moved}"
        );
        let still = Augment {
            shift: 0,
            mirror: false,
        };
        let mut out = Vec::new();
        view(&image, shape, still, &mut random, &mut out);
        assert_eq!(out, image);
    }
}
