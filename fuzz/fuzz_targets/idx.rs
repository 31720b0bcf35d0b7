//! Any bytes as an IDX file of images and one of labels, packed by gzip or not: an error, or as
//! many images and labels as there are said to be.

#![no_main]

use exbit_model::data::DataSet;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Two bytes say where the labels begin; beyond the end there are none.
    let Some((cut, files)) = bytes.split_first_chunk() else {
        return;
    };
    let cut = usize::from(u16::from_be_bytes(*cut));
    let (images, labels) = match files.split_at_checked(cut) {
        Some((images, labels)) => (images, Some(labels.to_vec())),
        None => (files, None),
    };
    let has_labels = labels.is_some();
    let Ok(set) = DataSet::from_idx(images.to_vec(), labels) else {
        return;
    };
    assert!(!set.is_empty());
    assert_eq!(
        set.labels().map(<[usize]>::len),
        has_labels.then_some(set.len())
    );
    for i in [0, set.len() / 2, set.len() - 1] {
        let image = set
            .image(i)
            .expect("the header was compared with the length");
        assert_eq!(image.bytes().len(), image.height() * image.width());
    }
    assert!(set.image(set.len()).is_err());
});
