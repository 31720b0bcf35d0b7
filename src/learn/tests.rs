//! The way from a training graph to integers, and the price of bits, on networks of all kinds.

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "../../tests/networks/mod.rs"]
mod networks;

use exbit_engine::{Input, Session};
use exbit_grad::{Mode, forward};
use exbit_kernels::{Bits, Grid};
use exbit_model::Op;

use super::finish::finish;
use super::graph::{Graph, Role};
use super::parameters::Parameters;
use super::parameters::What;
use super::penalty;
use super::recipe::Method;
use super::start::{Magnitude, magnitudes, set_input, without_softmax};
use super::unfold::unfold;
use crate::{Simulator, lower};

const IMAGES: usize = 12;
const SCALE: f32 = 1.0 / 60.0;
const SHIFT: f32 = -2.0;
const INPUT: Grid = Grid {
    bits: Bits::EIGHT,
    scale: SCALE,
    zero: 120,
};

/// How pixels become what `model` reads.
fn pixels_as_input(model: &exbit_model::Model) -> Input {
    let channels = model.value(model.input()).shape[0];
    Input {
        scale: vec![SCALE; channels],
        shift: vec![SHIFT; channels],
        preprocess: String::new(),
    }
}

/// Residual sums, inverted bottlenecks, concatenations, lone affine maps, a plain chain.
#[test]
fn integers_answer_as_the_training_graph_does_on_networks_of_all_kinds() {
    let mut kept = 0;
    for model in networks::all() {
        let model = without_softmax(&model).unwrap();
        let ways = [
            (Method::Lsq, 8, None),
            (Method::Lsq, 4, Some("*=w1")),
            (Method::Mcqueen, 4, None),
        ];
        for (method, bits, keep) in ways {
            let pixels = networks::pixels(&model, IMAGES, 5);
            let x = networks::preprocessed(&model, &pixels, SCALE, SHIFT);
            let mut graph = Graph::new(&model, true).unwrap();
            set_input(&mut graph, INPUT);
            let means = magnitudes(&model, &graph, &x, IMAGES);
            let bits = Bits::new(bits).unwrap();
            let mut parameters = Parameters::new(&graph, method, bits, &means);
            // Some have no layer but a first and a last one.
            if let Some(Ok(pin)) = keep.map(str::parse) {
                kept += usize::from(parameters.keep(&graph, &[pin]).is_ok());
            }
            parameters.put(&mut graph);
            let (network, quantized) = finish(&model, &graph, &parameters, INPUT).unwrap();

            let program = lower(&network, &quantized, pixels_as_input(&model));
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
    assert!(kept > 1, "{kept} networks with weights of one bit");
}

/// What a code of zero was before it was rounded is not in a Program, but the float network has it.
#[test]
fn zeros_of_a_program_lean_to_the_side_of_the_float_weights() {
    let mut zeros = 0;
    for model in networks::all() {
        let model = without_softmax(&model).unwrap();
        let (mut graph, means) = begun(&model);
        set_input(&mut graph, INPUT);
        let bits = Bits::new(2).unwrap();
        let parameters = Parameters::new(&graph, Method::Lsq, bits, &means);
        parameters.put(&mut graph);
        let (network, quantized) = finish(&model, &graph, &parameters, INPUT).unwrap();
        let program = lower(&network, &quantized, pixels_as_input(&model));
        let tensors = unfold(&model, &graph, &program).unwrap();
        for node in model.nodes() {
            let found = tensors.get(&format!("{}.weight", node.name));
            let (Some(float), Some(found)) = (node.op.weight(), found) else {
                continue;
            };
            let alpha = &tensors[&format!("{}.alpha", node.name)];
            let rows = found.chunks_exact(float.row_len()).zip(alpha);
            for (c, (row, alpha)) in rows.enumerate() {
                for (&w, &own) in row.iter().zip(float.row(c)) {
                    let is_zero = w.abs() < 0.5 * alpha;
                    zeros += usize::from(is_zero);
                    assert!(!is_zero || (w != 0.0 && w.signum() == own.signum()));
                }
            }
        }
    }
    assert!(zeros > 100, "{zeros} codes of zero");
}

/// A run keeps its numbers by name.
#[test]
fn a_node_with_the_name_of_a_quantizer_is_refused() {
    let mut model = exbit_model::Model::new("twice", "data", vec![1, 4, 4]);
    let relu = Op::Activation(exbit_model::Activation::Relu);
    let x = model.push("input", relu, &[model.input()]).unwrap();
    let flat = Op::Reshape { shape: vec![16] };
    let x = model.push("flat", flat, &[x]).unwrap();
    let linear = exbit_model::Linear {
        weight: exbit_model::Tensor::zeros(vec![2, 16]),
        bias: None,
    };
    let y = model.push("classes", Op::Linear(linear), &[x]).unwrap();
    model.set_output(y);
    let error = Graph::new(&model, true).unwrap_err().to_string();
    assert!(error.contains("node input: two nodes"), "{error}");
}

/// The graph of `model`, and how large what its sites round is.
fn begun(model: &exbit_model::Model) -> (Graph, Vec<Magnitude>) {
    let graph = Graph::new(model, true).unwrap();
    let pixels = networks::pixels(model, IMAGES, 5);
    let x = networks::preprocessed(model, &pixels, SCALE, SHIFT);
    let means = magnitudes(model, &graph, &x, IMAGES);
    (graph, means)
}

/// The graph of `model` with bits from 2.3 to 6.9, all different from their neighbours.
fn searching(model: &exbit_model::Model) -> (Graph, Parameters) {
    let (graph, means) = begun(model);
    let mut parameters = Parameters::new(&graph, Method::Mcqueen, Bits::EIGHT, &means);
    for (i, parameter) in parameters.all.iter_mut().enumerate() {
        let is_free = match parameter.what {
            What::Bits(l) => !graph.layers[l].is_edge,
            What::SiteBits(s) => graph.sites[s].role == Role::Layer,
            What::Weight(_)
            | What::Bias(_)
            | What::Rounded(_)
            | What::Alpha(_)
            | What::Beta(_)
            | What::SiteAlpha(_)
            | What::SiteBeta(_) => false,
        };
        if is_free {
            parameter.value[0] = 2.3 + (i * 37 % 47) as f32 / 10.0;
        }
    }
    (graph, parameters)
}

/// `sum_l n_w n_a MACs`, its penalty's slope against differences, and whole bits below a target.
#[test]
fn bits_cost_what_the_formula_says_and_are_made_whole_below_the_target() {
    let mut learned = 0;
    for model in networks::all() {
        let model = without_softmax(&model).unwrap();
        let (graph, parameters) = searching(&model);
        let price = |parameters: &Parameters| -> f64 {
            let layers = graph.layers.iter().enumerate();
            let of = |(l, layer): (usize, &super::graph::Layer)| {
                let (w, a) = (parameters.layer(l).n, parameters.site(layer.site)[2]);
                f64::from(w) * f64::from(a) * graph.model.macs(layer.node) as f64
            };
            layers.map(of).sum()
        };
        let cost = penalty::bops(&graph, &parameters, false);
        assert!(
            (cost / price(&parameters) - 1.0).abs() < 1e-9,
            "{}",
            model.name()
        );

        for target in [0.7 * cost, 1.4 * cost] {
            let zero = |parameters: &Parameters| -> Vec<Vec<f32>> {
                let all = parameters.all.iter();
                all.map(|p| vec![0.0; p.value.len()]).collect()
            };
            let mut gradient = zero(&parameters);
            penalty::add_gradient(&graph, &parameters, (0.7, target), &mut gradient);
            let loss = |parameters: &Parameters| 0.7 * (price(parameters) / target - 1.0).abs();
            for (i, parameter) in parameters.all.iter().enumerate() {
                if !matches!(parameter.what, What::Bits(_) | What::SiteBits(_)) {
                    assert!(gradient[i].iter().all(|&g| g == 0.0));
                    continue;
                }
                let at = |step: f32| {
                    let mut moved = parameters.clone();
                    moved.all[i].value[0] += step;
                    loss(&moved)
                };
                let slope = (at(1.0 / 64.0) - at(-1.0 / 64.0)) * 32.0;
                let found = f64::from(gradient[i][0]);
                assert!(
                    (found - slope).abs() < 1e-4 * slope.abs().max(1e-3),
                    "{found} {slope}"
                );
                // At two bits nothing pushes further down, and everything up.
                let mut least = parameters.clone();
                least.all[i].value[0] = 2.0;
                let mut gradient = zero(&parameters);
                penalty::add_gradient(&graph, &least, (0.7, target), &mut gradient);
                // (What only sums and pools read costs nothing.)
                let free = found == 0.0;
                assert_eq!(gradient[i][0] == 0.0, free || price(&least) > target);
            }

            let mut whole = parameters.clone();
            penalty::round_bits(&graph, &mut whole, Some(target));
            let bits = whole.all.iter().filter(|p| matches!(p.what, What::Bits(_)));
            assert!(bits.clone().all(|p| p.value[0].fract() == 0.0));
            learned += bits.count();
            if penalty::check_target(&graph, &parameters, Some(target)).is_ok() {
                assert!(
                    penalty::bops(&graph, &whole, false) <= target,
                    "{}",
                    model.name()
                );
            }
        }
    }
    assert!(learned > 20, "{learned}");
}

/// LSQ's steps go with `1 / sqrt(Qp)`: from three bits to two 3 to 1 for weights, 7 to 3 for
/// activations that are never negative.
#[test]
fn steps_taken_over_are_stretched_to_the_bits_that_are_asked_for() {
    let model = without_softmax(&networks::all()[0]).unwrap();
    let (graph, means) = begun(&model);
    let at = |bits| Parameters::new(&graph, Method::Lsq, Bits::new(bits).unwrap(), &means);
    let (mut three, mut two) = (at(3), at(2));
    let learned = three.all.iter_mut().filter(|p| p.what.is_quantizer());
    for parameter in learned.filter(|p| !matches!(p.what, What::Bits(_) | What::SiteBits(_))) {
        parameter.value.iter_mut().for_each(|step| *step *= 1.1);
    }
    two.adopt(&graph, |name, _| {
        let found = three.all.iter().find(|p| p.name == name)?;
        Some(found.value.clone())
    });
    let mut stretched = 0;
    for (own, other) in two.all.iter().zip(&three.all) {
        let times = if let What::Alpha(l) = own.what
            && !graph.layers[l].is_edge
        {
            3.0f32.sqrt()
        } else if let What::SiteAlpha(s) = own.what
            && graph.sites[s].role == Role::Layer
        {
            let [lo, hi] = match graph.sites[s].signed {
                true => [1.0, 3.0],
                false => [3.0, 7.0],
            };
            f32::sqrt(hi / lo)
        } else {
            continue;
        };
        stretched += own.value.len();
        let steps = own.value.iter().zip(&other.value);
        assert!(
            steps
                .clone()
                .all(|(a, b)| (a / b / times - 1.0).abs() < 1e-5),
            "{}",
            own.name
        );
    }
    assert!(stretched > 0);
}
