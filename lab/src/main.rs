//! The checks on real data: every figure that we claim, printed beside the one asked for.
//!
//! `figure` is a line of the table, `case` a network with its images, `trial` how a network does on
//! them; the other modules are the checks.

mod case;
mod cost;
mod equality;
mod figure;
mod import;
mod memory;
mod picture;
mod points;
mod table;
mod trained;
mod trial;
mod unpack;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use exbit::Metric;
use exbit::distill::Distillation;

use crate::case::{Case, Name};
use crate::figure::Record;

/// Measure exbit on real networks and images, and compare with the figures asked for.
///
/// Needs the folder of models, images and references (--shared); CIFAR-10 is unpacked from it once.
/// Ends with status 1 when a figure falls short and 4 when the data is absent.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder with `data`, `models` and `reference`
    #[arg(long, default_value = "../shared")]
    shared: PathBuf,
    /// Where CIFAR-10 is unpacked to
    #[arg(long, default_value = "target/real-data")]
    unpacked: PathBuf,
    /// Networks, all four if none is named
    #[arg(long = "network", value_enum)]
    networks: Vec<Name>,
    /// Write the figures here as CSV too, beside those that are there
    #[arg(long)]
    record: Option<PathBuf>,
    /// Score calibration images that calibration leaves alone: to choose settings by
    #[arg(long)]
    held_out: bool,
    /// How expected loss is estimated: f1, f2, f3, f4, f5, f6 or measured
    #[arg(long, default_value = "f4", value_parser = Metric::from_str)]
    metric: Metric,
    /// Put the table of results, made from the record, into this README at the end
    #[arg(long, requires = "record")]
    readme: Option<PathBuf>,
    /// Draw the trade-off of the trained networks here (SVG) at the end: the record of
    /// `recipes/train.py`, and what one threshold for all exits gives on the test images
    #[arg(long)]
    picture: Option<PathBuf>,
    /// What to measure
    #[arg(value_enum, required_unless_present_any = ["readme", "picture"])]
    checks: Vec<Check>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The float network against PyTorch's logits and accuracy
    Import,
    /// Eight bits everywhere
    W8a8,
    /// Eight times smaller weights: the main figure
    Compressed,
    /// Mixed against uniform precision at mean 4 and 3 bits
    Mixed,
    /// W4A4 and 12x, with and without reconstruction
    Further,
    /// `--effort full`: W8A8 and 8x, and the time that it takes
    Full,
    /// `--effort full`: mixed against uniform precision at mean 4 and 3 bits
    FullMixed,
    /// Engine = simulation on every test image; ISAs and batches equal each other
    Equality,
    /// Time of sensitivity and allocation, size of the file
    Cost,
    /// Resident memory of `predict` against file and arena, of `quantize` against images
    Memory,
    /// The networks in `models/`: simulation and engine, image by image
    Trained,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.shared.join("models").is_dir() {
        let place = arguments.shared.display();
        eprintln!("no real data: {place} has no folder `models`; nothing was measured");
        return ExitCode::from(4);
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

/// Says whether every figure was reached.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let cifar = unpack::cifar10(&arguments.shared, &arguments.unpacked)?;
    let mut record = Record::new(arguments.record.as_deref())?;
    let full = Some(Distillation::default());
    let all = Name::value_variants();
    let names = if arguments.networks.is_empty() {
        all
    } else {
        &arguments.networks
    };
    for &name in names {
        let Arguments {
            shared,
            held_out,
            metric,
            ..
        } = arguments;
        let case = Case::open(name, shared, &cifar, *held_out, *metric)?;
        for check in &arguments.checks {
            match check {
                Check::Import => import::check(&case, &mut record)?,
                Check::W8a8 => points::w8a8(&case, &mut record)?,
                Check::Compressed => points::compressed(&case, &mut record)?,
                Check::Mixed => points::mixed(&case, &mut record, None)?,
                Check::Further => points::further(&case, &mut record)?,
                Check::Full => points::full(&case, &mut record)?,
                Check::FullMixed => points::mixed(&case, &mut record, full)?,
                Check::Equality => equality::check(&case, &mut record)?,
                Check::Cost => cost::check(&case, &mut record)?,
                Check::Memory => memory::check(&case, &mut record)?,
                Check::Trained => trained::check(&case, &cifar, &mut record)?,
            }
        }
    }
    if let (Some(file), Some(readme)) = (&arguments.record, &arguments.readme) {
        table::write(file, readme)?;
    }
    if let Some(file) = &arguments.picture {
        picture::draw(&cifar, file)?;
    }
    record.close()
}
