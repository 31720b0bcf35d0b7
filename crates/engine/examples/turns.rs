//! A Program that waits to be timed: the side of `lab/bench/beside.py` that is ours.
//!
//! `turns NET.exbit PIXELS BATCH THREADS`, where PIXELS is a file of raw pixels, BATCH images of
//! them. Prints a line of facts (`name value ..`), then the first image's answer. After that each
//! line of input is the number of calls wanted, answered by their times in nanoseconds; `peak` is
//! answered by the machine's multiply-accumulates per second, `steps` by the kernel of each step,
//! its multiply-accumulates and its nanoseconds. An empty input ends it.

use std::error::Error;
use std::fmt::Display;
use std::io::{BufRead, Write};
use std::time::Instant;

use exbit_engine::{Session, StepTime};
use exbit_kernels::{Isa, peak};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [net, pixels, batch, threads] = arguments.as_slice() else {
        return Err("usage: turns NET.exbit PIXELS BATCH THREADS".into());
    };
    let (batch, threads): (usize, usize) = (batch.parse()?, threads.parse()?);
    let pixels = std::fs::read(pixels)?;
    let (before, start) = (resident(), Instant::now());
    let mut session = Session::open(net, threads)?;
    let first = session.run_batch(&pixels, batch)?;
    let load = start.elapsed().as_micros();
    let growth = resident().saturating_sub(before);
    let answer = line(&first[..first.len() / batch]);
    println!(
        "isa {} arena {} weights {} load_us {load} resident {growth}",
        session.isa(),
        session.arena_bytes(),
        session.weight_bytes(),
    );
    println!("{answer}");
    for wanted in std::io::stdin().lock().lines() {
        let reply = match wanted?.trim() {
            "" => break,
            "peak" => peak_of(session.isa())?.to_string(),
            "steps" => {
                let steps = session.profile(&pixels[..pixels.len() / batch], 25)?;
                let step = |s: &StepTime| format!("{} {} {}", s.kernel, s.macs, s.nanoseconds);
                line(&steps.iter().map(step).collect::<Vec<_>>())
            }
            count => {
                let mut times = Vec::with_capacity(count.parse()?);
                for _ in 0..times.capacity() {
                    let start = Instant::now();
                    session.run_batch(&pixels, batch)?;
                    times.push(start.elapsed().as_nanos());
                }
                line(&times)
            }
        };
        println!("{reply}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Bytes of memory that the process has; 0 where the system does not say.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn line<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(" ")
}

/// The best of some short windows: whatever disturbs one only adds to its time.
fn peak_of(isa: &str) -> Result<f64, Box<dyn Error>> {
    let isa = Isa::named(isa).ok_or("instructions that are not there")?;
    let window = || {
        let start = Instant::now();
        let macs = peak(isa, 4000);
        macs as f64 / start.elapsed().as_secs_f64()
    };
    Ok((0..200).map(|_| window()).fold(0.0, f64::max))
}
