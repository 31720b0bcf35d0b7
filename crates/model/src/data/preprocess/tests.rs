//! Every key of the TOML, right and wrong.

use super::*;
use crate::data::tests::mutations;

const FULL: &str = "resize = [8, 9]\nfilter = 'bicubic'\ncrop = [4, 5]\noffset = [1, 2]\n\
                    channels = 'bgr'\nscale = 0.5\nmean = [1, 2, 3]\nstd = [0.5]\n";

fn parse(text: &str) -> Preprocess {
    Preprocess::from_toml(text).unwrap()
}

#[test]
fn the_text_it_writes_reads_back() {
    for text in PRESETS.map(|(_, text)| text).into_iter().chain([FULL]) {
        let one = parse(text);
        assert_eq!(parse(&one.to_toml()), one, "{text}");
    }
    assert_eq!(
        Preprocess::open("tf").unwrap(),
        parse(preset("tf").unwrap())
    );
}

#[test]
fn the_examples_read() {
    let cifar10 = include_str!("../../../../../examples/preprocess/cifar10.toml");
    let mobilenet = include_str!("../../../../../examples/preprocess/mobilenet_v2_crop.toml");
    let lite0 = include_str!("../../../../../examples/preprocess/efficientnet_lite0_crop.toml");
    assert_eq!(parse(cifar10), parse(preset("cifar10").unwrap()));
    assert_eq!(
        parse(mobilenet).affine(),
        parse(preset("tf").unwrap()).affine()
    );
    assert_eq!(parse(lite0).affine().1, [-127.0 / 128.0; 3]);
}

#[test]
fn the_affine_form_is_the_formula() {
    let (scale, shift) = parse(FULL).affine();
    assert_eq!((scale, shift), (vec![1.0; 3], vec![-2.0, -4.0, -6.0]));
    let (scale, shift) = parse(preset("tf").unwrap()).affine();
    assert_eq!((scale[0], shift[2]), ((1.0f64 / 127.5) as f32, -1.0));
    let imagenet = parse(preset("imagenet").unwrap());
    let x = imagenet.apply(&[200; 224 * 224 * 3]);
    assert!((x[224 * 224] - (200.0 / 255.0 - 0.456) / 0.224).abs() < 1e-6);
}

#[test]
fn the_centre_is_rounded_down() {
    let centre = parse("crop = 224\nmean = [0]\nstd = [1]\n");
    assert_eq!(centre.first([227, 227]).unwrap(), [1, 1]);
    assert_eq!(centre.first([256, 260]).unwrap(), [16, 18]);
    assert!(centre.first([227, 223]).is_err());
    assert_eq!(parse(FULL).first([8, 9]).unwrap(), [1, 2]);
    let imagenet = parse(preset("imagenet").unwrap());
    assert_eq!(imagenet.resized([375, 500]).unwrap(), [256, 341]);
    assert_eq!(imagenet.resized([500, 375]).unwrap(), [341, 256]);
    assert!(imagenet.resized([1, 16384]).is_err());
}

#[test]
fn channels_come_in_the_order_asked_for() {
    let image = Pixels::new(1, 2, 3, vec![10, 20, 30, 255, 0, 0]).unwrap();
    let grey = Pixels::new(1, 2, 1, vec![7, 9]).unwrap();
    let cases: [(&str, &[u8], &[u8]); 3] = [
        ("rgb", &[10, 20, 30, 255, 0, 0], &[7, 7, 7, 9, 9, 9]),
        ("bgr", &[30, 20, 10, 0, 0, 255], &[7, 7, 7, 9, 9, 9]),
        // Pillow's convert("L"): 299 R + 587 G + 114 B.
        ("grey", &[18, 76], &[7, 9]),
    ];
    for (order, of_colour, of_grey) in cases {
        let text = format!("crop = [1, 2]\nchannels = '{order}'\nmean = [0]\nstd = [1]");
        let preprocess = parse(&text);
        assert_eq!(preprocess.pixels(&image).unwrap(), of_colour, "{order}");
        assert_eq!(preprocess.pixels(&grey).unwrap(), of_grey, "{order}");
    }
    let x = parse("crop = [1, 2]\nscale = 1.0\nmean = [0]\nstd = [1]").apply(image.bytes());
    assert_eq!(x, [10.0, 255.0, 20.0, 0.0, 30.0, 0.0]);
}

#[test]
fn wrong_texts_say_what_is_wrong() {
    let cases = [
        (
            "crop = 4\nmean = [0]\nstd = [1]\nmeen = 3",
            "line 4: unknown field `meen`",
        ),
        ("crop = 4\nmean = [0]", "missing field `std`"),
        ("crop = 4\nmean = 0\nstd = [1]", "line 2: invalid type"),
        (
            "crop = -4\nmean = [0]\nstd = [1]",
            "expected one whole number, or [height, width]",
        ),
        (
            "crop = [4]\nmean = [0]\nstd = [1]",
            "expected one whole number, or [height, width]",
        ),
        (
            "crop = 4\nfilter = 'box'\nmean = [0]\nstd = [1]",
            "line 2: unknown variant `box`",
        ),
        ("resize = 4\nmean = [0]\nstd = [1]", "crop: say the size"),
        (
            "crop = 0\nmean = [0]\nstd = [1]",
            "crop: [0, 0]: sides of 1 to 4096",
        ),
        ("crop = 5000\nmean = [0]\nstd = [1]", "crop: [5000, 5000]"),
        (
            "resize = 0\ncrop = 4\nmean = [0]\nstd = [1]",
            "resize: sides of 1 to 16384",
        ),
        (
            "resize = [3, 9]\ncrop = 4\nmean = [0]\nstd = [1]",
            "crop: a window of [4, 4]",
        ),
        (
            "crop = 4\noffset = [0, 99999]\nmean = [0]\nstd = [1]",
            "offset: a window",
        ),
        (
            "crop = 4\nmean = [0, 0]\nstd = [1]",
            "mean: 2 numbers for 3 channels",
        ),
        ("crop = 4\nmean = [nan]\nstd = [1]", "mean: NaN"),
        (
            "crop = 4\nmean = [0]\nstd = [0]",
            "std: 0: must lie in 1e-6 to 1e6",
        ),
        ("crop = 4\nscale = inf\nmean = [0]\nstd = [1]", "scale: inf"),
        ("crop = ", "line 1"),
    ];
    for (text, expected) in cases {
        let error = Preprocess::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let error = Preprocess::open("no such.toml").unwrap_err().to_string();
    assert!(
        error.contains("no such.toml") && error.contains("imagenet"),
        "{error}"
    );
}

#[test]
fn damaged_texts_never_panic() {
    let image = Pixels::new(9, 12, 3, vec![128; 9 * 12 * 3]).unwrap();
    for bytes in mutations(FULL.as_bytes(), 5000) {
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        let Ok(one) = Preprocess::from_toml(text) else {
            continue;
        };
        assert!(
            one.affine()
                .0
                .iter()
                .chain(&one.affine().1)
                .all(|v| v.is_finite())
        );
        if let Ok(bytes) = one.pixels(&image) {
            assert_eq!(bytes.len(), one.byte_count());
        }
    }
}
