//! `exbit quantize`, from files to files.

#[allow(dead_code, reason = "the small files that cli.rs reads")]
mod support;

use support::{Folder, bad, exbit, good, stdout};

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
