//! Trains the float network of `exbit demo` on Fashion-MNIST and writes it as ONNX:
//!
//! ```text
//! cargo run --release -p exbit-grad --example train_fashion -- FOLDER OUT.onnx [EPOCHS]
//! ```
//!
//! FOLDER holds the four IDX files. Stochastic gradient descent with momentum on the
//! cross-entropy: the rate rises over the first epoch, then falls as a cosine to zero; weights
//! decay, biases and BatchNorm do not. Images are mirrored and shifted at random. The network of
//! the last epoch is the result: the test images choose nothing, they are scored once.
//!
//! Sums over images have a fixed order, so any number of threads gives the same network.

mod images;
#[path = "../networks/mod.rs"]
mod networks;

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use exbit_grad::{Mode, NodeGradient, Tape, Wanted, backward, forward, infer, loss};
use exbit_model::data::{Split, shuffled};
use exbit_model::{Model, NodeId, Op, onnx};
use images::{CLASSES, Draw, Images};

const SEED: u64 = 1;
const BATCH: usize = 128;
const PEAK_RATE: f32 = 0.1;
const MOMENTUM: f32 = 0.9;
const DECAY: f32 = 5e-4;
/// How far the running statistics of BatchNorm move to those of a batch.
const STATISTICS: f32 = 0.1;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: train_fashion FOLDER OUT.onnx [EPOCHS]".into());
    };
    let epochs: usize = arguments.next().map_or(Ok(20), |n| n.parse())?;
    let train = Images::open(Path::new(&folder), Split::Train)?;
    let test = Images::open(Path::new(&folder), Split::Test)?;
    let mut draw = Draw(SEED);
    let mut model = networks::fashion(&mut |name, shape| initial(&mut draw, name, shape));
    let mut velocity = vec![NodeGradient::default(); model.nodes().len()];
    let start = Instant::now();
    for epoch in 0..epochs {
        let order = shuffled(train.labels.len(), SEED + epoch as u64);
        let batches = order.chunks_exact(BATCH);
        let (count, mut sum, mut right) = (batches.len(), 0.0, 0);
        for (i, batch) in batches.enumerate() {
            let (x, labels) = train.batch(batch, Some(&mut draw));
            let tape = forward(&model, &x, BATCH, Mode::Train);
            right += count_right(tape.output(), &labels);
            let rate = rate(epoch as f32 + i as f32 / count as f32, epochs as f32);
            sum += step(&mut model, &tape, &labels, rate, &mut velocity);
        }
        std::fs::write(&out, onnx::write(&model)?)?;
        let (mean, seen) = (sum / count as f32, count * BATCH);
        let percent = 100.0 * right as f32 / seen as f32;
        let seconds = start.elapsed().as_secs_f32();
        println!(
            "epoch {:2}: loss {mean:.4}, {percent:.2} % right, {seconds:.0} s",
            epoch + 1
        );
    }
    let all: Vec<usize> = (0..test.labels.len()).collect();
    let right = all.chunks(500).map(|batch| {
        let (x, labels) = test.batch(batch, None);
        count_right(&infer(&model, &x, batch.len()), &labels)
    });
    let right: usize = right.sum();
    println!("test: {right} of {} right", all.len());
    Ok(())
}

fn rate(epoch: f32, epochs: f32) -> f32 {
    let cosine = 0.5 * (1.0 + (std::f32::consts::PI * epoch / epochs).cos());
    PEAK_RATE * epoch.min(1.0) * cosine
}

/// One step down the gradient of the batch on `tape`, and the running statistics after it; gives
/// the batch's mean loss.
fn step(
    model: &mut Model,
    tape: &Tape,
    labels: &[usize],
    rate: f32,
    velocity: &mut [NodeGradient],
) -> f32 {
    let (losses, seed) = loss::cross_entropy(tape.output(), labels, CLASSES);
    let wanted = Wanted {
        parameters: true,
        values: vec![],
        rounded: false,
    };
    let seeds = vec![(model.output(), seed)];
    let gradients = backward(model, tape, &[seeds], &wanted);
    let images = labels.len() as f32;
    let descend = |p: &mut [f32], g: &[f32], v: &mut Vec<f32>, decay: f32| {
        v.resize(p.len(), 0.0);
        for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
            *v = MOMENTUM * *v + g / images + decay * *p;
            *p -= rate * *v;
        }
    };
    for (i, velocity) in velocity.iter_mut().enumerate() {
        let Some(gradient) = gradients[0].node(NodeId(i)) else {
            continue;
        };
        let op = model.op_mut(NodeId(i));
        let (weight, bias, decay) = if let Op::Conv(conv) = op {
            (conv.weight.data_mut(), conv.bias.as_mut(), DECAY)
        } else if let Op::Linear(linear) = op {
            (linear.weight.data_mut(), linear.bias.as_mut(), DECAY)
        } else if let Op::BatchNorm(norm) = op {
            if let Some((mean, var)) = tape.batch_statistics(NodeId(i)) {
                follow(&mut norm.mean, mean);
                follow(&mut norm.var, var);
            }
            (norm.gamma.as_mut_slice(), Some(&mut norm.beta), 0.0)
        } else {
            continue;
        };
        descend(weight, &gradient.weight, &mut velocity.weight, decay);
        if let Some(bias) = bias {
            descend(bias, &gradient.bias, &mut velocity.bias, 0.0);
        }
    }
    losses.iter().sum::<f32>() / images
}

fn follow(running: &mut [f32], batch: &[f32]) {
    let pairs = running.iter_mut().zip(batch);
    pairs.for_each(|(r, b)| *r += STATISTICS * (b - *r));
}

fn count_right(logits: &[f32], labels: &[usize]) -> usize {
    let pairs = logits.chunks_exact(CLASSES).zip(labels);
    pairs
        .filter(|(z, label)| z.iter().all(|&other| other <= z[**label]))
        .count()
}

/// Uniform with the variance that ReLU keeps (He et al. 2015); BatchNorm begins as the identity.
fn initial(draw: &mut Draw, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    let spread = (6.0 / fan_in as f32).sqrt();
    let one = name.ends_with("weight") || name.ends_with("running_var");
    let entry = |_| match shape.len() {
        1 => f32::from(u8::from(one)),
        _ => spread * (2.0 * draw.unit() - 1.0),
    };
    (0..shape.iter().product()).map(entry).collect()
}
