//! The main job on small networks: budgets are kept, a Plan rebuilds its Program byte for byte, and
//! codes chosen from moments beat the nearest ones, and distillation does better still.

#![allow(clippy::unwrap_used)] // A test may panic.

mod networks;

use exbit::cost::cost;
use exbit::distill::{Distillation, distill};
use exbit::latency::{Kept, Pair, Times};
use exbit::reconstruct::{Descent, Rounding};
use exbit::sensitivity::divergence;
use exbit::{Options, Plan, Quantization, Samples, fake_quantized, prepare, quantize, summarize};
use exbit_engine::{Bits, Input};
use exbit_model::{Conv, Linear, Model, Op, Tensor, Window};

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
    try_run(model, plan, budget, rounding).unwrap()
}

fn try_run(
    model: &Model,
    plan: Option<&Plan>,
    budget: &str,
    rounding: Rounding,
) -> exbit::Result<Quantization> {
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
    quantize(model, &samples, input, plan, &options, &mut |_| {})
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
fn a_network_that_overflows_is_an_error_that_names_the_node() {
    for weight in [1e30, -3e38] {
        let mut model = Model::new("huge", "x", vec![3, 8, 8]);
        let huge = Tensor::new(vec![4, 3, 3, 3], vec![weight; 108]).unwrap();
        let conv = Conv {
            weight: huge,
            bias: None,
            window: Window::square(3, 1, 1),
            groups: 1,
        };
        let y = model
            .push("wild", Op::Conv(conv), &[model.input()])
            .unwrap();
        model.push("mean", Op::GlobalAvgPool, &[y]).unwrap();
        let found = try_run(&model, None, "weights=6x", Rounding::Moments);
        let message = found.unwrap_err().to_string();
        assert!(message.starts_with("node wild: "), "{message}");
    }
}

#[test]
fn a_layer_that_reads_too_much_for_moments_gets_the_nearest_codes() {
    let mut model = Model::new("wide", "x", vec![4609, 1, 1]);
    let weight = (0..2 * 4609).map(|i| (i as f32 * 0.7).sin() * 0.05);
    let linear = Linear {
        weight: Tensor::new(vec![2, 4609], weight.collect()).unwrap(),
        bias: None,
    };
    let flat = Op::Reshape { shape: vec![4609] };
    let x = model.push("flat", flat, &[model.input()]).unwrap();
    model.push("fc6", Op::Linear(linear), &[x]).unwrap();
    let [moments, nearest] = [Rounding::Moments, Rounding::Nearest]
        .map(|rounding| run(&model, None, "weights=8x", rounding));
    assert_eq!(moments.quantized.layers, nearest.quantized.layers);
    let options = Options::default();
    let remarks = summarize(&moments, &options).unwrap().remarks;
    assert!(
        remarks
            .iter()
            .any(|r| r.contains("nearest codes") && r.ends_with("fc6."))
    );
}

#[test]
fn activations_are_budgeted_as_they_lie() {
    for model in networks::all() {
        let name = model.name();
        let mut plan = run(&model, None, "weights=4x", Rounding::Nearest).plan;
        assert_eq!(plan.peak_activation_bytes, None);
        for (i, (_, bits)) in plan.activations.iter_mut().enumerate() {
            *bits = Bits::new([5, 3, 8, 2, 4, 7, 1, 6][i % 8]).unwrap();
        }
        let bytes = run(&model, Some(&plan), "weights=4x", Rounding::Nearest);
        let most = bytes.program.activation_bytes().peak;
        plan.peak_activation_bytes = Some(0);
        let packed = run(&model, Some(&plan), "weights=4x", Rounding::Nearest);
        // What was counted before there was a Program, and what the Program takes.
        let (cost, least) = (
            cost(&packed.sizes, &packed.precisions),
            packed.program.activation_bytes(),
        );
        assert_eq!(cost.activation_bytes_peak, least.peak, "{name}");
        assert_eq!(cost.activation_bytes_sum, least.sum, "{name}");
        assert!(least.peak < most, "{name}");
        // A plan that asks for less than bytes take and more than packing all does.
        let between = (least.peak + most) / 2;
        plan.peak_activation_bytes = Some(between);
        let some = run(&model, Some(&plan), "weights=4x", Rounding::Nearest);
        let (taken, values) = (some.program.activation_bytes().peak, &some.program.packed);
        assert!(taken <= between && !values.is_empty(), "{name}");
        let budget = format!("peak-activations={between}B");
        let done = run(&model, None, &budget, Rounding::Nearest);
        if done.allocation.unwrap().missed.is_empty() {
            assert!(done.program.activation_bytes().peak <= between, "{name}");
        }
    }
}

#[test]
fn a_latency_budget_is_kept_or_answered_with_the_nearest_plan() {
    let model = networks::all().swap_remove(0);
    let loose = run(&model, None, "latency=1s", Rounding::Nearest);
    let times = loose.latency.as_ref().unwrap();
    assert_eq!(times.layers.len(), loose.sizes.layers().len());
    assert_eq!(times.pairs.len(), 7, "weights of 2 to 8 bits");
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
fn times_are_kept_and_only_missing_ones_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::Folder(folder.path().join("latency"));
    let once = |model: &Model, weights: &[u8], kept: &Kept| {
        let channels = model.value(model.input()).shape[0];
        let input = Input {
            scale: vec![SCALE; channels],
            shift: vec![SHIFT; channels],
            preprocess: String::new(),
        };
        let mut options = Options {
            times: kept.clone(),
            rounding: Rounding::Nearest,
            ..Options::default()
        };
        options.candidates.weights = weights.iter().filter_map(|&b| Bits::new(b)).collect();
        options.request.budgets.push("latency=1s".parse().unwrap());
        let samples = samples(model, 8, 9);
        quantize(model, &samples, input, None, &options, &mut |_| {})
    };
    let measured = |q: &Quantization| q.times.iter().any(|t| t.0 == "latency");
    let mut models = networks::all();
    let (other, model) = (models.swap_remove(1), models.swap_remove(0));
    let first = once(&model, &[4, 8], &kept).unwrap();
    let again = once(&model, &[4, 8], &kept).unwrap();
    assert_eq!((measured(&first), measured(&again)), (true, false));
    // One bit-width is new: only its times are measured, the others are those of the file.
    let more = once(&model, &[2, 4], &kept).unwrap();
    assert!(measured(&more));
    let file = kept.file(&more.network).unwrap().unwrap();
    let all = Times::open(&file).unwrap();
    let bits: Vec<u8> = all.pairs.iter().map(|p| p.bits.weights.get()).collect();
    assert_eq!(bits, [2, 4, 8]);
    assert_eq!(more.latency.unwrap().pairs.len(), 2);
    // Other shapes have their own file, and take none of these times.
    let strange = once(&other, &[8], &kept).unwrap();
    assert_ne!(kept.file(&strange.network).unwrap().unwrap(), file);
    let wrong = once(&other, &[8], &Kept::File(file)).unwrap_err();
    assert!(
        wrong.to_string().contains("not of this network's shapes"),
        "{wrong}"
    );
}

#[test]
fn times_from_another_machine_are_used_but_not_added_to() {
    let network = prepare(&networks::all().swap_remove(0)).unwrap();
    let pair = |weights| Pair {
        weights: Bits::new(weights).unwrap(),
        activations: Bits::EIGHT,
    };
    let mut times = Times::none(&network).unwrap();
    times.measure(&network, &[pair(8)], &mut |_| {}).unwrap();
    times.cpu.push_str(" of another kind");
    assert!(times.of(&[pair(8)]).is_ok());
    let error = times
        .measure(&network, &[pair(4)], &mut |_| {})
        .unwrap_err();
    assert!(error.to_string().contains("has no W4A8"), "{error}");
    assert_eq!(times.pairs.len(), 1);
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
    let mut gained = Vec::new();
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
        gained.push(after / before);
    }
    // Of 48 images a network that is near already learns nothing for others, and loses little; one
    // with something to gain gains it.
    let worst = gained.iter().fold(0.0f64, |m, g| m.max(*g));
    let best = gained.iter().fold(1.0f64, |m, g| m.min(*g));
    assert!(worst < 1.05 && best < 0.9, "{gained:?}");
}
