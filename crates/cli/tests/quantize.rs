//! `exbit quantize`, from files to files.

#[allow(dead_code, reason = "the small files that cli.rs reads")]
mod support;

use support::{Folder, bad, exbit, good, stderr, stdout};

#[test]
fn the_report_tells_accuracy_noise_and_time() {
    let folder = Folder::new("quantize-report");
    let (model, data, page) = (folder.model(), folder.idx(30), folder.at("report.html"));
    let (program, budget) = (folder.at("tiny.exbit"), "weights=6x");
    let base = ["quantize", &model, "--calib", &data, "--budget", budget];
    let more = ["--eval", &data, "--report", &page, "-o", &program];
    let args = [&base[..], &more[..]].concat();
    let report = good(&args);
    let top1 = |side: &str| report[side]["accuracy"]["top1"].as_f64().expect("top-1");
    assert_eq!(
        (
            top1("float"),
            report["float"]["accuracy"]["images"].as_u64()
        ),
        (100.0, Some(30))
    );
    let evaluated = good(&["eval", &program, "--data", &data, "--float", &model]);
    assert_eq!(evaluated["top1"].as_f64(), Some(top1("quantized")));
    assert_eq!(
        evaluated["agreement_float"],
        report["quantized"]["accuracy"]["agreement_float"]
    );
    let predicted = good(&["predict", &program, &folder.png(1)]);
    assert_eq!(predicted["predictions"][0]["top"][0]["class"], 1);
    for row in report["layers"].as_array().expect("layers") {
        assert!(row["time_us"].as_f64().is_some_and(|t| t > 0.0), "{row}");
        assert!(
            row["output_sqnr_db"].as_f64().is_some_and(|db| db > 10.0),
            "{row}"
        );
    }
    assert!(
        report["activations"][0]["sqnr_db"]
            .as_f64()
            .is_some_and(|db| db > 30.0)
    );
    let page = std::fs::read_to_string(&page).expect("the report");
    for part in [
        "top-1",
        "time per image",
        ">SQNR, dB<",
        ">output<",
        ">time<",
        "test part",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let text = stdout(&exbit(&args));
    for part in ["top-1", "agreement with float", "SQNR, dB", "time"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");

    let limited = good(&[&args[..], &["--eval-limit", "7"]].concat());
    assert_eq!(limited["quantized"]["accuracy"]["images"], 7);
    let without = good(&base);
    assert!(without["quantized"]["accuracy"].is_null());
    assert!(without["layers"][0]["output_sqnr_db"].is_f64());
    bad(
        &[&base[..], &["--eval", &folder.at("none")]].concat(),
        "none",
    );
    bad(&[&base[..], &["--eval-limit", "7"]].concat(), "--eval");
}

#[test]
fn no_file_is_written_over_one_that_is_read_or_written() {
    let folder = Folder::new("quantize-places");
    let (model, data, net) = (folder.model(), folder.idx(6), folder.at("net.exbit"));
    let before = std::fs::read(&model).expect("the network");
    let base = ["quantize", &model, "--calib", &data];
    // The same file, said otherwise.
    let again = model.replace("tiny.onnx", "./tiny.onnx");
    for over in [&model, &again] {
        bad(&[&base[..], &["-o", over]].concat(), "is read");
    }
    let twice = ["-o", &net, "--report", &net];
    bad(&[&base[..], &twice].concat(), "for two outputs");
    bad(
        &[&base[..], &["-o", &folder.at("no/net.exbit")]].concat(),
        "not there",
    );
    assert_eq!(std::fs::read(&model).expect("the network"), before);
    let kept = exbit(&[&base[..], &["--budget", "weights=6x"]].concat());
    assert!(stderr(&kept).contains("nothing is written"));
}

#[test]
fn a_plan_leaves_nothing_to_search_and_says_what_does_not_fit() {
    let folder = Folder::new("quantize-plans");
    let (model, data, plan) = (folder.model(), folder.idx(6), folder.at("plan.toml"));
    let base = ["quantize", &model, "--calib", &data];
    good(&[&base[..], &["--budget", "weights=6x", "-o", &plan]].concat());
    let (net, again) = (folder.at("net.exbit"), ["--plan", &plan]);
    for search in [
        &["--keep", "*=8"][..],
        &["--tie-residuals"],
        &["--weight-bits", "2,3"],
        &["--metric", "f6"],
    ] {
        bad(&[&base[..], &again, search].concat(), search[0]);
    }
    let text = std::fs::read_to_string(&plan).expect("the plan");
    let other = text.replace(
        "model = \"tiny\"",
        "model = \"other\"\npeak_activation_bytes = 1",
    );
    let other = folder.write("other.toml", other);
    let run = exbit(&[&base[..], &["--plan", &other, "-o", &net]].concat());
    assert!(stderr(&run).contains("the plan of other, taken for tiny"));
    assert!(stdout(&run).contains("allows 1 B of"), "{}", stdout(&run));
    bad(
        &[&base[..], &["--plan", &net]].concat(),
        "not a text in UTF-8",
    );
}

#[test]
fn classes_go_by_the_names_of_their_folders() {
    let folder = Folder::new("quantize-classes");
    let (model, net) = (folder.model(), folder.at("net.exbit"));
    let put = |place: &str, class: usize| {
        let path = folder.at(place);
        let parent = std::path::Path::new(&path).parent().expect("a folder");
        std::fs::create_dir_all(parent).expect("a folder");
        std::fs::copy(folder.png(class), path).expect("a copy");
    };
    for (i, name) in ["above", "between", "deep"].iter().enumerate() {
        put(&format!("all/{name}/1.png"), i);
    }
    put("some/deep/1.png", 2);
    let (all, some) = (folder.at("all"), folder.at("some"));
    let base = ["quantize", &model, "--calib"];
    good(&[&base[..], &[&all, "-o", &net]].concat());
    let predicted = good(&["predict", &net, &folder.png(1)]);
    assert_eq!(predicted["predictions"][0]["top"][0]["name"], "between");
    // One folder alone is still the third class; of a float network nobody knows.
    assert_eq!(good(&["eval", &net, "--data", &some])["top1"], 100.0);
    bad(&["eval", &model, "--data", &some], "1 class folders");
    let run = exbit(&[&base[..], &[&some, "-o", &net]].concat());
    assert!(stderr(&run).contains("goes on without classes"));
}
