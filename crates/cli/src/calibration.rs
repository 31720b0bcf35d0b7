//! What the commands that calibrate start from: a float network, and images as it reads them.

use std::path::Path;

use exbit::Samples;
use exbit::calibrate::Clipping;
use exbit::sensitivity::Candidates;
use exbit_engine::Input;
use exbit_kernels::Bits;
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess, Split, spread};

use crate::args::{Calibrating, Rule};
use crate::exit::Failure;
use crate::progress::Progress;
use crate::{images, network};

/// A float network and the images to calibrate it on.
pub(crate) struct Material {
    pub(crate) model: Model,
    /// The length of its file.
    pub(crate) model_bytes: u64,
    pub(crate) preprocess: Preprocess,
    pub(crate) set: DataSet,
    indices: Vec<usize>,
}

impl Material {
    /// Reads the network in the file `model` and opens the images.
    pub(crate) fn open(
        model: &Path,
        args: &Calibrating,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let path = model;
        let (model, model_bytes) = network::open_model(path)?;
        let asked = args.preprocessing.preprocess.as_deref();
        let preprocess = images::for_model(&model, path, asked, progress)?;
        let set = of_classes(
            images::open(&args.calib, args.split, Split::Train)?,
            &model,
            progress,
        );
        let indices = spread(set.len(), args.images.min(set.len()), args.seed);
        Ok(Self {
            model,
            model_bytes,
            preprocess,
            set,
            indices,
        })
    }

    /// The images.
    pub(crate) fn samples(&self) -> Samples<'_> {
        Samples::Set {
            set: &self.set,
            preprocess: &self.preprocess,
            indices: self.indices.clone(),
        }
    }

    /// What the images call the network's classes; nothing where they do not say.
    pub(crate) fn class_names(&self) -> Vec<String> {
        let outputs = self.model.output_len();
        let names = self.set.classes().filter(|names| names.len() == outputs);
        names.map(<[String]>::to_vec).unwrap_or_default()
    }

    /// How raw pixels become the network's input.
    pub(crate) fn input(&self) -> Input {
        exbit::input_of(&self.preprocess)
    }
}

/// `set`, with its classes only where they can be those of `model`: calibration needs none.
fn of_classes(mut set: DataSet, model: &Model, progress: &Progress) -> DataSet {
    let outputs = model.output_len();
    if set.labels().is_none() {
        return set;
    }
    let fit = set.number_classes(&[], outputs);
    match fit.and_then(|()| set.labels_below(outputs).map(|_| ())) {
        Ok(()) => set,
        Err(e) => {
            progress.note(&format!("{e}; calibration goes on without classes"));
            set.without_labels()
        }
    }
}

/// Each of `bits` once, ascending.
pub(crate) fn sorted(bits: &[Bits]) -> Vec<Bits> {
    let mut bits = bits.to_vec();
    bits.sort();
    bits.dedup();
    bits
}

/// The bit-widths to choose from, each once and ascending.
pub(crate) fn candidates(args: &Calibrating) -> Candidates {
    Candidates {
        weights: sorted(&args.weight_bits),
        activations: sorted(&args.activation_bits),
        clipping: match args.calibration {
            Rule::Minmax => Clipping::MinMax,
            Rule::Percentile => Clipping::Percentile(0.99999),
            Rule::Mse => Clipping::Mse,
        },
    }
}
