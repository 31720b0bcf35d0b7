//! A network of the real data with the images that calibrate it and those that judge it.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use exbit::Samples;
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

pub(crate) struct Case {
    pub(crate) name: Name,
    pub(crate) model: Model,
    pub(crate) preprocess: Preprocess,
    /// Images to calibrate on; none of them is scored.
    pub(crate) calibration: DataSet,
    /// Images to score.
    pub(crate) test: DataSet,
    /// The folder of PyTorch's answers.
    pub(crate) reference: PathBuf,
    /// Top-1 in percent and, of the reference's own pixels, the right answers.
    pub(crate) float_top1: f64,
    /// How many images of the calibration set are taken.
    pub(crate) images: usize,
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
    pub(crate) fn open(name: Name, shared: &Path, cifar: &Path) -> Result<Self, Box<dyn Error>> {
        let (file, preprocess, float_top1) = match name {
            Name::Resnet20 => ("resnet20_cifar10.onnx", CIFAR10, 91.73),
            Name::Resnet56 => ("resnet56_cifar10.onnx", CIFAR10, 93.39),
            Name::Mobilenet => ("mobilenet_v2_folded.onnx", MOBILENET, 79.69),
            Name::Lite0 => ("efficientnet_lite0.onnx", LITE0, 82.62),
        };
        let data = shared.join("data");
        let (calibration, test) = if name.is_cifar() {
            (
                DataSet::open(cifar, Split::Train)?,
                DataSet::open(cifar, Split::Test)?,
            )
        } else {
            let open = |folder: &str, split| DataSet::open(data.join(folder), split);
            (
                open("imagenet_calib", Split::Train)?,
                open("imagenet_val650", Split::Test)?,
            )
        };
        let images = if name.is_cifar() {
            1024
        } else {
            calibration.len()
        };
        Ok(Self {
            name,
            model: Model::open(shared.join("models").join(file))?,
            preprocess: Preprocess::from_toml(preprocess)?,
            calibration,
            test,
            reference: shared.join("reference"),
            float_top1,
            images,
        })
    }

    /// `images` of the calibration set.
    pub(crate) fn samples(&self, images: usize) -> Samples<'_> {
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

    /// How raw pixels become the network's input.
    pub(crate) fn input(&self) -> Input {
        let (scale, shift) = self.preprocess.affine();
        Input {
            scale,
            shift,
            preprocess: self.preprocess.to_toml(),
        }
    }
}

const CIFAR10: &str = include_str!("../../examples/preprocess/cifar10.toml");
const MOBILENET: &str = include_str!("../../examples/preprocess/mobilenet_v2_crop.toml");
const LITE0: &str = include_str!("../../examples/preprocess/efficientnet_lite0_crop.toml");
