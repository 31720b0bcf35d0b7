//! What training may begin with: what another run learned, what a Program came to.

#![allow(clippy::unwrap_used)] // A test may panic.

mod small;

use exbit::learn::{Epochs, Exits, Method, Recipe, Run};
use exbit_engine::{Format, Program, Session};

use small::{IMAGES, images, input, recipe, run, to_the_end};

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
    let (network, quantized) = first.quantized().unwrap();
    assert_eq!(exbit::raise(&network, &program), quantized);
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
