//! Experiments on real data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use exbit::calibrate::{Clipping, calibrate};
use exbit::reconstruct::{Descent, Rounding, reconstruct};
use exbit::sensitivity::{Candidates, Metric, measure};
use exbit::{Quantized, Samples};
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

/// Agreement with the float network and mean KL on images `indices` of `set`, in floats.
fn judge(
    set: &DataSet,
    case: &Case,
    network: &exbit::Network,
    q: &Quantized,
    indices: Vec<usize>,
) -> (f64, f64, f64) {
    let model = exbit::fake_quantized(network, q).expect("model");
    let (mut same, mut kl, mut right, mut n) = (0, 0.0, 0, 0);
    for b in set.batches(&case.preprocess, indices, 32) {
        let b = b.expect("batch");
        let y = exbit_grad::infer(&network.model, &b.x, b.indices.len());
        let z = exbit_grad::infer(&model, &b.x, b.indices.len());
        let c = y.len() / b.indices.len();
        for (i, (y, z)) in y.chunks(c).zip(z.chunks(c)).enumerate() {
            same += usize::from(top(y) == top(z));
            right += usize::from(b.labels.as_ref().is_some_and(|l| l[i] == top(z)));
            kl += exbit::sensitivity::kl(y, z);
            n += 1;
        }
    }
    (
        100.0 * same as f64 / n as f64,
        kl / n as f64,
        100.0 * right as f64 / n as f64,
    )
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, or: f32| args.get(i).map_or(or, |a| a.parse().expect("number"));
    let case = case(&PathBuf::from(&args[1]), &PathBuf::from(&args[2]), &args[3]);
    let (images, held) = (number(4, 512.0) as usize, number(5, 1000.0) as usize);
    let all = spread(case.calib.len(), (images + held).min(case.calib.len()), 0);
    let (indices, rest) = all.split_at(images);
    let samples = Samples::Set {
        set: &case.calib,
        preprocess: &case.preprocess,
        indices: indices.to_vec(),
    };
    let network = exbit::prepare(&case.model).expect("prepare");
    let t = Instant::now();
    let calibration = calibrate(&network, &samples, &mut |_| {}).expect("calibrate");
    println!("calibrate {:.1?}", t.elapsed());
    let how = Descent {
        iterations: number(6, 0.0) as usize,
        batch: 32,
        rate: number(7, 1e-2),
        decision: number(8, 1.0),
        seed: 0,
    };
    let candidates = Candidates {
        weights: [2, 3, 4, 5, 6, 7, 8]
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
    let sizes: Vec<f64> = network
        .layers()
        .iter()
        .map(|&id| network.model.node(id).op.weight().expect("w").len() as f64)
        .collect();
    let total: f64 = sizes.iter().sum();
    for mean in [4.0, 3.0] {
        let uniform = vec![Bits::new(mean as u8).expect("bits"); sizes.len()];
        // Lagrangian: the smallest price at which the mean is met.
        let pick = |price: f64| -> Vec<usize> {
            s.weights
                .iter()
                .zip(&sizes)
                .map(|(row, n)| {
                    let cost =
                        |k: usize| row[k] + price * n * f64::from(candidates.weights[k].get());
                    (0..row.len()).fold(0, |b, k| if cost(k) < cost(b) { k } else { b })
                })
                .collect()
        };
        let bits_of = |picks: &[usize]| {
            picks
                .iter()
                .zip(&sizes)
                .map(|(&k, n)| n * f64::from(candidates.weights[k].get()))
                .sum::<f64>()
                / total
        };
        let (mut lo, mut hi) = (1e-15f64, 1.0f64);
        for _ in 0..200 {
            let mid = (lo * hi).sqrt();
            if bits_of(&pick(mid)) > mean {
                lo = mid
            } else {
                hi = mid
            }
        }
        let picks = pick(hi);
        let mixed: Vec<Bits> = picks.iter().map(|&k| candidates.weights[k]).collect();
        println!(
            "mixed {:.3} bits: {:?}",
            bits_of(&picks),
            mixed.iter().map(|b| b.get()).collect::<Vec<_>>()
        );
        for (name, bits) in [("uniform", uniform), ("mixed", mixed)] {
            for rounding in [Rounding::Nearest, Rounding::Moments, Rounding::Blocks(how)] {
                if how.iterations == 0 && matches!(rounding, Rounding::Blocks(_)) {
                    continue;
                }
                let bits: BTreeMap<NodeId, Bits> = network
                    .layers()
                    .into_iter()
                    .zip(bits.iter().copied())
                    .collect();
                let grids = network
                    .sites()
                    .into_iter()
                    .map(|s| (s, calibration.grid(s, Bits::EIGHT, Clipping::Mse)))
                    .collect();
                let t = Instant::now();
                let q = reconstruct(&network, &bits, &grids, &samples, rounding, &mut |_| {})
                    .expect("q");
                let took = t.elapsed();
                let (same, kl, right) = judge(&case.calib, &case, &network, &q, rest.to_vec());
                print!(
                    "W{mean} {name} {}: held out: agreement {same:.2} KL {kl:.5} top1 {right:.2} ({took:.1?})",
                    format!("{rounding:?}").split('(').next().unwrap_or("")
                );
                if std::env::var_os("EXBIT_TEST").is_some() {
                    let (same, kl, right) = judge(
                        &case.test,
                        &case,
                        &network,
                        &q,
                        (0..case.test.len()).collect(),
                    );
                    print!(" | test: agreement {same:.2} KL {kl:.5} top1 {right:.2}");
                }
                println!();
            }
        }
    }
}
