//! A Program running: weights packed for this CPU, an arena for each thread, everything allocated
//! before the first image.

use std::io::{Read, Seek};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use exbit_kernels::{Isa, Team};

use crate::crew::{Crew, Desk, MOST_THREADS};
use crate::error::{Error, ErrorKind, Result};
use crate::instructions::{chosen_isa, named_isa};
use crate::memory::Place;
use crate::network::{Depth, Network};
use crate::step::Ready;
use crate::{Input, Policy, Program, Step, StepKind, file};

/// A Program, ready to run on this machine.
#[derive(Debug)]
pub struct Session {
    pub(crate) network: Network,
    /// The values of an image: one for each thread, as a batch needs.
    pub(crate) arenas: Vec<Vec<u8>>,
    /// What steps work in: one for each thread.
    pub(crate) desks: Vec<Desk>,
    /// The threads, where there are more than one.
    team: Option<Team>,
    pub(crate) answers: Vec<f32>,
    /// Where each image of the largest call so far left, those of the last one first.
    exits: Vec<usize>,
    /// Images of the last call.
    count: usize,
}

impl Session {
    /// Prepares `program` to run on `threads` threads, 1 to 32, with the fastest instructions that
    /// this CPU has, or those that `EXBIT_ISA` names (`scalar`, `avx2`, `avxvnni`, `avx512vnni`).
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

    /// As [`Session::with_isa`], with an arena in which no two values share their place, however
    /// large that is: after a run, [`Session::codes`] shows those of every step that ran.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn keeping_values(program: &Program, isa: Option<&str>) -> Result<Self> {
        let isa = isa.map_or_else(chosen_isa, named_isa)?;
        Self::build(program, 1, isa, true)
    }

    /// Prepares the Program in the file at `path`, as [`Session::new`] would: layer by layer from
    /// the file, so that it never holds more of the weights than those packed and one layer's,
    /// while kernels are measured for it in the packing of each.
    ///
    /// # Errors
    /// As [`Program::load`] and [`Session::new`].
    pub fn open(path: impl AsRef<Path>, threads: usize) -> Result<Self> {
        let (path, isa) = (path.as_ref(), chosen_isa()?);
        file::open(path)
            .and_then(|file| Self::read(file, threads, isa))
            .map_err(|e| e.within(path.display()))
    }

    fn read(file: impl Read + Seek, threads: usize, isa: Isa) -> Result<Self> {
        let (mut program, mut codes) = Program::read_frame(file)?;
        program.check_frame()?;
        let mut draft = Draft::new(&program, threads, isa, false);
        let mut spare = Vec::new();
        for i in 0..program.steps.len() {
            swap_codes(&mut program.steps[i], &mut spare);
            codes.fill(&mut program, i)?;
            program.check_codes(i)?;
            draft.add(&program, i);
            swap_codes(&mut program.steps[i], &mut spare);
        }
        codes.finish()?;
        draft.finish()
    }

    fn build(program: &Program, threads: usize, isa: Isa, keeps_values: bool) -> Result<Self> {
        program.check()?;
        let mut draft = Draft::new(program, threads, isa, keeps_values);
        (0..program.steps.len()).for_each(|i| draft.add(program, i));
        draft.finish()
    }

    /// The answer (logits) for one image of raw pixels, `[height, width, channels]`; all threads
    /// work on it, until it leaves at the first exit that the policy says, or to the end.
    /// Allocates nothing.
    ///
    /// # Errors
    /// `Mismatch` when `pixels` is not [`Session::input_len`] long.
    pub fn run(&mut self, pixels: &[u8]) -> Result<&[f32]> {
        self.network.check_pixels(pixels.len(), 1)?;
        self.count = 1;
        let answer = &mut self.answers[..self.network.answer_len];
        let mut crew = Crew {
            team: self.team.as_mut(),
            desks: &mut self.desks,
        };
        let arena = &mut self.arenas[0];
        self.exits[0] = self
            .network
            .run(Depth::Policy, arena, &mut crew, pixels, answer);
        Ok(answer)
    }

    /// The answers for `count` images, one after another, each what [`Session::run`] gives for it,
    /// whatever the number of threads. Each thread takes the next image when it is done with one;
    /// all work on the images that would not be enough for all. Allocates only where `count` is
    /// larger than ever before.
    ///
    /// # Errors
    /// `Mismatch` when `pixels` is not `count` times [`Session::input_len`] long.
    pub fn run_batch(&mut self, pixels: &[u8], count: usize) -> Result<&[f32]> {
        self.run_images(Depth::Policy, pixels, count)
    }

    /// What every exit and the output answer, whatever the policy says: `(count, exits + 1,
    /// answer_len)`. Every image goes to the end, through all heads.
    ///
    /// # Errors
    /// As [`Session::run_batch`].
    pub fn run_every_exit(&mut self, pixels: &[u8], count: usize) -> Result<&[f32]> {
        self.run_images(Depth::EveryExit, pixels, count)
    }

    /// Where each image of the last call left: the index of an exit, or the number of exits where
    /// it went to the end.
    pub fn exits(&self) -> &[usize] {
        &self.exits[..self.count]
    }

    /// When images leave from now on.
    pub fn policy(&self) -> &Policy {
        self.network.policy()
    }

    /// Lets images leave by `policy` from now on.
    ///
    /// # Errors
    /// `Mismatch` when it is not for as many exits as there are.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<()> {
        policy.check(self.network.exits())?;
        self.network.set_policy(policy.clone());
        Ok(())
    }

    fn run_images(&mut self, depth: Depth, pixels: &[u8], count: usize) -> Result<&[f32]> {
        let Self {
            network,
            arenas,
            desks,
            team,
            answers,
            exits,
            ..
        } = self;
        network.check_pixels(pixels.len(), count)?;
        self.count = count;
        let one = match depth {
            Depth::Policy => network.answer_len,
            Depth::EveryExit => (network.exits() + 1) * network.answer_len,
        };
        let needed = count * one;
        if answers.len() < needed {
            answers.resize(needed, 0.0);
        }
        if exits.len() < count {
            exits.resize(count, 0);
        }
        let images = pixels.chunks_exact(network.input_len());
        let answers = answers[..needed].chunks_exact_mut(one);
        let mut images = images.zip(answers).zip(exits);
        if let Some(team) = team {
            let threads = arenas.len();
            let alone = count - count % threads;
            let queue = Mutex::new(images.by_ref().take(alone));
            // Nothing panics that holds the queue.
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let mut jobs = [const { None }; MOST_THREADS];
            let own = arenas.iter_mut().zip(desks.iter_mut());
            jobs.iter_mut()
                .zip(own)
                .for_each(|(job, own)| *job = Some(own));
            team.each(&mut jobs[..threads], |job| {
                if let Some((arena, desk)) = job.take() {
                    let mut crew = Crew {
                        team: None,
                        desks: std::slice::from_mut(desk),
                    };
                    while let Some(((image, answer), exit)) = next() {
                        *exit = network.run(depth, arena, &mut crew, image, answer);
                    }
                }
            });
        }
        let team = team.as_mut();
        let mut crew = Crew { team, desks };
        for ((image, answer), exit) in images {
            *exit = network.run(depth, &mut arenas[0], &mut crew, image, answer);
        }
        Ok(&self.answers[..needed])
    }

    /// The codes of value `v` as the last [`Session::run`] left them, of an earlier image where its
    /// step did not run; `None` where the value is real or unknown, or this Session does not keep
    /// values.
    pub fn codes(&self, v: usize) -> Option<&[u8]> {
        let place = self
            .network
            .codes
            .get(v)
            .filter(|_| self.network.keeps_values)?;
        (!place.is_empty()).then(|| &self.arenas[0][place.clone()])
    }

    /// How pixels become codes, as the Program carries it.
    pub fn input(&self) -> &Input {
        &self.network.input
    }

    /// `[height, width, channels]` of an image.
    pub fn input_shape(&self) -> [usize; 3] {
        self.network.input_shape
    }

    /// The names of the classes, where the Program carries them.
    pub fn classes(&self) -> &[String] {
        &self.network.classes
    }

    /// The names of the exits, in order.
    pub fn exit_names(&self) -> &[String] {
        &self.network.exit_names
    }

    /// Bytes of one image's pixels.
    pub fn input_len(&self) -> usize {
        self.network.input_len()
    }

    /// Entries of one image's answer.
    pub fn answer_len(&self) -> usize {
        self.network.answer_len
    }

    /// Bytes of all arenas, one for each thread, with [`Session::working_bytes`].
    pub fn arena_bytes(&self) -> usize {
        self.arenas.iter().map(Vec::len).sum::<usize>() + self.working_bytes()
    }

    /// Bytes in which steps work: lines that kernels copy, and lines of packed values.
    pub fn working_bytes(&self) -> usize {
        self.desks.iter().map(Desk::len_bytes).sum()
    }

    /// Bytes of the weights and constants of all steps as they are packed for this CPU, shared by
    /// all threads.
    pub fn weight_bytes(&self) -> usize {
        self.network.steps.iter().map(Ready::weight_bytes).sum()
    }

    /// The kernel that runs each step, in order.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.network.steps.iter().map(|step| step.kernel_name())
    }

    /// The instructions in use.
    pub fn isa(&self) -> &'static str {
        self.network.isa.name()
    }

    /// The number of threads that it runs on.
    pub fn threads(&self) -> usize {
        self.arenas.len()
    }
}

/// A Session in the making: steps are added one after another.
struct Draft {
    network: Network,
    places: Vec<Place>,
    /// Whether some of them are packed.
    in_strips: bool,
    arena_len: usize,
    threads: usize,
}

impl Draft {
    /// No step yet of a Program whose frame has passed its check.
    fn new(program: &Program, threads: usize, isa: Isa, keeps_values: bool) -> Self {
        let threads = threads.clamp(1, MOST_THREADS);
        let (places, arena_len) = match keeps_values {
            true => program.arrange_apart(),
            false => program.arrange(&program.packed),
        };
        Self {
            network: Network::new(program, isa, keeps_values, threads, &places),
            in_strips: places.iter().any(Place::is_packed),
            places,
            arena_len,
            threads,
        }
    }

    /// Adds step `i`, whose codes have passed their check.
    fn add(&mut self, program: &Program, i: usize) {
        let (isa, step) = (self.network.isa, &program.steps[i]);
        let (places, threads) = (&self.places, self.threads);
        let ready = Ready::new(isa, program, step, places, threads, self.in_strips);
        self.network.steps.push(ready);
    }

    /// The Session: everything that a run takes is allocated.
    fn finish(self) -> Result<Session> {
        let Self {
            network,
            arena_len,
            threads,
            ..
        } = self;
        let mut desk = Desk::default();
        network.reserve(&mut desk);
        network
            .steps
            .iter()
            .for_each(|step| step.reserve(&mut desk));
        let team = match threads {
            1 => None,
            n => Some(Team::new(n).map_err(|e| {
                Error::new(
                    ErrorKind::Unsupported,
                    format!("{n} threads"),
                    e.to_string(),
                )
            })?),
        };
        Ok(Session {
            arenas: vec![vec![0; arena_len]; threads],
            desks: vec![desk; threads],
            team,
            answers: vec![0.0; network.answer_len],
            exits: vec![network.exits()],
            count: 0,
            network,
        })
    }
}

/// Exchanges the memory of a step's codes, where it has any, with `spare`.
fn swap_codes(step: &mut Step, spare: &mut Vec<i8>) {
    if let StepKind::Conv(conv) = &mut step.kind {
        std::mem::swap(&mut conv.weights.codes, spare);
    }
}
