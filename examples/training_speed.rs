//! Times training steps of a network on drawn images, and prints the seconds of each as JSON:
//!
//! ```text
//! cargo run --release --example training_speed -- MODEL.onnx KIND THREADS [STEPS] [BATCH]
//! ```
//!
//! KIND is `float`, `lsq` (four bits), or `mcqueen` (PDQ, four exits with convolutional heads, two
//! cotangents, mask and penalty). A step is all that training does for a batch: views of images,
//! forward, backward, and everything moved. `lab/bench/train.py` runs it in turns with PyTorch.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use exbit::learn::{Event, Exits, Head, Method, Position, Recipe, Run};
use exbit_model::data::{DataSet, Preprocess, Split};
use exbit_model::onnx;

/// Steps that are not timed: memory is taken for the first time.
const WARM_UP: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, kind, threads, rest @ ..] = arguments.as_slice() else {
        return Err("usage: training_speed MODEL.onnx KIND THREADS [STEPS] [BATCH]".into());
    };
    let number = |i: usize, default| rest.get(i).map_or(Ok(default), |n| n.parse());
    let (steps, batch) = (number(0, 8)?, number(1, 128)?);
    let threads: usize = threads.parse()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let recipe = recipe(kind, batch)?;
    let images = batch * (steps + WARM_UP + 1);
    let folder = tempfile::tempdir()?;
    draw_images(&folder.path().join("data_batch_1.bin"), images)?;
    let set = DataSet::open(folder.path(), Split::Train)?;
    let model = onnx::open(model)?;
    let preprocess = Preprocess::open("cifar10")?;
    let mut run = Run::new(&model, &set, &preprocess, None, &recipe, &mut |_| {})?;
    let mut seconds = Vec::new();
    let mut last = Instant::now();
    run.epoch(&mut |event| {
        if let Event::Step(..) = event {
            seconds.push(last.elapsed().as_secs_f64());
            last = Instant::now();
        }
        seconds.len() < steps + WARM_UP
    })?;
    seconds.drain(..WARM_UP.min(seconds.len()));
    println!(
        "{{\"kind\": \"{kind}\", \"threads\": {threads}, \"batch\": {batch}, \"seconds\": {seconds:?}}}"
    );
    Ok(())
}

fn recipe(kind: &str, batch: usize) -> Result<Recipe, Box<dyn Error>> {
    let base = Recipe {
        batch,
        bits: 4,
        rate: 1e-3,
        held_out: 0,
        ..Recipe::default()
    };
    Ok(match kind {
        "float" => Recipe {
            method: Method::Float,
            ..base
        },
        "lsq" => Recipe {
            method: Method::Lsq,
            ..base
        },
        "mcqueen" => {
            let mut recipe = Recipe {
                method: Method::Mcqueen,
                bits: 8,
                exits: Exits::At([0.56, 0.68, 0.77, 0.88].map(Position::Share).to_vec()),
                head: Head::Conv,
                target_bops: Some(0.7e9),
                ..base
            };
            recipe.epochs.warm = 0;
            recipe
        }
        other => return Err(format!("{other}: expected float, lsq or mcqueen").into()),
    })
}

/// A file of CIFAR-10's format with noise for images.
fn draw_images(path: &std::path::Path, images: usize) -> std::io::Result<()> {
    let mut state = 1u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    let mut bytes = Vec::with_capacity(images * 3073);
    for i in 0..images {
        bytes.push((i % 10) as u8);
        bytes.extend((0..3072).map(|_| byte()));
    }
    std::fs::File::create(path)?.write_all(&bytes)
}
