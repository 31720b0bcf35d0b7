//! JPEG, baseline and progressive, to the very levels that libjpeg-turbo gives: behind it, by way
//! of Pillow, most networks were trained.

use libjpeg_turbo_rs::common::types::ComponentInfo;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, PixelFormat};

use super::decode::{MAX_PIXELS, Pixels, check_size, malformed};
use crate::Result;

/// How a JPEG begins: start of image, then a marker.
pub(super) const MAGIC: [u8; 3] = [0xFF, 0xD8, 0xFF];

/// The most passes of a progressive JPEG; encoders write about 10.
const MAX_SCANS: usize = 100;
/// The most bytes that the decoder may hold: levels, planes and, if progressive, coefficients.
const MAX_MEMORY: u64 = 12 * MAX_PIXELS as u64;

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels> {
    if !is_whole(bytes) {
        return Err(malformed("JPEG", "it is truncated, with no end marker"));
    }
    let limits = DecodeLimits {
        max_scans: MAX_SCANS,
        max_memory: Some(MAX_MEMORY),
        ..DecodeLimits::default()
    };
    let wrong = |e| malformed("JPEG", e);
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(wrong)?;
    let header = decoder.header();
    let (height, width) = (usize::from(header.height), usize::from(header.width));
    check_size(height, width)?;
    if !is_sampled_as_usual(&header.components) {
        return Err(malformed(
            "JPEG",
            "its chroma is sampled as no encoder does",
        ));
    }
    let (format, channels) = match decoder.jpeg_color_space() {
        ColorSpace::Grayscale => (PixelFormat::Grayscale, 1),
        ColorSpace::YCbCr | ColorSpace::Rgb => (PixelFormat::Rgb, 3),
        ColorSpace::Cmyk | ColorSpace::Ycck => (PixelFormat::Cmyk, 3),
        ColorSpace::Unknown => return Err(malformed("JPEG", "its colours are of no known kind")),
    };
    decoder.set_output_format(format);
    let image = decoder.decode_image().map_err(wrong)?;
    let levels = if format == PixelFormat::Cmyk {
        image.data.chunks_exact(4).flat_map(rgb).collect()
    } else {
        image.data
    };
    Pixels::new(height, width, channels, levels)
}

/// Whether light, and black where there is one, are sampled most finely and the rest a whole number
/// of times less; the decoder panics on some other frames.
fn is_sampled_as_usual(components: &[ComponentInfo]) -> bool {
    let factors = |c: &ComponentInfo| [c.horizontal_sampling, c.vertical_sampling];
    let Some(most) = components.first().map(factors) else {
        return false;
    };
    let divides = |c: &ComponentInfo| {
        let pairs = most.into_iter().zip(factors(c));
        pairs
            .into_iter()
            .all(|(most, f)| f > 0 && most.is_multiple_of(f))
    };
    let black = components.get(3).map_or(most, factors);
    components.iter().all(divides) && black == most
}

/// Of four inks as Adobe writes them, 255 for none: as Pillow, each colour times the black.
fn rgb(inks: &[u8]) -> [u8; 3] {
    let key = u32::from(inks[3]);
    // Pillow: 255 - k - (255 - c) * (255 - k) / 255 where c and k are 255 less what the file has.
    let part = |ink: u8| {
        let product = (255 - u32::from(ink)) * key + 128;
        key.saturating_sub((product + (product >> 8)) >> 8) as u8
    };
    [part(inks[0]), part(inks[1]), part(inks[2])]
}

/// Whether the markers lead to the end of the image.
fn is_whole(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 2;
    while let Some(step) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|&b| b == 0xFF))
    {
        at += step + 1;
        let Some(&marker) = bytes.get(at) else {
            return false;
        };
        match marker {
            END_OF_IMAGE => return true,
            // A stuffed byte or a restart marker: no segment follows; nor after a fill byte.
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            0xFF => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else {
                    return false;
                };
                at += 1 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels are Pillow's, of `convert("RGB")` where an image is not grey.
    #[test]
    fn levels_equal_those_of_pillow() {
        let cases: [(&str, &[u8], &[u8]); 4] = [
            (
                "4:2:0",
                include_bytes!("fixtures/ramp.jpg"),
                include_bytes!("fixtures/ramp.levels"),
            ),
            (
                "progressive",
                include_bytes!("fixtures/ramp_progressive.jpg"),
                include_bytes!("fixtures/ramp_progressive.levels"),
            ),
            (
                "grey",
                include_bytes!("fixtures/ramp_grey.jpg"),
                include_bytes!("fixtures/ramp_grey.levels"),
            ),
            (
                "four inks",
                include_bytes!("fixtures/ramp_cmyk.jpg"),
                include_bytes!("fixtures/ramp_cmyk.levels"),
            ),
        ];
        for (kind, bytes, expected) in cases {
            let pixels = decode(bytes).unwrap();
            assert_eq!((pixels.height(), pixels.width()), (13, 19));
            assert_eq!(pixels.bytes(), expected, "{kind}");
        }
    }

    #[test]
    fn chroma_finer_than_light_is_an_error() {
        for (file, bytes) in [
            (3, &include_bytes!("fixtures/ramp.jpg")[..]),
            (4, include_bytes!("fixtures/ramp_cmyk.jpg")),
        ] {
            let mut bytes = bytes.to_vec();
            let frame = [0xFF, 0xC0, 0, 8 + 3 * file];
            let at = bytes.windows(4).position(|w| w == frame).unwrap();
            // The sampling of the second component, behind id and factors of the first.
            bytes[at + 14] = 0x42;
            let e = decode(&bytes).unwrap_err().to_string();
            assert!(e.contains("sampled"), "{e}");
        }
    }

    #[test]
    fn the_end_is_found_behind_what_looks_like_it() {
        // A thumbnail in a segment, stuffing and restarts in the scan, fill bytes before the end.
        let app = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        let scan = [
            0xFF, 0xDA, 0, 3, 1, 7, 0xFF, 0, 0xFF, 0xD0, 9, 0xFF, 0xFF, 0xD9, 5,
        ];
        let file = [&app[..], &scan[..]].concat();
        assert!(is_whole(&file));
        for end in 0..file.len() - 1 {
            assert!(!is_whole(&file[..end]), "{end}");
        }
    }
}
