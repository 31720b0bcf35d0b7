//! A network made ready: what all threads share, and how an image runs through it.

use std::ops::Range;

use exbit_kernels::{Isa, Target, code_at, narrow, pixel_table};

use crate::crew::{Crew, Desk};
use crate::error::{Error, ErrorKind, Result};
use crate::exit::asked;
use crate::memory::Place;
use crate::policy::Streak;
use crate::step::Ready;
use crate::{Format, Input, Policy, Program, pixels};

/// The steps of a Program, ready to run, and all that they need but an arena.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) isa: Isa,
    pub(crate) input: Input,
    pub(crate) input_shape: [usize; 3],
    pub(crate) classes: Vec<String>,
    pub(crate) exit_names: Vec<String>,
    /// The code of each pixel value, one table per channel.
    pixels: Vec<[u8; 256]>,
    /// What each thread makes of the input's codes.
    input_parts: Vec<Range<usize>>,
    pub(crate) steps: Vec<Ready>,
    pub(crate) names: Vec<String>,
    /// Where the codes of each value lie, without slack; empty for real numbers.
    pub(crate) codes: Vec<Range<usize>>,
    /// Where the input lies.
    first: Place,
    /// Where an output that has codes lies, and the number that each of them stands for.
    output: Option<(Place, [f32; 256])>,
    pub(crate) answer_len: usize,
    pub(crate) keeps_values: bool,
    /// How many steps come before each way out: each exit, then the end.
    depths: Vec<usize>,
    /// The ways out that each step leads to, a bit for each.
    ways: Vec<u64>,
    policy: Policy,
    /// The ways out that the policy asks for.
    asked: u64,
}

/// How far an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// To the exit that the policy says; its answer is the image's.
    Policy,
    /// To the end, through every head; each exit gives an answer, then the output.
    EveryExit,
}

impl Network {
    /// The network without its steps; its values lie at `places`.
    pub(crate) fn new(
        program: &Program,
        isa: Isa,
        keeps_values: bool,
        threads: usize,
        places: &[Place],
    ) -> Self {
        let codes = program
            .values
            .iter()
            .zip(places)
            .map(|(value, place)| match value.format {
                Format::Codes(_) => place.codes(),
                Format::Real => 0..0,
            });
        let input = program.values[0]
            .grid()
            .expect("checked: the input has codes");
        let affine = program.input.scale.iter().zip(&program.input.shift);
        let output = &program.values[program.output];
        let numbers = |grid: crate::Grid| std::array::from_fn(|code| grid.value(code as u8));
        Self {
            isa,
            input: program.input.clone(),
            input_shape: program.values[0].shape,
            classes: program.classes.clone(),
            exit_names: program.exits.iter().map(|e| e.name.clone()).collect(),
            pixels: affine
                .map(|(&scale, &shift)| pixel_table(scale, shift, input))
                .collect(),
            steps: Vec::with_capacity(program.steps.len()),
            input_parts: pixels::parts(&program.values[0], threads),
            names: program.steps.iter().map(|s| s.name.clone()).collect(),
            codes: codes.collect(),
            first: places[0].clone(),
            output: output
                .grid()
                .map(|grid| (places[program.output].clone(), numbers(grid))),
            answer_len: output.len(),
            keeps_values,
            depths: program.depths(),
            ways: program.ways(),
            policy: program.policy.clone(),
            asked: asked(&program.policy, program.exits.len()),
        }
    }

    pub(crate) fn input_len(&self) -> usize {
        self.first.lines * self.first.line
    }

    /// The number of exits.
    pub(crate) fn exits(&self) -> usize {
        self.depths.len() - 1
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes a policy that is for these exits.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.asked = asked(&policy, self.exits());
        self.policy = policy;
    }

    pub(crate) fn check_pixels(&self, len: usize, count: usize) -> Result<()> {
        let image = self.input_len();
        if image.checked_mul(count) == Some(len) {
            return Ok(());
        }
        let message = format!("{len} bytes given; {count} images of {image} bytes expected");
        Err(Error::new(ErrorKind::Mismatch, "pixels", message))
    }

    /// Runs one image; `answers` has room for one answer, or for one of each exit and the output.
    /// Gives the exit at which it left, or the number of exits.
    pub(crate) fn run(
        &self,
        depth: Depth,
        arena: &mut [u8],
        crew: &mut Crew<'_>,
        pixels: &[u8],
        answers: &mut [f32],
    ) -> usize {
        self.fill(arena, crew, pixels);
        let asked = match depth {
            Depth::Policy => self.asked,
            Depth::EveryExit => u64::MAX,
        };
        let (end, mut done, mut streak) = (self.exits(), 0, Streak::default());
        for (exit, &steps) in self.depths.iter().enumerate() {
            // Logits that nobody leaves with make room for the next ones.
            let answer = match depth {
                Depth::Policy => &mut *answers,
                Depth::EveryExit => &mut answers[exit * self.answer_len..][..self.answer_len],
            };
            let part = done..steps;
            for (step, _) in self.steps[part.clone()]
                .iter()
                .zip(&self.ways[part])
                .filter(|(_, ways)| **ways & asked != 0)
            {
                step.run(arena, crew, answer);
            }
            done = steps;
            if exit == end {
                self.read_output(arena, answer);
            } else if depth == Depth::Policy && self.policy.leaves(exit, answer, &mut streak) {
                return exit;
            }
        }
        end
    }

    /// The numbers of an output that has codes.
    fn read_output(&self, arena: &[u8], answer: &mut [f32]) {
        if let Some((place, numbers)) = &self.output {
            let lines = arena[place.codes()].chunks_exact(place.line_bytes());
            for (line, answer) in lines.zip(answer.chunks_exact_mut(place.line)) {
                for (i, y) in answer.iter_mut().enumerate() {
                    *y = numbers[usize::from(code_at(place.width, line, i))];
                }
            }
        }
    }

    /// Grows `desk` to what filling the input takes.
    pub(crate) fn reserve(&self, desk: &mut Desk) {
        if self.first.is_packed() {
            desk.reserve(self.first.line);
        }
    }

    /// The codes of the input.
    pub(crate) fn fill(&self, arena: &mut [u8], crew: &mut Crew<'_>, pixels: &[u8]) {
        let (isa, first) = (self.isa, &self.first);
        let codes = &mut arena[first.codes()];
        if first.is_packed() {
            let codes = codes.chunks_exact_mut(first.line_bytes());
            let line = &mut crew.desks[0].lines[..first.line];
            for (pixels, codes) in pixels.chunks_exact(first.line).zip(codes) {
                pixels::look_up(isa, &self.pixels, pixels, line);
                narrow(isa, first.width, line, codes);
            }
            return;
        }
        let target = Target::Codes(codes);
        crew.share(&self.input_parts, 1, target, |part, _, target| {
            if let Target::Codes(codes) = target {
                pixels::look_up(isa, &self.pixels, &pixels[part], codes);
            }
        });
    }
}
