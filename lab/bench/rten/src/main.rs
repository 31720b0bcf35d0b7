//! rten, waiting to be timed: `rten-turns MODEL.onnx INPUT.raw N,C,H,W THREADS`, where INPUT holds
//! floats. Speaks as `crates/engine/examples/turns.rs` does: a line of facts, the first image's
//! answer, then for each number of calls on standard input their times in nanoseconds.

use std::error::Error;
use std::fmt::Display;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use rten::{ModelOptions, RunOptions, ThreadPool, Value, ValueView};
use rten_tensor::prelude::*;
use rten_tensor::Tensor;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, input, shape, threads] = arguments.as_slice() else {
        return Err("usage: rten-turns MODEL.onnx INPUT.raw N,C,H,W THREADS".into());
    };
    let shape: Vec<usize> = shape.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let images = *shape.first().ok_or("expected a shape")?;
    let bytes = std::fs::read(input)?;
    let (floats, _) = bytes.as_chunks::<4>();
    let floats: Vec<f32> = floats.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let x = Tensor::from_data(&shape, floats);
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(true);
    let model = options.load_file(model)?;
    let pool = Arc::new(ThreadPool::with_num_threads(threads.parse()?));
    let run = || -> Result<Value, Box<dyn Error>> {
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        Ok(model.run_one(ValueView::from(x.view()).into(), Some(options))?)
    };
    let first: Tensor<f32> = run()?.try_into()?;
    let answer: Vec<f32> = first.iter().copied().take(first.len() / images).collect();
    println!("version 0.27.0");
    println!("{}", line(&answer));
    for wanted in std::io::stdin().lock().lines() {
        let mut times = Vec::new();
        for _ in 0..wanted?.trim().parse::<usize>()? {
            let start = Instant::now();
            run()?;
            times.push(start.elapsed().as_nanos());
        }
        println!("{}", line(&times));
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn line<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(" ")
}
