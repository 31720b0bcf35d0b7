//! Any text as a preprocessing: an error, or one that is written and read back, and that makes
//! numbers of the promised shape from images of any shape, unless they are large.

#![no_main]

use exbit_model::data::{Pixels, Preprocess};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(preprocess) = Preprocess::from_toml(text) else {
        return;
    };
    let again = Preprocess::from_toml(&preprocess.to_toml()).expect("what was written can be read");
    assert_eq!(again, preprocess);
    let [height, width] = preprocess.size();
    let (scale, shift) = preprocess.affine();
    assert!(scale.iter().chain(&shift).all(|v| v.is_finite()));
    if height * width > 1 << 14 {
        return;
    }
    for (h, w, channels) in [(5, 7, 3), (1, 40, 1), (33, 2, 3)] {
        let bytes = (0..h * w * channels).map(|i| (i * 37) as u8).collect();
        let image = Pixels::new(h, w, channels, bytes).expect("a small image");
        let Ok(pixels) = preprocess.pixels(&image) else {
            continue;
        };
        assert_eq!(pixels.len(), height * width * preprocess.channels());
        assert!(preprocess.apply(&pixels).iter().all(|v| v.is_finite()));
    }
});
