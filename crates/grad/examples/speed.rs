//! Images per second, forward and forward with backward, of two networks with drawn weights:
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo run --release -p exbit-grad --example speed [IMAGES]
//! ```

mod networks;

use std::time::Instant;

use exbit_grad::{Mode, Tape, Wanted, backward, forward, infer, loss};
use exbit_model::Model;

fn main() {
    let mobile_images = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(16);
    let mut draw = drawn();
    println!(
        "network, images, mode: images per second (best of some): infer, forward, with backward"
    );
    let resnet = networks::resnet20(&mut draw);
    measure(&resnet, 128, Mode::Train);
    measure(&resnet, 128, Mode::Eval);
    measure(&resnet, 1, Mode::Eval);
    let mobile = networks::mobilenet_v2(&mut draw);
    measure(&mobile, mobile_images, Mode::Eval);
    measure(&mobile, 1, Mode::Eval);
}

/// Parameters with which values keep their size from layer to layer.
fn drawn() -> impl FnMut(&str, &[usize]) -> Vec<f32> {
    let mut state = 1u64;
    move |name, shape| {
        let fan_in: usize = shape.iter().skip(1).product();
        let mut unit = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let spread = (6.0 / fan_in as f32).sqrt();
        let entry = |_| match () {
            () if name.ends_with("running_var") => 1.0,
            () if shape.len() == 1 => {
                0.1 * unit() + if name.ends_with("weight") { 1.0 } else { 0.0 }
            }
            () => spread * unit(),
        };
        (0..shape.iter().product()).map(entry).collect()
    }
}

fn measure(model: &Model, images: usize, mode: Mode) {
    let classes = model.output_len();
    let mut draw = drawn();
    let x = draw("x", &[images, model.input_len() / 3, 3]);
    let labels: Vec<usize> = (0..images).map(|i| i % classes).collect();
    let rate = |run: &dyn Fn()| {
        let time = |_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        };
        images as f64
            / (0..if images > 1 { 5 } else { 20 })
                .map(time)
                .fold(f64::MAX, f64::min)
    };
    let step = |tape: Tape| {
        let (_, seed) = loss::cross_entropy(tape.output(), &labels, classes);
        let wanted = Wanted {
            parameters: true,
            values: vec![],
            rounded: false,
        };
        backward(model, &tape, &[vec![(model.output(), seed)]], &wanted)
    };
    let inferred = rate(&|| drop(infer(model, &x, images)));
    let forwards = rate(&|| drop(forward(model, &x, images, mode)));
    let steps = rate(&|| drop(step(forward(model, &x, images, mode))));
    println!(
        "{:14} {images:4} {mode:?}: {inferred:8.1} {forwards:8.1} {steps:8.1}",
        model.name()
    );
}
