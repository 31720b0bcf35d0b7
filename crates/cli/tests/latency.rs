//! `exbit latency`: what is measured is kept, for itself and for `quantize`.

#[allow(dead_code, reason = "the small files that other tests read")]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::{Folder, bad, json, stderr, stdout};

/// `exbit` with `args`, its cache in `cache`.
fn exbit(cache: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exbit"))
        .args(args)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .expect("exbit can be started")
}

fn good(cache: &str, args: &[&str]) -> (Value, String) {
    let run = exbit(cache, &[args, &["--json"]].concat());
    assert_eq!(run.status.code(), Some(0), "{args:?}: {}", stderr(&run));
    (json(&run), stderr(&run))
}

/// The files of times in `cache`.
fn files(cache: &str) -> usize {
    let folder = Path::new(cache).join("exbit").join("latency");
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn times_are_measured_once_for_all_commands() {
    let folder = Folder::new("latency");
    let (model, data, cache) = (folder.model(), folder.idx(12), folder.at("cache"));
    let all = ["latency", &model, "--weight-bits", "8,2,2"];
    let (first, _) = good(&cache, &all);
    assert_eq!((&first["measured"], files(&cache)), (&2.into(), 1));
    assert_eq!(first["layers"], serde_json::json!(["conv", "fc"]));
    let pairs = first["pairs"].as_array().expect("pairs");
    assert_eq!((pairs.len(), &pairs[0]["weight_bits"]), (2, &2.into()));
    let (again, _) = good(&cache, &all);
    assert_eq!(again["measured"], 0);
    assert_eq!(again["pairs"], first["pairs"]);
    let (anew, _) = good(&cache, &[&all[..], &["--anew"]].concat());
    assert_eq!(anew["measured"], 2);

    let quantize = [
        "quantize",
        &model,
        "--calib",
        &data,
        "--budget",
        "latency=1s",
    ];
    let quantize = |bits| {
        [
            &quantize[..],
            &["--effort", "nearest", "--weight-bits", bits],
        ]
        .concat()
    };
    let table = || std::fs::read_to_string(first["table"].as_str().expect("a path")).expect("it");
    let before = table();
    good(&cache, &quantize("2,8"));
    assert_eq!(table(), before, "nothing is missing, nothing is measured");
    good(&cache, &quantize("4,8"));
    assert!(table().contains("weight_bits = 4"));
    assert_eq!(files(&cache), 1);

    let text = stdout(&exbit(
        &cache,
        &["latency", &model, "--activation-bits", "4,8"],
    ));
    assert!(text.contains("reading activations of 4 bits"), "{text}");
    assert!(text.contains("Measured 11 of 14 pairs"), "{text}");
    assert!(
        text.lines()
            .filter(|l| !l.contains("cache"))
            .all(|l| l.chars().count() <= 100)
    );
}

#[test]
fn a_cache_that_cannot_be_used_is_said_and_does_no_harm() {
    let folder = Folder::new("no-cache");
    let (model, file) = (folder.model(), folder.write("file", "no folder"));
    let args = ["latency", &model, "--weight-bits", "8"];
    let (found, notes) = good(&file, &args);
    assert!(found["table"].is_null());
    assert!(notes.contains("times are not kept"), "{notes}");
    assert_eq!(notes.matches("not kept").count(), 1, "{notes}");
}

#[test]
fn a_file_that_holds_other_times_is_refused_with_what_to_do() {
    let folder = Folder::new("times-file");
    let (model, path) = (folder.model(), folder.at("times.toml"));
    let args = [
        "latency",
        &model,
        "--weight-bits",
        "8",
        "--latency-table",
        &path,
    ];
    let (found, _) = good(&folder.at("cache"), &args);
    assert_eq!(found["table"], path.as_str());
    assert_eq!(files(&folder.at("cache")), 0);
    let text = std::fs::read_to_string(&path).expect("the table");
    let geometry = text
        .lines()
        .find(|l| l.starts_with("geometry"))
        .expect("one");
    folder.write("times.toml", text.replace(geometry, "geometry = \"0\""));
    bad(
        &args,
        "not of this network's shapes; to measure anew, remove",
    );
    folder.write("times.toml", "cpu = 1");
    bad(&args, "times.toml: latency table");
    // From another machine: it serves as it is, and takes nothing from this one.
    let cpu = text.lines().find(|l| l.starts_with("cpu")).expect("one");
    folder.write("times.toml", text.replace(cpu, "cpu = \"another\""));
    assert_eq!(good(&folder.at("cache"), &args).0["measured"], 0);
    let more = [
        "latency",
        &model,
        "--weight-bits",
        "4",
        "--latency-table",
        &path,
    ];
    bad(&more, "it was measured on another");
}
