//! Exits for a network that has none, without training: after each step that is named, a head of
//! 4x4 means and one linear layer, its weights the ridge regression of the classes on the codes.
//!
//! ```text
//! cargo run --release --example attach_exits -- NET.exbit DATA OUT.exbit STEP...
//! ```
//!
//! The heads are weak beside trained ones: what this makes is for trying exits by hand.

use std::error::Error;

use exbit_engine::{
    Activation, Bits, Conv, Exit, Format, Grid, Program, Session, Step, StepKind, Value, Weights,
    Window, max_softmax,
};
use exbit_model::data::{DataSet, Preprocess, Split, spread};
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Images that the heads are fitted to.
const IMAGES: usize = 6000;
/// Means along each side.
const SIDE: usize = 4;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [net, data, out, names @ ..] = &arguments[..] else {
        return Err("usage: attach_exits NET.exbit DATA OUT.exbit STEP...".into());
    };
    let mut program = Program::load(net)?;
    let set = DataSet::open(data, Split::Train)?;
    let chosen = spread(set.len(), IMAGES, 1);
    let preprocess = Preprocess::from_toml(&program.input.preprocess)?;
    let batch = set.batch(&preprocess, &chosen)?;
    let labels = batch.labels.ok_or("the images have no classes")?;
    for name in names {
        let at = program.steps.iter().position(|s| s.name == *name);
        let at = at.ok_or_else(|| format!("there is no step {name}"))?;
        let pooled = insert_means(&mut program, at);
        let codes = codes_of(&program, pooled, &batch.pixels)?;
        insert_head(&mut program, at + 1, pooled, &codes, &labels);
    }
    program
        .exits
        .sort_by_key(|e| program.steps.iter().position(|s| s.output == e.value));
    program.check()?;
    Ok(program.save(out)?)
}

/// Means of what step `at` writes, right after it, with 8 bits: the value that they are.
fn insert_means(program: &mut Program, at: usize) -> usize {
    let x = program.steps[at].output;
    let [h, w, channels] = program.values[x].shape;
    let kernel = [h.div_ceil(SIDE), w.div_ceil(SIDE)];
    let window = Window {
        kernel,
        stride: kernel,
        ..Window::square(1, 1, 0)
    };
    let [oh, ow] = [h / kernel[0], w / kernel[1]];
    let format = match program.values[x].format {
        Format::Codes(grid) => Format::Codes(Grid {
            bits: Bits::EIGHT,
            scale: grid.scale * f32::from(grid.bits.levels()) / 255.0,
            zero: (u16::from(grid.zero) * 255 / u16::from(grid.bits.levels())) as u8,
        }),
        Format::Real => Format::Real,
    };
    let kind = StepKind::AvgPool {
        window,
        count_include_pad: false,
    };
    let shape = [oh, ow, channels];
    push(program, at + 1, "means", kind, x, Value { shape, format })
}

fn push(
    program: &mut Program,
    at: usize,
    name: &str,
    kind: StepKind,
    x: usize,
    value: Value,
) -> usize {
    let output = program.values.len();
    program.values.push(value);
    let name = format!("exit{}.{name}", program.exits.len());
    let inputs = vec![x];
    let step = Step {
        name,
        kind,
        inputs,
        output,
    };
    program.steps.insert(at, step);
    output
}

/// The codes of value `v` for each image of `pixels`, (images, entries).
fn codes_of(program: &Program, v: usize, pixels: &[u8]) -> Result<Mat<f64>> {
    let mut session = Session::keeping_values(program, None)?;
    let (one, len) = (session.input_len(), program.values[v].len());
    let mut rows = Mat::zeros(pixels.len() / one, len + 1);
    for (i, image) in pixels.chunks_exact(one).enumerate() {
        // Every step runs, those that nobody reads yet too.
        session.run(image)?;
        let codes = session.codes(v).ok_or("no codes to read")?;
        for (j, &code) in codes.iter().enumerate() {
            rows[(i, j)] = f64::from(code);
        }
        // The bias.
        rows[(i, len)] = 255.0;
    }
    Ok(rows)
}

/// A linear layer on value `x`, whose `codes` belong to images of `labels`: an exit.
fn insert_head(program: &mut Program, at: usize, x: usize, codes: &Mat<f64>, labels: &[usize]) {
    let classes = program.values[program.output].len();
    let target = Mat::from_fn(codes.nrows(), classes, |i, c| {
        f64::from(u8::from(labels[i] == c))
    });
    let mut gram = codes.transpose() * codes;
    let ridge = 3e-3 * (0..gram.nrows()).map(|i| gram[(i, i)]).sum::<f64>() / gram.nrows() as f64;
    (0..gram.nrows()).for_each(|i| gram[(i, i)] += ridge);
    let w = match gram.llt(Side::Lower) {
        Ok(factor) => factor.solve(codes.transpose() * target),
        Err(_) => return,
    };
    let sharpness = sharpness(&(codes * &w), labels);
    let [h, width, channels] = program.values[x].shape;
    let Format::Codes(grid) = program.values[x].format else {
        return;
    };
    let len = h * width * channels;
    let zero = f64::from(grid.zero);
    let (mut all, mut scale, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    for c in 0..classes {
        let row = || (0..len).map(|j| sharpness * w[(j, c)] / f64::from(grid.scale));
        let step = row().fold(0.0f64, |m, v| m.max(v.abs())) / 127.0;
        all.extend(row().map(|v| (v / step).round() as i8));
        scale.push(step as f32);
        let constant = 255.0 * w[(len, c)] + zero * (0..len).map(|j| w[(j, c)]).sum::<f64>();
        bias.push((sharpness * constant) as f32);
    }
    let weights = Weights {
        bits: Bits::EIGHT,
        shape: [classes, h, width, channels],
        codes: all,
        scale,
    };
    let window = Window {
        kernel: [h, width],
        ..Window::square(1, 1, 0)
    };
    let kind = StepKind::Conv(Conv {
        weights,
        bias,
        window,
        groups: 1,
        activation: Activation::NONE,
    });
    let value = Value {
        shape: program.values[program.output].shape,
        format: Format::Real,
    };
    let value = push(program, at + 1, "classes", kind, x, value);
    let name = format!("exit{}", program.exits.len());
    program.exits.push(Exit { name, value });
}

/// By how much to multiply the answers of a regression so that their largest probability is, on
/// average, how often they are right.
fn sharpness(answers: &Mat<f64>, labels: &[usize]) -> f64 {
    let row = |i: usize, by: f64| -> Vec<f32> {
        (0..answers.ncols())
            .map(|c| (by * answers[(i, c)]) as f32)
            .collect()
    };
    let right = |i: &usize| exbit_engine::likeliest(&row(*i, 1.0)) == labels[*i];
    let right = (0..labels.len()).filter(right).count() as f64 / labels.len() as f64;
    let sure = |by: f64| -> f64 {
        let all = (0..labels.len()).map(|i| f64::from(max_softmax(&row(i, by))));
        all.sum::<f64>() / labels.len() as f64
    };
    println!("{:.1} % of the images that it was fitted to", 100.0 * right);
    let grid = (0..60).map(|i| 1.1f64.powi(i));
    grid.reduce(|a, b| {
        if (sure(b) - right).abs() < (sure(a) - right).abs() {
            b
        } else {
            a
        }
    })
    .unwrap_or(1.0)
}
