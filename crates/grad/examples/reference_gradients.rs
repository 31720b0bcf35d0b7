//! ResNet-20's gradients over 64 real images, BatchNorm in both modes, against PyTorch's in `f64`:
//!
//! ```text
//! cargo run --release -p exbit-grad --example reference_gradients SHARED CIFAR
//! ```
//!
//! `SHARED` holds `models/resnet20_cifar10.safetensors` and
//! `reference/gradients_resnet20.safetensors`, `CIFAR` the CIFAR-10 binaries. Prints the error of
//! each group of tensors, relative to each tensor's largest entry, and ends with status 1 if one is
//! above 1e-4; and how far gradients turn when factors are rounded to bfloat16, as in training.

mod networks;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use exbit_grad::{Gradients, Mode, Tape, Wanted, backward, forward, loss};
use exbit_model::{Model, NodeId, Op};
use safetensors::SafeTensors;

const IMAGES: usize = 64;
const LIMIT: f64 = 1e-4;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [shared, cifar] = args.as_slice() else {
        return Err("usage: reference_gradients SHARED CIFAR".into());
    };
    let shared = Path::new(shared);
    let weights = std::fs::read(shared.join("models/resnet20_cifar10.safetensors"))?;
    let weights = SafeTensors::deserialize(&weights)?;
    let reference = std::fs::read(shared.join("reference/gradients_resnet20.safetensors"))?;
    let reference = SafeTensors::deserialize(&reference)?;
    let model = networks::resnet20(&mut |name, _| read(&weights, name).unwrap_or_default());
    let (x, labels) = images(&Path::new(cifar).join("test_batch.bin"))?;

    println!("{:24} {:>8} {:>10}  worst", "tensors", "count", "error");
    let mut worst = 0.0f64;
    for (mode, prefix) in [(Mode::Eval, "eval"), (Mode::Train, "train")] {
        let tape = forward(&model, &x, IMAGES, mode);
        let (losses, gradients) = step(&model, &tape, &labels, false);
        let mut table = Table::new(&reference, prefix);
        let mean = losses.iter().sum::<f32>() / IMAGES as f32;
        table.compare(&format!("{prefix}.loss"), &[mean])?;
        compare_parameters(&model, &gradients, prefix, &mut table)?;
        worst = worst.max(table.print());
        if mode == Mode::Train {
            let mut table = Table::new(&reference, "running statistics");
            compare_statistics(&model, &tape, &mut table)?;
            worst = worst.max(table.print());
            let (_, rounded) = step(&model, &tape, &labels, true);
            print_cosine(&model, &gradients, &rounded);
        }
    }
    let mut table = Table::new(&reference, "per-image gradients");
    compare_images(&model, &x, &labels, &mut table)?;
    worst = worst.max(table.print());
    Ok(if worst <= LIMIT {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(file: &SafeTensors, name: &str) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = file.tensor(name)?.data().as_chunks::<4>().0;
    Ok(bytes.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// The first images of a CIFAR-10 file, normalised, and their labels.
fn images(path: &Path) -> Result<(Vec<f32>, Vec<usize>), Box<dyn Error>> {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let bytes = std::fs::read(path)?;
    let records = bytes.chunks_exact(3073).take(IMAGES);
    let labels: Vec<usize> = records.clone().map(|r| r[0].into()).collect();
    if labels.len() < IMAGES {
        return Err(format!("{}: fewer than {IMAGES} records", path.display()).into());
    }
    let pixel = |(i, &p): (usize, &u8)| {
        let c = i / 1024;
        ((f64::from(p) / 255.0 - mean[c]) / std[c]) as f32
    };
    let x = records.flat_map(|r| r[1..].iter().enumerate().map(pixel).collect::<Vec<f32>>());
    Ok((x.collect(), labels))
}

/// The losses of all images of a tape, and the gradients of their mean.
fn step(model: &Model, tape: &Tape, labels: &[usize], rounded: bool) -> (Vec<f32>, Gradients) {
    let (losses, mut seed) = loss::cross_entropy(tape.output(), labels, 10);
    seed.iter_mut().for_each(|g| *g /= labels.len() as f32);
    let wanted = Wanted {
        parameters: true,
        values: vec![],
        rounded,
    };
    let gradients = backward(model, tape, &[vec![(model.output(), seed)]], &wanted).remove(0);
    (losses, gradients)
}

/// How far gradients of rounded factors turn from those of floats: the layer where they do most.
fn print_cosine(model: &Model, floats: &Gradients, rounded: &Gradients) {
    let cosine = |id: NodeId| {
        let of = |g: &Gradients| g.node(id).map(|g| g.weight.clone()).unwrap_or_default();
        let (a, b) = (of(floats), of(rounded));
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
    };
    let layers = model.layers().into_iter();
    let layers = layers.filter(|&id| !model.node(id).name.ends_with("shortcut"));
    let least = layers
        .map(|id| (cosine(id), id))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((least, id)) = least {
        let name = &model.node(id).name;
        println!("rounded to bfloat16: least cosine with floats {least:.6}  {name}");
    }
}

/// The errors of one group of tensors.
struct Table<'a> {
    reference: &'a SafeTensors<'a>,
    title: &'a str,
    errors: Vec<(f64, String)>,
}

impl<'a> Table<'a> {
    fn new(reference: &'a SafeTensors<'a>, title: &'a str) -> Self {
        Self {
            reference,
            title,
            errors: Vec::new(),
        }
    }

    /// The largest difference from tensor `name`, relative to that tensor's largest entry.
    fn compare(&mut self, name: &str, got: &[f32]) -> Result<(), Box<dyn Error>> {
        let expected = read(self.reference, name)?;
        if got.len() != expected.len() {
            return Err(format!("{name}: {} entries for {}", got.len(), expected.len()).into());
        }
        let largest = expected.iter().fold(0.0f32, |m, e| m.max(e.abs()));
        let error = got
            .iter()
            .zip(&expected)
            .fold(0.0f32, |m, (g, e)| m.max((g - e).abs()));
        self.errors
            .push((f64::from(error / largest), name.to_owned()));
        Ok(())
    }

    fn print(&self) -> f64 {
        let none = (0.0, String::new());
        let worst = self
            .errors
            .iter()
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or(&none);
        println!(
            "{:24} {:8} {:10.2e}  {}",
            self.title,
            self.errors.len(),
            worst.0,
            worst.1
        );
        worst.0
    }
}

fn compare_parameters(
    model: &Model,
    gradients: &Gradients,
    prefix: &str,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    for (i, node) in model.nodes().iter().enumerate() {
        let Some(gradient) = gradients.node(NodeId(i)) else {
            continue;
        };
        if !node.name.ends_with("shortcut") {
            table.compare(&format!("{prefix}.{}.weight", node.name), &gradient.weight)?;
            if !gradient.bias.is_empty() {
                table.compare(&format!("{prefix}.{}.bias", node.name), &gradient.bias)?;
            }
        }
    }
    Ok(())
}

/// The running statistics after one step with momentum 0.1, the variance unbiased as PyTorch's.
fn compare_statistics(model: &Model, tape: &Tape, table: &mut Table) -> Result<(), Box<dyn Error>> {
    for (i, node) in model.nodes().iter().enumerate() {
        let (Op::BatchNorm(bn), Some((mean, var))) = (&node.op, tape.batch_statistics(NodeId(i)))
        else {
            continue;
        };
        let n = tape.value(node.output).len() / mean.len();
        let unbiased = n as f32 / (n - 1) as f32;
        let moved = |(old, new): (&f32, f32)| 0.9 * old + 0.1 * new;
        let mean: Vec<f32> = bn
            .mean
            .iter()
            .zip(mean.iter().copied())
            .map(moved)
            .collect();
        let var: Vec<f32> = bn
            .var
            .iter()
            .zip(var.iter().map(|v| unbiased * v))
            .map(moved)
            .collect();
        table.compare(&format!("train.after.{}.running_mean", node.name), &mean)?;
        table.compare(&format!("train.after.{}.running_var", node.name), &var)?;
    }
    Ok(())
}

/// Sums of squared and of absolute per-image gradients of each layer, their mean over images.
fn compare_images(
    model: &Model,
    x: &[f32],
    labels: &[usize],
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    let mut sums = vec![[0.0f64; 2]; model.nodes().len()];
    for (x, label) in x.chunks_exact(3072).zip(labels) {
        let tape = forward(model, x, 1, Mode::Eval);
        let (_, gradients) = step(model, &tape, &[*label], false);
        for id in model.layers() {
            for &g in gradients.node(id).map_or(&[][..], |g| &g.weight) {
                let g = f64::from(g);
                sums[id.0] = [sums[id.0][0] + g * g, sums[id.0][1] + g.abs()];
            }
        }
    }
    for id in model.layers() {
        let name = &model.node(id).name;
        if !name.ends_with("shortcut") {
            let [squares, absolutes] = sums[id.0].map(|s| (s / IMAGES as f64) as f32);
            table.compare(&format!("fisher.{name}.weight"), &[squares])?;
            table.compare(&format!("mean_abs.{name}.weight"), &[absolutes])?;
        }
    }
    Ok(())
}
