//! Exits for random Programs: heads of several shapes at random places, and a random policy.

use exbit_engine::{
    Activation, Conv, Exit, Format, Policy, Program, StepKind, Value, Weights, Window,
};

use super::{Random, grid_of, push};

/// As [`super::program`], with up to four exits, sometimes none, and thresholds that some images
/// pass. Heads read any value that is there: also one that the rest of the network needs not.
pub(crate) fn with_exits(random: &mut Random, steps: usize) -> Program {
    let mut program = super::program(random, steps);
    // The answer is a head too, so that all have as many classes.
    let backbone = std::mem::take(&mut program.steps);
    let kept = backbone.len() - 1;
    program.values.truncate(kept + 1);
    let classes = random.of(&[1, 2, 10, 17]);
    let most = random.below(5);
    for (i, step) in backbone.into_iter().take(kept).enumerate() {
        // It writes value i + 1; those of heads come behind all of these.
        program.steps.push(step);
        if program.exits.len() < most && random.below(2) == 0 {
            let x = random.below(i + 2);
            let value = head(random, &mut program, x, classes);
            let name = format!("exit{}", program.exits.len());
            program.exits.push(Exit { name, value });
        }
    }
    program.output = head(random, &mut program, kept, classes);
    program.policy = policy(random, program.exits.len(), classes);
    program
        .check()
        .expect("random Programs with exits are sound");
    program
}

/// A head on value `x`, pooled or not; gives the value of its logits.
fn head(random: &mut Random, program: &mut Program, x: usize, classes: usize) -> usize {
    let [h, w, channels] = program.values[x].shape;
    let whole = Window {
        kernel: [h, w],
        ..Window::square(1, 1, 0)
    };
    let (mut x, mut window) = (x, whole);
    if random.below(2) == 0 {
        let kind = StepKind::AvgPool {
            window: whole,
            count_include_pad: true,
        };
        let value = Value {
            shape: [1, 1, channels],
            format: program.values[x].format,
        };
        push(program, Some((kind, vec![x], value)));
        (x, window) = (program.values.len() - 1, Window::square(1, 1, 0));
    }
    let [kh, kw] = window.kernel;
    let bits = random.bits();
    let depth = kh * kw * channels;
    let reach = f32::from(bits.weight_range().1.max(1)) * (depth as f32).sqrt();
    let levels = f32::from(grid_of(program, x).bits.levels());
    let scale = 3.0 / (grid_of(program, x).scale * levels * reach);
    let (lo, hi) = bits.weight_range();
    let mut code = || bits.weight_code(random.real(f32::from(lo), f32::from(hi)));
    let weights = Weights {
        bits,
        shape: [classes, kh, kw, channels],
        codes: (0..classes * depth).map(|_| code()).collect(),
        scale: vec![scale; classes],
    };
    let kind = StepKind::Conv(Conv {
        weights,
        bias: (0..classes).map(|_| random.real(-1.0, 1.0)).collect(),
        window,
        groups: 1,
        activation: Activation::NONE,
    });
    let value = Value {
        shape: [1, 1, classes],
        format: Format::Real,
    };
    push(program, Some((kind, vec![x], value)));
    program.values.len() - 1
}

fn policy(random: &mut Random, exits: usize, classes: usize) -> Policy {
    let least = 1.0 / classes as f32;
    let mut thresholds = |lo, hi| -> Vec<f32> {
        (0..exits)
            .map(|_| match random.below(6) {
                0 => hi + 1.0,
                1 => lo - 1.0,
                _ => random.real(lo, hi),
            })
            .collect()
    };
    let policies = [
        Policy::Never,
        Policy::MaxSoftmax(thresholds(least, 1.0)),
        Policy::Entropy(thresholds(0.0, 1.0)),
        Policy::Patience(1 + random.below(exits.max(1))),
    ];
    match exits {
        0 => Policy::Never,
        _ => policies[random.below(4)].clone(),
    }
}
