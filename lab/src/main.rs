//! Experiments on real data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use exbit::calibrate::{Clipping, calibrate};
use exbit::reconstruct::{Descent, Rounding, reconstruct};
use exbit::sensitivity::{Candidates, Metric, measure};
use exbit::{Quantized, Samples};
use exbit_engine::{Input, Session};
use exbit_kernels::Bits;
use exbit_model::data::{DataSet, Preprocess, Split, spread};
use exbit_model::{Model, NodeId};

struct Case {
    model: Model,
    preprocess: Preprocess,
    calib: DataSet,
    test: DataSet,
}

fn case(shared: &Path, cifar: &Path, name: &str) -> Case {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let toml =
        |n: &str| Preprocess::open(root.join(n).to_str().unwrap_or_default()).expect("preprocess");
    let open = |p: &Path, s| DataSet::open(p, s).expect("data");
    let model = |n: &str| Model::open(shared.join("models").join(n)).expect("model");
    match name {
        "resnet20" | "resnet56" => Case {
            model: model(&format!("{name}_cifar10.onnx")),
            preprocess: toml("examples/preprocess/cifar10.toml"),
            calib: open(cifar, Split::Train),
            test: open(cifar, Split::Test),
        },
        _ => {
            let (file, pre) = match name {
                "mobilenet" => ("mobilenet_v2_folded.onnx", "mobilenet_v2_crop"),
                _ => ("efficientnet_lite0.onnx", "efficientnet_lite0_crop"),
            };
            Case {
                model: model(file),
                preprocess: toml(&format!("examples/preprocess/{pre}.toml")),
                calib: open(&shared.join("data/imagenet_calib"), Split::Train),
                test: open(&shared.join("data/imagenet_val650"), Split::Test),
            }
        }
    }
}

fn top(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |b, k| if row[k] > row[b] { k } else { b })
}

fn float_answers(case: &Case) -> (Vec<usize>, Vec<usize>) {
    let (mut answers, mut labels) = (Vec::new(), Vec::new());
    let all: Vec<usize> = (0..case.test.len()).collect();
    for b in case.test.batches(&case.preprocess, all, 32) {
        let b = b.expect("batch");
        let y = exbit_grad::infer(&case.model, &b.x, b.indices.len());
        answers.extend(y.chunks(y.len() / b.indices.len()).map(top));
        labels.extend(b.labels.expect("labels"));
    }
    (answers, labels)
}

fn reference(shared: &Path, name: &str, case: &Case) -> (Vec<usize>, Vec<usize>) {
    let read = |n: &str| std::fs::read(shared.join("reference").join(n)).expect("reference");
    let wide = |n: &str| {
        read(n).chunks(2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))).collect()
    };
    let labels = case.test.labels().expect("labels").to_vec();
    let answers = match name {
        "resnet20" | "resnet56" => {
            read(&format!("{name}_cifar10_test.pred")).into_iter().map(usize::from).collect()
        }
        "mobilenet" => wide("mobilenet_v2_1.0_224_val650.pred_u16le"),
        "lite0" => wide("efficientnet_lite0_val650.pred_u16le"),
        _ => return float_answers(case),
    };
    (answers, labels)
}

fn percent(a: &[usize], b: &[usize]) -> f64 {
    100.0 * a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

fn engine_answers(case: &Case, network: &exbit::Network, q: &Quantized) -> Vec<usize> {
    let (scale, shift) = case.preprocess.affine();
    let input = Input {
        scale,
        shift,
        preprocess: case.preprocess.to_toml(),
    };
    let program = exbit::lower(network, q, input);
    if std::env::var_os("EXBIT_TRACE").is_some() {
        for s in &program.steps { eprintln!("{} {:?} -> {} {:?} {:.60}", s.name, s.inputs.iter().map(|&i| (i, program.values[i].shape)).collect::<Vec<_>>(), s.output, program.values[s.output].shape, format!("{:?}", s.kind)); }
    }
    let mut session = Session::new(&program, 2).expect("session");
    let mut answers = Vec::new();
    let all: Vec<usize> = (0..case.test.len()).collect();
    for b in case.test.batches(&case.preprocess, all, 32) {
        let b = b.expect("batch");
        let y = session.run_batch(&b.pixels, b.indices.len()).expect("run");
        answers.extend(y.chunks(y.len() / b.indices.len()).map(top));
    }
    answers
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let shared = PathBuf::from(&args[1]);
    let cifar = PathBuf::from(&args[2]);
    let case = case(&shared, &cifar, &args[3]);
    let images: usize = args[4].parse().expect("images");
    let indices = spread(case.calib.len(), images, 0);
    let samples = Samples::Set {
        set: &case.calib,
        preprocess: &case.preprocess,
        indices,
    };
    let t = Instant::now();
    let (float, labels) = reference(&shared, &args[3], &case);
    println!(
        "float {:.2} in {:.1?}",
        percent(&float, &labels),
        t.elapsed()
    );
    let network = exbit::prepare(&case.model).expect("prepare");
    let t = Instant::now();
    let calibration = calibrate(&network, &samples, &mut |_| {}).expect("calibrate");
    println!("calibrate {:.1?}", t.elapsed());
    let iterations = args.get(5).map_or(0, |a| a.parse().expect("iterations"));
    let how = Descent {
        iterations,
        batch: 32,
        rate: 1e-2,
        decision: args.get(6).map_or(1.0, |a| a.parse().expect("decision")),
        seed: 0,
    };
    for weights in [8u8, 4, 3] {
        for rounding in [Rounding::Nearest, Rounding::Moments, Rounding::Blocks(how)] {
            if weights == 8 && matches!(rounding, Rounding::Blocks(_))
                || (iterations == 0) && matches!(rounding, Rounding::Blocks(_))
            {
                continue;
            }
            let bits: BTreeMap<NodeId, Bits> = network
                .layers()
                .into_iter()
                .map(|id| (id, Bits::new(weights).expect("bits")))
                .collect();
            let grids = network
                .sites()
                .into_iter()
                .map(|s| (s, calibration.grid(s, Bits::EIGHT, Clipping::Mse)))
                .collect();
            let t = Instant::now();
            let q =
                reconstruct(&network, &bits, &grids, &samples, rounding, &mut |_| {}).expect("q");
            let took = t.elapsed();
            let t = Instant::now();
            let answers = engine_answers(&case, &network, &q);
            println!(
                "W{weights}A8 {rounding:?}: top1 {:.2} agreement {:.2} ({took:.1?}, eval {:.1?})",
                percent(&answers, &labels),
                percent(&answers, &float),
                t.elapsed()
            );
        }
    }
    let candidates = Candidates {
        weights: [2, 3, 4, 5, 6, 8]
            .into_iter()
            .filter_map(Bits::new)
            .collect(),
        activations: vec![Bits::EIGHT],
        clipping: Clipping::Mse,
    };
    let t = Instant::now();
    let s = measure(
        &network,
        &calibration,
        &candidates,
        &samples,
        Metric::F4,
        0,
        &mut |_| {},
    )
    .expect("s");
    println!("F4 {:.1?}", t.elapsed());
    for (id, row) in network.layers().iter().zip(&s.weights) {
        println!("{} {row:.5?}", network.model.node(*id).name);
    }
}
