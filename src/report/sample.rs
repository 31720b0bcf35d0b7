//! A report as a real run would fill it in, for tests and to look at: a ResNet of CIFAR-10's
//! kind, its losses from a formula, its plan from a greedy walk down that formula.

use super::*;

/// ResNet-`depth` (20, 32, 56, ..) on 32x32 images.
pub(super) fn resnet(depth: usize) -> Report {
    let sizes = layers(depth);
    let float_bytes: u64 = sizes.iter().map(|l| l.weights * 4).sum();
    let limit = float_bytes as f64 / 8.0;
    let plans = greedy(&sizes);
    let at = plans
        .iter()
        .position(|p| cost(&sizes, p) as f64 <= limit)
        .unwrap();
    let chosen = &plans[at];
    let total = |f: &dyn Fn(&Size, u8) -> u64| -> u64 {
        sizes.iter().zip(chosen).map(|(l, &b)| f(l, b)).sum()
    };
    let quantized = Figures {
        weight_bytes: cost(&sizes, chosen),
        weight_bits_mean: point(&sizes, chosen).weight_bits_mean.unwrap(),
        file_bytes: Some(cost(&sizes, chosen) + 4_210),
        activation_bytes_peak: Some(49_152),
        activation_bytes_sum: Some(327_680),
        bops: Some(total(&|l, b| l.macs * u64::from(b) * 8)),
        bops_edges_at_8: Some(total(&|l, b| l.macs * u64::from(b) * 8)),
        expected_loss: Some(point(&sizes, chosen).loss),
        accuracy: Some(accuracy(91.46, 0.2961, Some(97.31))),
        timing: Some(timing(0.412)),
    };
    let float = Figures {
        weight_bytes: float_bytes,
        weight_bits_mean: 32.0,
        file_bytes: Some(float_bytes + 30_122),
        activation_bytes_peak: Some(196_608),
        activation_bytes_sum: Some(1_310_720),
        bops: Some(total(&|l, _| l.macs * 1024)),
        bops_edges_at_8: None,
        expected_loss: None,
        accuracy: Some(accuracy(91.73, 0.2887, None)),
        timing: Some(timing(1.37)),
    };
    let budget = |asked: &str, resource, limit, reached: u64| Budget {
        asked: asked.into(),
        resource,
        limit,
        reached: reached as f64,
    };
    Report {
        network: format!("resnet{depth}"),
        budgets: vec![
            budget(
                "weights=8x",
                Resource::Weights,
                limit,
                quantized.weight_bytes,
            ),
            budget("bops=0.9G", Resource::Bops, 0.9e9, quantized.bops.unwrap()),
        ],
        float,
        quantized,
        remarks: vec!["conv1 and fc are kept at 8 bits, as --keep asks.".into()],
        layers: rows(&sizes, chosen),
        activations: sites(depth),
        front: Some(front(&sizes, &plans, chosen)),
        metrics: metrics(),
        origin: origin(),
    }
}

struct Size {
    name: String,
    op: &'static str,
    shape: Vec<usize>,
    weights: u64,
    macs: u64,
    /// Loss at one bit; a fourth of it for each bit more.
    steepness: f64,
}

fn layers(depth: usize) -> Vec<Size> {
    let conv = |name: String, cin: usize, c: usize, side: usize, i: usize| Size {
        name,
        op: "Conv 3x3",
        shape: vec![c, side, side],
        weights: (9 * cin * c) as u64,
        macs: (9 * cin * c * side * side) as u64,
        steepness: 0.9 * (1.0 + 0.8 * (i as f64 * 2.4).sin()) * (-(i as f64) / 7.0).exp() + 0.02,
    };
    let mut list = vec![conv("conv1".into(), 3, 16, 32, 0)];
    let mut cin = 16;
    for (stage, (c, side)) in [(16, 32), (32, 16), (64, 8)].into_iter().enumerate() {
        for block in 0..(depth - 2) / 6 {
            for k in [1, 2] {
                let name = format!("layer{}.{block}.conv{k}", stage + 1);
                list.push(conv(name, cin, c, side, list.len()));
                cin = c;
            }
        }
    }
    list.push(Size {
        name: "fc".into(),
        op: "Gemm",
        shape: vec![10],
        weights: 640,
        macs: 640,
        steepness: 0.3,
    });
    list
}

fn loss(layer: &Size, bits: u8) -> f64 {
    layer.steepness * 0.25f64.powi(i32::from(bits) - 1)
}

fn bytes_at(layer: &Size, bits: u8) -> u64 {
    (layer.weights * u64::from(bits)).div_ceil(8)
}

fn cost(sizes: &[Size], plan: &[u8]) -> u64 {
    sizes.iter().zip(plan).map(|(l, &b)| bytes_at(l, b)).sum()
}

/// From 8 bits everywhere down to 2, each time where a byte costs the least loss.
fn greedy(sizes: &[Size]) -> Vec<Vec<u8>> {
    let mut plans = vec![vec![8u8; sizes.len()]];
    loop {
        let plan = plans.last().unwrap();
        let price = |&l: &usize| {
            let (size, b) = (&sizes[l], plan[l]);
            (loss(size, b - 1) - loss(size, b)) / (bytes_at(size, b) - bytes_at(size, b - 1)) as f64
        };
        let free = (1..sizes.len() - 1).filter(|&l| plan[l] > 2);
        let Some(l) = free.min_by(|a, b| price(a).total_cmp(&price(b))) else {
            return plans;
        };
        let mut next = plan.clone();
        next[l] -= 1;
        plans.push(next);
    }
}

fn point(sizes: &[Size], plan: &[u8]) -> FrontPoint {
    let weights: u64 = sizes.iter().map(|l| l.weights).sum();
    let cost = cost(sizes, plan);
    FrontPoint {
        cost: cost as f64,
        loss: sizes.iter().zip(plan).map(|(l, &b)| loss(l, b)).sum(),
        label: None,
        weight_bits_mean: Some(cost as f64 * 8.0 / weights as f64),
    }
}

fn front(sizes: &[Size], plans: &[Vec<u8>], chosen: &[u8]) -> Front {
    let uniform = (2..=8).map(|b| FrontPoint {
        label: Some(format!("W{b}A8")),
        ..point(sizes, &vec![b; sizes.len()])
    });
    Front {
        resource: Resource::Weights,
        points: plans.iter().map(|p| point(sizes, p)).collect(),
        uniform: uniform.collect(),
        chosen: Some(point(sizes, chosen)),
    }
}

fn rows(sizes: &[Size], chosen: &[u8]) -> Vec<LayerRow> {
    let step = |l: &Size, from: u8, to: u8| Step {
        bits: to,
        loss: loss(l, to) - loss(l, from),
        weight_bytes: bytes_at(l, to) as i64 - bytes_at(l, from) as i64,
    };
    let row = |(l, &b): (&Size, &u8)| LayerRow {
        name: l.name.clone(),
        op: l.op.into(),
        output_shape: l.shape.clone(),
        weights: l.weights,
        macs: l.macs,
        weight_bits: b,
        input_bits: Some(8),
        sensitivity: Some(loss(l, b)),
        weight_sqnr_db: Some(6.02 * f64::from(b) - 3.1),
        output_sqnr_db: Some(5.6 * f64::from(b) - 1.7),
        weight_bytes: bytes_at(l, b),
        bops: Some(l.macs * u64::from(b) * 8),
        time_us: Some(3.0 + l.macs as f64 * 6e-6),
        more: (b < 8).then(|| step(l, b, b + 1)),
        less: (b > 2).then(|| step(l, b, b - 1)),
    };
    sizes.iter().zip(chosen).map(row).collect()
}

fn sites(depth: usize) -> Vec<SiteRow> {
    let input = SiteRow {
        name: "input".into(),
        shape: vec![3, 32, 32],
        bits: 8,
        range: Some((-2.12, 2.64)),
        scale: Some(0.0187),
        zero: Some(114),
        sqnr_db: Some(40.2),
        sensitivity: Some(3.1e-5),
    };
    let site = |(i, layer): (usize, &Size)| {
        let high = 1.5 + (i as f64).sin();
        SiteRow {
            name: layer.name.replace("conv", "relu"),
            shape: layer.shape.clone(),
            range: Some((0.0, high)),
            scale: Some(high / 255.0),
            zero: None,
            sqnr_db: Some(41.0 - i as f64 * 0.3),
            ..input.clone()
        }
    };
    let layers = layers(depth);
    let relus = layers.iter().take(depth - 1).enumerate().map(site);
    std::iter::once(input.clone()).chain(relus).collect()
}

fn metrics() -> Vec<MetricRank> {
    let rank = |(metric, meaning, spearman): (&str, &str, f64)| MetricRank {
        metric: metric.into(),
        meaning: meaning.into(),
        spearman,
        spearman_at_same_bits: spearman - 0.1,
        used: metric == "F4",
    };
    let all = [
        ("F1", "first-order Taylor term of the mean gradient", -0.12),
        ("F2", "mean absolute first-order term", 0.84),
        ("F3", "Fisher quadratic form", 0.93),
        ("F4", "diagonal empirical Fisher", 0.952),
        ("F5", "Fisher trace times squared error", 0.91),
        ("F6", "squared gradient times output error", 0.96),
    ];
    all.into_iter().map(rank).collect()
}

fn accuracy(top1: f64, cross_entropy: f64, agreement_float: Option<f64>) -> Accuracy {
    Accuracy {
        images: 10_000,
        top1,
        top5: None,
        cross_entropy: Some(cross_entropy),
        agreement_float,
    }
}

fn timing(latency_ms_p50: f64) -> Timing {
    Timing {
        latency_ms_p50,
        batch: 1,
        threads: 2,
    }
}

fn origin() -> Origin {
    let stage = |(stage, seconds): (&str, f64)| StageTime {
        stage: stage.into(),
        seconds,
    };
    let setting = |(name, value): (&str, &str)| Setting {
        name: name.into(),
        value: value.into(),
    };
    let settings = [("metric", "F4"), ("ranges", "mse"), ("effort", "0")];
    let stages = [
        ("read", 0.021),
        ("calibrate", 2.31),
        ("sensitivity", 8.7),
        ("allocate", 0.38),
    ];
    Origin {
        version: "0.1.0".into(),
        command: Some("exbit quantize resnet20.onnx --calib cifar10 --budget weights=8x".into()),
        calibration_data: Some("cifar10, train".into()),
        calibration_images: Some(1024),
        evaluation_data: Some("cifar10, test".into()),
        seed: Some(0),
        settings: settings.into_iter().map(setting).collect(),
        stages: stages.into_iter().map(stage).collect(),
        machine: Some(Machine {
            cpu: "AMD EPYC 7B13".into(),
            isa: "avx512vnni".into(),
            threads: 2,
        }),
    }
}
