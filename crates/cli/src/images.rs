//! How images become the input of a network: as asked for, as a file says, or as its shape
//! suggests.

use std::path::Path;

use exbit_engine::Input;
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess, Split};

use crate::exit::Failure;
use crate::network::{Network, NetworkFile};
use crate::progress::Progress;
use crate::runner::Runner;

/// The shapes that say which preset is meant.
const KNOWN_SHAPES: [([usize; 3], &str); 2] =
    [([3, 32, 32], "cifar10"), ([3, 224, 224], "imagenet")];

/// The data at `path`: the part that is asked for, or else, of two parts, `usual`.
pub(crate) fn open(path: &Path, asked: Option<Split>, usual: Split) -> Result<DataSet, Failure> {
    Ok(match asked {
        Some(split) => DataSet::open_part(path, split)?,
        None => DataSet::open(path, usual)?,
    })
}

/// How images become the input of `file`'s network. `asked` is a preset or a TOML file.
pub(crate) fn preprocess(
    file: &NetworkFile,
    asked: Option<&str>,
    progress: &Progress,
) -> Result<Preprocess, Failure> {
    match &file.network {
        Network::Float(model) => for_model(model, &file.path, asked, progress),
        Network::Integer(program) => {
            for_program(&program.input, program.values[0].shape, &file.path, asked)
        }
    }
}

/// The same for a network that is ready to run, from the file `path`.
pub(crate) fn for_runner(
    runner: &Runner,
    path: &Path,
    asked: Option<&str>,
    progress: &Progress,
) -> Result<Preprocess, Failure> {
    match runner {
        Runner::Float(model) => for_model(model, path, asked, progress),
        Runner::Integer(session) => {
            for_program(session.input(), session.input_shape(), path, asked)
        }
    }
}

/// What was asked for; otherwise what the TOML beside the model says; otherwise the preset that
/// its shape suggests, which is then said.
pub(crate) fn for_model(
    model: &Model,
    path: &Path,
    asked: Option<&str>,
    progress: &Progress,
) -> Result<Preprocess, Failure> {
    let &[channels, height, width] = model.value(model.input()).shape.as_slice() else {
        let shape = &model.value(model.input()).shape;
        let message = format!("its input of shape {shape:?} is no image (channels, height, width)");
        return Err(Failure::bad_input(format!("{}: {message}", path.display())));
    };
    let shape = [channels, height, width];
    let beside = path.with_extension("toml");
    let (preprocess, source) = if let Some(asked) = asked {
        (Preprocess::open(asked)?, asked.to_owned())
    } else if beside.is_file() {
        let name = beside.to_string_lossy().into_owned();
        (Preprocess::open(&name)?, name)
    } else {
        let Some((_, preset)) = KNOWN_SHAPES.iter().find(|known| known.0 == shape) else {
            return Err(unknown(path, shape));
        };
        let taken = Preprocess::open(preset)?;
        let [mean, std] = taken.mean_and_std().map(|v| format!("{v:?}"));
        let text = format!(
            "{}: --preprocess {preset} is taken, from the shape (mean {mean}, std {std})",
            path.display()
        );
        progress.note(&text);
        (taken, (*preset).to_owned())
    };
    check_shape(&preprocess, shape, &source)?;
    Ok(preprocess)
}

fn unknown(path: &Path, [channels, height, width]: [usize; 3]) -> Failure {
    let message = format!(
        "{}: how do images become its input of {channels}x{height}x{width}?",
        path.display()
    );
    let grey = if channels == 1 {
        "    channels = \"grey\"\n"
    } else {
        ""
    };
    let next = format!(
        "Give --preprocess with imagenet, tf or cifar10, or a TOML file; or put this text, with \
         the mean\n  and deviation that the network was trained with, into {}:\n\n    \
         resize = [{height}, {width}]\n{grey}    scale = 0.00392156862745098  # 1/255\n    \
         mean = [0.5]\n    std = [0.5]",
        path.with_extension("toml").display()
    );
    Failure::bad_input(message).next(next)
}

/// A Program carries its own; another one serves where it makes the same numbers of a pixel.
fn for_program(
    input: &Input,
    [height, width, channels]: [usize; 3],
    path: &Path,
    asked: Option<&str>,
) -> Result<Preprocess, Failure> {
    let own = || {
        Preprocess::from_toml(&input.preprocess)
            .map_err(|e| e.within(format!("{}: preprocessing", path.display())))
    };
    let (preprocess, source) = match asked {
        Some(asked) => (Preprocess::open(asked)?, asked.to_owned()),
        None => (own()?, path.display().to_string()),
    };
    if preprocess.affine() != (input.scale.clone(), input.shift.clone()) {
        let message = format!("{source}: scale, mean and std are not those of the Program");
        return Err(Failure::bad_input(message)
            .next("Leave --preprocess out: a Program carries the one that it was made with."));
    }
    check_shape(&preprocess, [channels, height, width], &source)?;
    Ok(preprocess)
}

fn check_shape(preprocess: &Preprocess, shape: [usize; 3], source: &str) -> Result<(), Failure> {
    let [height, width] = preprocess.size();
    let given = [preprocess.channels(), height, width];
    if given == shape {
        return Ok(());
    }
    let text = |[c, h, w]: [usize; 3]| format!("{c}x{h}x{w}");
    Err(Failure::bad_input(format!(
        "preprocessing {source}: makes images of {}, the network reads {}",
        text(given),
        text(shape)
    ))
    .next("Set `crop` and `channels` in the TOML to what the network reads."))
}
