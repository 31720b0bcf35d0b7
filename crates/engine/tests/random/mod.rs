//! Random but sound Programs, the same for the same seed: every kind of step, odd extents, all
//! bit-widths, extreme codes.

mod exits;

pub(crate) use exits::with_exits;

use exbit_engine::{
    Activation, Bits, Conv, Format, Grid, Input, Policy, Program, Step, StepKind, Value, Weights,
    Window,
};

/// A generator of numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// One of `choices`.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number from `lo` to `hi`.
    pub(crate) fn real(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// Random pixels, some images all black or white.
    pub(crate) fn pixels(&mut self, len: usize) -> Vec<u8> {
        let extreme = self.of(&[None, None, Some(0), Some(255)]);
        (0..len)
            .map(|_| extreme.unwrap_or(self.next() as u8))
            .collect()
    }

    fn grid(&mut self, scale: f32) -> Grid {
        let bits = self.bits();
        let any = self.next() as u8 & bits.levels();
        let zero = self.of(&[0, 0, bits.levels(), any]);
        Grid { bits, scale, zero }
    }

    fn bits(&mut self) -> Bits {
        Bits::new(self.of(&[1, 2, 3, 4, 5, 6, 7, 8, 8, 8])).expect("1 to 8 bits")
    }

    fn activation(&mut self) -> Activation {
        match self.below(7) {
            0 | 1 => Activation::NONE,
            2 => Activation::RELU,
            3 => Activation::Clip { lo: -0.5, hi: 1.5 },
            4 => Activation::LeakyRelu {
                slope: self.real(-0.5, 0.5),
            },
            5 => Activation::HardSwish,
            _ => Activation::HardSigmoid {
                alpha: 0.3,
                beta: 0.4,
            },
        }
    }

    fn window(&mut self) -> Window {
        let mut two = |choices: &[usize]| [self.of(choices), self.of(choices)];
        let (kernel, stride) = (two(&[1, 1, 2, 3, 3, 5]), two(&[1, 1, 1, 2, 3]));
        let (dilation, [top, left]) = (two(&[1, 1, 1, 2]), two(&[0, 1, 1, 2, 3]));
        let [bottom, right] = two(&[0, 1, 1, 2]);
        Window {
            kernel,
            stride,
            dilation,
            pads: [top, left, bottom, right],
        }
    }
}

/// A Program of `steps` random steps and a last one.
pub(crate) fn program(random: &mut Random, steps: usize) -> Program {
    let channels = random.of(&[1, 3, 4, 7, 16, 33, 64, 70]);
    let shape = [1 + random.below(9), 1 + random.below(9), channels];
    let grid = random.grid(0.03);
    let mut program = Program {
        name: "random".into(),
        input: Input {
            scale: (0..channels).map(|_| random.real(0.0, 0.03)).collect(),
            shift: (0..channels).map(|_| random.real(-2.0, 0.0)).collect(),
            preprocess: "mean = [0.5]\n".into(),
        },
        values: vec![Value {
            shape,
            format: Format::Codes(grid),
        }],
        steps: Vec::new(),
        packed: Vec::new(),
        output: 0,
        exits: Vec::new(),
        policy: Policy::Never,
        classes: Vec::new(),
        notes: vec![("plan".into(), "a = 4".into())],
    };
    while program.steps.len() < steps {
        let x = random.below(program.values.len());
        let step = match random.below(13) {
            0..=4 => conv(random, &program, x, false),
            5 => Some(pool(random, &program, x)),
            6 | 7 => sum(random, &program, x),
            8 => concat(random, &program, x),
            9 => Some(table(random, &program, x)),
            10 => Some(pad(random, &program, x)),
            11 => Some(pad_channels(random, &program, x)),
            _ => Some(shuffle(&program, x)),
        };
        push(
            &mut program,
            step.filter(|(_, _, value)| value.len() < 20_000),
        );
    }
    let last = program.values.len() - 1;
    let step = conv(random, &program, last, true).or_else(|| sum(random, &program, last));
    push(
        &mut program,
        Some(step.expect("every value has a sum with itself")),
    );
    program.output = program.values.len() - 1;
    program.check().expect("random Programs are sound");
    program
}

type Draft = (StepKind, Vec<usize>, Value);

fn push(program: &mut Program, draft: Option<Draft>) {
    let Some((kind, inputs, value)) = draft else {
        return;
    };
    let name = format!("layer{}", program.steps.len());
    let output = program.values.len();
    program.steps.push(Step {
        name,
        kind,
        inputs,
        output,
    });
    program.values.push(value);
}

fn grid_of(program: &Program, v: usize) -> Grid {
    match program.values[v].format {
        Format::Codes(grid) => grid,
        Format::Real => panic!("no step reads real numbers"),
    }
}

fn conv(random: &mut Random, program: &Program, x: usize, real: bool) -> Option<Draft> {
    let [h, w, channels] = program.values[x].shape;
    let pointwise = random.below(3) == 0;
    let window = if pointwise {
        Window::square(1, 1, 0)
    } else {
        random.window()
    };
    let [oh, ow] = window.output(h, w)?;
    let groups: Vec<usize> = (1..=channels)
        .filter(|g| channels.is_multiple_of(*g))
        .collect();
    let divisor = random.of(&groups);
    let groups = random.of(&[1, 1, channels, divisor]);
    let per_group = random.of(&[1, 1, 2, 5, 16, 17, 33, 64, 100]);
    let out = if groups > 4 {
        groups * per_group.min(2)
    } else {
        groups * per_group
    };
    let bits = random.bits();
    let shape = [out, window.kernel[0], window.kernel[1], channels / groups];
    let depth = shape[1] * shape[2] * shape[3];
    let (lo, hi) = bits.weight_range();
    let extreme = random.of(&[None, None, None, Some(lo), Some(hi)]);
    let mut code = || bits.weight_code(random.real(f32::from(lo) - 0.5, f32::from(hi) + 0.5));
    let codes = (0..out * depth)
        .map(|_| extreme.unwrap_or_else(&mut code))
        .collect();
    let grid = grid_of(program, x);
    let reach = f32::from(grid.bits.levels()) * f32::from(hi) * (depth as f32).sqrt() * 0.5;
    let scale: Vec<f32> = (0..out)
        .map(|_| random.real(0.5, 1.0) / (grid.scale * reach))
        .collect();
    let output = random.grid(1.0);
    let output = Grid {
        scale: 1.5 / f32::from(output.bits.levels()),
        ..output
    };
    let format = if real {
        Format::Real
    } else {
        Format::Codes(output)
    };
    let value = Value {
        shape: [oh, ow, out],
        format,
    };
    let mut inputs = vec![x];
    let like = |v: &usize| program.values[*v].shape == value.shape;
    inputs.extend((0..program.values.len()).filter(like).take(random.below(2)));
    let kind = StepKind::Conv(Conv {
        weights: Weights {
            bits,
            shape,
            codes,
            scale,
        },
        bias: (0..out).map(|_| random.real(-0.3, 0.3)).collect(),
        window,
        groups,
        activation: random.activation(),
    });
    Some((kind, inputs, value))
}

fn pool(random: &mut Random, program: &Program, x: usize) -> Draft {
    let [h, w, channels] = program.values[x].shape;
    let mut window = random.window();
    window.dilation = [1, 1];
    for (axis, size) in [h, w].into_iter().enumerate() {
        window.kernel[axis] = window.kernel[axis].min(size);
        for side in [axis, axis + 2] {
            window.pads[side] = window.pads[side].min(window.kernel[axis] - 1);
        }
    }
    if random.below(3) == 0 {
        window = Window {
            kernel: [h, w],
            ..Window::square(1, 1, 0)
        };
    }
    let [oh, ow] = window.output(h, w).expect("the window is within the input");
    let shape = [oh, ow, channels];
    let grid = grid_of(program, x);
    if random.below(2) == 0 {
        return (
            StepKind::MaxPool(window),
            vec![x],
            Value {
                shape,
                format: Format::Codes(grid),
            },
        );
    }
    let count_include_pad = random.below(2) == 0;
    let format = Format::Codes(random.grid(grid.scale * 0.7));
    (
        StepKind::AvgPool {
            window,
            count_include_pad,
        },
        vec![x],
        Value { shape, format },
    )
}

fn sum(random: &mut Random, program: &Program, a: usize) -> Option<Draft> {
    let shape = program.values[a].shape;
    let same: Vec<usize> = (0..program.values.len())
        .filter(|&v| program.values[v].shape == shape)
        .collect();
    let b = random.of(&same);
    let scale = (grid_of(program, a).scale + grid_of(program, b).scale) * 0.6;
    let value = Value {
        shape,
        format: Format::Codes(random.grid(scale)),
    };
    Some((
        StepKind::Add {
            activation: random.activation(),
        },
        vec![a, b],
        value,
    ))
}

fn concat(random: &mut Random, program: &Program, x: usize) -> Option<Draft> {
    let [h, w, _] = program.values[x].shape;
    let fits = |v: &usize| program.values[*v].shape[..2] == [h, w];
    let parts: Vec<usize> = (0..program.values.len()).filter(fits).collect();
    let inputs: Vec<usize> = (0..1 + random.below(3))
        .map(|_| random.of(&parts))
        .collect();
    let channels = inputs.iter().map(|&v| program.values[v].shape[2]).sum();
    let grid = grid_of(program, x);
    let other = random.grid(grid.scale * 1.3);
    let format = Format::Codes(random.of(&[grid, other]));
    Some((
        StepKind::Concat,
        inputs,
        Value {
            shape: [h, w, channels],
            format,
        },
    ))
}

fn table(random: &mut Random, program: &Program, x: usize) -> Draft {
    let output = random.grid(0.1);
    let levels = grid_of(program, x).bits.levels();
    let codes = (0..=levels)
        .map(|_| random.next() as u8 & output.bits.levels())
        .collect();
    let value = Value {
        shape: program.values[x].shape,
        format: Format::Codes(output),
    };
    (StepKind::Table { codes }, vec![x], value)
}

fn pad(random: &mut Random, program: &Program, x: usize) -> Draft {
    let [h, w, channels] = program.values[x].shape;
    let pads: [usize; 4] = std::array::from_fn(|_| random.below(3));
    let shape = [h + pads[0] + pads[2], w + pads[1] + pads[3], channels];
    let code = grid_of(program, x).zero;
    let value = Value {
        shape,
        format: program.values[x].format,
    };
    (StepKind::Pad { pads, code }, vec![x], value)
}

fn pad_channels(random: &mut Random, program: &Program, x: usize) -> Draft {
    let [h, w, channels] = program.values[x].shape;
    let [before, after] = [random.below(20), random.below(20)];
    let code = grid_of(program, x).zero;
    let value = Value {
        shape: [h, w, before + channels + after],
        format: program.values[x].format,
    };
    (StepKind::PadChannels { before, code }, vec![x], value)
}

fn shuffle(program: &Program, x: usize) -> Draft {
    let [h, w, channels] = program.values[x].shape;
    let views = vec![
        (vec![h, w, channels], vec![2, 0, 1]),
        (vec![channels * h, w], vec![1, 0]),
    ];
    let value = Value {
        shape: [w, channels, h],
        format: program.values[x].format,
    };
    (StepKind::Shuffle { views }, vec![x], value)
}
