//! Every kernel of every instruction set that this CPU has equals the definition, bit for bit:
//! over shapes, strides, pads, dilation, groups, bit-widths, activations, and extreme codes.

use exbit_kernels::{
    Activation, Bits, ConvShape, Epilogue, Grid, Isa, PackedConv, SLACK, Scratch, Source, Target,
    Window,
};

/// Miri interprets: fewer cases, and smaller ones.
const FEWER: usize = if cfg!(miri) { 300 } else { 1 };
const MOST_MACS: u64 = if cfg!(miri) { 2_000 } else { 3_000_000 };

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn real(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    fn grid(&mut self, scale: f32) -> Grid {
        let bits = Bits::new(self.of(&[1, 2, 3, 4, 5, 6, 7, 8, 8])).expect("1 to 8 bits");
        let any = self.next() as u8 & bits.levels();
        Grid {
            bits,
            scale,
            zero: self.of(&[0, bits.levels(), any]),
        }
    }
}

#[derive(Debug)]
struct Case {
    shape: ConvShape,
    input: Grid,
    bits: Bits,
    residual: Option<Grid>,
    activation: Activation,
    output: Option<Grid>,
    /// All codes and weights at their largest.
    extreme: bool,
}

fn activation(random: &mut Random) -> Activation {
    match random.below(8) {
        0 => Activation::LeakyRelu { slope: 0.1 },
        1 => Activation::HardSwish,
        2 => Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        3 => Activation::Clip { lo: -1.0, hi: 6.0 },
        4 | 5 => Activation::RELU,
        _ => Activation::NONE,
    }
}

fn any_case(random: &mut Random) -> Option<Case> {
    let mut two = |choices: &[usize]| [random.of(choices), random.of(choices)];
    let (kernel, stride) = (two(&[1, 1, 2, 3, 3, 5, 7]), two(&[1, 1, 1, 2, 3]));
    let (dilation, [top, left]) = (two(&[1, 1, 1, 2]), two(&[0, 1, 1, 2, 4]));
    let ([bottom, right], [h, w]) = (two(&[0, 1, 2]), two(&[1, 2, 4, 5, 7, 8, 13]));
    let window = match random.below(4) {
        0 => Window::square(1, 1, 0),
        1 => Window {
            stride,
            ..Window::square(3, 1, 1)
        },
        _ => Window {
            kernel,
            stride,
            dilation,
            pads: [top, left, bottom, right],
        },
    };
    let group = random.of(&[1, 2, 3, 4, 16, 17, 36, 64, 65, 130]);
    let (groups, wide) = random.of(&[(1, group), (1, group), (2, group), (5, 3), (group, 1)]);
    let per_group = match groups {
        1 => random.of(&[1, 2, 10, 16, 17, 32, 48, 63, 64, 65, 80, 81, 96, 130, 200]),
        _ => random.of(&[1, 1, 1, 2, 16, 20]),
    };
    let [oh, ow] = window.output(h, w)?;
    let input = random.grid(0.02);
    let mut grid = random.grid(0.5);
    grid.scale /= f32::from(grid.bits.levels());
    let output = if random.below(8) == 0 {
        None
    } else {
        Some(grid)
    };
    let other = random.grid(0.03);
    Some(Case {
        shape: ConvShape {
            input: [h, w, groups * wide],
            output: [oh, ow, groups * per_group],
            window,
            groups,
        },
        input,
        bits: Bits::new(1 + random.below(8) as u8).expect("1 to 8 bits"),
        residual: random.of(&[None, None, Some(other)]),
        activation: activation(random),
        output,
        extreme: random.below(5) == 0,
    })
}

/// Gives the names of the kernels that were compared. They work in `scratch`, as steps of a Session
/// do: in it lies what others left there.
fn check(case: &Case, random: &mut Random, scratch: &mut Scratch) -> Vec<&'static str> {
    let Case {
        shape, input, bits, ..
    } = *case;
    let [[h, w, c], [oh, ow, out]] = [shape.input, shape.output];
    let codes = |random: &mut Random, grid: Grid, len: usize| -> Vec<u8> {
        let extreme = random.of(&[0, grid.bits.levels(), grid.bits.levels()]);
        let mut code = || {
            if case.extreme {
                extreme
            } else {
                random.next() as u8
            }
        };
        (0..len + SLACK)
            .map(|_| code() & grid.bits.levels())
            .collect()
    };
    let x = codes(random, input, h * w * c);
    let r = case.residual.map(|grid| codes(random, grid, oh * ow * out));
    let (lo, hi) = bits.weight_range();
    let end = random.of(&[lo, hi]);
    let any = |random: &mut Random| bits.weight_code(random.real(f32::from(lo), f32::from(hi)));
    let weights: Vec<i8> = (0..out * shape.depth())
        .map(|_| if case.extreme { end } else { any(random) })
        .collect();
    let size = f32::from(hi.max(1)) * f32::from(input.bits.levels());
    let size = size * (shape.depth() as f32).sqrt() * input.scale;
    // Now and then sums that 16 or 32 bits do not hold: a hostile Program may ask for them.
    let far = [
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1e3,
        -1e5,
        [1e5, 1e12][random.below(2)],
    ];
    let mut factor = || random.of(&far) * random.real(0.2, 1.0);
    let scale: Vec<f32> = (0..out).map(|_| factor() / size).collect();
    let bias: Vec<f32> = (0..out).map(|_| random.real(-0.2, 0.2)).collect();
    let epilogue = Epilogue::conv(
        input,
        &scale,
        &bias,
        case.residual,
        case.activation,
        case.output,
    );
    let parts = random.of(&[1, 1, 2, 3, 8]);
    // A residual lies elsewhere, or where the output goes.
    let run = |conv: &PackedConv, in_place: bool, scratch: &mut Scratch| {
        conv.reserve(oh, scratch);
        let (mut codes, mut reals) = (vec![99; oh * ow * out], vec![9.9; oh * ow * out]);
        let apart = r.as_deref().filter(|_| !in_place);
        if let (Some(r), None) = (&r, apart) {
            codes.copy_from_slice(&r[..oh * ow * out]);
        }
        for i in 0..parts {
            let part = conv.part(i, parts);
            let target = match case.output {
                Some(_) => Target::Codes(&mut codes[part.clone()]),
                None => Target::Real(&mut reals[part.clone()]),
            };
            let residual = apart.map(|r| &r[part.clone()]);
            conv.run(part.clone(), Source::whole(&x), residual, scratch, target);
        }
        let reals: Vec<u32> = reals.iter().map(|y| y.to_bits()).collect();
        (codes, reals)
    };
    // Some lines at a time, of no more of the input than they are made of.
    let height = random.of(&[1, 2, 3, 100]);
    let in_strips = |conv: &PackedConv, scratch: &mut Scratch| {
        conv.reserve(height, scratch);
        let mut made = vec![99; oh * ow * out];
        for first in (0..oh).step_by(height) {
            let y = first..oh.min(first + height);
            let part = y.start * ow * out..y.end * ow * out;
            let reads = conv.window().lines(y, h);
            let lines = x[reads.start * w * c..reads.end * w * c].iter().copied();
            let lines: Vec<u8> = lines.chain([77; SLACK]).collect();
            let source = Source {
                codes: &lines,
                first: reads.start,
            };
            let residual = r.as_deref().map(|r| &r[part.clone()]);
            let target = Target::Codes(&mut made[part.clone()]);
            conv.run(part, source, residual, scratch, target);
        }
        made
    };
    let all = |isa| PackedConv::all(isa, shape, input, &weights, epilogue.clone());
    let (codes, reals) = run(&all(Isa::SCALAR)[0], false, scratch);
    let compare = |conv: PackedConv| {
        let name = conv.name();
        assert!(
            conv.len_bytes() <= shape.most_packed_bytes(),
            "{name}: {case:?}"
        );
        let (other, real) = run(&conv, false, scratch);
        assert!(other == codes && real == reals, "{name}: {case:?}");
        if case.output.is_some() {
            assert!(
                in_strips(&conv, scratch) == codes,
                "{name}, in strips: {case:?}"
            );
        }
        if r.is_some() && case.output.is_some() {
            assert!(
                run(&conv, true, scratch).0 == codes,
                "{name}, in place: {case:?}"
            );
        }
        name
    };
    let kernels = Isa::present().into_iter().flat_map(all);
    kernels.map(compare).collect()
}

#[test]
fn convolutions_of_any_shape_equal_the_definition() {
    let (mut random, mut scratch) = (Random(1), Scratch::default());
    let mut cases = 0;
    while cases < 3000 / FEWER {
        if let Some(case) = any_case(&mut random)
            && case.shape.macs() < MOST_MACS
        {
            check(&case, &mut random, &mut scratch);
            cases += 1;
        }
    }
}

/// Lines long enough that neighbouring pixels share what they read, few channels of them; whole
/// pixels of one and two blocks, whose codes are stored some pixels at a time.
#[test]
fn long_lines_of_few_channels_equal_the_definition() {
    let (mut random, mut scratch) = (Random(4), Scratch::default());
    for width in [15, 16, 18, 37] {
        for (channels, out) in [(4, 16), (16, 16), (16, 11), (32, 32), (36, 70)] {
            for bits in [4, 8] {
                let [input, residual, output] = [0.02, 0.03, 0.5].map(|s| random.grid(s));
                let case = Case {
                    shape: ConvShape {
                        input: [4, width, channels],
                        output: [4, width, out],
                        window: Window::square(3, 1, 1),
                        groups: 1,
                    },
                    input,
                    bits: Bits::new(bits).expect("1 to 8 bits"),
                    residual: random.of(&[None, Some(residual)]),
                    activation: Activation::RELU,
                    output: Some(output),
                    extreme: false,
                };
                check(&case, &mut random, &mut scratch);
            }
        }
    }
}

#[test]
fn deep_sums_of_extreme_codes_equal_the_definition() {
    let (mut random, mut scratch) = (Random(2), Scratch::default());
    let depths = [15, 64, 130, 2304, 5000];
    for depth in depths.into_iter().take(if cfg!(miri) { 1 } else { 5 }) {
        for (input, weight) in [
            (8, 8),
            (8, 7),
            (8, 4),
            (4, 4),
            (4, 8),
            (2, 2),
            (1, 1),
            (7, 8),
        ] {
            let case = Case {
                shape: ConvShape {
                    input: [3, 5, depth],
                    output: [3, 5, 70],
                    window: Window::square(1, 1, 0),
                    groups: 1,
                },
                input: Grid {
                    bits: Bits::new(input).expect("1 to 8 bits"),
                    scale: 0.02,
                    zero: 1,
                },
                bits: Bits::new(weight).expect("1 to 8 bits"),
                residual: None,
                activation: Activation::NONE,
                output: Some(Grid {
                    bits: Bits::EIGHT,
                    scale: 0.01,
                    zero: 120,
                }),
                extreme: true,
            };
            for _ in 0..if cfg!(miri) { 1 } else { 4 } {
                check(&case, &mut random, &mut scratch);
            }
        }
    }
}

#[test]
fn the_fastest_kernel_is_one_of_those_that_can_run() {
    let shape = ConvShape {
        input: [6, 6, 32],
        output: [6, 6, 32],
        window: Window::square(3, 1, 1),
        groups: 1,
    };
    let bits = Bits::new(1).expect("1 bit");
    let grid = Grid {
        bits,
        scale: 0.1,
        zero: 0,
    };
    let weights: Vec<i8> = (0..32 * 9 * 32i32)
        .map(|i| (i % 3 % 2 * 2 - 1) as i8)
        .collect();
    let (scale, bias) = ([0.01; 32], [0.0; 32]);
    let epilogue = Epilogue::conv(grid, &scale, &bias, None, Activation::RELU, Some(grid));
    for isa in Isa::present() {
        let all = PackedConv::all(isa, shape, grid, &weights, epilogue.clone());
        let new = || PackedConv::new(isa, shape, grid, &weights, epilogue.clone());
        let fastest = new().name();
        assert!(all.iter().any(|conv| conv.name() == fastest));
        // Asked again, the answer is the same.
        assert_eq!(new().name(), fastest);
    }
}

#[test]
#[cfg_attr(miri, ignore = "minutes")]
fn looked_up_sums_equal_the_definition() {
    let (mut random, mut scratch) = (Random(3), Scratch::default());
    let mut seen = std::collections::BTreeSet::new();
    let mut cases = 0;
    while cases < 600 {
        let Some(mut case) = any_case(&mut random) else {
            continue;
        };
        let four = random.of(&[4, 8, 12, 32, 36, 64, 96, 160, 200]);
        case.shape.groups = random.of(&[1, 1, 2]);
        case.shape.input[2] = four * case.shape.groups;
        case.shape.output[2] = random.of(&[32, 48, 64, 65, 80, 128]) * case.shape.groups;
        case.bits = Bits::new(random.of(&[1, 2])).expect("1 to 8 bits");
        let bits = Bits::new(random.of(&[1, 2, 3, 4])).expect("1 to 8 bits");
        case.input = Grid {
            bits,
            zero: case.input.zero & bits.levels(),
            ..case.input
        };
        if case.shape.macs() < MOST_MACS {
            seen.extend(check(&case, &mut random, &mut scratch));
            cases += 1;
        }
    }
    let mut expected = Vec::new();
    for isa in Isa::present() {
        expected.extend(match isa.name() {
            "avx2" => vec!["lookup-u4i1-avx2", "lookup-u4i2-avx2", "conv-low-avx2"],
            "avx512vnni" => vec!["lookup-u4i1-avx512", "lookup-u4i2-avx512"],
            _ => vec![],
        });
    }
    #[cfg(target_arch = "x86_64")]
    if Isa::best().name() == "avx512vnni" && is_x86_feature_detected!("avx512vpopcntdq") {
        expected.push("popcount-u1i1-avx512");
    }
    for kernel in expected {
        assert!(seen.contains(kernel), "{kernel} was not compared: {seen:?}");
    }
}
