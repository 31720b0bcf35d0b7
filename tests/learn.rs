//! Training, on networks so small that it takes seconds: what is learned, what is deployed, and
//! that a run which was interrupted ends as one that was not.

#![allow(clippy::unwrap_used)] // A test may panic.

mod small;

use exbit::Simulator;
use exbit::learn::{Event, Exits, Head, Method, Position, Recipe, Run, attach, cuts};
use exbit_engine::{Bits, Session};
use exbit_grad::{Mode, forward};
use exbit_model::{NodeId, ValueId};

use small::*;

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
