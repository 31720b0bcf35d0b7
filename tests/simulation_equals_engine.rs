//! What is simulated is what is deployed: the same codes at every step, the same answers.

#![allow(clippy::unwrap_used)] // A test may panic.

mod networks;

use exbit::calibrate::{Clipping, calibrate};
use exbit::{Network, Quantized, QuantizedLayer, Samples, Simulator, WeightRange, quantize_weight};
use exbit_engine::{Bits, Input, Program, Session};
use exbit_model::{Conv, Linear, Op, ValueId};

const SCALE: f32 = 1.0 / 60.0;
const SHIFT: f32 = -2.0;

/// The network rounded to the nearest codes, bits drawn anew for each tensor.
fn rounded(network: &Network, samples: &Samples, bits: &mut dyn FnMut() -> Bits) -> Quantized {
    let calibration = calibrate(network, samples, &mut |_| {}).unwrap();
    let layer = |id| {
        let op = &network.model.node(id).op;
        let (Op::Conv(Conv { weight, bias, .. }) | Op::Linear(Linear { weight, bias })) = op else {
            panic!("a layer has a weight")
        };
        (weight.clone(), bias.clone().unwrap())
    };
    let layers = network
        .layers()
        .into_iter()
        .map(|id| {
            let (weight, bias) = layer(id);
            let weight = quantize_weight(&weight, bits(), WeightRange::Mse, &[]);
            (id, QuantizedLayer { weight, bias })
        })
        .collect();
    let site = |s: ValueId| (s, calibration.grid(s, bits(), Clipping::Mse));
    Quantized {
        layers,
        grids: network.sites().into_iter().map(site).collect(),
    }
}

fn samples(network: &Network, images: usize, seed: u64) -> Samples<'_> {
    let pixels = networks::pixels(&network.model, images, seed);
    let x = networks::preprocessed(&network.model, &pixels, SCALE, SHIFT);
    Samples::Memory {
        x,
        images,
        labels: None,
    }
}

fn input(network: &Network) -> Input {
    let channels = network.model.value(ValueId(0)).shape[0];
    let (scale, shift) = (vec![SCALE; channels], vec![SHIFT; channels]);
    Input {
        scale,
        shift,
        preprocess: String::new(),
    }
}

/// `(C, H, W)` codes in the engine's order.
fn in_memory_order(network: &Network, value: ValueId, codes: &[u8]) -> Vec<u8> {
    let [c, h, w] = network.model.value(value).shape[..] else {
        return codes.to_vec();
    };
    let at = |p: usize, channel: usize| codes[channel * h * w + p];
    (0..h * w)
        .flat_map(|p| (0..c).map(move |channel| at(p, channel)))
        .collect()
}

fn check(network: &Network, quantized: &Quantized, pixels: &[u8], isa: &str) {
    let program = exbit::lower(network, quantized, input(network));
    let program = Program::from_bytes(&program.to_bytes().unwrap()).unwrap();
    let mut session = Session::keeping_values(&program, Some(isa)).unwrap();
    let simulator = Simulator::new(network, quantized).unwrap();
    let len = network.model.value(ValueId(0)).len();
    for image in pixels.chunks_exact(len) {
        let codes = simulator.input_codes(image, &program.input);
        let simulated = simulator.run(codes, 1);
        let answer = session.run(image).unwrap().to_vec();
        let name = network.model.name();
        let mut compared = 0;
        for (step, stage) in program.steps.iter().zip(moving(network)) {
            let Some(codes) = simulated.codes.get(&stage) else {
                continue;
            };
            let own = session.codes(step.output).unwrap();
            let expected = in_memory_order(network, stage, codes);
            assert_eq!(own, expected, "{name}: codes of step {}", step.name);
            compared += 1;
        }
        assert!(
            compared + 1 >= program.steps.len(),
            "{name}: every step is compared"
        );
        assert_eq!(answer, simulated.output, "{name}: the answer");
    }
}

/// The values that steps write, in their order: a stage without a step has its input's codes.
fn moving(network: &Network) -> impl Iterator<Item = ValueId> + '_ {
    let still = |v: &exbit::Stage| {
        let shape = |id: ValueId| &network.model.value(id).shape;
        matches!(v.kind, exbit::StageKind::Shuffle(_))
            && shape(v.inputs[0]).iter().filter(|&&d| d > 1).count() <= 1
    };
    network
        .stages
        .iter()
        .filter(move |s| !still(s))
        .map(|s| s.output)
}

#[test]
fn the_same_codes_at_every_step() {
    for (n, model) in networks::all().iter().enumerate() {
        let network = exbit::prepare(model).unwrap();
        let pixels = networks::pixels(model, 4, 50 + n as u64);
        for seed in 0..6 {
            let mut random = networks::Numbers(seed);
            // Seed 0: eight bits everywhere; the others mix one to eight.
            let mut bits = || {
                let b = 1 + ((random.next() + 1.0) * 4.0) as u8;
                Bits::new(if seed == 0 { 8 } else { b }).unwrap()
            };
            let quantized = rounded(&network, &samples(&network, 8, 9), &mut bits);
            check(&network, &quantized, &pixels, "scalar");
        }
    }
}

#[test]
fn eight_bits_are_close_to_the_float_network() {
    for model in networks::all() {
        let network = exbit::prepare(&model).unwrap();
        let quantized = rounded(&network, &samples(&network, 16, 9), &mut || Bits::EIGHT);
        let simulator = Simulator::new(&network, &quantized).unwrap();
        let pixels = networks::pixels(&model, 8, 77);
        let codes = simulator.input_codes(&pixels, &input(&network));
        let integer = simulator.run(codes, 8).output;
        let x = networks::preprocessed(&model, &pixels, SCALE, SHIFT);
        let float = exbit_grad::infer(&network.model, &x, 8);
        let power: f32 = float.iter().map(|y| y * y).sum();
        let noise: f32 = float
            .iter()
            .zip(&integer)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        let decibel = 10.0 * (power / noise).log10();
        assert!(decibel > 20.0, "{}: {decibel} dB", model.name());
    }
}

#[test]
fn logits_are_real_numbers_however_a_network_ends() {
    for model in networks::all() {
        let network = exbit::prepare(&model).unwrap();
        let output = network.model.output();
        assert!(network.is_real(output), "{}", model.name());
        assert!(!network.sites().contains(&output), "{}", model.name());
    }
}

#[test]
fn folding_keeps_the_function() {
    for model in networks::all() {
        let network = exbit::prepare(&model).unwrap();
        let mut equal = network.model.clone();
        exbit::equalize(&mut equal);
        let pixels = networks::pixels(&model, 3, 5);
        let x = networks::preprocessed(&model, &pixels, SCALE, SHIFT);
        // The logits of a network that ends in a softmax are what the folded one gives.
        let mut before = model.clone();
        if let Some(last) = model
            .nodes()
            .last()
            .filter(|n| matches!(n.op, Op::Softmax { .. }))
        {
            before.set_output(last.inputs[0]);
        }
        let expected = exbit_grad::infer(&before, &x, 3);
        for folded in [&network.model, &equal] {
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * (1.0 + a.abs());
            let got = exbit_grad::infer(folded, &x, 3);
            assert!(expected.iter().zip(&got).all(close), "{}", model.name());
        }
    }
}
