//! `exbit train`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::{Preprocessing, Threads};

/// Train a float network to be an integer one, with learned bits and early exits.
///
/// Weights and activations are rounded while the network learns; with mcqueen so are their bits,
/// under a target for bit-operations, and exits are trained with the network. The same command goes
/// on where a run was interrupted.
#[derive(Args, Debug)]
#[command(after_long_help = super::manual("\
Examples:
  exbit train resnet20.onnx --method lsq --data cifar-10-batches-bin \\
      --recipe w2a2.toml -o net.exbit
  exbit train resnet20.onnx --method mcqueen --data cifar-10-batches-bin \\
      --teacher resnet56.exbit --recipe mcqueen.toml -o net.exbit

A recipe is a TOML file. What it leaves out is as here, but that a key marked *
is not there unless it is given; mcqueen needs target_bops, unless it has no
epochs of search:
  bits = 8                 # at the start; the first and last layer stay at 8
  keep = ['layer3*=w1a2']  # * lsq: layers of other bits, weights from 1
  target_bops = 0.381e9    # * what the search aims at, heads of exits included
  penalty = 0.7            # of |BOPs / target - 1|
  exits = 2                # * so many, or [0.45, 0.7] of the MACs, or names
  head = \"conv\"            # of an exit: conv, strided, tower, pool
  mask = true              # exits' gradient only where it agrees in sign
  epochs = { warm = 2, search = 8, settle = 20 }
  batch = 128
  optimizer = \"sgd\"        # or rmsprop, adam
  schedule = \"cosine\"      # or step
  rate = 0.01              # the highest of a phase, after warmup_steps = 100
  momentum = 0.9
  decay = 1e-4
  # area: the least share of an image that a view shows
  augment = { area = 1.0, shift = 4, mirror = true }
  held_out = 2500          # training images kept apart, to judge by
  drop = 0.0               # points of top-1 on them that exits may cost, or
  mean_bops = 0.381e9      # * what an image may cost on average
  temperature = 1.0        # of the teacher: above 1, near classes count more
  seed = 1

Beside NET.exbit lies NET.exbit.run, the run as it stands: saved every minute,
after each epoch and when interrupted (Ctrl-C, SIGTERM). The same command goes
on from it, also with other epochs, and does not read --from again; delete it
to begin anew.
NET.exbit is written after each epoch of the last phase, in which bits are
whole.

All training images are held in memory, as bytes of the network's size: 4 GiB
at most, some 28 000 images of 224x224.

Out of reach (exit status 3) is a target_bops that two bits everywhere are
above, and nothing is begun; or a mean_bops that leaving early cannot keep, and
the nearest is written."))]
pub(crate) struct Train {
    /// The float network
    #[arg(value_name = "MODEL.onnx", value_hint = ValueHint::FilePath)]
    pub(crate) model: PathBuf,
    /// How numbers are rounded: mcqueen (bits learned), lsq (bits given) or float (not at all)
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Method,
    /// Training images and their classes, of the kinds that eval reads; the train part of them
    #[arg(long, value_name = "DATA", value_hint = ValueHint::AnyPath)]
    pub(crate) data: PathBuf,
    /// The recipe
    #[arg(long, value_name = "RECIPE.toml", value_hint = ValueHint::FilePath)]
    pub(crate) recipe: Option<PathBuf>,
    /// Learn the answers of this network, float or integer, instead of the labels. How it reads
    /// images is its own: a Program carries it, beside an ONNX file lies a TOML file, or its shape
    /// says
    #[arg(long, value_name = "NET.onnx|NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) teacher: Option<PathBuf>,
    /// Begin with what another run learned: everything of the same name and size. A Program will
    /// do, but it has codes only, and each weight begins in the middle of its code
    #[arg(long, value_name = "NET.exbit.run|NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) from: Option<PathBuf>,
    /// Where the Program goes (the float network as ONNX, with the method float)
    #[arg(short, long, value_name = "NET.exbit", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Write the run's curves here after each epoch, one HTML page
    #[arg(long, value_name = "TRAIN.html", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) preprocessing: Preprocessing,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// How numbers are rounded while they learn.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Method {
    /// Scale, step and bits learned (PDQ), exits trained under a mask
    Mcqueen,
    /// One learned step a quantizer, bits given
    Lsq,
    /// Not at all
    Float,
}
