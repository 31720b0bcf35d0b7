//! Compressed images into bytes: JPEG, PNG and WebP, known by their first bytes.
//!
//! Sizes are checked on the header, before anything is allocated for pixels. As Pillow's
//! `convert("RGB")`, which most networks were trained behind: transparency is dropped, colour
//! profiles and the EXIF orientation are ignored.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::{Error, ErrorKind, Result};

/// The longest side of an image that is decoded.
const MAX_SIDE: usize = 1 << 14;
/// The most pixels of an image that is decoded or resized to; the largest photo of ImageNet has
/// 61 million.
pub(super) const MAX_PIXELS: usize = 1 << 26;
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
    let known = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP];
    let Some(format) = image::guess_format(bytes)
        .ok()
        .filter(|f| known.contains(f))
    else {
        let message = "not a JPEG, PNG or WebP image; convert it to one of these";
        return Err(Error::new(ErrorKind::Unsupported, "", message));
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        // The decoder would fill the rest with grey.
        return Err(Error::new(
            ErrorKind::Malformed,
            "",
            "the JPEG is truncated: no end marker",
        ));
    }
    let malformed = |e: image::ImageError| Error::new(ErrorKind::Malformed, "", e.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    // Four 8-bit channels of the largest image.
    limits.max_alloc = Some(4 * MAX_PIXELS as u64);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(malformed)?;
    let (width, height) = decoder.dimensions();
    check_size(height as usize, width as usize)?;
    let coloured = decoder.color_type().has_color();
    let image = DynamicImage::from_decoder(decoder).map_err(malformed)?;
    let (channels, bytes) = if coloured {
        (3, image.into_rgb8().into_raw())
    } else {
        (1, image.into_luma8().into_raw())
    };
    Pixels::new(height as usize, width as usize, channels, bytes)
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

/// Whether the markers of a JPEG lead to its end of image.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
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
    use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;
    use crate::data::tests::mutations;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn rgb() -> RgbImage {
        RgbImage::from_fn(19, 13, |x, y| Rgb([x as u8 * 13, y as u8 * 17, 90]))
    }

    #[test]
    fn lossless_formats_come_back_exactly() {
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let pixels = decode(&encode(rgb(), format)).unwrap();
            assert_eq!(
                (pixels.height(), pixels.width(), pixels.channels()),
                (13, 19, 3)
            );
            assert_eq!(pixels.bytes(), rgb().as_raw().as_slice());
        }
        let clear = RgbaImage::from_pixel(3, 2, Rgba([1, 2, 3, 0]));
        let pixels = decode(&encode(clear, ImageFormat::Png)).unwrap();
        assert_eq!(pixels.bytes(), [1, 2, 3].repeat(6));
        let grey = GrayImage::from_pixel(2, 2, Luma([7]));
        let pixels = decode(&encode(grey, ImageFormat::Png)).unwrap();
        assert_eq!((pixels.channels(), pixels.bytes()), (1, [7; 4].as_slice()));
    }

    #[test]
    fn a_jpeg_comes_back_nearly() {
        let bytes = encode(rgb(), ImageFormat::Jpeg);
        let pixels = decode(&bytes).unwrap();
        let error: i32 = pixels
            .bytes()
            .iter()
            .zip(rgb().as_raw())
            .fold(0, |sum, (&a, &b)| sum + (i32::from(a) - i32::from(b)).abs());
        // Quality 75 of a smooth ramp: a few levels a pixel.
        assert!(error < 4 * pixels.bytes().len() as i32, "{error}");
    }

    #[test]
    fn a_cut_file_is_an_error_wherever_it_is_cut() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let bytes = encode(rgb(), format);
            // The last bytes of a PNG are its end chunk, which decoders need not read.
            for cut in 0..bytes.len() - 16 {
                assert!(decode(&bytes[..cut]).is_err(), "{format:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_header_cannot_ask_for_the_memory() {
        let mut png = encode(rgb(), ImageFormat::Png);
        // Width and height of the IHDR chunk.
        png[16..24].copy_from_slice(&[0, 0, 0x3F, 0xFF, 0, 0, 0x3F, 0xFF]);
        let mut sum = crc(&png[12..29]).to_be_bytes().to_vec();
        png.splice(29..33, sum.drain(..));
        let e = decode(&png).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.to_string().contains("16383x16383"), "{e}");
    }

    /// The checksum of PNG chunks.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |sum, &b| {
            (0..8).fold(sum ^ u32::from(b), |s, _| {
                if s & 1 == 1 {
                    (s >> 1) ^ 0xEDB8_8320
                } else {
                    s >> 1
                }
            })
        })
    }

    #[test]
    fn damaged_images_never_panic() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            for bytes in mutations(&encode(rgb(), format), 700) {
                // Whatever it is, it is an image of the size that it says, or an error.
                if let Ok(p) = decode(&bytes) {
                    assert_eq!(p.bytes().len(), p.height() * p.width() * p.channels());
                }
            }
        }
    }
}
