//! What must hold for any Program with exits: an image leaves where the logits of its exits say,
//! whatever the instructions, the threads and the batch; what comes after does not run; nor do
//! heads at which nobody may leave.

mod random;

use exbit_engine::{Format, Policy, Program, Session, StepKind, entropy, likeliest, max_softmax};
use random::Random;

fn programs(count: u64) -> impl Iterator<Item = (Random, Program)> {
    (0..count).map(|seed| {
        let mut random = Random::new(seed);
        let steps = 2 + random.below(9);
        let program = random::with_exits(&mut random, steps);
        (random, program)
    })
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|v| v.to_bits()).collect()
}

/// Where an image with these answers of the exits leaves: the rules once more, in plain words.
fn leaves_at(policy: &Policy, answers: &[&[f32]]) -> usize {
    let classes: Vec<usize> = answers.iter().map(|a| likeliest(a)).collect();
    let leaves = |k: usize| match policy {
        Policy::Never => false,
        Policy::MaxSoftmax(t) => max_softmax(answers[k]) >= t[k],
        Policy::Entropy(t) => entropy(answers[k]) <= t[k],
        Policy::Patience(n) => k + 1 >= *n && (k + 1 - n..=k).all(|j| classes[j] == classes[k]),
    };
    (0..answers.len())
        .find(|&k| leaves(k))
        .unwrap_or(answers.len())
}

#[test]
fn an_image_leaves_where_its_exits_say_with_their_logits() {
    // How many left early, and how many went to the end.
    let mut seen = [0, 0];
    for (i, (mut random, program)) in programs(300).enumerate() {
        let mut scalar = Session::with_isa(&program, "scalar").unwrap();
        let count = 4;
        let pixels = random.pixels(count * scalar.input_len());
        let every = scalar.run_every_exit(&pixels, count).unwrap().to_vec();
        let (exits, len) = (program.exits.len(), scalar.answer_len());
        assert_eq!(scalar.exits(), vec![exits; count]);
        let answers: Vec<Vec<&[f32]>> = every
            .chunks(len * (exits + 1))
            .map(|image| image.chunks(len).collect())
            .collect();
        for isa in exbit_engine::present_isas() {
            let mut session = Session::with_isa(&program, isa).unwrap();
            let again = session.run_every_exit(&pixels, count).unwrap();
            assert_eq!(bits(again), bits(&every), "program {i}, {isa}");
            let one = session.input_len();
            for (image, answers) in pixels.chunks(one).zip(&answers) {
                let at = leaves_at(&program.policy, &answers[..exits]);
                let answer = bits(session.run(image).unwrap());
                assert_eq!(session.exits(), [at], "program {i}, {isa}");
                assert_eq!(answer, bits(answers[at]), "program {i}, {isa}");
                seen[usize::from(at == exits)] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&n| n > 200), "{seen:?}");
}

#[test]
fn a_batch_is_its_images_on_any_number_of_threads() {
    for (i, (mut random, program)) in programs(60).enumerate() {
        let mut one = Session::new(&program, 1).unwrap();
        let count = random.below(12);
        let pixels = random.pixels(count * one.input_len());
        let (mut answers, mut exits) = (Vec::new(), Vec::<usize>::new());
        for image in pixels.chunks(one.input_len()) {
            answers.extend(bits(one.run(image).unwrap()));
            exits.extend(one.exits());
        }
        let every = bits(one.run_every_exit(&pixels, count).unwrap());
        for threads in [1, 2, 3, 5] {
            let mut session = Session::new(&program, threads).unwrap();
            for _ in 0..2 {
                let batch = bits(session.run_batch(&pixels, count).unwrap());
                assert_eq!(batch, answers, "program {i}, {threads} threads");
                assert_eq!(session.exits(), exits, "program {i}, {threads} threads");
                let again = bits(session.run_every_exit(&pixels, count).unwrap());
                assert_eq!(again, every, "program {i}, {threads} threads");
            }
        }
    }
}

#[test]
fn steps_after_the_exit_and_unasked_heads_do_not_run() {
    let (mut skipped, mut shut) = (0, 0);
    for (mut random, program) in programs(200) {
        let mut session = Session::keeping_values(&program, None).unwrap();
        let one = session.input_len();
        let (before, image) = (random.pixels(one), random.pixels(one));
        // Every value as an image leaves it that goes through everything.
        session.run_every_exit(&before, 1).unwrap();
        let codes = |session: &Session| -> Vec<Option<Vec<u8>>> {
            let values = 0..program.values.len();
            values
                .map(|v| session.codes(v).map(<[u8]>::to_vec))
                .collect()
        };
        let old = codes(&session);
        let mut full = Session::keeping_values(&program, None).unwrap();
        full.run_every_exit(&image, 1).unwrap();
        let new = codes(&full);
        session.run(&image).unwrap();
        let (left, now) = (session.exits()[0], codes(&session));
        let runs = program.runs(&program.policy);
        for (i, step) in program.steps.iter().enumerate() {
            let ran = i < program.depths()[left] && runs[i];
            let expected = if ran { &new } else { &old };
            assert_eq!(now[step.output], expected[step.output], "step {i}");
            let tells = old[step.output] != new[step.output];
            skipped += usize::from(tells && i >= program.depths()[left]);
            shut += usize::from(tells && !runs[i]);
        }
    }
    assert!(skipped > 50 && shut > 20, "{skipped} {shut}");
}

#[test]
fn the_policy_can_be_changed_between_images() {
    for (mut random, mut program) in programs(100) {
        let policies = [
            Policy::Never,
            program.policy.clone(),
            Policy::MaxSoftmax(vec![0.0; program.exits.len()]),
            Policy::Patience(program.exits.len()),
        ];
        let mut changing = Session::new(&program, 2).unwrap();
        let pixels = random.pixels(3 * changing.input_len());
        for policy in policies
            .iter()
            .filter(|p| p.check(program.exits.len()).is_ok())
        {
            changing.set_policy(policy).unwrap();
            program.policy = policy.clone();
            let mut fresh = Session::new(&program, 1).unwrap();
            let expected = bits(fresh.run_batch(&pixels, 3).unwrap());
            assert_eq!(bits(changing.run_batch(&pixels, 3).unwrap()), expected);
            assert_eq!(changing.exits(), fresh.exits());
        }
    }
}

#[test]
fn logits_of_an_exit_live_to_its_decision() {
    for (_, program) in programs(100) {
        // With nothing but codes, and with the logits of one way out at a time on top.
        let mut codes = program.clone();
        let real = codes.values.iter_mut().filter(|v| v.format == Format::Real);
        real.for_each(|v| v.shape = [0, 0, 0]);
        let logits = 4 * program.values[program.output].len() as u64;
        let (with, codes) = (program.activation_bytes(), codes.activation_bytes());
        assert!(with.peak <= codes.peak + logits);
        assert_eq!(
            with.sum,
            codes.sum + logits * (program.exits.len() as u64 + 1)
        );
    }
}

#[test]
fn heads_take_what_the_network_computes() {
    for (_, program) in programs(100) {
        let (depths, runs) = (program.depths(), program.runs(&Policy::Never));
        assert!(depths.is_sorted() && depths.len() == program.exits.len() + 1);
        for exit in &program.exits {
            let i = program
                .steps
                .iter()
                .position(|s| s.output == exit.value)
                .unwrap();
            assert!(!runs[i] && matches!(program.steps[i].kind, StepKind::Conv(_)));
        }
    }
}
