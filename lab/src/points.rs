//! Quantized networks at the points asked for, run by the engine on every test image.

use std::error::Error;

use exbit::distill::Distillation;
use exbit::reconstruct::Rounding;
use exbit::{Options, Pin, Quantization};
use exbit_kernels::Bits;

use crate::case::{Case, Name};
use crate::figure::{Asked, Record};
use crate::trial::Answers;

/// A point: what the weights and the activations may have, and the budget.
struct Point<'a> {
    text: &'a str,
    weights: &'a [u8],
    activations: &'a [u8],
    budgets: &'a [&'a str],
    keep: &'a [&'a str],
    rounding: Rounding,
    distillation: Option<Distillation>,
}

const ALL: &[u8] = &[2, 3, 4, 5, 6, 7, 8];
const EIGHT: &[u8] = &[8];

impl Point<'_> {
    const COMPRESSED: Point<'static> = Point {
        text: "8x",
        weights: ALL,
        activations: EIGHT,
        budgets: &["weights=8x"],
        keep: &[],
        rounding: Rounding::Moments,
        distillation: None,
    };

    fn quantize(&self, case: &Case) -> Result<Quantization, Box<dyn Error>> {
        let bits = |all: &[u8]| all.iter().filter_map(|&b| Bits::new(b)).collect();
        let mut options = Options {
            rounding: self.rounding,
            distillation: self.distillation,
            metric: case.metric,
            ..Options::default()
        };
        options.candidates.weights = bits(self.weights);
        options.candidates.activations = bits(self.activations);
        for budget in self.budgets {
            options.request.budgets.push(budget.parse()?);
        }
        for pin in self.keep {
            options.candidates.weights = bits(ALL);
            options.candidates.activations = bits(&[4, 8]);
            options.request.pins.push(pin.parse::<Pin>()?);
        }
        Ok(case.quantize(case.images, &options)?)
    }

    /// Measures it; gives top-1.
    fn measure(
        &self,
        case: &Case,
        float: &Answers,
        record: &mut Record,
        most: Option<f64>,
    ) -> Result<f64, Box<dyn Error>> {
        let name = case.name.text();
        let done = self.quantize(case)?;
        let answers = Answers::integer(case, &done.program)?;
        let mut add = |what: &str, value: f64, unit: &str, asked| {
            record.add(
                name,
                &format!("{}: {what}", self.text),
                (value, unit),
                asked,
            )
        };
        let lost = float.top1() - answers.top1();
        add("top-1", answers.top1(), "%", Asked::Nothing)?;
        add(
            "points below float",
            lost,
            "points",
            most.map_or(Asked::Nothing, Asked::AtMost),
        )?;
        add(
            "agreement with float",
            answers.agreement(float),
            "%",
            Asked::Nothing,
        )?;
        add(
            "mean KL from float",
            answers.divergence(float),
            "nats",
            Asked::Nothing,
        )?;
        add(
            "mean cross-entropy",
            answers.mean_cross_entropy(),
            "nats",
            Asked::Nothing,
        )?;
        let stages = ["reconstruct", "distill"];
        let taken = done.times.iter().filter(|t| stages.contains(&t.0));
        let seconds = taken.map(|t| t.1.as_secs_f64()).sum();
        let most = self.distillation.and_then(|_| full_most_seconds(case.name));
        let asked = most.map_or(Asked::Nothing, Asked::AtMost);
        add("reconstruction", seconds, "s", asked)?;
        Ok(answers.top1())
    }
}

pub(crate) fn w8a8(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let float = Answers::float(case)?;
    let point = Point {
        text: "W8A8",
        weights: EIGHT,
        budgets: &[],
        ..Point::COMPRESSED
    };
    let most = w8a8_most(case.name);
    let top1 = point.measure(case, &float, record, Some(most))?;
    match case.name {
        Name::Mobilenet => {
            let what = "W8A8: above Google's int8 file";
            let above = top1 - GOOGLE_INT8;
            record.add(
                case.name.text(),
                what,
                (above, "points"),
                Asked::AtLeast(0.0),
            )
        }
        Name::Resnet20 | Name::Resnet56 | Name::Lite0 => Ok(()),
    }
}

/// Top-1 of `tf2_mobilenet_v2_1.0_224_ptq.tflite` on the same 650 images and pixels, run once with
/// LiteRT 2.3.0: 516 right.
const GOOGLE_INT8: f64 = 51600.0 / 650.0;

fn w8a8_most(name: Name) -> f64 {
    if name.is_cifar() { 0.10 } else { 0.5 }
}

fn compressed_most(name: Name) -> f64 {
    match name {
        Name::Resnet20 | Name::Resnet56 => 0.40,
        Name::Mobilenet => 0.49,
        Name::Lite0 => 1.0,
    }
}

/// Of `--effort full`.
fn full_most_seconds(name: Name) -> Option<f64> {
    match name {
        Name::Resnet20 => Some(300.0),
        Name::Mobilenet => Some(1800.0),
        Name::Resnet56 | Name::Lite0 => None,
    }
}

pub(crate) fn compressed(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let float = Answers::float(case)?;
    let most = compressed_most(case.name);
    Point::COMPRESSED
        .measure(case, &float, record, Some(most))
        .map(drop)
}

/// `--effort full`: W8A8 and 8x with distillation, and how long that takes.
pub(crate) fn full(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let float = Answers::float(case)?;
    let full = Point {
        distillation: Some(Distillation::default()),
        ..Point::COMPRESSED
    };
    let point = Point {
        text: "W8A8, effort full",
        weights: EIGHT,
        budgets: &[],
        ..full
    };
    point.measure(case, &float, record, Some(w8a8_most(case.name)))?;
    let point = Point {
        text: "8x, effort full",
        ..full
    };
    let most = compressed_most(case.name);
    point.measure(case, &float, record, Some(most)).map(drop)
}

/// Mixed against uniform precision; `distillation` is `--effort full`'s.
pub(crate) fn mixed(
    case: &Case,
    record: &mut Record,
    distillation: Option<Distillation>,
) -> Result<(), Box<dyn Error>> {
    let float = Answers::float(case)?;
    let effort = distillation.map_or("", |_| ", effort full");
    for (bits, budget) in [(4, "weights=4bits"), (3, "weights=3bits")] {
        let text = format!("uniform {bits} bits{effort}");
        let point = Point {
            text: &text,
            weights: &[bits],
            budgets: &[],
            distillation,
            ..Point::COMPRESSED
        };
        let uniform = point.measure(case, &float, record, None)?;
        let text = format!("mixed {bits} bits{effort}");
        let point = Point {
            text: &text,
            budgets: &[budget],
            distillation,
            ..Point::COMPRESSED
        };
        let mixed = point.measure(case, &float, record, None)?;
        let what = format!("mixed above uniform, {bits} bits{effort}");
        record.add(
            case.name.text(),
            &what,
            (mixed - uniform, "points"),
            Asked::AtLeast(0.0),
        )?;
    }
    Ok(())
}

pub(crate) fn further(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let float = Answers::float(case)?;
    for (text, budgets, rounding) in [
        ("12x, nearest", &["weights=12x"][..], Rounding::Nearest),
        ("12x", &["weights=12x"], Rounding::Moments),
    ] {
        let point = Point {
            text,
            budgets,
            rounding,
            ..Point::COMPRESSED
        };
        point.measure(case, &float, record, None)?;
    }
    for (text, rounding) in [
        ("W4A4, first and last 8x8, nearest", Rounding::Nearest),
        ("W4A4, first and last 8x8", Rounding::Moments),
    ] {
        let keep = &["*=w4a4", "first=w8a8", "last=w8a8"];
        let point = Point {
            text,
            budgets: &[],
            keep,
            rounding,
            ..Point::COMPRESSED
        };
        point.measure(case, &float, record, None)?;
    }
    Ok(())
}
