//! A Program running: weights packed for this CPU, an arena for each thread, everything allocated
//! before the first image.

use std::ops::Range;
use std::time::Instant;

use exbit_kernels::{Isa, Scratch, pixel_table};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, ErrorKind, Result};
use crate::step::Ready;
use crate::{Format, Program, memory};

/// The environment variable that chooses the instructions.
const ISA_VARIABLE: &str = "EXBIT_ISA";

/// A Program, ready to run on this machine.
#[derive(Debug)]
pub struct Session {
    network: Network,
    arenas: Vec<Arena>,
    pool: Option<ThreadPool>,
    answers: Vec<f32>,
}

/// What all threads share.
#[derive(Debug)]
struct Network {
    isa: Isa,
    /// The code of each pixel value, one table per channel.
    pixels: Vec<[u8; 256]>,
    steps: Vec<Ready>,
    names: Vec<String>,
    /// Where the codes of each value lie, without slack; empty for a real output.
    codes: Vec<Range<usize>>,
    /// The number that each code of the output stands for, where the output has codes.
    output: Option<(usize, [f32; 256])>,
    answer_len: usize,
    keeps_values: bool,
}

#[derive(Debug)]
struct Arena {
    values: Vec<u8>,
    scratch: Scratch,
}

/// What one step took.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The step's name.
    pub step: String,
    /// The kernel that ran it; for the first entry, the pixels' tables.
    pub kernel: &'static str,
    /// Median time, in nanoseconds.
    pub nanoseconds: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
}

impl Session {
    /// Prepares `program` to run batches on `threads` threads, with the fastest instructions that
    /// this CPU has, or those that `EXBIT_ISA` names (`scalar`, `avx2`, `avx512vnni`).
    ///
    /// # Errors
    /// `Unsupported` when `EXBIT_ISA` names no instructions that this CPU has, or no threads could
    /// be started; otherwise as [`Program::check`].
    pub fn new(program: &Program, threads: usize) -> Result<Self> {
        Self::build(program, threads, chosen_isa()?, false)
    }

    /// As [`Session::new`], on one thread with the instructions called `isa`.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_isa(program: &Program, isa: &str) -> Result<Self> {
        Self::build(program, 1, named_isa(isa)?, false)
    }

    /// As [`Session::with_isa`], with an arena in which no two values share their place: after a
    /// run, [`Session::codes`] shows all of them.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn keeping_values(program: &Program, isa: Option<&str>) -> Result<Self> {
        Self::build(program, 1, isa.map_or_else(chosen_isa, named_isa)?, true)
    }

    fn build(program: &Program, threads: usize, isa: Isa, keeps_values: bool) -> Result<Self> {
        program.check()?;
        let (network, values_len) = Network::new(program, isa, keeps_values);
        let mut scratch = Scratch::default();
        network
            .steps
            .iter()
            .for_each(|step| step.reserve(&mut scratch));
        let arena = || Arena {
            values: vec![0; values_len],
            scratch: scratch.clone(),
        };
        let threads = threads.max(1);
        let pool = match threads {
            1 => None,
            n => Some(
                ThreadPoolBuilder::new()
                    .num_threads(n)
                    .build()
                    .map_err(|e| {
                        Error::new(
                            ErrorKind::Unsupported,
                            format!("{n} threads"),
                            e.to_string(),
                        )
                    })?,
            ),
        };
        let answers = vec![0.0; network.answer_len];
        Ok(Self {
            arenas: (0..threads).map(|_| arena()).collect(),
            network,
            pool,
            answers,
        })
    }

    /// The answer (logits) for one image of raw pixels, `[height, width, channels]`. Allocates
    /// nothing.
    ///
    /// # Errors
    /// `Mismatch` when `pixels` is not [`Session::input_len`] long.
    pub fn run(&mut self, pixels: &[u8]) -> Result<&[f32]> {
        self.network.check_pixels(pixels.len(), 1)?;
        let answer = &mut self.answers[..self.network.answer_len];
        self.network.run(&mut self.arenas[0], pixels, answer);
        Ok(answer)
    }

    /// The answers for `count` images, one after another, each what [`Session::run`] gives for it,
    /// whatever the number of threads. Allocates only where `count` is larger than ever before.
    ///
    /// # Errors
    /// `Mismatch` when `pixels` is not `count` times [`Session::input_len`] long.
    pub fn run_batch(&mut self, pixels: &[u8], count: usize) -> Result<&[f32]> {
        let Self {
            network,
            arenas,
            pool,
            answers,
        } = self;
        network.check_pixels(pixels.len(), count)?;
        let (input_len, answer_len) = (network.input_len(), network.answer_len);
        let needed = count * answer_len;
        if answers.len() < needed {
            answers.resize(needed, 0.0);
        }
        let share = count.div_ceil(arenas.len()).max(1);
        let shares = pixels.chunks(share * input_len);
        let targets = answers[..needed].chunks_mut(share * answer_len);
        let run = |((arena, pixels), target): ((&mut Arena, &[u8]), &mut [f32])| {
            let images = pixels.chunks_exact(input_len);
            images
                .zip(target.chunks_exact_mut(answer_len))
                .for_each(|(image, answer)| {
                    network.run(arena, image, answer);
                });
        };
        match pool {
            None => arenas.iter_mut().zip(shares).zip(targets).for_each(run),
            Some(pool) => pool.scope(|scope| {
                for job in arenas.iter_mut().zip(shares).zip(targets) {
                    scope.spawn(|_| run(job));
                }
            }),
        }
        Ok(&self.answers[..needed])
    }

    /// The codes of value `v` as the last [`Session::run`] left them; `None` where the value is
    /// real or unknown, or this Session does not keep values.
    pub fn codes(&self, v: usize) -> Option<&[u8]> {
        let place = self
            .network
            .codes
            .get(v)
            .filter(|_| self.network.keeps_values)?;
        (!place.is_empty()).then(|| &self.arenas[0].values[place.clone()])
    }

    /// How long each step takes on `pixels`: the median of `repeats` runs, in running order. The
    /// first entry is the way from pixels to codes.
    ///
    /// # Errors
    /// `Mismatch` when `pixels` is not [`Session::input_len`] long.
    pub fn profile(&mut self, pixels: &[u8], repeats: usize) -> Result<Vec<StepTime>> {
        self.network.check_pixels(pixels.len(), 1)?;
        let (network, arena) = (&self.network, &mut self.arenas[0]);
        let answer = &mut self.answers[..network.answer_len];
        let repeats = repeats.max(1);
        let mut times = vec![Vec::with_capacity(repeats); network.steps.len() + 1];
        for _ in 0..repeats {
            let timed = |work: &mut dyn FnMut()| {
                let start = Instant::now();
                work();
                start.elapsed().as_nanos() as u64
            };
            times[0].push(timed(&mut || network.fill(arena, pixels)));
            for (step, times) in network.steps.iter().zip(&mut times[1..]) {
                let Arena { values, scratch } = arena;
                times.push(timed(&mut || step.run(values, scratch, answer)));
            }
        }
        let median = |mut times: Vec<u64>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let what = |i: usize| match i.checked_sub(1) {
            None => ("input".to_owned(), "pixels", 0),
            Some(i) => {
                let step = &network.steps[i];
                (network.names[i].clone(), step.kernel_name(), step.macs())
            }
        };
        let entry = |(i, times)| {
            let (step, kernel, macs) = what(i);
            StepTime {
                step,
                kernel,
                nanoseconds: median(times),
                macs,
            }
        };
        Ok(times.into_iter().enumerate().map(entry).collect())
    }

    /// Bytes of one image's pixels.
    pub fn input_len(&self) -> usize {
        self.network.input_len()
    }

    /// Entries of one image's answer.
    pub fn answer_len(&self) -> usize {
        self.network.answer_len
    }

    /// Bytes of all arenas: one for each thread, with the kernels' scratch.
    pub fn arena_bytes(&self) -> usize {
        self.arenas
            .iter()
            .map(|a| a.values.len() + a.scratch.len_bytes())
            .sum()
    }

    /// The instructions in use.
    pub fn isa(&self) -> &'static str {
        self.network.isa.name()
    }

    /// The number of threads that a batch runs on.
    pub fn threads(&self) -> usize {
        self.arenas.len()
    }
}

impl Network {
    /// The network, and the length of its arena.
    fn new(program: &Program, isa: Isa, keeps_values: bool) -> (Self, usize) {
        let mut lives = memory::lifetimes(program);
        if keeps_values {
            lives.fill(0..=program.steps.len());
        }
        let sizes: Vec<usize> = (0..program.values.len())
            .map(|v| program.arena_len(v))
            .collect();
        let (places, arena_len) = memory::place(&sizes, &lives);
        let codes = program
            .values
            .iter()
            .zip(&places)
            .map(|(value, place)| match value.format {
                Format::Codes(_) => place.start..place.start + value.len(),
                Format::Real => 0..0,
            });
        let input = program.values[0]
            .grid()
            .expect("checked: the input has codes");
        let affine = program.input.scale.iter().zip(&program.input.shift);
        let output = &program.values[program.output];
        let numbers = |grid: crate::Grid| std::array::from_fn(|code| grid.value(code as u8));
        let network = Self {
            isa,
            pixels: affine
                .map(|(&scale, &shift)| pixel_table(scale, shift, input))
                .collect(),
            steps: program
                .steps
                .iter()
                .map(|s| Ready::new(isa, program, s, &places))
                .collect(),
            names: program.steps.iter().map(|s| s.name.clone()).collect(),
            codes: codes.collect(),
            output: output.grid().map(|grid| (program.output, numbers(grid))),
            answer_len: output.len(),
            keeps_values,
        };
        (network, arena_len)
    }

    fn input_len(&self) -> usize {
        self.codes[0].len()
    }

    fn check_pixels(&self, len: usize, count: usize) -> Result<()> {
        let image = self.input_len();
        if image.checked_mul(count) == Some(len) {
            return Ok(());
        }
        let message = format!("{len} bytes given; {count} images of {image} bytes expected");
        Err(Error::new(ErrorKind::Mismatch, "pixels", message))
    }

    fn run(&self, arena: &mut Arena, pixels: &[u8], answer: &mut [f32]) {
        self.fill(arena, pixels);
        for step in &self.steps {
            step.run(&mut arena.values, &mut arena.scratch, answer);
        }
        if let Some((v, numbers)) = &self.output {
            let codes = &arena.values[self.codes[*v].clone()];
            answer
                .iter_mut()
                .zip(codes)
                .for_each(|(y, &c)| *y = numbers[usize::from(c)]);
        }
    }

    fn fill(&self, arena: &mut Arena, pixels: &[u8]) {
        let codes = &mut arena.values[self.codes[0].clone()];
        match self.pixels.as_slice() {
            // As fast as any: the compiler knows how many tables there are.
            [table] => look_up(&[table], pixels, codes),
            [red, green, blue] => look_up(&[red, green, blue], pixels, codes),
            tables => {
                let pixels = pixels.chunks_exact(tables.len());
                for (pixel, codes) in pixels.zip(codes.chunks_exact_mut(tables.len())) {
                    for ((code, &p), table) in codes.iter_mut().zip(pixel).zip(tables) {
                        *code = table[usize::from(p)];
                    }
                }
            }
        }
    }
}

/// The code of each pixel, a table for each of `N` channels.
fn look_up<const N: usize>(tables: &[&[u8; 256]; N], pixels: &[u8], codes: &mut [u8]) {
    for (pixel, codes) in pixels
        .as_chunks::<N>()
        .0
        .iter()
        .zip(codes.as_chunks_mut::<N>().0)
    {
        *codes = std::array::from_fn(|c| tables[c][usize::from(pixel[c])]);
    }
}

/// The names of the instruction sets that this CPU has, the fastest first, `scalar` last.
pub fn present_isas() -> Vec<&'static str> {
    Isa::present().into_iter().map(Isa::name).collect()
}

fn chosen_isa() -> Result<Isa> {
    match std::env::var(ISA_VARIABLE) {
        Err(std::env::VarError::NotPresent) => Ok(Isa::best()),
        Ok(name) => named_isa(&name),
        Err(std::env::VarError::NotUnicode(name)) => named_isa(&name.to_string_lossy()),
    }
}

fn named_isa(name: &str) -> Result<Isa> {
    Isa::named(name).ok_or_else(|| {
        let present = present_isas().join(", ");
        let message = format!("{name:?} is not there; this CPU has {present}");
        Error::new(ErrorKind::Unsupported, ISA_VARIABLE, message)
    })
}
