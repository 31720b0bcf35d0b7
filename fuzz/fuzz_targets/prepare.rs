//! Any bytes as an ONNX file: a model that is accepted is prepared for quantization, and runs, as
//! it came and as it was prepared, unless it is large.

#![no_main]

use exbit_model::{Model, Op};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = exbit_model::onnx::read(bytes, None) else {
        return;
    };
    run(&model);
    if let Ok(network) = exbit::prepare(&model) {
        run(&network.model);
        // The sizes of what cannot be lowered are an error, not a panic.
        let _ = exbit::sizes(&network);
    }
});

fn run(model: &Model) {
    let entries: usize = model.values().iter().map(|v| v.len()).sum();
    let taps = |op: &Op| match op {
        Op::MaxPool(window) => window.kernel[0] * window.kernel[1],
        Op::AvgPool(pool) => pool.window.kernel[0] * pool.window.kernel[1],
        op => op.weight().map_or(1, |weight| weight.row_len()),
    };
    let work = |node: &exbit_model::Node| {
        model
            .value(node.output)
            .len()
            .saturating_mul(taps(&node.op))
    };
    let total = model
        .nodes()
        .iter()
        .map(work)
        .fold(0, usize::saturating_add);
    if entries < 1 << 16 && total < 1 << 20 {
        let x = vec![0.5; model.value(model.input()).len()];
        let y = exbit_grad::infer(model, &x, 1);
        assert_eq!(y.len(), model.value(model.output()).len());
    }
}
