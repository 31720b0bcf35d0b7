//! Any bytes as an ONNX file: an error, or a model that is written and read back.

#![no_main]

use exbit_model::onnx::{read, write};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = read(bytes, None) else { return };
    let file = write(&model).expect("an imported model can be written");
    let again = read(&file, None).expect("what was written can be read");
    let shape = |m: &exbit_model::Model| m.value(m.output()).shape.clone();
    assert_eq!(shape(&again), shape(&model));
    assert!(again.nodes().len() <= model.nodes().len());
});
