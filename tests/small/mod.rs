//! A small network, images of three classes and a recipe: what training is tested on in seconds.

// Each test file takes what it needs, and what cannot be built fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use exbit::learn::{Augment, Epochs, Exits, Head, Method, Position, Recipe, Run};
use exbit_engine::Input;
use exbit_model::data::{DataSet, Preprocess};
use exbit_model::{Activation, BatchNorm, Conv, Linear, Model, Op, Tensor, ValueId, Window};

pub const SIDE: usize = 8;
pub const CLASSES: usize = 3;
pub const IMAGES: usize = 160;

/// Numbers from -1 to 1.
pub fn draw(state: &mut u64) -> f32 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

pub fn weight(shape: &[usize], state: &mut u64) -> Tensor {
    let fan_in: usize = shape[1..].iter().product();
    let spread = (3.0 / fan_in as f32).sqrt();
    let data = (0..shape.iter().product()).map(|_: usize| spread * draw(state));
    Tensor::new(shape.to_vec(), data.collect()).unwrap()
}

/// A stem, two residual blocks of which the second halves the sides, a classifier; BatchNorm is
/// kept.
pub fn network() -> Model {
    let mut state = 7;
    let mut m = Model::new("small", "x", vec![1, SIDE, SIDE]);
    let conv_bn = |m: &mut Model, name: &str, x, shape: [usize; 2], stride, state: &mut u64| {
        let conv = Op::Conv(Conv {
            weight: weight(&[shape[1], shape[0], 3, 3], state),
            bias: None,
            window: Window::square(3, stride, 1),
            groups: 1,
        });
        let norm = Op::BatchNorm(BatchNorm {
            gamma: (0..shape[1]).map(|_| 1.0 + 0.2 * draw(state)).collect(),
            beta: (0..shape[1]).map(|_| 0.2 * draw(state)).collect(),
            mean: vec![0.0; shape[1]],
            var: vec![1.0; shape[1]],
            eps: 1e-5,
        });
        let y = m.push(format!("{name}.conv"), conv, &[x]).unwrap();
        m.push(format!("{name}.bn"), norm, &[y]).unwrap()
    };
    let relu = |m: &mut Model, name: &str, x| {
        m.push(name, Op::Activation(Activation::Relu), &[x])
            .unwrap()
    };
    let y = conv_bn(&mut m, "stem", ValueId(0), [1, 4], 1, &mut state);
    let x = relu(&mut m, "stem.relu", y);
    let y = conv_bn(&mut m, "a1", x, [4, 4], 1, &mut state);
    let y = relu(&mut m, "a1.relu", y);
    let y = conv_bn(&mut m, "a2", y, [4, 4], 1, &mut state);
    let y = m.push("a.add", Op::Add, &[y, x]).unwrap();
    let x = relu(&mut m, "a.relu", y);
    let y = conv_bn(&mut m, "b1", x, [4, 8], 2, &mut state);
    let y = relu(&mut m, "b1.relu", y);
    let y = conv_bn(&mut m, "b2", y, [8, 8], 1, &mut state);
    let short = conv_bn(&mut m, "b.short", x, [4, 8], 2, &mut state);
    let y = m.push("b.add", Op::Add, &[y, short]).unwrap();
    let x = relu(&mut m, "b.relu", y);
    let y = m.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
    let y = m
        .push("flat", Op::Reshape { shape: vec![8] }, &[y])
        .unwrap();
    let fc = Op::Linear(Linear {
        weight: weight(&[CLASSES, 8], &mut state),
        bias: Some(vec![0.0; CLASSES]),
    });
    m.push("fc", fc, &[y]).unwrap();
    m
}

/// Images of horizontal bars, vertical bars and neither, with noise.
pub fn images() -> (DataSet, Vec<u8>) {
    let mut state = 3;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for i in 0..IMAGES {
        let class = i % CLASSES;
        let phase = (128.0 * (draw(&mut state) + 1.0)) as usize;
        for y in 0..SIDE {
            for x in 0..SIDE {
                let at = [y, x, (x * 5 + y * 3) / 2][class] + phase;
                let light = if at % 4 < 2 { 190.0 } else { 60.0 };
                pixels.push((light + 50.0 * draw(&mut state)) as u8);
            }
        }
        labels.push(class as u8);
    }
    let header = |dims: &[u32]| {
        let mut h = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|d| h.extend(d.to_be_bytes()));
        h
    };
    let mut file = header(&[IMAGES as u32, SIDE as u32, SIDE as u32]);
    file.extend(&pixels);
    let mut classes = header(&[IMAGES as u32]);
    classes.extend(&labels);
    (DataSet::from_idx(file, Some(classes)).unwrap(), pixels)
}

pub fn preprocess() -> Preprocess {
    let text = "channels = \"grey\"\nscale = 0.0078125\nmean = [0.9]\nstd = [0.5]\nresize = [8, 8]";
    Preprocess::from_toml(text).unwrap()
}

pub fn recipe(method: Method) -> Recipe {
    Recipe {
        method,
        bits: 4,
        exits: Exits::At(vec![Position::Name("a.relu".into())]),
        head: Head::Strided,
        target_bops: (method == Method::Mcqueen).then_some(0.6e6),
        epochs: Epochs {
            warm: 1,
            search: 3,
            settle: 4,
        },
        batch: 16,
        rate: 0.05,
        warmup_steps: 2,
        augment: Augment {
            area: 1.0,
            shift: 1,
            mirror: true,
        },
        held_out: 32,
        ..Recipe::default()
    }
}

pub fn run(recipe: &Recipe) -> Run {
    let (set, _) = images();
    Run::new(&network(), &set, &preprocess(), None, recipe, &mut |_| {}).unwrap()
}

pub fn to_the_end(run: &mut Run) {
    while !run.is_done() {
        run.epoch(&mut |_| true).unwrap();
    }
}

pub fn input() -> Input {
    let (scale, shift) = preprocess().affine();
    Input {
        scale,
        shift,
        preprocess: preprocess().to_toml(),
    }
}
