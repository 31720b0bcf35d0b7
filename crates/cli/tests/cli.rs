//! The binary, run as a user runs it.

mod support;

use support::{Folder, bad, exbit, good, json, stderr, stdout};

const COMMANDS: [&str; 11] = [
    "demo",
    "inspect",
    "sensitivity",
    "latency",
    "quantize",
    "train",
    "exits",
    "eval",
    "predict",
    "bench",
    "completions",
];

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = exbit(&["completions", shell]);
        assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
        COMMANDS
            .iter()
            .for_each(|command| assert!(stdout(&run).contains(command), "{shell}"));
    }
    assert_eq!(good(&["completions", "fish"])["shell"], "fish");
}

#[test]
fn usage_errors_end_with_2_and_say_what_was_expected() {
    let check = |args: &[&str], expected: &str| {
        let run = exbit(args);
        assert_eq!(run.status.code(), Some(2), "{args:?}");
        assert_eq!(stdout(&run), "", "{args:?}");
        assert!(
            stderr(&run).contains(expected),
            "{args:?}: {}",
            stderr(&run)
        );
    };
    check(&["quantise"], "unrecognized subcommand 'quantise'");
    check(&["completions", "tcsh"], "possible values: bash");
    check(&["completions", "bash", "--jsn"], "--json");
    check(&["eval", "net.exbit"], "--data <DATA>");
    let run = exbit(&["eval", "net.exbit", "--json"]);
    let message = json(&run)["error"]["message"].to_string();
    assert!(message.contains("--data <DATA>"), "{message}");
    check(
        &["eval", "n", "--data", "d", "--limit", "0"],
        "a whole number from 1 on",
    );
    check(
        &["eval", "n", "--data", "d", "--limit", "-1"],
        "a whole number from 1 on",
    );
    check(
        &["eval", "n", "--data", "d", "--split", "half"],
        "none of train, test, val",
    );
    check(
        &["bench", "n", "--threads", "many"],
        "a whole number from 1 to 1024",
    );
    check(
        &["bench", "n", "--batch", "0"],
        "a whole number from 1 to 65536",
    );
    check(&[], "Usage: exbit");
}

#[test]
fn every_command_has_its_manual() {
    let top = exbit(&["--help"]);
    assert_eq!(top.status.code(), Some(0));
    for command in COMMANDS {
        assert!(stdout(&top).contains(command));
        let manual = stdout(&exbit(&[command, "--help"]));
        for part in ["Usage: exbit", "Options:", "Examples:", "Exit status:"] {
            assert!(manual.contains(part), "{command}: {part}");
        }
        assert!(manual.lines().all(|l| l.chars().count() <= 100), "{manual}");
        // What is there to be copied does not break on a narrow screen either.
        let examples = manual.split_once("Examples:").map_or("", |m| m.1);
        let mut lines = examples.lines();
        assert!(lines.all(|l| l.chars().count() <= 80), "{examples}");
    }
}

#[test]
fn parts_that_are_not_there_are_not_replaced() {
    let folder = Folder::new("parts");
    let (model, data) = (folder.model(), folder.idx(9));
    let expected = "no val part; it has train and test";
    bad(
        &["eval", &model, "--data", &data, "--split", "val"],
        expected,
    );
    let more = ["--budget", "weights=8x", "--split", "val"];
    bad(
        &[&["quantize", &model, "--calib", &data][..], &more].concat(),
        expected,
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_no_file_is_written_into_and_a_full_disk_is_told() {
    let folder = Folder::new("devices");
    let (model, data) = (folder.model(), folder.idx(9));
    let quantize = |output: &str| {
        let command = ["quantize", &model, "--calib", &data, "--budget"];
        exbit(&[&command[..], &["weights=4x", "-o", output]].concat())
    };
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, folder.at(name)).expect("a link");
        folder.at(name)
    };
    let net = folder.at("net.exbit");
    assert_eq!(quantize(&net).status.code(), Some(0));
    let program = std::fs::read(&net).expect("a Program");
    let to = folder.write("target", "");
    assert_eq!(quantize(&link(&to, "link")).status.code(), Some(0));
    assert_eq!(std::fs::read(&to).expect("a Program"), program);
    assert_eq!(quantize(&link("/dev/null", "null")).status.code(), Some(0));
    let full = quantize(&link("/dev/full", "full"));
    assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
    assert!(stderr(&full).contains("No space left"), "{}", stderr(&full));
}

#[test]
fn inspect_shows_every_layer() {
    let folder = Folder::new("inspect");
    let model = folder.model();
    let object = good(&["inspect", &model]);
    assert_eq!(object["kind"], "model");
    assert_eq!(object["input"], serde_json::json!([1, 8, 8]));
    // 36 weights at 64 places, and a matrix of 3 x 256.
    assert_eq!(object["macs"], 36 * 64 + 768);
    assert_eq!(object["weight_bytes"], 4 * (36 + 768));
    // The convolution with what follows it, and the matrix.
    assert_eq!(object["layers"].as_array().map(Vec::len), Some(2));
    assert_eq!(object["activation_bytes_peak"], 4 * (64 + 256));
    assert_eq!(object["peak_at"], "conv");
    let text = stdout(&exbit(&["inspect", &model]));
    assert!(text.contains("Conv 3x3 BN Relu"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
}

#[test]
fn eval_scores_a_float_network() {
    let folder = Folder::new("eval");
    let (model, data) = (folder.model(), folder.idx(30));
    let object = good(&["eval", &model, "--data", &data, "--float", &model]);
    assert_eq!(object["images"], 30);
    assert_eq!(object["top1"], 100.0);
    assert_eq!(object["top5"], 100.0);
    assert_eq!(object["agreement_float"], 100.0);
    assert_eq!(object["float"]["top1"], 100.0);
    assert_eq!(
        object["exits"],
        serde_json::json!([{"index": 0, "fraction": 1.0, "top1": 100.0}])
    );
    assert_eq!(object["weight_bytes"], 4 * (36 + 768));
    assert_eq!(object["bops_full"], 1024 * (36 * 64 + 768));
    for key in [
        "latency_ms_p50",
        "images_per_second",
        "mean_cross_entropy",
        "bops_mean",
    ] {
        assert!(
            object[key].as_f64().is_some_and(|x| x > 0.0),
            "{key}: {object}"
        );
    }
    let limited = good(&[
        "eval",
        &model,
        "--data",
        &data,
        "--limit",
        "7",
        "--threads",
        "1",
    ]);
    assert_eq!(
        (&limited["images"], &limited["threads"]),
        (&7.into(), &1.into())
    );
    assert_eq!(limited["agreement_float"], serde_json::Value::Null);
    let text = stdout(&exbit(&["eval", &model, "--data", &data, "--limit", "7"]));
    assert!(text.contains("top-1"), "{text}");
}

#[test]
fn predict_names_the_likeliest_classes() {
    let folder = Folder::new("predict");
    let model = folder.model();
    let names = folder.write("names.txt", "top\nmiddle\nbottom\n");
    let images = [folder.png(2), folder.png(0)];
    let object = good(&[
        "predict",
        &model,
        &images[0],
        &images[1],
        "--classes",
        &names,
    ]);
    let predictions = object["predictions"].as_array().expect("a list");
    assert_eq!(predictions.len(), 2);
    assert_eq!(predictions[0]["top"][0]["name"], "bottom");
    assert_eq!(predictions[1]["top"][0]["class"], 0);
    let sum: f64 = predictions[0]["top"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["probability"].as_f64())
        .sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let short = folder.write("short.txt", "top\n");
    bad(
        &["predict", &model, &images[0], "--classes", &short],
        "1 lines; the network has 3",
    );
}

#[test]
fn inspect_says_which_layers_fewer_bits_make_faster() {
    let net = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../models/resnet20-lsq22.exbit"
    );
    let object = good(&["inspect", net]);
    assert_eq!(object["runs"]["layers_below_eight_bits"], 18);
    let faster = object["runs"]["of_them_faster"].as_u64();
    assert!(faster.is_some_and(|n| n <= 18), "{object}");
    assert!(stdout(&exbit(&["inspect", net])).contains("of 18 layers below eight bits have"));
}

#[test]
fn bench_measures_calls() {
    let folder = Folder::new("bench");
    let model = folder.model();
    let object = good(&[
        "bench",
        &model,
        "--seconds",
        "0",
        "--batch",
        "4",
        "--per-layer",
        "--trace",
        &folder.at("trace.json"),
    ]);
    assert_eq!(
        (&object["batch"], &object["isa"]),
        (&4.into(), &"float".into())
    );
    let at = |key: &str| object[key].as_f64().expect(key);
    assert!(at("latency_ms_p10") <= at("latency_ms_p50"), "{object}");
    assert!(at("latency_ms_p50") <= at("latency_ms_p90"), "{object}");
    assert!(at("images_per_second") > 0.0);
    assert_eq!(object["layers"].as_array().map(Vec::len), Some(5));
    let trace = std::fs::read(folder.at("trace.json")).expect("the trace");
    let trace: serde_json::Value = serde_json::from_slice(&trace).expect("JSON");
    let events = trace.as_array().expect("events");
    let of = |e: &serde_json::Value, key: &str| e[key].as_f64().expect("a number");
    assert_eq!(events.len(), 5);
    for pair in events.windows(2) {
        // Each begins where the one before ends, but for the last digit of reading JSON.
        let gap = of(&pair[1], "ts") - of(&pair[0], "ts") - of(&pair[0], "dur");
        assert!(gap.abs() < 1e-9, "{trace}");
    }
}

#[test]
fn what_is_no_network_is_said_to_be_none() {
    let folder = Folder::new("networks");
    let model = std::fs::read(folder.model()).expect("the model");
    let noise: Vec<u8> = (0..4096u32)
        .map(|i| (i.wrapping_mul(2654435761) >> 13) as u8)
        .collect();
    let cases = [
        ("missing.onnx", None, "No such file"),
        (
            "empty.exbit",
            Some(vec![]),
            "neither an ONNX model nor an exbit Program",
        ),
        (
            "noise.onnx",
            Some(noise),
            "neither an ONNX model nor an exbit Program",
        ),
        (
            "cut.onnx",
            Some(model[..model.len() / 2].to_vec()),
            "cut.onnx",
        ),
        (
            "cut.exbit",
            Some(b"\x40\0\0\0\0\0\0\0{\"__metadata__\"".to_vec()),
            "cut.exbit",
        ),
    ];
    for (name, bytes, expected) in cases {
        let path = bytes.map_or(folder.at(name), |bytes| folder.write(name, bytes));
        for args in [
            &["inspect", &path] as &[&str],
            &["bench", &path],
            &["predict", &path, "x.png"],
        ] {
            bad(args, expected);
        }
    }
    bad(&["inspect", &folder.at(".")], "directory");
    let run = exbit(&["inspect", &folder.at("missing.onnx"), "--json"]);
    assert_eq!(
        (run.status.code(), &json(&run)["status"]),
        (Some(2), &2.into())
    );
}

#[test]
fn what_is_no_image_or_data_set_is_said_to_be_none() {
    let folder = Folder::new("images");
    let (model, data) = (folder.model(), folder.idx(4));
    let text = folder.write("text.png", "no picture");
    bad(&["predict", &model, &text], "text.png");
    bad(&["predict", &model, &folder.at("none.png")], "none.png");
    bad(&["eval", &model, "--data", &folder.at("none")], "none");
    bad(&["eval", &model, "--data", &text], "text.png");
    let preprocess = folder.write(
        "wrong.toml",
        "crop = 9\nchannels = \"grey\"\nmean = [0]\nstd = [1]\n",
    );
    let with = |preprocess: &str, expected: &str| {
        bad(
            &["eval", &model, "--data", &data, "--preprocess", preprocess],
            expected,
        );
    };
    with(&preprocess, "the network reads 1x8x8");
    with(
        &folder.write("broken.toml", "crop = = 1"),
        "broken.toml: line 1",
    );
    with("imagnet", "presets imagenet, tf, cifar10");
    std::fs::remove_file(folder.at("tiny.toml")).expect("the preprocessing");
    bad(&["eval", &model, "--data", &data], "--preprocess");
}
