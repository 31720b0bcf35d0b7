//! A training run: what it is made of, how it goes on step by step, and what comes out.

use std::path::Path;
use std::time::Instant;

use exbit_engine::{Input, Program};
use exbit_kernels::Grid;
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess, shuffled};

use super::checkpoint::{self, Header, Origin, Record, Saved, Source};
use super::exits::attach;
use super::graph::Graph;
use super::images::Images;
use super::optimizer::rate;
use super::parameters::Parameters;
use super::place::Place;
use super::recipe::{Method, Phase, Recipe};
use super::start::{magnitudes, set_input, without_softmax};
use super::step::{Lesson, Pace, Seen, step};
use super::teacher::{Teacher, image_shape, targets};
use super::watch::Watch;
use super::{finish, leave, look, penalty, unfold};
use crate::exits::{Calibration, Outcome};
use crate::prepare::Network;
use crate::quantized::Quantized;
use crate::report::Training;
use crate::{Error, ErrorKind, Fingerprint, Result, lower};

/// What a run tells while it goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// Some training images were read.
    Read(usize),
    /// A step was taken: the place after it, and of how many steps the epoch consists.
    Step(&'a Place, usize),
    /// Bits were made whole: the bit-operations before that, and their target. Where the search
    /// ends above it, all bits are brought down alike.
    Rounded {
        /// With bits as they were learned.
        bops: f64,
        /// What they are now below.
        target: f64,
    },
    /// An epoch ended.
    Epoch(&'a Record),
}

/// A training run.
pub struct Run {
    recipe: Recipe,
    /// The float model with its exits.
    base: Model,
    graph: Graph,
    parameters: Parameters,
    images: Images,
    teacher: Option<Teacher>,
    input: Grid,
    origin: Origin,
    place: Place,
    records: Vec<Record>,
    watch: Watch,
}

impl Run {
    /// A run at its beginning.
    ///
    /// # Errors
    /// As [`attach`], as reading the images, and `Mismatch` when the teacher does not fit;
    /// `Unsupported` for an op that has no integer step.
    pub fn new(
        model: &Model,
        set: &DataSet,
        preprocess: &Preprocess,
        teacher: Option<Teacher>,
        recipe: &Recipe,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let model = without_softmax(model)?;
        let written = exbit_model::onnx::write(&model)?;
        let base = attach(&model, &recipe.exits.positions(), recipe.head, recipe.seed)?;
        let classes = base.output_len();
        let mut read = |n| tell(Event::Read(n));
        check_input(&base, preprocess)?;
        let images = Images::read(set, preprocess, classes, recipe, &mut read)?;
        let mut teacher = teacher;
        if teacher.is_none() && recipe.temperature != 1.0 {
            let message = "is of a teacher, and there is none";
            return Err(Error::new(
                ErrorKind::Mismatch,
                "recipe: temperature",
                message,
            ));
        }
        if let Some(teacher) = &mut teacher {
            teacher.prepare(image_shape(&base), classes)?;
        }
        let input = images.grid();
        let mut graph = match recipe.method {
            Method::Float => Graph::plain(&base),
            Method::Lsq | Method::Mcqueen => Graph::new(&base, true)?,
        };
        set_input(&mut graph, input);
        let first = images.batch(&images.some(recipe.batch), None);
        let magnitudes = magnitudes(&base, &graph, &first.x, recipe.batch);
        let parameters = Parameters::begin(&graph, recipe, &magnitudes)?;
        if recipe.searches() {
            penalty::check_target(&graph, &parameters, recipe.target_bops)?;
        }
        parameters.put(&mut graph);
        let origin = Origin {
            network: base.name().to_owned(),
            network_fingerprint: Some(Fingerprint::of(&written).to_string()),
            images: images.train.len() + images.held_out.len(),
            images_fingerprint: Some(images.fingerprint().to_string()),
            preprocess: preprocess.to_toml(),
            teacher: teacher.as_ref().map(|t| t.name.clone()),
            teacher_fingerprint: teacher.as_ref().map(|t| t.fingerprint.to_string()),
        };
        Ok(Self {
            recipe: recipe.clone(),
            base,
            graph,
            parameters,
            images,
            teacher,
            input,
            origin,
            place: Place::first(recipe),
            records: Vec::new(),
            watch: Watch::default(),
        })
    }

    /// Takes over, by name, what the run in the file `path` learned, or what the Program there came
    /// to; gives how many parameters were found and how many there are.
    ///
    /// # Errors
    /// As reading the file; `Unsupported` for a float run and a Program.
    pub fn adopt(&mut self, path: &Path) -> Result<(usize, usize)> {
        let found = match checkpoint::open(path)? {
            Source::Run(saved) => {
                checkpoint::adopt(&mut self.graph, &mut self.parameters, &saved.tensors)
            }
            Source::Program(program) => self.adopt_program(&program)?,
        };
        Ok((found, self.parameters.all.len()))
    }

    fn adopt_program(&mut self, program: &Program) -> Result<usize> {
        if self.recipe.method == Method::Float {
            let message = "a float run begins with weights; a Program has their codes alone";
            return Err(Error::new(ErrorKind::Unsupported, "method", message));
        }
        let tensors = unfold::unfold(&self.base, &self.graph, program)?;
        let (graph, parameters) = (&mut self.graph, &mut self.parameters);
        let found = checkpoint::adopt(graph, parameters, &tensors);
        let some = self.images.some(self.recipe.batch);
        let x = self.images.batch(&some, None).x;
        unfold::center(graph, parameters, &tensors, &x, some.len());
        Ok(found)
    }

    /// Goes back to where the run in the file `path` stood. It may have been told another number of
    /// epochs: the rate falls towards the new end from then on; and when images leave is chosen
    /// anew.
    ///
    /// # Errors
    /// As reading the file; `Mismatch` when it was told anything else than this one.
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        let Saved { header, tensors } = Saved::open(path)?;
        let told = Recipe {
            epochs: self.recipe.epochs,
            drop: self.recipe.drop,
            mean_bops: self.recipe.mean_bops,
            ..header.recipe
        };
        let other = match told == self.recipe {
            true => self.origin.differs(&header.origin).map(str::to_owned),
            false => {
                let keys = told.differences(&self.recipe).join(", ");
                Some(format!("recipe ({keys})"))
            }
        };
        if let Some(what) = other {
            let message = format!(
                "is a run with another {what}: take that one, give another output, or delete it"
            );
            let place = path.display().to_string();
            return Err(Error::new(ErrorKind::Mismatch, place, message));
        }
        checkpoint::restore(&mut self.graph, &mut self.parameters, &tensors)?;
        self.place = header.place.settled(&self.recipe);
        self.records = header.records;
        self.watch = Watch::default();
        Ok(())
    }

    /// Writes the run to the file `path`.
    ///
    /// # Errors
    /// `Io` when it cannot be written, `Mismatch` when training has diverged; what stood there
    /// stays.
    pub fn save(&self, path: &Path) -> Result<()> {
        let header = Header {
            recipe: self.recipe.clone(),
            origin: self.origin.clone(),
            place: self.place.clone(),
            records: self.records.clone(),
        };
        let tensors = checkpoint::tensors(&self.graph, &self.parameters);
        checkpoint::save(path, &header, &tensors)
    }

    /// The run as it is to be shown: `command` made it, and images leave as `leaving` says.
    ///
    /// # Errors
    /// None for a run in hand; the type is that of writing the recipe.
    pub fn report(&self, command: String, leaving: Option<Outcome>) -> Result<Training> {
        Ok(Training {
            network: self.base.name().to_owned(),
            layers: self.graph.layers.iter().map(|l| l.name.clone()).collect(),
            records: self.records.clone(),
            target_bops: self.recipe.target_bops,
            leaving,
            recipe: self.recipe.to_toml()?,
            command,
        })
    }

    /// The epochs so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Where the run stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Steps of an epoch; images that fill no batch are left out, others each time.
    pub fn steps(&self) -> usize {
        self.images.train.len() / self.recipe.batch
    }

    /// Epochs of all phases.
    pub fn epochs(&self) -> usize {
        self.recipe.phases().iter().map(|(_, epochs)| epochs).sum()
    }

    /// Whether an epoch with whole bits is done: there is a result then, be it not the last one.
    pub fn is_settling(&self) -> bool {
        self.records
            .last()
            .is_some_and(|r| r.phase == Phase::Settle)
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        self.place.is_end(&self.recipe)
    }

    /// Goes on to the end of the epoch, or until `tell` has had enough and gives `false`.
    ///
    /// # Errors
    /// As asking the teacher; `Mismatch` when training has diverged: losses that are no numbers any
    /// more, or many times those of a network that guesses.
    pub fn epoch(&mut self, tell: &mut dyn FnMut(Event) -> bool) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let (phase, epochs) = (self.place.phase, self.place.epochs(&self.recipe));
        if (self.place.epoch, self.place.step) == (0, 0) {
            self.begin(phase, tell);
        }
        let mut start = Instant::now();
        let steps = self.steps();
        let earlier = phase as u64 * 1000 + self.place.epoch as u64;
        let seed = self
            .recipe
            .seed
            .wrapping_mul(1_000_003)
            .wrapping_add(earlier);
        let order = shuffled(self.images.train.len(), seed);
        while self.place.step < steps {
            let at = self.place.step * self.recipe.batch;
            let indices = order[at..at + self.recipe.batch].iter();
            let indices: Vec<usize> = indices.map(|&i| self.images.train[i]).collect();
            let done = self.place.epoch * steps + self.place.step;
            let rate = rate(&self.recipe, done, epochs * steps);
            let own = seed
                .wrapping_mul(1_000_003)
                .wrapping_add(self.place.step as u64);
            let (seen, guess) = self.step(&indices, own, Pace { phase, done, rate })?;
            if seen.losses.iter().any(|loss| !loss.is_finite()) {
                return Err(self.diverged("the loss is no longer a number"));
            }
            if let Some(times) = self.watch.see(&seen.losses, guess) {
                return Err(self.diverged(&too_large(times)));
            }
            self.place.sums.add(&seen, indices.len());
            self.place.step += 1;
            self.place.sums.seconds += start.elapsed().as_secs_f64();
            start = Instant::now();
            if !tell(Event::Step(&self.place, steps)) {
                return Ok(());
            }
        }
        if let Some(times) = self.watch.end_epoch() {
            return Err(self.diverged(&too_large(times)));
        }
        let of = (phase, &self.place);
        let record = look::record(&self.graph, &self.parameters, &self.images, of);
        tell(Event::Epoch(&record));
        self.records.push(record);
        self.place = self.place.next_epoch(&self.recipe);
        Ok(())
    }

    /// What changes at the beginning of a phase.
    fn begin(&mut self, phase: Phase, tell: &mut dyn FnMut(Event) -> bool) {
        for parameter in &mut self.parameters.all {
            parameter.velocity.fill(0.0);
            parameter.square.fill(0.0);
        }
        if phase == Phase::Settle && self.recipe.method == Method::Mcqueen {
            let target = self.recipe.target_bops.filter(|_| self.recipe.searches());
            if let Some(target) = target {
                let bops = penalty::bops(&self.graph, &self.parameters, false);
                tell(Event::Rounded { bops, target });
            }
            penalty::round_bits(&self.graph, &mut self.parameters, target);
            self.parameters.put(&mut self.graph);
        }
    }

    fn diverged(&self, what: &str) -> Error {
        let (epoch, step) = (self.records.len() + 1, self.place.step + 1);
        let place = format!("epoch {epoch}, step {step}");
        Error::new(ErrorKind::Mismatch, place, checkpoint::diverged(what))
    }

    /// A step on the images `indices`; gives the loss of guessing beside what was seen.
    fn step(&mut self, indices: &[usize], seed: u64, pace: Pace) -> Result<(Seen, f64)> {
        let classes = self.base.output_len();
        let batch = self
            .images
            .batch(indices, Some((self.recipe.augment, seed)));
        let targets = targets(&mut self.teacher, self.recipe.temperature, &batch, classes)?;
        let lesson = Lesson {
            x: &batch.x,
            labels: &batch.labels,
            targets,
        };
        let guess = lesson.targets.guess(classes);
        let (graph, parameters) = (&mut self.graph, &mut self.parameters);
        Ok((step(graph, parameters, &lesson, &self.recipe, pace), guess))
    }

    /// The float model as it is now, with its exits; rounded weights where there are quantizers.
    pub fn model(&self) -> &Model {
        &self.graph.model
    }

    /// The integer network as it is now.
    ///
    /// # Errors
    /// `Mismatch` while bits are not whole, or for a float run.
    pub fn quantized(&self) -> Result<(Network, Quantized)> {
        if self.recipe.method == Method::Float {
            let message = "a float run has no integer network: quantize what it wrote";
            return Err(Error::new(ErrorKind::Mismatch, "method", message));
        }
        finish::finish(&self.base, &self.graph, &self.parameters, self.input)
    }

    /// The Program as it is now; pixels enter through `input`.
    ///
    /// # Errors
    /// As [`Run::quantized`].
    pub fn program(&self, input: Input) -> Result<Program> {
        let (network, quantized) = self.quantized()?;
        Ok(lower(&network, &quantized, input))
    }

    /// When images leave `program`, which has exits and came from this run: thresholds chosen on
    /// the images kept apart, as the recipe asks.
    ///
    /// # Errors
    /// As [`exbit_engine::Session::new`].
    pub fn policy(&self, program: &Program, threads: usize) -> Result<Calibration> {
        leave::choose(program, &self.images, &self.recipe, threads)
    }
}

fn too_large(times: f64) -> String {
    format!("losses are {times:.0} times those of a network that guesses")
}

/// Whether images of `preprocess` are what `model` reads.
fn check_input(model: &Model, preprocess: &Preprocess) -> Result<()> {
    let [height, width] = preprocess.size();
    let made = [preprocess.channels(), height, width];
    let reads = &model.value(model.input()).shape;
    if *reads == made {
        return Ok(());
    }
    let message = format!("images become {made:?}, the network reads {reads:?}");
    Err(Error::new(ErrorKind::Mismatch, "preprocessing", message))
}
