//! How training images vary: cut and resized, shifted, mirrored. On bytes, so that a teacher can
//! see the same.

use exbit_model::data::resized_part;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::recipe::Augment;

/// Appends `image`, `[height, width, channels]`, to `out`, as a fresh view of it: a part of it
/// resized to the whole, shifted, mirrored; what comes in from outside is black.
pub(crate) fn view(
    image: &[u8],
    shape: [usize; 3],
    how: Augment,
    random: &mut ChaCha8Rng,
    out: &mut Vec<u8>,
) {
    if how.area < 1.0 {
        let part = part(shape, how.area, random);
        moved(&resized_part(image, shape, part), shape, how, random, out);
    } else {
        moved(image, shape, how, random, out);
    }
}

/// A number from 0 to below 1.
fn unit(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / 2f64.powi(32)
}

/// One of `0..n`.
fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(random.next_u32()) * n as u64) >> 32) as usize
}

/// `[top, left, height, width]` of a part of at least `area` of the image, its sides in a ratio
/// from 3:4 to 4:3 (evenly in its logarithm) of the image's, as Inception was trained (Szegedy et
/// al. 2015).
fn part([height, width, _]: [usize; 3], area: f64, random: &mut ChaCha8Rng) -> [usize; 4] {
    let share = area + (1.0 - area) * unit(random);
    // No side is longer than the image's.
    let most = (4.0f64 / 3.0).min(1.0 / share);
    let slant = most.powf(2.0 * unit(random) - 1.0);
    let side =
        |extent: usize, part: f64| ((extent as f64 * part).round() as usize).clamp(1, extent);
    let h = side(height, (share * slant).sqrt());
    let w = side(width, (share / slant).sqrt());
    [
        below(random, height - h + 1),
        below(random, width - w + 1),
        h,
        w,
    ]
}

fn moved(
    image: &[u8],
    [height, width, channels]: [usize; 3],
    how: Augment,
    random: &mut ChaCha8Rng,
    out: &mut Vec<u8>,
) {
    let [down, right] = [0; 2].map(|_: usize| below(random, 2 * how.shift + 1));
    let mirrored = below(random, 2) == 1 && how.mirror;
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
                area: 1.0,
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
            area: 1.0,
            shift: 0,
            mirror: false,
        };
        let mut out = Vec::new();
        view(&image, shape, still, &mut random, &mut out);
        assert_eq!(out, image);
    }

    #[test]
    fn a_part_has_its_share_and_fills_the_image() {
        let shape = [12, 16, 3];
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let [top, left, h, w] = part(shape, 0.25, &mut random);
            assert!(top + h <= 12 && left + w <= 16);
            let share = (h * w) as f64 / 192.0;
            assert!((0.2..=1.0).contains(&share), "{h} x {w}");
        }
        let how = Augment {
            area: 0.25,
            shift: 0,
            mirror: false,
        };
        let mut out = Vec::new();
        view(&[90; 576], shape, how, &mut random, &mut out);
        assert_eq!(out, [90; 576], "one light stays that light");
    }
}
