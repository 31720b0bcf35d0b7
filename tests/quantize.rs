//! The main job on small networks: budgets are kept, a Plan rebuilds its Program byte for byte, and
//! codes chosen from moments beat the nearest ones, and distillation does better still.

#![allow(clippy::unwrap_used)] // A test may panic.

mod networks;

use exbit::distill::{Distillation, distill};
use exbit::reconstruct::{Descent, Rounding};
use exbit::sensitivity::divergence;
use exbit::{Options, Plan, Quantization, Samples, fake_quantized, quantize, summarize};
use exbit_engine::Input;
use exbit_model::Model;

const SCALE: f32 = 1.0 / 60.0;
const SHIFT: f32 = -2.0;

fn samples(model: &Model, images: usize, seed: u64) -> Samples<'static> {
    let pixels = networks::pixels(model, images, seed);
    let x = networks::preprocessed(model, &pixels, SCALE, SHIFT);
    Samples::Memory {
        x,
        images,
        labels: None,
    }
}

fn run(model: &Model, plan: Option<&Plan>, budget: &str, rounding: Rounding) -> Quantization {
    let channels = model.value(model.input()).shape[0];
    let (scale, shift) = (vec![SCALE; channels], vec![SHIFT; channels]);
    let input = Input {
        scale,
        shift,
        preprocess: String::new(),
    };
    let mut options = Options {
        rounding,
        ..Options::default()
    };
    options.request.budgets.push(budget.parse().unwrap());
    let samples = samples(model, 48, 9);
    quantize(model, &samples, input, plan, &options, &mut |_| {}).unwrap()
}

#[test]
fn a_budget_is_kept_and_a_plan_rebuilds_the_program() {
    for model in networks::all() {
        let done = run(&model, None, "weights=6x", Rounding::Moments);
        let allocation = done.allocation.as_ref().unwrap();
        assert!(allocation.missed.is_empty(), "{}", model.name());
        let float: u64 = done.sizes.layers().iter().map(|l| 4 * l.weights).sum();
        // Every layer may round its share up to a whole byte.
        let layers = done.sizes.layers().len() as u64;
        let bytes = allocation.cost.weight_bytes;
        assert!(6 * bytes <= float + 6 * layers, "{}: {bytes}", model.name());
        let plan = Plan::parse(&done.plan.to_string()).unwrap();
        let again = run(&model, Some(&plan), "weights=6x", Rounding::Moments);
        assert_eq!(
            again.program.to_bytes().unwrap(),
            done.program.to_bytes().unwrap()
        );
    }
}

#[test]
fn a_latency_budget_is_kept_or_answered_with_the_nearest_plan() {
    let model = networks::all().swap_remove(0);
    let loose = run(&model, None, "latency=1s", Rounding::Nearest);
    let times = loose.latency.as_ref().unwrap();
    assert_eq!(times.layers.len(), loose.sizes.layers().len());
    assert!(loose.allocation.as_ref().unwrap().missed.is_empty());
    let report = summarize(&loose, &Options::default()).unwrap();
    let told = |word: &str| report.remarks.iter().any(|r| r.contains(word));
    assert!(
        told("on this CPU") || told("On this CPU"),
        "{:?}",
        report.remarks
    );
    let tight = run(&model, None, "latency=0.001us", Rounding::Nearest);
    let allocation = tight.allocation.unwrap();
    let missed = &allocation.missed[0];
    assert_eq!(allocation.cost.latency_ms, Some(missed.used));
    assert!(missed.used > missed.limit && missed.used <= missed.least * (1.0 + 1e-9));
}

#[test]
fn times_are_measured_once_and_kept() {
    let model = networks::all().swap_remove(0);
    let path = std::env::temp_dir().join(format!("exbit-times-{}.toml", std::process::id()));
    let channels = model.value(model.input()).shape[0];
    let input = Input {
        scale: vec![SCALE; channels],
        shift: vec![SHIFT; channels],
        preprocess: String::new(),
    };
    let options = Options {
        latency_table: Some(path.clone()),
        rounding: Rounding::Nearest,
        ..Options::default()
    };
    let once = || {
        let samples = samples(&model, 8, 9);
        quantize(&model, &samples, input.clone(), None, &options, &mut |_| {}).unwrap()
    };
    let measured = once();
    let read = once();
    std::fs::remove_file(path).unwrap();
    let stages = |q: &Quantization| q.times.iter().filter(|t| t.0 == "latency").count();
    assert_eq!((stages(&measured), stages(&read)), (1, 0));
    let layers = |q: &Quantization| q.latency.as_ref().unwrap().layers.len();
    assert_eq!(layers(&measured), layers(&read));
}

#[test]
fn moments_beat_nearest_codes_on_other_images() {
    for model in networks::all() {
        let distance = |rounding| {
            let done = run(&model, None, "weights=8x", rounding);
            let rounded = fake_quantized(&done.network, &done.quantized).unwrap();
            divergence(
                &done.network,
                &rounded,
                &samples(&model, 64, 31),
                &mut |_| {},
            )
            .unwrap()
        };
        let descent = Descent {
            iterations: 60,
            ..Descent::default()
        };
        let nearest = distance(Rounding::Nearest);
        for better in [Rounding::Moments, Rounding::Blocks(descent)] {
            let d = distance(better);
            assert!(
                d < nearest,
                "{}: {better:?} {d} after {nearest}",
                model.name()
            );
        }
    }
}

#[test]
fn distillation_answers_more_like_the_float_network_with_the_same_codes() {
    for model in networks::all() {
        let done = run(&model, None, "weights=14x", Rounding::Moments);
        let how = Distillation {
            epochs: 12,
            rate: 2e-2,
            seed: 5,
        };
        let learn = || {
            let samples = samples(&model, 48, 9);
            distill(&done.network, &done.quantized, &samples, &how, &mut |_| {}).unwrap()
        };
        let found = learn();
        assert_eq!(found, learn(), "the same seed, the same numbers");
        for (id, layer) in &found.quantized.layers {
            let start = &done.quantized.layers[id].weight;
            assert_eq!(layer.weight.codes, start.codes);
            assert_eq!(layer.weight.bits, start.bits);
        }
        let distance = |quantized| {
            let rounded = fake_quantized(&done.network, quantized).unwrap();
            let others = samples(&model, 64, 31);
            divergence(&done.network, &rounded, &others, &mut |_| {}).unwrap()
        };
        let (before, after) = (distance(&done.quantized), distance(&found.quantized));
        assert!(after < before, "{}: {after} after {before}", model.name());
    }
}
