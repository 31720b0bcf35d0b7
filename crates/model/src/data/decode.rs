//! Compressed images into bytes: JPEG, PNG and WebP, known by their first bytes.
//!
//! Sizes are checked on the header, before anything is allocated for pixels. As Pillow's
//! `convert("RGB")`, which most networks were trained behind: transparency is dropped, colour
//! profiles and the EXIF orientation are ignored.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use super::jpeg;
use crate::{Error, ErrorKind, Result};

/// The longest side of an image that is decoded.
const MAX_SIDE: usize = 1 << 14;
/// The most pixels of an image that is decoded or resized to; the largest photo of ImageNet has
/// 61 million.
pub(super) const MAX_PIXELS: usize = 1 << 26;
/// The most bytes that a decoder may hold beside: four channels of the largest image.
const MAX_MEMORY: usize = 4 * MAX_PIXELS;
/// The longest file that is read as one image.
const MAX_FILE: u64 = 1 << 28;

/// An image: (height, width, channels) levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    height: usize,
    width: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    /// An image over `bytes`, (height, width, channels) in memory order; one channel is grey,
    /// three are red, green, blue.
    ///
    /// # Errors
    /// `Mismatch` when a side is 0 or too long, the channels are not 1 or 3, or `bytes` does not
    /// hold that many levels.
    pub fn new(height: usize, width: usize, channels: usize, bytes: Vec<u8>) -> Result<Self> {
        check_size(height, width)?;
        if !matches!(channels, 1 | 3) || bytes.len() != height * width * channels {
            let held = bytes.len();
            let message = format!("{height}x{width}x{channels} is not an image of {held} bytes");
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        }
        Ok(Self {
            height,
            width,
            channels,
            bytes,
        })
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// 1 (grey) or 3 (red, green, blue).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The levels, (height, width, channels) in memory order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The image in the file at `path`.
///
/// # Errors
/// Those of [`decode`], and `Io`; each names the file.
pub fn read_image(path: &Path) -> Result<Pixels> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_FILE + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e: std::io::Error| {
        Error::new(ErrorKind::Io, path.display().to_string(), e.to_string())
    })?;
    decode(&bytes).map_err(|e| e.within(path.display()))
}

/// The image in `bytes`, a whole JPEG, PNG or WebP file; grey stays grey, 16-bit levels become
/// 8-bit ones.
///
/// # Errors
/// `Unsupported` for another format or an image over the size that is decoded; `Malformed` for
/// one that is truncated or corrupt.
pub fn decode(bytes: &[u8]) -> Result<Pixels> {
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("longer than {MAX_FILE} bytes, the most that is read as one image");
        return Err(Error::new(ErrorKind::Unsupported, "", message));
    }
    if bytes.starts_with(&jpeg::MAGIC) {
        jpeg::decode(bytes)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
        decode_png(bytes)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        decode_webp(bytes)
    } else {
        let message = "not a JPEG, PNG or WebP image; convert it to one of these";
        Err(Error::new(ErrorKind::Unsupported, "", message))
    }
}

fn decode_png(bytes: &[u8]) -> Result<Pixels> {
    let malformed = |e: png::DecodingError| malformed("PNG", e);
    let limits = png::Limits { bytes: MAX_MEMORY };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(malformed)?;
    let (height, width) = (header.height as usize, header.width as usize);
    check_size(height, width)?;
    let mut reader = decoder.read_info().map_err(malformed)?;
    // png 0.18.1 panics on such a palette once it decodes (image-png#694).
    let palette = reader.info().palette.as_ref().map_or(0, |p| p.len());
    if !palette.is_multiple_of(3) {
        return Err(self::malformed(
            "PNG",
            format!("a palette of {palette} bytes"),
        ));
    }
    let samples = reader.output_color_type().0.samples();
    let mut levels = vec![0; height * width * samples];
    reader.next_frame(&mut levels).map_err(malformed)?;
    without_alpha(height, width, samples, levels)
}

fn decode_webp(bytes: &[u8]) -> Result<Pixels> {
    let malformed = |e: image_webp::DecodingError| malformed("WebP", e);
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(malformed)?;
    decoder.set_memory_limit(MAX_MEMORY);
    let (width, height) = decoder.dimensions();
    let (height, width) = (height as usize, width as usize);
    check_size(height, width)?;
    let samples = if decoder.has_alpha() { 4 } else { 3 };
    let mut levels = vec![0; height * width * samples];
    decoder.read_image(&mut levels).map_err(malformed)?;
    without_alpha(height, width, samples, levels)
}

/// An image of 2 or 4 samples loses the last of each pixel.
fn without_alpha(height: usize, width: usize, samples: usize, levels: Vec<u8>) -> Result<Pixels> {
    if samples % 2 == 1 {
        return Pixels::new(height, width, samples, levels);
    }
    let kept = samples - 1;
    let levels = levels
        .chunks_exact(samples)
        .flat_map(|pixel| &pixel[..kept])
        .copied()
        .collect();
    Pixels::new(height, width, kept, levels)
}

/// What a decoder of `format` found wrong.
pub(super) fn malformed(format: &str, found: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Malformed,
        "",
        format!("a broken {format}: {found}"),
    )
}

pub(super) fn check_size(height: usize, width: usize) -> Result<()> {
    let sides = 1..=MAX_SIDE;
    if sides.contains(&height) && sides.contains(&width) && height * width <= MAX_PIXELS {
        return Ok(());
    }
    let message = format!(
        "an image of {width}x{height} pixels; sides up to {MAX_SIDE} and {MAX_PIXELS} pixels in \
         all are read"
    );
    Err(Error::new(ErrorKind::Unsupported, "", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::{encode_png, mutations};

    /// (13, 19, 3): what the fixtures show.
    fn ramp() -> Vec<u8> {
        (0..13 * 19)
            .flat_map(|i| [i % 19 * 13, i / 19 * 17, 90])
            .map(|level| level as u8)
            .collect()
    }

    fn png(samples: usize, levels: &[u8]) -> Vec<u8> {
        encode_png(19, 13, samples, levels)
    }

    fn webp() -> Vec<u8> {
        let mut out = Vec::new();
        let encoder = image_webp::WebPEncoder::new(&mut out);
        encoder
            .encode(&ramp(), 19, 13, image_webp::ColorType::Rgb8)
            .unwrap();
        out
    }

    fn files() -> [Vec<u8>; 6] {
        [
            png(3, &ramp()),
            webp(),
            include_bytes!("fixtures/ramp.jpg").to_vec(),
            include_bytes!("fixtures/ramp_progressive.jpg").to_vec(),
            include_bytes!("fixtures/ramp_grey.jpg").to_vec(),
            include_bytes!("fixtures/ramp_cmyk.jpg").to_vec(),
        ]
    }

    #[test]
    fn lossless_formats_come_back_exactly() {
        for file in &files()[..2] {
            let pixels = decode(file).unwrap();
            assert_eq!(
                (pixels.height(), pixels.width(), pixels.channels()),
                (13, 19, 3)
            );
            assert_eq!(pixels.bytes(), ramp());
        }
        let clear: Vec<u8> = ramp()
            .chunks(3)
            .flat_map(|p| [p[0], p[1], p[2], 0])
            .collect();
        assert_eq!(decode(&png(4, &clear)).unwrap().bytes(), ramp());
        let grey: Vec<u8> = (0..=246).collect();
        let pixels = decode(&png(1, &grey)).unwrap();
        assert_eq!((pixels.channels(), pixels.bytes()), (1, grey.as_slice()));
        let veiled: Vec<u8> = grey.iter().flat_map(|&g| [g, 9]).collect();
        assert_eq!(decode(&png(2, &veiled)).unwrap().bytes(), grey);
    }

    #[test]
    fn a_cut_file_is_an_error_wherever_it_is_cut() {
        for bytes in files() {
            // The last bytes of a PNG are its end chunk, which a decoder need not read.
            for cut in 0..bytes.len() - 16 {
                assert!(
                    decode(&bytes[..cut]).is_err(),
                    "cut at {cut} of {}",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn a_header_cannot_ask_for_the_memory() {
        let mut png = png(3, &ramp());
        // Width and height of the IHDR chunk.
        png[16..24].copy_from_slice(&[0, 0, 0x3F, 0xFF, 0, 0, 0x3F, 0xFF]);
        let sum = crc(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        let mut jpeg = include_bytes!("fixtures/ramp.jpg").to_vec();
        let frame = jpeg
            .windows(4)
            .position(|w| w == [0xFF, 0xC0, 0, 17])
            .unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x3F, 0xFF, 0x3F, 0xFF]);
        for bytes in [png, jpeg] {
            let e = decode(&bytes).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported);
            assert!(e.to_string().contains("16383x16383"), "{e}");
        }
    }

    /// The checksum of PNG chunks.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |s: u32, _| {
            if s & 1 == 1 {
                (s >> 1) ^ 0xEDB8_8320
            } else {
                s >> 1
            }
        };
        !bytes
            .iter()
            .fold(!0u32, |sum, &b| (0..8).fold(sum ^ u32::from(b), step))
    }

    #[test]
    fn a_palette_of_broken_colours_is_an_error() {
        let indexed = |palette: &[u8]| {
            let mut out = Vec::new();
            let mut encoder = png::Encoder::new(&mut out, 2, 1);
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette(palette);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&[1, 0]).unwrap();
            drop(writer);
            decode(&out)
        };
        let pixels = indexed(&[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(pixels.bytes(), [4, 5, 6, 1, 2, 3]);
        for palette in [&[1, 2, 3, 4][..], &[1, 2, 3, 4, 5]] {
            let e = indexed(palette).unwrap_err().to_string();
            assert!(e.contains("palette"), "{e}");
        }
    }

    #[test]
    fn damaged_images_never_panic() {
        for file in files() {
            for bytes in mutations(&file, 700) {
                // Whatever it is, it is an image of the size that it says, or an error.
                if let Ok(p) = decode(&bytes) {
                    assert_eq!(p.bytes().len(), p.height() * p.width() * p.channels());
                }
            }
        }
    }
}
