//! How an image becomes the input of one network, as a small TOML text that travels with it.
//!
//! ```toml
//! resize = 256                   # the short side; or [height, width]; absent: as it comes
//! filter = "bilinear"            # or "bicubic"; both average what they shrink
//! crop = 224                     # or [height, width]
//! offset = [1, 1]                # of the crop: [y, x]; absent: the centre
//! channels = "rgb"               # or "bgr", "grey"
//! scale = 0.00392156862745098    # 1/255, the default
//! mean = [0.485, 0.456, 0.406]   # one number serves all channels
//! std = [0.229, 0.224, 0.225]
//! ```
//!
//! In this order: channels, resize, crop, then `x = (level * scale - mean[c]) / std[c]`. The
//! centre is rounded down: a window of 224 in 227 pixels begins at 1.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::decode::{MAX_PIXELS, Pixels};
use super::preset::{PRESETS, preset};
use super::resize::{Axis, Filter, resample};
use crate::{Error, ErrorKind, Result};

/// The longest side of a network's input.
const MAX_CROP: usize = 4096;
/// The longest side that an image is resized to.
const MAX_RESIZE: usize = 1 << 14;
/// The longest TOML file that is read.
const MAX_FILE: u64 = 1 << 16;

/// What the network reads of a pixel, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue; grey images have all three equal.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One: the luma of ITU-R 601, as Pillow's `convert("L")`.
    Grey,
}

/// How an image becomes the input of one network. Checked when it is made: sizes are bounded, all
/// numbers finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    text: Text,
    size: [usize; 2],
}

/// The TOML, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(skip_serializing_if = "Option::is_none")]
    resize: Option<Extent>,
    #[serde(default)]
    filter: Filter,
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<Extent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<[usize; 2]>,
    #[serde(default)]
    channels: Channels,
    #[serde(default = "one_255th")]
    scale: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
}

/// One number, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected one whole number, or [height, width]")]
enum Extent {
    Side(usize),
    Both([usize; 2]),
}

fn one_255th() -> f64 {
    1.0 / 255.0
}

impl Preprocess {
    /// The preset named `argument` (`imagenet`, `tf`, `cifar10`), or what the TOML file of that
    /// path says.
    ///
    /// # Errors
    /// `Io` when it is neither, and those of [`Preprocess::from_toml`]; each names the file.
    pub fn open(argument: &str) -> Result<Self> {
        if let Some(text) = preset(argument) {
            return Self::from_toml(text);
        }
        let read = || {
            let mut bytes = Vec::new();
            File::open(Path::new(argument))?
                .take(MAX_FILE + 1)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|e: std::io::Error| {
            let presets = PRESETS.map(|(name, _)| name).join(", ");
            let message = format!("{e}; give a TOML file, or one of the presets {presets}");
            Error::new(ErrorKind::Io, argument, message)
        })?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(malformed("longer than any preprocessing").within(argument));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| malformed("not a text in UTF-8").within(argument))?;
        Self::from_toml(text).map_err(|e| e.within(argument))
    }

    /// What the TOML `text` says.
    ///
    /// # Errors
    /// `Malformed`, with the line, for what is not TOML, an unknown key or a wrong type;
    /// `Mismatch`, with the key, for a number out of range or keys that do not fit together.
    pub fn from_toml(text: &str) -> Result<Self> {
        let parsed = toml::from_str(text).map_err(|e| {
            let before = e
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or("");
            let line = before.matches('\n').count() + 1;
            Error::new(ErrorKind::Malformed, format!("line {line}"), e.message())
        })?;
        check(parsed)
    }

    /// The TOML text that reads back as this.
    pub fn to_toml(&self) -> String {
        // A struct of numbers and enums has no way to fail.
        toml::to_string(&self.text).unwrap_or_default()
    }

    /// Height and width of the result.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The number of channels of the result, 1 or 3.
    pub fn channels(&self) -> usize {
        self.text.channels.count()
    }

    /// The mean and the deviation that are taken off, each one number or one a channel.
    pub fn mean_and_std(&self) -> [&[f64]; 2] {
        [&self.text.mean, &self.text.std]
    }

    /// Scale and shift of each channel in the result's order: `x = level * scale[c] + shift[c]`.
    pub fn affine(&self) -> (Vec<f32>, Vec<f32>) {
        let at = |values: &[f64], c: usize| values.get(c).copied().unwrap_or(values[0]);
        let Text {
            scale, mean, std, ..
        } = &self.text;
        let of = |c| {
            let std = at(std, c);
            ((scale / std) as f32, (-at(mean, c) / std) as f32)
        };
        (0..self.channels()).map(of).unzip()
    }

    /// The bytes that the network reads of `image`: (height, width, channels) in memory order, of
    /// [`Preprocess::size`] and [`Preprocess::channels`].
    ///
    /// # Errors
    /// `Mismatch` when the image does not hold the crop.
    pub fn pixels(&self, image: &Pixels) -> Result<Vec<u8>> {
        let source = [image.height(), image.width()];
        let size = self.resized(source)?;
        let first = self.first(size)?;
        let axis = |i: usize| Axis {
            source: source[i],
            size: size[i],
            first: first[i],
            count: self.size[i],
        };
        let filter = self.text.filter;
        let window = |bytes: &[u8], c: usize| resample(bytes, c, axis(0), axis(1), filter);
        let grey = self.text.channels == Channels::Grey;
        let mut out = match (image.channels(), grey) {
            (1, true) => window(image.bytes(), 1),
            // Channels alike stay alike: resize one, then repeat it.
            (1, false) => window(image.bytes(), 1)
                .into_iter()
                .flat_map(|g| [g; 3])
                .collect(),
            (_, true) => window(&luma(image.bytes()), 1),
            (_, false) => window(image.bytes(), 3),
        };
        if self.text.channels == Channels::Bgr {
            out.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        Ok(out)
    }

    /// The numbers that the network reads: `bytes` is (H, W, C) of [`Preprocess::pixels`], the
    /// result (C, H, W).
    ///
    /// # Panics
    /// When `bytes` has another length.
    pub fn apply(&self, bytes: &[u8]) -> Vec<f32> {
        let mut x = vec![0.0; bytes.len()];
        self.apply_into(bytes, &mut x);
        x
    }

    pub(super) fn apply_into(&self, bytes: &[u8], x: &mut [f32]) {
        let (scale, shift) = self.affine();
        let plane = self.size[0] * self.size[1];
        assert_eq!(
            bytes.len(),
            plane * scale.len(),
            "not the bytes of this preprocessing"
        );
        for (c, plane) in x.chunks_exact_mut(plane).enumerate() {
            for (x, &level) in plane
                .iter_mut()
                .zip(bytes.iter().skip(c).step_by(scale.len()))
            {
                *x = f32::from(level) * scale[c] + shift[c];
            }
        }
    }

    /// The bytes of one image after preprocessing.
    pub(super) fn byte_count(&self) -> usize {
        self.size[0] * self.size[1] * self.channels()
    }

    /// Height and width after the resize.
    fn resized(&self, [h, w]: [usize; 2]) -> Result<[usize; 2]> {
        let size = match self.text.resize {
            None => return Ok([h, w]),
            Some(Extent::Both(size)) => size,
            // The long side is rounded down, as torchvision does.
            Some(Extent::Side(n)) => [n.max(n * h / w), n.max(n * w / h)],
        };
        if size[0].max(size[1]) > MAX_RESIZE || size[0] * size[1] > MAX_PIXELS {
            let [height, width] = size;
            let message = format!("resizing {w}x{h} pixels would make {width}x{height}: too many");
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        }
        Ok(size)
    }

    /// Where the crop begins in an image of `size`.
    fn first(&self, size: [usize; 2]) -> Result<[usize; 2]> {
        let [h, w] = self.size;
        let first = self
            .text
            .offset
            .unwrap_or([size[0].saturating_sub(h) / 2, size[1].saturating_sub(w) / 2]);
        if first[0] + h > size[0] || first[1] + w > size[1] {
            let [height, width] = size;
            let message = format!(
                "{width}x{height} pixels do not hold the {w}x{h} window at {first:?}; add a \
                 `resize` to the preprocessing"
            );
            return Err(Error::new(ErrorKind::Mismatch, "", message));
        }
        Ok(first)
    }
}

fn check(text: Text) -> Result<Preprocess> {
    let mismatch = |key: &str, message: String| Err(Error::new(ErrorKind::Mismatch, key, message));
    let within =
        |[h, w]: [usize; 2], most: usize| (1..=most).contains(&h.min(w)) && h.max(w) <= most;
    let exact = match text.resize {
        Some(Extent::Side(n)) if within([n, n], MAX_RESIZE) => None,
        Some(Extent::Both(size)) if within(size, MAX_RESIZE) => Some(size),
        Some(_) => return mismatch("resize", format!("sides of 1 to {MAX_RESIZE} are possible")),
        None => None,
    };
    let crop = match text.crop {
        Some(Extent::Side(n)) => Some([n, n]),
        Some(Extent::Both(size)) => Some(size),
        None => None,
    };
    let Some(size) = crop.or(exact) else {
        let message = "say the size of the network's input: `crop = [height, width]`, or \
                       `resize = [height, width]`";
        return mismatch("crop", message.into());
    };
    if !within(size, MAX_CROP) {
        return mismatch(
            "crop",
            format!("{size:?}: sides of 1 to {MAX_CROP} are possible"),
        );
    }
    let whole = exact.unwrap_or([MAX_RESIZE; 2]);
    let first = text.offset.unwrap_or([0, 0]);
    if (0..2).any(|i| first[i] > whole[i] || size[i] > whole[i] - first[i]) {
        let message = format!("a window of {size:?} at {first:?} is not inside {whole:?}");
        return mismatch(
            if text.offset.is_some() {
                "offset"
            } else {
                "crop"
            },
            message,
        );
    }
    if !(text.scale.is_finite() && (1e-6..=1e6).contains(&text.scale)) {
        return mismatch("scale", format!("{}: must lie in 1e-6 to 1e6", text.scale));
    }
    for (key, values, range) in [
        ("mean", &text.mean, -1e6..=1e6),
        ("std", &text.std, 1e-6..=1e6),
    ] {
        if values.len() != 1 && values.len() != text.channels.count() {
            let wanted = text.channels.count();
            return mismatch(
                key,
                format!("{} numbers for {wanted} channels", values.len()),
            );
        }
        if let Some(bad) = values.iter().find(|v| !range.contains(*v)) {
            let (lo, hi) = (range.start(), range.end());
            return mismatch(key, format!("{bad}: must lie in {lo:e} to {hi:e}"));
        }
    }
    Ok(Preprocess { text, size })
}

impl Channels {
    fn count(self) -> usize {
        match self {
            Channels::Rgb | Channels::Bgr => 3,
            Channels::Grey => 1,
        }
    }
}

/// Grey levels of `rgb`: ITU-R 601 in 16-bit fixed point, as Pillow's.
fn luma(rgb: &[u8]) -> Vec<u8> {
    let of = |p: &[u8]| {
        let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
        ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) as u8
    };
    rgb.chunks_exact(3).map(of).collect()
}

fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::Malformed, "", message)
}

#[cfg(test)]
mod tests;
