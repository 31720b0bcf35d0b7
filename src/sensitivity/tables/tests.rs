//! Tables of expected losses as text, and tables that were not finished.

use super::*;
use crate::calibrate::{Calibration, Clipping, calibrate};
use crate::prepare::{Network, prepare};
use crate::samples::Samples;
use crate::sensitivity::{Candidates, ranks};
use exbit_kernels::Bits;
use exbit_model::{Activation, Conv, Linear, Model, Op, Tensor, Window};

/// Two layers and what belongs to a study of them.
struct Small {
    network: Network,
    calibration: Calibration,
    candidates: Candidates,
    samples: Samples<'static>,
}

impl Small {
    fn new(images: usize) -> Self {
        let mut model = Model::new("small", "x", vec![1, 4, 4]);
        let wave = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin()).collect::<Vec<f32>>();
        let conv = Op::Conv(Conv {
            weight: Tensor::new(vec![3, 1, 3, 3], wave(27, 0.7)).unwrap(),
            bias: None,
            window: Window::square(3, 1, 1),
            groups: 1,
        });
        let linear = Op::Linear(Linear {
            weight: Tensor::new(vec![4, 48], wave(192, 1.3)).unwrap(),
            bias: None,
        });
        let mut at = model.input();
        for (name, op) in [
            ("conv", conv),
            ("relu", Op::Activation(Activation::Relu)),
            ("flat", Op::Reshape { shape: vec![48] }),
            ("fc", linear),
        ] {
            at = model.push(name, op, &[at]).unwrap();
        }
        let samples = Samples::Memory {
            x: wave(images * 16, 0.31),
            images,
            labels: None,
        };
        let network = prepare(&model).unwrap();
        let calibration = calibrate(&network, &samples, &mut |_| {}).unwrap();
        let bits = |all: [u8; 2]| all.into_iter().filter_map(Bits::new).collect();
        Self {
            network,
            calibration,
            candidates: Candidates {
                weights: bits([2, 4]),
                activations: bits([4, 8]),
                clipping: Clipping::Mse,
            },
            samples,
        }
    }

    fn study(&self) -> Study<'_> {
        Study {
            network: &self.network,
            calibration: &self.calibration,
            candidates: &self.candidates,
            samples: &self.samples,
            seed: 0,
        }
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("exbit-{}-{name}.toml", std::process::id()))
}

#[test]
fn a_table_that_was_cut_off_is_completed_to_the_very_same() {
    let small = Small::new(12);
    let study = small.study();
    let file = path("cut-off");
    let mut tables = Tables::open(&study, Some(&file)).unwrap();
    let whole = tables
        .measure(&study, Metric::Measured, &mut |_| {})
        .unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(whole.weights.iter().flatten().all(|&loss| loss > 0.0));
    let rows = whole.weights.len() + whole.activations.len();
    let images = study.images(Metric::Measured);
    for stop in 1..rows {
        // The work ends after `stop` rows, as it does when the process is killed.
        let stopped = std::panic::catch_unwind(|| {
            let mut tables = Tables::open(&study, Some(&file)).unwrap();
            let mut left = stop * 2 * 12;
            let mut count = |more: usize| {
                left = left.checked_sub(more).expect("killed");
            };
            tables.measure(&study, Metric::Measured, &mut count)
        });
        assert!(stopped.is_err(), "{stop}");
        let kept = Tables::read(&file).unwrap();
        assert_eq!(kept.whole(Metric::Measured), None);
        let table = &kept.metrics[&Metric::Measured];
        assert_eq!(table.weights.len() + table.activations.len(), stop);
        let (mut first, mut done) = (None, 0);
        let mut count = |more: usize| {
            first.get_or_insert(more);
            done += more;
        };
        let mut tables = Tables::open(&study, Some(&file)).unwrap();
        let again = tables.measure(&study, Metric::Measured, &mut count);
        assert_eq!(again.unwrap(), whole, "{stop}");
        assert_eq!((first, done), (Some(stop * 2 * 12), images));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn what_is_kept_is_not_measured_again() {
    let small = Small::new(8);
    let study = small.study();
    let file = path("kept");
    let mut tables = Tables::open(&study, Some(&file)).unwrap();
    assert!(ranks(&tables).is_empty());
    for metric in Metric::ALL {
        tables.measure(&study, metric, &mut |_| {}).unwrap();
    }
    // Numbers that no measuring gives tell where a table came from.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut kept = Tables::parse(&text).unwrap();
    assert_eq!(kept.metrics, tables.metrics);
    kept.metrics.get_mut(&Metric::F4).unwrap().weights[0][0] = 77.0;
    std::fs::write(&file, kept.to_text()).unwrap();
    let mut tables = Tables::open(&study, Some(&file)).unwrap();
    std::fs::remove_file(&file).unwrap();
    let table = tables.measure(&study, Metric::F4, &mut |_| {}).unwrap();
    assert_eq!(table.weights[0][0], 77.0);
    let ranks = ranks(&tables);
    assert_eq!(ranks.len(), 6);
    assert_eq!((ranks[3].metric, ranks[3].by_bits.len()), (Metric::F4, 2));
    // 77 at 2 bits is the most; whether measuring agrees, at two layers, is all or nothing.
    assert!(ranks[3].by_bits[0].is_some_and(|r| r.abs() == 1.0));
}

#[test]
fn other_conditions_are_refused_and_named() {
    let small = Small::new(8);
    let file = path("conditions");
    let study = small.study();
    let mut tables = Tables::open(&study, Some(&file)).unwrap();
    tables.measure(&study, Metric::F5, &mut |_| {}).unwrap();
    let check = |study: &Study, expected: &str| {
        let error = Tables::open(study, Some(&file)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("remove this one"), "{error}");
    };
    check(&Study { seed: 3, ..study }, "seed 0, now 3");
    let other = Small::new(9);
    check(&other.study(), "number of images 8, now 9; images ");
    let candidates = Candidates {
        weights: small.candidates.weights[..1].to_vec(),
        clipping: Clipping::MinMax,
        ..small.candidates.clone()
    };
    let fewer = Study {
        candidates: &candidates,
        ..study
    };
    check(&fewer, "weight bits 2,4, now 2; clipping mse, now minmax");
    let mut network = small.network.clone();
    if let Op::Linear(linear) = network.model.op_mut(network.layers()[1]) {
        linear.bias = Some(vec![1e-3; 4]);
    }
    let moved = Study {
        network: &network,
        ..study
    };
    check(&moved, "weights of the network ");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_no_table_is_an_error_that_names_the_place() {
    let small = Small::new(4);
    let study = small.study();
    let mut tables = Tables::open(&study, None).unwrap();
    tables.measure(&study, Metric::F4, &mut |_| {}).unwrap();
    tables.metrics.get_mut(&Metric::F4).unwrap().weights[1] = vec![0.25, 0.5];
    let good = tables.to_text();
    let check = |from: &str, to: &str, expected: &str| {
        assert!(good.contains(from), "{from} in {good}");
        let error = Tables::parse(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("0.25", "nan", "weights of f4: expected at most 2 rows of 2");
    check("0.25, 0.5", "0.25", "weights of f4");
    check("[0.25, 0.5]", "[0.25, 0.5], [1.0, 2.0]", "weights of f4");
    check("[metrics.f4]", "[metrics.f9]", "f9");
    check("version", "versoin", "versoin");
    assert!(Tables::parse("no table").is_err());
}
