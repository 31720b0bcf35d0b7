//! Any bytes as a JPEG, PNG or WebP image: an error, or an image of the size that it says.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = exbit_model::data::decode(bytes) else {
        return;
    };
    let size = image.height() * image.width() * image.channels();
    assert_eq!(image.bytes().len(), size);
});
