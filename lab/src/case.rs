//! A network of the real data with the images that calibrate it and those that judge it.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use exbit::{Metric, Options, Quantization, Samples};
use exbit_engine::Input;
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess, Split, spread};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    Resnet20,
    Resnet56,
    Mobilenet,
    Lite0,
}

/// Images that are scored in place of test images, at most.
const HELD_OUT: usize = 5000;

pub(crate) struct Case {
    pub(crate) name: Name,
    pub(crate) model: Model,
    /// Its file.
    pub(crate) file: PathBuf,
    pub(crate) preprocess: Preprocess,
    /// The folder of models, images and references.
    pub(crate) shared: PathBuf,
    /// Images to calibrate on; none of them is scored.
    pub(crate) calibration: DataSet,
    /// Their folder.
    pub(crate) folder: PathBuf,
    /// Images to score, and which of them.
    pub(crate) test: DataSet,
    pub(crate) scored: Vec<usize>,
    /// The folder of PyTorch's answers.
    pub(crate) reference: PathBuf,
    /// PyTorch's top-1 on the test images, percent.
    pub(crate) float_top1: f64,
    /// How many images of the calibration set are taken.
    pub(crate) images: usize,
    /// How expected loss is estimated.
    pub(crate) metric: Metric,
}

impl Name {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Resnet20 => "resnet20",
            Name::Resnet56 => "resnet56",
            Name::Mobilenet => "mobilenet",
            Name::Lite0 => "lite0",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Name::Resnet20 => "ResNet-20",
            Name::Resnet56 => "ResNet-56",
            Name::Mobilenet => "MobileNetV2",
            Name::Lite0 => "EfficientNet-Lite0",
        }
    }

    pub(crate) fn is_cifar(self) -> bool {
        match self {
            Name::Resnet20 | Name::Resnet56 => true,
            Name::Mobilenet | Name::Lite0 => false,
        }
    }

    /// The key of its logits in the references.
    pub(crate) fn logits(self) -> &'static str {
        match self {
            Name::Resnet20 => "resnet20_cifar10.logits_first64",
            Name::Resnet56 => "resnet56_cifar10.logits_first64",
            Name::Mobilenet => "mobilenet_v2_1.0_224.logits_first4",
            Name::Lite0 => "efficientnet_lite0.logits_first4",
        }
    }
}

impl Case {
    /// With `held_out`, calibration images that calibration leaves alone are scored instead of test
    /// images: that is where settings are chosen.
    pub(crate) fn open(
        name: Name,
        shared: &Path,
        cifar: &Path,
        held_out: bool,
        metric: Metric,
    ) -> Result<Self, Box<dyn Error>> {
        let (file, preprocess, float_top1) = match name {
            Name::Resnet20 => ("resnet20_cifar10.onnx", CIFAR10, 91.73),
            Name::Resnet56 => ("resnet56_cifar10.onnx", CIFAR10, 93.39),
            Name::Mobilenet => ("mobilenet_v2_folded.onnx", MOBILENET, 79.69),
            Name::Lite0 => ("efficientnet_lite0.onnx", LITE0, 82.62),
        };
        let data = shared.join("data");
        let (train, judge) = if name.is_cifar() {
            (cifar.to_owned(), cifar.to_owned())
        } else {
            (data.join("imagenet_calib"), data.join("imagenet_val650"))
        };
        let calibration = DataSet::open(&train, Split::Train)?;
        let test = if held_out {
            DataSet::open(&train, Split::Train)?
        } else {
            DataSet::open(&judge, Split::Test)?
        };
        let images = match (name.is_cifar(), held_out) {
            (true, _) => 1024,
            (false, true) => calibration.len() / 2,
            (false, false) => calibration.len(),
        };
        let scored = if held_out {
            let taken = spread(calibration.len(), images, 0);
            let free = |i: &usize| taken.binary_search(i).is_err();
            let left: Vec<usize> = (0..calibration.len()).filter(free).collect();
            spread(left.len(), HELD_OUT, 0)
                .into_iter()
                .map(|i| left[i])
                .collect()
        } else {
            (0..test.len()).collect()
        };
        let file = shared.join("models").join(file);
        Ok(Self {
            name,
            model: Model::open(&file)?,
            file,
            preprocess: Preprocess::from_toml(preprocess)?,
            shared: shared.to_owned(),
            calibration,
            folder: train,
            test,
            scored,
            reference: shared.join("reference"),
            float_top1,
            images,
            metric,
        })
    }

    /// `images` of the calibration set.
    fn samples(&self, images: usize) -> Samples<'_> {
        Samples::Set {
            set: &self.calibration,
            preprocess: &self.preprocess,
            indices: spread(
                self.calibration.len(),
                images.min(self.calibration.len()),
                0,
            ),
        }
    }

    /// The network quantized, on `images` of the calibration set.
    pub(crate) fn quantize(&self, images: usize, options: &Options) -> exbit::Result<Quantization> {
        let samples = self.samples(images);
        exbit::quantize(
            &self.model,
            &samples,
            self.input(),
            None,
            options,
            &mut |_| {},
        )
    }

    /// How raw pixels become the network's input.
    fn input(&self) -> Input {
        exbit::input_of(&self.preprocess)
    }
}

const CIFAR10: &str = include_str!("../../examples/preprocess/cifar10.toml");
const MOBILENET: &str = include_str!("../../examples/preprocess/mobilenet_v2_crop.toml");
const LITE0: &str = include_str!("../../examples/preprocess/efficientnet_lite0_crop.toml");
