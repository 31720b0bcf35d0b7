//! Speed of typical layers on every instruction set that this CPU has, beside the machine's peak.
//!
//! `cargo run --release -p exbit-engine --example layers [MILLISECONDS PER LAYER] [NAME] [ISA]`
//!
//! All kernels take turns in short windows and the best window of each counts: on a shared machine
//! whatever disturbs a window only adds to its time.

use std::time::Instant;

use exbit_kernels::{
    Activation, Bits, ConvShape, Epilogue, Grid, Isa, PackedConv, SLACK, Scratch, Source, Target,
    Window, peak,
};

struct Layer {
    name: &'static str,
    /// Height and width, channels in, channels out.
    extents: [usize; 3],
    window: Window,
    depthwise: bool,
}

const fn dense(name: &'static str, extents: [usize; 3], kernel: usize, stride: usize) -> Layer {
    let window = Window::square(kernel, stride, kernel / 2);
    Layer {
        name,
        extents,
        window,
        depthwise: false,
    }
}

const fn depthwise(name: &'static str, extents: [usize; 2], kernel: usize, stride: usize) -> Layer {
    let window = Window::square(kernel, stride, kernel / 2);
    Layer {
        name,
        extents: [extents[0], extents[1], extents[1]],
        window,
        depthwise: true,
    }
}

const LAYERS: [Layer; 20] = [
    dense("ResNet-20 first 3x3", [32, 3, 16], 3, 1),
    dense("ResNet-20 3x3 stage 1", [32, 16, 16], 3, 1),
    dense("ResNet-20 3x3 stage 2", [16, 32, 32], 3, 1),
    dense("ResNet-20 3x3 stage 3", [8, 64, 64], 3, 1),
    dense("ResNet-18 first 7x7/2", [224, 3, 64], 7, 2),
    dense("ResNet-18 3x3 stage 1", [56, 64, 64], 3, 1),
    dense("ResNet-18 3x3 stage 2", [28, 128, 128], 3, 1),
    dense("ResNet-18 3x3 stage 3", [14, 256, 256], 3, 1),
    dense("ResNet-18 3x3 stage 4", [7, 512, 512], 3, 1),
    dense("MobileNetV2 first 3x3/2", [224, 3, 32], 3, 2),
    dense("MobileNetV2 1x1 16-96", [112, 16, 96], 1, 1),
    dense("MobileNetV2 1x1 144-24", [56, 144, 24], 1, 1),
    dense("MobileNetV2 1x1 64-384", [14, 64, 384], 1, 1),
    dense("MobileNetV2 1x1 576-96", [14, 576, 96], 1, 1),
    dense("MobileNetV2 1x1 320-1280", [7, 320, 1280], 1, 1),
    dense("MobileNetV2 linear", [1, 1280, 1000], 1, 1),
    depthwise("MobileNetV2 depthwise", [112, 32], 3, 1),
    depthwise("MobileNetV2 depthwise/2", [112, 96], 3, 2),
    depthwise("MobileNetV2 depthwise", [14, 384], 3, 1),
    depthwise("EfficientNet depthwise 5x5", [28, 240], 5, 1),
];

/// Bits of weights and of activations.
const WIDTHS: [(u8, u8); 5] = [(8, 8), (4, 8), (2, 2), (1, 2), (1, 1)];

struct Candidate {
    conv: PackedConv,
    scratch: Scratch,
    best: f64,
}

fn main() {
    let milliseconds = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(100);
    let name = std::env::args().nth(2).unwrap_or_default();
    let only = std::env::args().nth(3);
    let isas: Vec<Isa> = Isa::present()
        .into_iter()
        .filter(|&isa| isa != Isa::SCALAR && only.as_ref().is_none_or(|o| o == isa.name()))
        .collect();
    for &isa in &isas {
        println!("{} peak: {:.0} GMAC/s", isa.name(), peak_of(isa));
    }
    println!("GMAC/s, one thread, for weights x activations of");
    print!("{:26}{:>9}", "", "MMAC");
    for isa in &isas {
        WIDTHS
            .iter()
            .for_each(|(w, a)| print!("{:>17}", format!("{} W{w}A{a}", isa.name())));
    }
    println!();
    for layer in LAYERS.iter().filter(|layer| layer.name.contains(&name)) {
        let mut candidates: Vec<Candidate> = isas
            .iter()
            .flat_map(|&isa| {
                WIDTHS
                    .iter()
                    .map(move |&widths| candidate(layer, isa, widths))
            })
            .collect();
        measure(layer, &mut candidates, milliseconds);
        let macs = shape(layer).macs() as f64;
        print!("{:26}{:>9.2}", layer.name, macs / 1e6);
        candidates
            .iter()
            .for_each(|c| print!("{:>17.0}", macs / c.best / 1e9));
        println!();
    }
}

fn shape(layer: &Layer) -> ConvShape {
    let [size, input, output] = layer.extents;
    let [h, w] = layer.window.output(size, size).expect("the window fits");
    ConvShape {
        input: [size, size, input],
        output: [h, w, output],
        window: layer.window,
        groups: if layer.depthwise { input } else { 1 },
    }
}

fn candidate(layer: &Layer, isa: Isa, (weight, activation): (u8, u8)) -> Candidate {
    let shape = shape(layer);
    let grid = |bits| Grid {
        bits,
        scale: 0.02,
        zero: 0,
    };
    let [weight, activation] = [weight, activation].map(|b| Bits::new(b).expect("1 to 8 bits"));
    let (lo, hi) = weight.weight_range();
    let span = i32::from(hi) - i32::from(lo) + 1;
    let code =
        |i: usize| weight.weight_code((i32::from(lo) + (i * 7919 % 65_537) as i32 % span) as f32);
    let channels = shape.output[2];
    let weights: Vec<i8> = (0..channels * shape.depth()).map(code).collect();
    let (scale, bias) = (vec![0.01; channels], vec![0.1; channels]);
    let (x, y) = (grid(activation), grid(activation));
    let epilogue = Epilogue::conv(x, &scale, &bias, None, Activation::RELU, Some(y));
    let conv = PackedConv::new(isa, shape, x, &weights, epilogue);
    let mut scratch = Scratch::default();
    conv.reserve(shape.output[0], &mut scratch);
    Candidate {
        conv,
        scratch,
        best: f64::INFINITY,
    }
}

fn measure(layer: &Layer, candidates: &mut [Candidate], milliseconds: u64) {
    let shape = shape(layer);
    let x = vec![1; shape.input.iter().product::<usize>() + SLACK];
    let mut y = vec![0; shape.output.iter().product()];
    let start = Instant::now();
    let budget = (milliseconds * candidates.len() as u64).into();
    while start.elapsed().as_millis() < budget {
        for Candidate {
            conv,
            scratch,
            best,
        } in &mut *candidates
        {
            for _ in 0..3 {
                let start = Instant::now();
                let x = Source::whole(&x);
                conv.run(0..y.len(), x, None, scratch, Target::Codes(&mut y));
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
}

fn peak_of(isa: Isa) -> f64 {
    let window = || {
        let start = Instant::now();
        let macs = peak(isa, 4000);
        macs as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..3000).map(|_| window()).fold(0.0, f64::max)
}
