//! Files that are no Programs, or Programs that nobody should run: always an error or a Program
//! that runs, never a panic, never memory that the bytes do not justify.

mod random;

use exbit_engine::{
    Activation, Bits, Conv, Error, ErrorKind, Format, Grid, Policy, Program, Session, StepKind,
    Value, Weights, Window,
};
use random::Random;

fn small(seed: u64) -> Program {
    let mut random = Random::new(seed);
    match seed % 2 {
        0 => random::with_exits(&mut random, 4),
        _ => random::program(&mut random, 4),
    }
}

/// Reads `bytes`; what is accepted must run, also straight from a file, which refuses the same.
fn try_file(bytes: &[u8]) -> bool {
    let Ok(program) = Program::from_bytes(bytes) else {
        assert!(open(bytes).is_err());
        return false;
    };
    let work: u64 = program.values.iter().map(|v| v.len() as u64).sum();
    if work < 1 << 20 {
        let mut session = Session::with_isa(&program, "scalar").expect("scalar is everywhere");
        let pixels = Random::new(1).pixels(session.input_len());
        let answer = session.run(&pixels).expect("as long as the input");
        let mut opened = open(bytes).expect("what is read can be opened");
        let same = opened.run(&pixels).expect("as long as the input");
        let bits = |answer: &[f32]| answer.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(same), bits(answer));
    }
    true
}

/// A file as it was before files had a sum: nothing is refused for that.
fn unsummed(mut bytes: Vec<u8>) -> Vec<u8> {
    let key = bytes.windows(6).position(|w| w == b"\"xxh3\"");
    let key = key.expect("files have a sum");
    bytes[key + 1..key + 5].copy_from_slice(b"none");
    bytes
}

fn open(bytes: &[u8]) -> Result<Session, Error> {
    let (process, thread) = (std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(format!("exbit-hostile-{process}-{thread:?}"));
    std::fs::write(&path, bytes).expect("a place for files");
    let session = Session::open(&path, 1);
    std::fs::remove_file(&path).expect("it was written");
    session
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = small(3).to_bytes().unwrap();
    for end in 0..bytes.len().min(4000) {
        assert!(!try_file(&bytes[..end]));
    }
    assert!(!try_file(&[&bytes[..], &[0]].concat()));
}

#[test]
fn a_damaged_file_is_refused() {
    let mut random = Random::new(5);
    for seed in 0..20 {
        let whole = small(seed).to_bytes().unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for _ in 0..50 {
            let mut bytes = whole.clone();
            let at = header + random.below(bytes.len() - header);
            bytes[at] ^= 1 << random.below(8);
            assert!(!try_file(&bytes), "seed {seed}, byte {at}");
        }
        assert!(try_file(&whole) && try_file(&unsummed(whole)));
    }
}

#[test]
fn mutated_files_are_errors_or_programs_that_run() {
    let mut random = Random::new(99);
    let files: Vec<Vec<u8>> = (0..20)
        .map(|seed| unsummed(small(seed).to_bytes().unwrap()))
        .collect();
    let mut accepted = 0;
    for _ in 0..6000 {
        let mut bytes = files[random.below(files.len())].clone();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        // Most of the description lies at the end of the container's data or right before it.
        let near = random.of(&[header, bytes.len(), bytes.len()]);
        for _ in 0..1 + random.below(3) {
            let at = random.below(near);
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => bytes[at] = random.of(b"0123456789,[]\"-{}"),
                _ => {
                    let from = random.below(near);
                    bytes[at] = bytes[from];
                }
            }
        }
        accepted += usize::from(try_file(&bytes));
    }
    // Flipped weights and scales are Programs still: the test has seen both sides.
    assert!((100..5900).contains(&accepted), "{accepted}");
}

#[test]
fn mutated_descriptions_are_errors_or_programs_that_run() {
    let mut random = Random::new(7);
    let mut accepted = 0;
    for round in 0..6000 {
        let bytes = unsummed(small(round % 20).to_bytes().unwrap());
        let text = bytes.windows(8).position(|w| w == b"{\"name\":").unwrap();
        let digits: Vec<usize> = (text..bytes.len())
            .filter(|&i| bytes[i].is_ascii_digit())
            .take(400)
            .collect();
        let mut bytes = bytes;
        for _ in 0..1 + random.below(2) {
            bytes[random.of(&digits)] = random.of(b"0123456789");
        }
        accepted += usize::from(try_file(&bytes));
    }
    assert!((50..5900).contains(&accepted), "{accepted}");
}

#[test]
fn headers_that_promise_much_are_errors() {
    for len in [0, 7, u64::MAX, 1 << 40, 100_000_000, 99_999_999] {
        let mut bytes = len.to_le_bytes().to_vec();
        bytes.extend(b"{}      ");
        assert_eq!(
            Program::from_bytes(&bytes).unwrap_err().kind(),
            ErrorKind::Malformed
        );
    }
    let other = b"{\"__metadata__\":{\"exbit-program\":\"2\"}}  ";
    let bytes = [&(other.len() as u64).to_le_bytes()[..], other].concat();
    assert_eq!(
        Program::from_bytes(&bytes).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn unsound_programs_are_refused_with_their_place() {
    let sound = || {
        let mut program = small(11);
        let Format::Codes(grid) = program.values[0].format else {
            unreachable!()
        };
        let shape = program.values[0].shape;
        program.values.truncate(1);
        program.steps.truncate(1);
        let window = Window::square(1, 1, 0);
        program.values.push(Value {
            shape,
            format: Format::Codes(grid),
        });
        program.steps[0].kind = StepKind::MaxPool(window);
        (
            program.steps[0].inputs,
            program.steps[0].output,
            program.output,
        ) = (vec![0], 1, 1);
        program.check().unwrap();
        program
    };
    type Spoil = fn(&mut Program);
    let cases: [(&str, Spoil); 12] = [
        ("program", |p| p.output = 2),
        ("program", |p| drop(p.steps.pop())),
        ("program", |p| p.values.clear()),
        ("input", |p| p.input.scale.push(1.0)),
        ("input", |p| p.input.shift[0] = f32::NAN),
        ("input", |p| p.classes = vec!["cat".into()]),
        ("value 1", |p| p.values[1].shape[0] = 0),
        ("value 1", |p| {
            p.values[1].shape = [1 << 20, 1 << 20, 1 << 20]
        }),
        ("value 0", |p| {
            if let Format::Codes(Grid { scale, .. }) = &mut p.values[0].format {
                *scale = -1.0;
            }
        }),
        ("step 0 (layer0)", |p| p.steps[0].inputs = vec![1]),
        ("step 0 (layer0)", |p| p.steps[0].inputs = vec![0, 0]),
        ("step 0 (layer0)", |p| {
            p.steps[0].kind = StepKind::MaxPool(Window::square(2, 1, 0))
        }),
    ];
    for (place, spoil) in cases {
        let mut program = sound();
        spoil(&mut program);
        let error = program.check().unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("{place}: ")),
            "{error}"
        );
        assert!(Session::new(&program, 1).is_err());
        assert!(program.to_bytes().is_err());
    }
}

/// Each mean is within bounds; their tables of divisors together are not.
#[test]
fn tables_have_one_bound_together() {
    let mut program = small(11);
    let mut value = program.values[0].clone();
    value.shape[..2].copy_from_slice(&[1, 1]);
    let means = |count: usize, program: &mut Program| {
        program.values = vec![value.clone(); count + 1];
        let mut step = program.steps[0].clone();
        step.kind = StepKind::AvgPool {
            window: Window {
                pads: [256, 256, 255, 255],
                ..Window::square(512, 1, 0)
            },
            count_include_pad: false,
        };
        let at = |i: usize| {
            (step.inputs, step.output) = (vec![i], i + 1);
            step.clone()
        };
        program.steps = (0..count).map(at).collect();
        program.output = count;
    };
    means(2, &mut program);
    program.check().unwrap();
    means(100, &mut program);
    let error = program.check().unwrap_err().to_string();
    assert!(error.contains("tables up to it"), "{error}");
}

/// Two megabytes of weights of one bit that fill vectors up to gigabytes, and a few kilobytes that
/// make gigabytes of answers.
#[test]
fn what_is_small_in_a_file_and_large_in_memory_is_refused() {
    let convolution = |input: [usize; 3], output: [usize; 3], window: Window, real: bool| {
        let mut program = small(11);
        let Format::Codes(grid) = program.values[0].format else {
            unreachable!()
        };
        let format = if real {
            Format::Real
        } else {
            Format::Codes(grid)
        };
        program.values.truncate(1);
        program.values[0].shape = input;
        program.values.push(Value {
            shape: output,
            format,
        });
        let [kh, kw] = window.kernel;
        let depth = kh * kw * input[2];
        let step = &mut program.steps[0];
        (step.inputs, step.output) = (vec![0], 1);
        step.kind = StepKind::Conv(Conv {
            weights: Weights {
                bits: Bits::new(1).unwrap(),
                shape: [output[2], kh, kw, input[2]],
                codes: vec![1; output[2] * depth],
                scale: vec![1.0; output[2]],
            },
            bias: vec![0.0; output[2]],
            window,
            groups: 1,
            activation: Activation::NONE,
        });
        program.steps.truncate(1);
        (program.input.scale, program.input.shift) = (vec![1.0; input[2]], vec![0.0; input[2]]);
        (program.output, program.packed) = (1, Vec::new());
        program.check().map_err(|e| e.to_string())
    };
    let wide = |side: usize| Window {
        pads: [side / 2, side / 2, side - side / 2 - 1, side - side / 2 - 1],
        ..Window::square(side, 1, 0)
    };
    convolution([1, 1, 1], [1, 1, 1], wide(256), false).unwrap();
    let error = convolution([1, 1, 1], [1, 1, 1], wide(4096), false).unwrap_err();
    assert!(error.contains("packed weights"), "{error}");
    let point = Window::square(1, 1, 0);
    convolution([64, 64, 1], [64, 64, 512], point, true).unwrap();
    let error = convolution([1024, 1024, 1], [1024, 1024, 512], point, true).unwrap_err();
    assert!(error.contains("its answers would take"), "{error}");
}

#[test]
fn unsound_exits_are_refused_with_their_place() {
    let sound = (0..)
        .map(|seed| random::with_exits(&mut Random::new(seed), 6))
        .find(|p| p.exits.len() >= 2)
        .expect("some have two exits");
    type Spoil = fn(&mut Program);
    let cases: [(&str, Spoil); 14] = [
        ("exit 0", |p| p.exits[0].value = usize::MAX),
        ("exit 0", |p| p.exits[0].value = p.output),
        ("exit 0", |p| p.exits[0].value = 0),
        ("exit 1", |p| p.exits[1].value = p.exits[0].value),
        ("exit 1", |p| p.exits.swap(0, 1)),
        ("value", |p| drop(p.exits.pop())),
        ("program: 64 exits", |p| {
            let exit = p.exits[0].clone();
            p.exits = vec![exit; 64];
        }),
        ("exit 0", |p| p.values[p.exits[0].value].shape[2] += 1),
        ("exit 0", |p| {
            let format = p.values[0].format;
            p.values[p.exits[0].value].format = format;
        }),
        ("policy", |p| p.policy = Policy::MaxSoftmax(vec![0.5])),
        ("policy", |p| {
            p.policy = Policy::Entropy(vec![f32::NAN; p.exits.len()])
        }),
        ("policy", |p| p.policy = Policy::Patience(0)),
        ("policy", |p| p.policy = Policy::Patience(p.exits.len() + 1)),
        ("policy", |p| p.policy = Policy::MaxSoftmax(vec![0.5; 65])),
    ];
    for (i, (place, spoil)) in cases.into_iter().enumerate() {
        let mut program = sound.clone();
        spoil(&mut program);
        let error = program.check().unwrap_err().to_string();
        assert!(error.starts_with(place), "case {i}: {error}");
        assert!(Session::new(&program, 1).is_err());
        assert!(program.to_bytes().is_err());
    }
    let mut session = Session::new(&sound, 1).unwrap();
    let before = session.policy().clone();
    assert!(session.set_policy(&Policy::Entropy(vec![0.5])).is_err());
    assert_eq!(session.policy(), &before);
}
