//! A Program's file is little more than its bits: for a network of ResNet-20's shape, 270 thousand
//! weights in 22 layers, at most 5 % more than weights, scales and biases.

use exbit_engine::{
    Activation, Bits, Conv, Format, Grid, Input, Policy, Program, Session, Step, StepKind, Value,
    Weights, Window,
};

/// ResNet-20 for 32 x 32 images and 10 classes with weights of `bits`.
fn resnet20(bits: Bits) -> Program {
    let grid = Grid {
        bits: Bits::EIGHT,
        scale: 0.02,
        zero: 0,
    };
    let mut program = Program {
        name: "resnet20".into(),
        input: Input {
            scale: vec![0.017; 3],
            shift: vec![-2.1; 3],
            preprocess: "scale = 255\nmean = [0.4914, 0.4822, 0.4465]\nstd = [0.2, 0.2, 0.2]"
                .into(),
        },
        values: vec![Value {
            shape: [32, 32, 3],
            format: Format::Codes(grid),
        }],
        steps: Vec::new(),
        packed: Vec::new(),
        output: 0,
        exits: Vec::new(),
        policy: Policy::Never,
        classes: Vec::new(),
        notes: Vec::new(),
    };
    let mut x = conv(&mut program, bits, "conv1", 0, None, [16, 3, 1]);
    for stage in 0..3 {
        for block in 0..3 {
            let name = format!("layer{}.{block}", stage + 1);
            let (out, stride) = (16 << stage, if stage > 0 && block == 0 { 2 } else { 1 });
            let shortcut = match stride {
                1 => x,
                _ => conv(
                    &mut program,
                    bits,
                    &format!("{name}.downsample.0"),
                    x,
                    None,
                    [out, 1, 2],
                ),
            };
            let inner = conv(
                &mut program,
                bits,
                &format!("{name}.conv1"),
                x,
                None,
                [out, 3, stride],
            );
            x = conv(
                &mut program,
                bits,
                &format!("{name}.conv2"),
                inner,
                Some(shortcut),
                [out, 3, 1],
            );
        }
    }
    let window = Window {
        kernel: [8, 8],
        ..Window::square(1, 1, 0)
    };
    let pooled = Value {
        shape: [1, 1, 64],
        format: Format::Codes(grid),
    };
    let kind = StepKind::AvgPool {
        window,
        count_include_pad: false,
    };
    x = push(&mut program, "avgpool", kind, vec![x], pooled);
    x = conv(&mut program, bits, "fc", x, None, [10, 1, 1]);
    program.values[x].format = Format::Real;
    program.output = x;
    program
}

/// A convolution to `out` channels with a square kernel and stride; returns what it writes.
fn conv(
    program: &mut Program,
    bits: Bits,
    name: &str,
    x: usize,
    residual: Option<usize>,
    [out, kernel, stride]: [usize; 3],
) -> usize {
    let [h, w, channels] = program.values[x].shape;
    let window = Window::square(kernel, stride, kernel / 2);
    let [oh, ow] = window.output(h, w).expect("the window fits");
    let count = out * kernel * kernel * channels;
    let weights = Weights {
        bits,
        shape: [out, kernel, kernel, channels],
        codes: (0..count)
            .map(|i| bits.weight_code((i * 7 % 16) as f32 - 8.0))
            .collect(),
        scale: vec![0.01; out],
    };
    let (bias, activation) = (vec![0.1; out], Activation::RELU);
    let kind = StepKind::Conv(Conv {
        weights,
        bias,
        window,
        groups: 1,
        activation,
    });
    let value = Value {
        shape: [oh, ow, out],
        format: program.values[0].format,
    };
    push(
        program,
        name,
        kind,
        [x].into_iter().chain(residual).collect(),
        value,
    )
}

fn push(
    program: &mut Program,
    name: &str,
    kind: StepKind,
    inputs: Vec<usize>,
    value: Value,
) -> usize {
    let output = program.values.len();
    program.steps.push(Step {
        name: name.into(),
        kind,
        inputs,
        output,
    });
    program.values.push(value);
    output
}

#[test]
fn a_file_is_at_most_5_percent_more_than_its_numbers() {
    for bits in [3, 4, 8] {
        let bits = Bits::new(bits).unwrap();
        let program = resnet20(bits);
        let bytes = program.to_bytes().unwrap();
        let (mut weights, mut channels) = (0, 0);
        for step in &program.steps {
            if let StepKind::Conv(conv) = &step.kind {
                weights += conv.weights.codes.len();
                channels += conv.bias.len();
            }
        }
        assert!((260_000..280_000).contains(&weights));
        let numbers = weights * usize::from(bits.get()) / 8 + 8 * channels;
        assert!(
            bytes.len() * 100 <= numbers * 105,
            "{} for {numbers}",
            bytes.len()
        );
    }
}

#[test]
fn its_memory_is_known_before_it_runs() {
    let program = resnet20(Bits::EIGHT);
    let bytes = program.activation_bytes();
    // 16 channels twice over: a block's input, which its output is written over, and its inside.
    assert_eq!(bytes.peak, 2 * 16 * 1024);
    assert!(bytes.sum > bytes.peak);
    let session = Session::new(&program, 1).unwrap();
    let arena = session.arena_bytes() as u64;
    let values = arena - session.working_bytes() as u64;
    assert!((bytes.peak..bytes.peak + 512).contains(&values), "{values}");
    assert_eq!(
        Session::new(&program, 2).unwrap().arena_bytes() as u64,
        2 * arena
    );
}
