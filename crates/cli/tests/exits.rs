//! A network with one exit, from choosing its threshold to seeing images leave.

mod support;

use exbit_engine::{
    Activation, Bits, Conv, Exit, Format, Grid, Input, Policy, Program, Step, StepKind, Value,
    Weights, Window,
};
use exbit_model::data::Preprocess;
use support::{Folder, bad, exbit, good, json, stdout};

/// Pictures of 8 x 8, one third of the rows bright. The exit sees the first third only: it is sure
/// of class 0, and says class 1 of all others. The end sees all.
fn program() -> Program {
    let preprocess = "crop = 8\nchannels = \"grey\"\nmean = [0.5]\nstd = [0.25]\n";
    let (scale, shift) = Preprocess::from_toml(preprocess).expect("TOML").affine();
    let image = Value {
        shape: [8, 8, 1],
        format: Format::Codes(Grid {
            bits: Bits::EIGHT,
            scale: 4.0 / 255.0,
            zero: 128,
        }),
    };
    let logits = Value {
        shape: [1, 1, 3],
        format: Format::Real,
    };
    let step = |name: &str, kind, x, output| Step {
        name: name.into(),
        kind,
        inputs: vec![x],
        output,
    };
    Program {
        name: "thirds".into(),
        input: Input {
            scale,
            shift,
            preprocess: preprocess.into(),
        },
        values: vec![image.clone(), logits.clone(), image, logits],
        steps: vec![
            step("head", thirds(1), 0, 1),
            step("copy", copy(), 0, 2),
            step("fc", thirds(3), 2, 3),
        ],
        packed: Vec::new(),
        output: 3,
        exits: vec![Exit {
            name: "early".into(),
            value: 1,
        }],
        policy: Policy::Never,
        classes: Vec::new(),
        notes: Vec::new(),
    }
}

/// A convolution of 3 x 3 that changes nothing.
fn copy() -> StepKind {
    conv(
        [1, 3, 3, 1],
        |i| i8::from(i == 4),
        1.0,
        Window::square(3, 1, 1),
    )
}

/// For each class the sum of its third of the rows, for the first `known` classes.
fn thirds(known: usize) -> StepKind {
    let code = |i: usize| i8::from(i / 64 < known && i % 64 / 8 * 3 / 8 == i / 64);
    let window = Window {
        kernel: [8, 8],
        ..Window::square(1, 1, 0)
    };
    conv([3, 8, 8, 1], code, 0.2, window)
}

fn conv(shape: [usize; 4], code: impl Fn(usize) -> i8, scale: f32, window: Window) -> StepKind {
    StepKind::Conv(Conv {
        weights: Weights {
            bits: Bits::EIGHT,
            shape,
            codes: (0..shape.iter().product()).map(code).collect(),
            scale: vec![scale; shape[0]],
        },
        bias: vec![0.0; shape[0]],
        window,
        groups: 1,
        activation: Activation::NONE,
    })
}

/// A folder with the network, and images: net, data.
fn network(name: &str) -> (Folder, String, String) {
    let folder = Folder::new(name);
    let net = folder.at("net.exbit");
    program().save(&net).expect("a sound Program");
    let data = folder.idx(30);
    (folder, net, data)
}

fn close(value: &serde_json::Value, expected: f64) -> bool {
    value.as_f64().is_some_and(|x| (x - expected).abs() < 1e-9)
}

#[test]
fn a_threshold_is_chosen_and_images_leave_by_it() {
    let (folder, net, data) = network("exits-chosen");
    let early = folder.at("early.exbit");
    let found = good(&["exits", &net, "--data", &data, "--drop", "0", "-o", &early]);
    assert_eq!(
        (&found["images"], &found["met"]),
        (&30.into(), &true.into())
    );
    assert_eq!(
        (&found["top1"], &found["top1_full"]),
        (&100.0.into(), &100.0.into())
    );
    // A third leaves with the 192 MACs of the head, 960 are with it to the end, 768 without.
    assert!(close(&found["bops_mean"], 704.0 * 64.0), "{found}");
    assert_eq!(found["bops_full"], 768 * 64);
    let page = folder.at("curve.html");
    good(&[
        "exits", &net, "--data", &data, "--drop", "1", "--report", &page,
    ]);
    let page = std::fs::read_to_string(page).expect("the report");
    assert!(page.contains("thirds, leaving early") && page.contains("this policy"));
    let program = Program::load(&early).expect("a Program");
    assert_eq!(program.policy.to_string(), found["policy"]);
    assert!(found["curve"].as_array().is_some_and(|c| c.len() > 1));
}

#[test]
fn eval_tells_exits_and_times_by_policy() {
    let (_folder, net, data) = network("exits-eval");
    let eval = |policy: &str| good(&["eval", &net, "--data", &data, "--policy", policy]);
    let sure = eval("max-softmax=0.9");
    assert_eq!(sure["policy"], "max-softmax=0.9");
    assert_eq!(sure["top1"], 100.0);
    let exits = sure["exits"].as_array().expect("exits");
    assert_eq!(exits.len(), 2);
    assert!(close(&exits[0]["fraction"], 1.0 / 3.0) && close(&exits[0]["top1"], 100.0));
    assert!(close(&exits[0]["top1_alone"], 200.0 / 3.0), "{sure}");
    assert!(close(&exits[1]["top1_alone"], 100.0), "{sure}");
    assert_eq!(
        (&exits[0]["macs"], &exits[1]["macs"]),
        (&192.into(), &960.into())
    );
    assert!(close(&sure["bops_mean"], 64.0 * 704.0));
    assert!(close(&sure["bops_mean_edges_at_8"], 64.0 * 704.0));
    let beside = &sure["beside_full"];
    assert!(
        beside["latency_ratio"].as_f64().is_some_and(|r| r > 0.0),
        "{sure}"
    );
    assert!(
        beside["images_per_second_full"]
            .as_f64()
            .is_some_and(|r| r > 0.0)
    );
    let never = good(&["eval", &net, "--data", &data]);
    assert_eq!(
        (&never["policy"], &never["top1"]),
        (&"never".into(), &100.0.into())
    );
    assert!(close(&never["bops_mean"], 768.0 * 64.0) && never["bops_full"] == 768 * 64);
    assert_eq!(never["exits"][0]["top1"], serde_json::Value::Null);
    let all = eval("entropy=1");
    assert!(close(&all["exits"][0]["fraction"], 1.0) && close(&all["top1"], 200.0 / 3.0));
    let text = stdout(&exbit(&[
        "eval",
        &net,
        "--data",
        &data,
        "--policy",
        "patience=1",
    ]));
    assert!(text.contains("early") && text.contains("policy"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    bad(
        &["eval", &net, "--data", &data, "--policy", "sure=1"],
        "expected never, max-softmax=0.9",
    );
    bad(
        &["eval", &net, "--data", &data, "--policy", "patience=2"],
        "patience 2; expected 1 to 1",
    );
}

#[test]
fn predict_inspect_and_bench_know_exits() {
    let (folder, net, data) = network("exits-others");
    let early = folder.at("early.exbit");
    good(&[
        "exits", &net, "--data", &data, "--bops", "1M", "--rule", "entropy", "-o", &early,
    ]);
    let mut program = Program::load(&early).expect("a Program");
    assert_eq!(program.notes.len(), 1);
    program.policy = Policy::MaxSoftmax(vec![0.9]);
    program.save(&early).expect("a sound Program");
    let images = [folder.png(0), folder.png(2)];
    let object = good(&["predict", &early, &images[0], &images[1]]);
    assert_eq!(object["predictions"][0]["exit"]["name"], "early");
    assert_eq!(object["predictions"][1]["exit"]["index"], 1);
    let text = stdout(&exbit(&["predict", &early, &images[0]]));
    assert!(text.contains("from exit 1 (early)"), "{text}");

    let object = good(&["inspect", &early]);
    assert_eq!(object["policy"], "max-softmax=0.9");
    assert_eq!(
        (&object["macs"], &object["exits"][1]["macs"]),
        (&768.into(), &960.into())
    );
    assert_eq!(
        (&object["exits"][0]["step"], &object["exits"][1]["step"]),
        (&0.into(), &2.into())
    );
    let text = stdout(&exbit(&["inspect", &early]));
    assert!(text.contains("policy max-softmax=0.9"), "{text}");

    let bench = |more: &[&str]| good(&[&["bench", &early, "--seconds", "0"], more].concat());
    let noise = bench(&[]);
    assert_eq!(
        (&noise["policy"], &noise["on"]),
        (&"never".into(), &"noise".into())
    );
    let real = bench(&["--data", &data, "--batch", "7"]);
    assert_eq!(
        (&real["policy"], &real["on"]),
        (&"max-softmax=0.9".into(), &"data".into())
    );
    let beside = &real["beside_full"];
    assert!(beside["latency_ratio"].as_f64().is_some_and(|r| r > 0.0));
    bad(
        &["bench", &early, "--data", &data, "--batch", "31"],
        ": 30 images",
    );
}

#[test]
fn goals_out_of_reach_and_bad_input_are_told_apart() {
    let (folder, net, data) = network("exits-bad");
    let early = folder.at("early.exbit");
    let run = exbit(&[
        "exits", &net, "--data", &data, "--bops", "100", "-o", &early, "--json",
    ]);
    assert_eq!(run.status.code(), Some(3));
    assert_eq!(json(&run)["met"], false);
    assert!(
        Program::load(&early).is_ok(),
        "the nearest policy is written"
    );
    let model = folder.model();
    bad(
        &["exits", &model, "--data", &data, "--drop", "1"],
        "is a float network",
    );
    let mut plain = program();
    plain.exits.clear();
    plain.steps.remove(0);
    plain.values.remove(1);
    plain.output = 2;
    for (step, output) in plain.steps.iter_mut().zip([1, 2]) {
        (step.inputs, step.output) = (vec![output - 1], output);
    }
    let path = folder.at("plain.exbit");
    plain.save(&path).expect("a sound Program");
    bad(
        &["exits", &path, "--data", &data, "--drop", "1"],
        "has no exits",
    );
    bad(
        &["eval", &path, "--data", &data, "--policy", "never"],
        "there are no exits",
    );
    bad(
        &[
            "exits", &net, "--data", &data, "--drop", "1", "--skip", "30",
        ],
        "there are 30 images",
    );
    for args in [
        &["--drop", "101"][..],
        &["--drop", "1", "--bops", "1G"],
        &["--bops", "x"],
        &[],
    ] {
        let run = exbit(&[&["exits", &net, "--data", &data], args].concat());
        assert_eq!(run.status.code(), Some(2), "{args:?}");
    }
}
