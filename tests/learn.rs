//! Training, on networks so small that it takes seconds: what is learned, what is deployed, and
//! that a run which was interrupted ends as one that was not.

#![allow(clippy::unwrap_used)] // A test may panic.

use exbit::Simulator;
use exbit::learn::{
    Augment, Epochs, Event, Exits, Head, Method, Position, Recipe, Run, attach, cuts,
};
use exbit_engine::{Bits, Format, Input, Program, Session};
use exbit_grad::{Mode, forward};
use exbit_model::data::{DataSet, Preprocess};
use exbit_model::{
    Activation, BatchNorm, Conv, Linear, Model, NodeId, Op, Tensor, ValueId, Window,
};

const SIDE: usize = 8;
const CLASSES: usize = 3;
const IMAGES: usize = 160;

/// Numbers from -1 to 1.
fn draw(state: &mut u64) -> f32 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn weight(shape: &[usize], state: &mut u64) -> Tensor {
    let fan_in: usize = shape[1..].iter().product();
    let spread = (3.0 / fan_in as f32).sqrt();
    let data = (0..shape.iter().product()).map(|_: usize| spread * draw(state));
    Tensor::new(shape.to_vec(), data.collect()).unwrap()
}

/// A stem, two residual blocks of which the second halves the sides, a classifier; BatchNorm is
/// kept.
fn network() -> Model {
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
fn images() -> (DataSet, Vec<u8>) {
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

fn preprocess() -> Preprocess {
    let text = "channels = \"grey\"\nscale = 0.0078125\nmean = [0.9]\nstd = [0.5]\nresize = [8, 8]";
    Preprocess::from_toml(text).unwrap()
}

fn recipe(method: Method) -> Recipe {
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

fn run(recipe: &Recipe) -> Run {
    let (set, _) = images();
    Run::new(&network(), &set, &preprocess(), None, recipe, &mut |_| {}).unwrap()
}

fn to_the_end(run: &mut Run) {
    while !run.is_done() {
        run.epoch(&mut |_| true).unwrap();
    }
}

fn input() -> Input {
    let (scale, shift) = preprocess().affine();
    Input {
        scale,
        shift,
        preprocess: preprocess().to_toml(),
    }
}

#[test]
fn exits_stand_where_everything_goes_through() {
    let model = network();
    let names: Vec<String> = cuts(&model)
        .unwrap()
        .into_iter()
        .map(|(v, _)| model.value(v).name.clone())
        .collect();
    assert_eq!(names, ["stem.relu", "a.relu", "b.relu"]);
    let with = attach(&model, &[Position::Share(0.5)], Head::Conv, 1).unwrap();
    assert_eq!(with.exits().len(), 1);
    let exit = with.exits()[0];
    assert_eq!(with.value(exit).name, "exit1.fc");
    assert!(exit < with.output());
    for share in [0.0, 0.5, 1.0] {
        let with = attach(&model, &[Position::Share(share)], Head::Tower, 1).unwrap();
        let shape = |v: ValueId| &with.value(v).shape;
        let wide = with
            .nodes()
            .iter()
            .rfind(|n| n.name.starts_with("exit1.relu"));
        let last = model.nodes().iter().rfind(|n| n.name.ends_with("relu"));
        let (wide, last) = (
            shape(wide.unwrap().output),
            model.value(last.unwrap().output),
        );
        assert_eq!(
            wide[0], last.shape[0],
            "at {share}: as wide as the network's end"
        );
        assert!(
            wide[1] <= last.shape[1],
            "at {share}: as small as the network's end"
        );
    }
    for count in 1..=2 {
        let positions = Exits::Count(count).positions();
        let with = attach(&model, &positions, Head::Pool, 1).unwrap();
        assert_eq!(with.exits().len(), count);
    }

    let twice = [Position::Share(0.5), Position::Name("a.relu".into())];
    let error = attach(&model, &twice, Head::Pool, 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("another exit"), "{error}");
    let nowhere = [Position::Name("nowhere".into())];
    let error = attach(&model, &nowhere, Head::Pool, 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.relu"), "{error}");
}

#[test]
fn bits_are_learned_to_the_target_and_the_network_too() {
    for seed in 1..=4 {
        let mut recipe = recipe(Method::Mcqueen);
        (recipe.seed, recipe.epochs.settle) = (seed, 12);
        let mut run = run(&recipe);
        to_the_end(&mut run);
        let records = run.records();
        assert_eq!(records.len(), 16);
        let last = records.last().unwrap();
        assert!(last.bops <= recipe.target_bops.unwrap(), "{last:?}");
        assert!(last.bops > 0.8 * recipe.target_bops.unwrap(), "{last:?}");
        assert!(records[0].bops > 1.1 * last.bops, "{records:?}");
        assert!(last.weight_bits.iter().all(|b| b.fract() == 0.0));
        assert!(last.held_out.iter().all(|&right| right > 80.0), "{last:?}");
        let ends = [last.weight_bits[0], *last.weight_bits.last().unwrap()];
        assert_eq!(ends, [8.0; 2], "first and last layer");
    }
}

#[test]
fn what_is_trained_is_what_the_integers_compute() {
    for method in [Method::Lsq, Method::Mcqueen] {
        let mut run = run(&recipe(method));
        to_the_end(&mut run);
        let (network, quantized) = run.quantized().unwrap();
        let (_, pixels) = images();
        let program = run.program(input()).unwrap();
        let simulator = Simulator::new(&network, &quantized).unwrap();
        let codes = simulator.input_codes(&pixels, &program.input);
        let simulated = simulator.run(codes, IMAGES);
        let mut session = Session::new(&program, 1).unwrap();
        let answers = session.run_every_exit(&pixels, IMAGES).unwrap();
        let simulated_answers: Vec<f32> = (0..IMAGES * CLASSES)
            .step_by(CLASSES)
            .flat_map(|at| {
                [&simulated.exits[0], &simulated.output].map(|all| &all[at..at + CLASSES])
            })
            .flatten()
            .copied()
            .collect();
        assert_eq!(
            answers, simulated_answers,
            "{method:?}: the engine's answers"
        );

        // In floats sums of rounded numbers are not exact: a code may differ, few do.
        let x: Vec<f32> = pixels
            .iter()
            .map(|&p| f32::from(p) * program.input.scale[0] + program.input.shift[0])
            .collect();
        let tape = forward(run.model(), &x, IMAGES, Mode::Eval);
        let exit = tape.value(run.model().exits()[0]);
        for (float, integer) in [
            (tape.output(), &simulated.output),
            (exit, &simulated.exits[0]),
        ] {
            let pairs = float.iter().zip(integer);
            let same = pairs.filter(|(a, b)| (**a - **b).abs() < 1e-3).count();
            assert!(
                100 * same > 97 * float.len(),
                "{method:?}: {same} of {}",
                float.len()
            );
        }
    }
}

#[test]
fn an_interrupted_run_ends_as_one_that_was_not() {
    let recipe = recipe(Method::Mcqueen);
    let mut whole = run(&recipe);
    to_the_end(&mut whole);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.run");
    let mut first = run(&recipe);
    let mut steps = 0;
    while steps < 11 {
        first
            .epoch(&mut |event| {
                steps += usize::from(matches!(event, Event::Step(..)));
                steps < 11
            })
            .unwrap();
    }
    first.save(&path).unwrap();
    drop(first);
    let mut second = run(&recipe);
    second.resume(&path).unwrap();
    to_the_end(&mut second);
    let bytes = |run: &Run| run.program(input()).unwrap().to_bytes().unwrap();
    assert!(bytes(&whole) == bytes(&second), "the same bytes");
    let mut other = run(&Recipe { seed: 2, ..recipe });
    let error = other.resume(&path).unwrap_err().to_string();
    assert!(error.contains("another recipe"), "{error}");
}

#[test]
fn a_run_begins_with_what_another_one_learned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.run");
    let mut float = run(&Recipe {
        exits: Exits::default(),
        ..recipe(Method::Float)
    });
    to_the_end(&mut float);
    float.save(&path).unwrap();
    let mut next = run(&recipe(Method::Lsq));
    let (found, all) = next.adopt(&path).unwrap();
    assert!(found > 0 && found < all, "{found} of {all}");
    let stem = |run: &Run| {
        let model = run.model();
        let id = model.layers()[0];
        model.node(id).op.weight().unwrap().clone()
    };
    // Eight bits in the first layer: the adopted weight, nearly.
    let pairs = stem(&float).data().to_vec();
    let near = pairs
        .iter()
        .zip(stem(&next).data())
        .all(|(a, b)| (a - b).abs() < 0.1);
    assert!(near);
}

/// The float network is there for shapes and for how long weights are; codes, steps and what
/// BatchNorms do come from the Program.
#[test]
fn a_run_begins_with_what_a_program_came_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.exbit");
    let mut first = run(&recipe(Method::Mcqueen));
    to_the_end(&mut first);
    let program = first.program(input()).unwrap();
    program.save(&path).unwrap();
    let mut next = run(&Recipe {
        target_bops: None,
        epochs: Epochs {
            warm: 0,
            search: 0,
            settle: 1,
        },
        ..recipe(Method::Mcqueen)
    });
    let before = next.program(input()).unwrap();
    let (found, all) = next.adopt(&path).unwrap();
    // The input's quantizer is that of the images.
    assert_eq!(found, all - 3);
    let after = next.program(input()).unwrap();
    let (_, pixels) = images();
    let answers = |program: &Program| {
        let mut session = Session::new(program, 1).unwrap();
        session.run_batch(&pixels, IMAGES).unwrap().to_vec()
    };
    let [expected, before, after] = [&program, &before, &after].map(answers);
    let expected = &expected[..];
    let far = |y: &[f32]| {
        let pairs = y.iter().zip(expected);
        pairs.filter(|(a, b)| (*a - *b).abs() > 1e-3).count()
    };
    assert!(
        far(&after) <= expected.len() / 100,
        "{} are far",
        far(&after)
    );
    assert!(
        far(&before) > expected.len() / 2,
        "nothing was to be taken over"
    );
    // And it learns: statistics of batches are what gamma and beta were made for.
    let loss = |run: &mut Run| {
        to_the_end(run);
        run.records().last().unwrap().loss.last().copied().unwrap()
    };
    let last = first
        .records()
        .last()
        .unwrap()
        .loss
        .last()
        .copied()
        .unwrap();
    assert!(loss(&mut next) < 1.5 * last);
}

/// One that quantization without training made rounds otherwise: it is no beginning.
#[test]
fn a_run_does_not_begin_with_what_training_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.exbit");
    let mut program = run(&recipe(Method::Lsq)).program(input()).unwrap();
    for value in &mut program.values[1..] {
        if let Format::Codes(grid) = &mut value.format {
            grid.zero = 3;
        }
    }
    program.save(&path).unwrap();
    let error = run(&recipe(Method::Lsq)).adopt(&path).unwrap_err();
    assert!(error.to_string().contains("`exbit train`"), "{error}");
}

/// Learned, the steps of eight bits drift until a few codes are left.
#[test]
fn what_has_eight_bits_by_rule_uses_its_codes() {
    let mut run = run(&recipe(Method::Mcqueen));
    to_the_end(&mut run);
    let (network, quantized) = run.quantized().unwrap();
    for id in network.layers() {
        let weight = &quantized.layers[&id].weight;
        let rows = weight
            .codes
            .chunks_exact(weight.codes.len() / weight.scale.len());
        let most = |row: &[i8]| row.iter().map(|c| c.unsigned_abs()).max();
        if weight.bits == Bits::EIGHT {
            assert!(rows.map(most).all(|most| most == Some(127)), "{id:?}");
        }
    }
    let eight = |id: &&NodeId| quantized.layers[id].weight.bits == Bits::EIGHT;
    // The first layer, the last one and that of the exit.
    assert_eq!(network.layers().iter().filter(eight).count(), 3);
}
