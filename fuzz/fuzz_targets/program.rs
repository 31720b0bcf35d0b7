//! Any bytes as a Program file: an error, or a Program that is written and read back, and that
//! runs, unless it is large, to the same answer from the same exit on the scalar and on the fastest
//! kernels, whether its values lie packed or not.

#![no_main]

use exbit_engine::{Program, Session, Step, StepKind};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(program) = Program::from_bytes(bytes) else {
        return;
    };
    let file = program
        .to_bytes()
        .expect("an accepted Program can be written");
    let again = Program::from_bytes(&file).expect("what was written can be read");
    assert_eq!(again.to_bytes().expect("as before"), file);
    if is_small(&program) {
        let fastest = exbit_engine::present_isas()[0];
        let answer = run(&program, "scalar");
        assert_eq!(answer, run(&program, fastest));
        let mut packed = program.clone();
        match program.packed.is_empty() {
            true => packed.pack(0),
            false => packed.packed.clear(),
        }
        assert_eq!(answer, run(&packed, fastest));
    }
});

fn run(program: &Program, isa: &str) -> (Vec<u32>, Vec<usize>) {
    let mut session = Session::with_isa(program, isa).expect("a checked Program runs");
    let pixels: Vec<u8> = (0..session.input_len()).map(|i| (i * 37) as u8).collect();
    let answer = session.run(&pixels).expect("as long as the input");
    let bits = answer.iter().map(|v| v.to_bits()).collect();
    (bits, session.exits().to_vec())
}

fn is_small(program: &Program) -> bool {
    let work = |step: &Step| {
        let entries = program.values[step.output].len();
        let taps = match &step.kind {
            StepKind::Conv(conv) => conv.weights.codes.len() / conv.weights.shape[0],
            StepKind::MaxPool(window) | StepKind::AvgPool { window, .. } => window.area(),
            StepKind::Add { .. }
            | StepKind::Concat
            | StepKind::Table { .. }
            | StepKind::Pad { .. }
            | StepKind::PadChannels { .. }
            | StepKind::Shuffle { .. } => 1,
        };
        entries.saturating_mul(taps)
    };
    let padding = |step: &Step| match &step.kind {
        StepKind::Conv(conv) => conv.window.pads.into_iter().max().unwrap_or(0),
        _ => 0,
    };
    let total = program
        .steps
        .iter()
        .map(work)
        .fold(0, usize::saturating_add);
    let entries: usize = program.values.iter().map(|v| v.len()).sum();
    let few = program.values.len() < 200;
    few && entries < 1 << 16 && total < 1 << 21 && program.steps.iter().all(|s| padding(s) < 256)
}
