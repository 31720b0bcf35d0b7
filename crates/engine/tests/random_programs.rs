//! What must hold for any Program: every instruction set gives the same codes, the arena loses
//! none, a batch is its images, and a file is its Program. `exits.rs` has what must hold for exits.

mod random;

use exbit_engine::{Bits, ErrorKind, Format, Grid, Program, Session, StepKind};
use random::Random;

fn programs(count: u64) -> impl Iterator<Item = (u64, Random, Program)> {
    (0..count).map(|seed| {
        let mut random = Random::new(seed);
        let steps = 1 + random.below(9);
        let program = match seed % 3 {
            0 => random::with_exits(&mut random, steps),
            _ => random::program(&mut random, steps),
        };
        (seed, random, program)
    })
}

#[test]
fn every_instruction_set_gives_the_codes_of_the_definition() {
    for (seed, mut random, program) in programs(400) {
        let mut scalar = Session::keeping_values(&program, Some("scalar")).unwrap();
        let pixels = random.pixels(scalar.input_len());
        let answer = scalar.run(&pixels).unwrap().to_vec();
        for isa in exbit_engine::present_isas() {
            let mut session = Session::keeping_values(&program, Some(isa)).unwrap();
            let other = session.run(&pixels).unwrap().to_vec();
            for v in 0..program.values.len() {
                assert_eq!(
                    session.codes(v),
                    scalar.codes(v),
                    "seed {seed}, {isa}, value {v}"
                );
            }
            assert_eq!(bits_of(&other), bits_of(&answer), "seed {seed}, {isa}");
            let mut sharing = Session::with_isa(&program, isa).unwrap();
            assert_eq!(
                bits_of(sharing.run(&pixels).unwrap()),
                bits_of(&answer),
                "seed {seed}, {isa}"
            );
            assert!(sharing.codes(0).is_none());
        }
    }
}

/// The program with all values packed that can be, and with a random half of them.
fn packed(program: &Program, random: &mut Random) -> [Program; 2] {
    let (mut all, mut half) = (program.clone(), program.clone());
    all.pack(0);
    half.packed = (0..program.values.len())
        .filter(|_| random.below(2) == 0)
        .collect();
    [all, half]
}

#[test]
fn packed_values_change_no_answer() {
    for (seed, mut random, program) in programs(400) {
        let mut bytes = Session::new(&program, 1).unwrap();
        let pixels = random.pixels(3 * bytes.input_len());
        let every = bits_of(bytes.run_every_exit(&pixels, 3).unwrap());
        let answers = bits_of(bytes.run_batch(&pixels, 3).unwrap());
        for packed in packed(&program, &mut random) {
            let check = |session: &mut Session| {
                let place = format!("seed {seed}, {}", session.isa());
                let found = bits_of(session.run_batch(&pixels, 3).unwrap());
                assert_eq!(found, answers, "{place}");
                assert_eq!(session.exits(), bytes.exits(), "{place}");
                let found = bits_of(session.run_every_exit(&pixels, 3).unwrap());
                assert_eq!(found, every, "{place}");
            };
            for isa in exbit_engine::present_isas() {
                check(&mut Session::with_isa(&packed, isa).unwrap());
            }
            check(&mut Session::new(&packed, 2).unwrap());
            check(&mut Session::new(&packed, 3).unwrap());
        }
    }
}

/// The program with its values numbered in another order, and the answer perhaps another value.
fn renumbered(program: &Program, random: &mut Random) -> Program {
    let mut other = program.clone();
    let count = program.values.len();
    let mut numbers: Vec<usize> = (0..count).collect();
    (2..count).for_each(|i| numbers.swap(i, 1 + random.below(i)));
    for (v, &number) in numbers.iter().enumerate() {
        other.values[number] = program.values[v].clone();
    }
    for step in &mut other.steps {
        step.output = numbers[step.output];
        step.inputs.iter_mut().for_each(|v| *v = numbers[*v]);
    }
    other.output = numbers[program.output];
    other
}

#[test]
fn values_may_be_numbered_in_any_order_and_any_may_be_the_answer() {
    let mut checked = 0;
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let program = random::program(&mut random, 9);
        let mut other = renumbered(&program, &mut random);
        if seed % 2 == 0 {
            // Real numbers are for the answer only.
            let (bits, scale, zero) = (Bits::EIGHT, 0.05, 100);
            other.values[other.output].format = Format::Codes(Grid { bits, scale, zero });
            other.output = random.below(other.values.len());
        }
        if other.check().is_err() {
            continue;
        }
        checked += 1;
        let mut apart = Session::keeping_values(&other, None).unwrap();
        let pixels = random.pixels(apart.input_len());
        let answer = bits_of(apart.run(&pixels).unwrap());
        let mut sharing = Session::new(&other, 1).unwrap();
        let found = bits_of(sharing.run(&pixels).unwrap());
        assert_eq!(found, answer, "seed {seed}");
    }
    assert!(checked > 2000, "{checked}");
}

#[test]
fn an_arena_is_little_more_than_what_lives_at_once() {
    for (_, mut random, program) in programs(100) {
        let [packed, half] = packed(&program, &mut random);
        for program in [program, packed, half] {
            let session = Session::new(&program, 1).unwrap();
            let values = session.arena_bytes() - session.working_bytes();
            let (peak, count) = (program.activation_bytes().peak, program.values.len());
            let most = peak as usize * 5 / 4 + 128 * count;
            assert!(values <= most, "{values} for a peak of {peak}");
        }
    }
}

/// A Program that turns `height` lines of `width` codes, `times` there and back, and once more.
fn turning(random: &mut Random, [height, width]: [usize; 2], times: usize) -> Program {
    let mut program = random::program(random, 1);
    let (value, mut moved) = (program.values[0].clone(), program.values[0].clone());
    program.values = vec![value];
    program.values[0].shape = [height, width, 1];
    moved.shape = [width, height, 1];
    program.values.push(moved);
    program.steps.truncate(1);
    let (there, back) = (vec![height, width], vec![width, height]);
    let turns = (0..times).flat_map(|_| [there.clone(), back.clone()]);
    let turns = turns.chain([there.clone()]);
    program.steps[0].kind = StepKind::Shuffle {
        views: turns.map(|shape| (shape, vec![1, 0])).collect(),
    };
    program.steps[0].inputs = vec![0];
    (program.steps[0].output, program.output) = (1, 1);
    program.input.scale.truncate(1);
    program.input.shift.truncate(1);
    program
}

#[test]
fn views_that_would_take_hours_are_refused() {
    let mut random = Random::new(5);
    assert!(turning(&mut random, [1000, 999], 2).check().is_ok());
    assert!(turning(&mut random, [1000, 999], 50).check().is_err());
}

#[test]
fn a_packed_value_that_no_desk_holds_is_shuffled_code_by_code() {
    let mut random = Random::new(5);
    let mut program = turning(&mut random, [90, 101], 0);
    for bits in (1..=8).filter_map(Bits::new) {
        for value in &mut program.values {
            let scale = 1.0 / 32.0;
            value.format = Format::Codes(Grid {
                bits,
                scale,
                zero: 0,
            });
        }
        program.packed.clear();
        let pixels = random.pixels(90 * 101);
        let mut session = Session::new(&program, 1).unwrap();
        let answer = bits_of(session.run(&pixels).unwrap());
        program.packed = vec![0, 1];
        let mut packed = Session::new(&program, 1).unwrap();
        assert_eq!(bits_of(packed.run(&pixels).unwrap()), answer, "{bits} bits");
    }
}

#[test]
fn packing_takes_no_more_than_is_asked_nor_than_is_needed() {
    for (seed, _, program) in programs(100) {
        let peak = |bytes: u64| {
            let mut packed = program.clone();
            packed.pack(bytes);
            assert!(packed.check().is_ok());
            (packed.activation_bytes().peak, packed.packed.len())
        };
        let ((most, none), (least, _)) = (peak(u64::MAX), peak(0));
        assert_eq!((most, none), (program.activation_bytes().peak, 0));
        let (middle, _) = peak((most + least) / 2);
        assert!(
            (least..=(most + least) / 2).contains(&middle) || most == least,
            "seed {seed}"
        );
    }
}

#[test]
fn a_batch_is_its_images_on_any_number_of_threads() {
    for (seed, mut random, program) in programs(40) {
        let mut one = Session::new(&program, 1).unwrap();
        let count = random.below(7);
        let pixels = random.pixels(count * one.input_len());
        let images = pixels.chunks(one.input_len());
        let single: Vec<f32> = images
            .flat_map(|image| one.run(image).unwrap().to_vec())
            .collect();
        for threads in [1, 2, 3] {
            let mut session = Session::new(&program, threads).unwrap();
            for _ in 0..2 {
                let batch = session.run_batch(&pixels, count).unwrap();
                assert_eq!(
                    bits_of(batch),
                    bits_of(&single),
                    "seed {seed}, {threads} threads"
                );
            }
            if let Some(image) = pixels.chunks(one.input_len()).next() {
                let first = bits_of(&single[..one.answer_len()]);
                assert_eq!(bits_of(session.run(image).unwrap()), first, "seed {seed}");
            }
        }
        assert!(one.run_batch(&pixels, count + 1).is_err());
    }
}

#[test]
fn an_opened_file_answers_as_its_program() {
    let path = std::env::temp_dir().join(format!("exbit-opened-{}.exbit", std::process::id()));
    for (seed, _, program) in programs(100) {
        program.save(&path).unwrap();
        let mut opened = Session::open(&path, 2).unwrap();
        let mut session = Session::new(&program, 2).unwrap();
        assert_eq!(opened.weight_bytes(), session.weight_bytes());
        let pixels = Random::new(seed).pixels(session.input_len());
        let answer = bits_of(session.run(&pixels).unwrap());
        assert_eq!(bits_of(opened.run(&pixels).unwrap()), answer, "seed {seed}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_is_its_program() {
    for (_, mut random, program) in programs(100) {
        let [_, program] = packed(&program, &mut random);
        let bytes = program.to_bytes().unwrap();
        let read = Program::from_bytes(&bytes).unwrap();
        assert_eq!(read, program);
        assert_eq!(read.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn a_saved_file_is_loaded_again_and_errors_name_it() {
    let (_, _, program) = programs(1).next().unwrap();
    let path = std::env::temp_dir().join(format!("exbit-engine-{}.exbit", std::process::id()));
    program.save(&path).unwrap();
    assert_eq!(Program::load(&path).unwrap(), program);
    std::fs::write(&path, b"no Program").unwrap();
    let error = Program::load(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(
        error.to_string().starts_with(&path.display().to_string()),
        "{error}"
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Program::load(&path).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(Session::open(&path, 1).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn instructions_that_are_not_there_are_an_error() {
    let (_, _, program) = programs(1).next().unwrap();
    let error = Session::with_isa(&program, "mmx").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("scalar"), "{error}");
}

fn bits_of(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|v| v.to_bits()).collect()
}
