//! The main job on small networks: budgets are kept, a Plan rebuilds its Program byte for byte, and
//! codes chosen from moments beat the nearest ones.

#![allow(clippy::unwrap_used)] // A test may panic.

mod networks;

use exbit::reconstruct::{Descent, Rounding};
use exbit::sensitivity::divergence;
use exbit::{Options, Plan, Quantization, Samples, fake_quantized, quantize};
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
