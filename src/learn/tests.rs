//! The way from a training graph to integers, on networks of all kinds.

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "../../tests/networks/mod.rs"]
mod networks;

use exbit_engine::{Input, Session};
use exbit_grad::{Mode, forward};
use exbit_kernels::{Bits, Grid};

use super::finish::finish;
use super::graph::Graph;
use super::parameters::Parameters;
use super::recipe::Method;
use super::start::{magnitudes, set_input, without_softmax};
use crate::{Simulator, lower};

const IMAGES: usize = 12;
const SCALE: f32 = 1.0 / 60.0;
const SHIFT: f32 = -2.0;

/// Residual sums, inverted bottlenecks, concatenations, lone affine maps, a plain chain.
#[test]
fn integers_answer_as_the_training_graph_does_on_networks_of_all_kinds() {
    let input = Grid {
        bits: Bits::EIGHT,
        scale: SCALE,
        zero: 120,
    };
    for model in networks::all() {
        let model = without_softmax(&model).unwrap();
        for (method, bits) in [(Method::Lsq, 8), (Method::Mcqueen, 4)] {
            let pixels = networks::pixels(&model, IMAGES, 5);
            let x = networks::preprocessed(&model, &pixels, SCALE, SHIFT);
            let mut graph = Graph::new(&model, true).unwrap();
            set_input(&mut graph, input);
            let means = magnitudes(&model, &graph, &x, IMAGES);
            let bits = Bits::new(bits).unwrap();
            let parameters = Parameters::new(&graph, method, bits, &means);
            parameters.put(&mut graph);
            let (network, quantized) = finish(&model, &graph, &parameters, input).unwrap();

            let channels = model.value(model.input()).shape[0];
            let pixel = Input {
                scale: vec![SCALE; channels],
                shift: vec![SHIFT; channels],
                preprocess: String::new(),
            };
            let program = lower(&network, &quantized, pixel);
            let simulator = Simulator::new(&network, &quantized).unwrap();
            let codes = simulator.input_codes(&pixels, &program.input);
            let simulated = simulator.run(codes, IMAGES).output;
            let mut session = Session::new(&program, 1).unwrap();
            let answers = session.run_batch(&pixels, IMAGES).unwrap();
            assert_eq!(answers, simulated, "{}", model.name());

            // Sums of rounded floats are not exact: a code may differ, few do.
            let tape = forward(&graph.model, &x, IMAGES, Mode::Eval);
            let largest = simulated.iter().fold(0.0f32, |m, y| m.max(y.abs()));
            let near = |(a, b): &(&f32, &f32)| (**a - **b).abs() < 0.05 * largest;
            let same = tape.output().iter().zip(&simulated).filter(near).count();
            let all = simulated.len();
            assert!(
                10 * same >= 9 * all,
                "{} {method:?}: {same} of {all}",
                model.name()
            );
        }
    }
}
