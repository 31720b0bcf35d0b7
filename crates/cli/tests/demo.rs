//! `exbit demo`, from the embedded network to the files that it writes.

#[allow(dead_code, reason = "the small files that cli.rs reads")]
mod support;

use support::{Folder, bad, exbit, good, stderr, stdout};

#[test]
fn the_demo_quantizes_judges_and_leaves_files_that_the_commands_take() {
    let folder = Folder::new("demo");
    let at = folder.at("made/by demo");
    let object = good(&["demo", "--output", &at]);
    assert_eq!(object["folder"], at.as_str());
    let report = &object["report"];
    let number = |side: &str, pointer: &str| {
        let figures = &report[side];
        figures
            .pointer(pointer)
            .and_then(|n| n.as_f64())
            .expect(pointer)
    };
    // On all 10 000 test images the float network is right on 92.94 % (data/fashion-mnist), with a
    // deviation of 0.6 points among 2000. An eighth of the bytes may cost it 2 points at most.
    let [float, integer] = ["float", "quantized"].map(|side| number(side, "/accuracy/top1"));
    assert!(float > 90.0, "{float}");
    assert!((float - integer).abs() < 2.0, "{float} {integer}");
    assert!(number("quantized", "/accuracy/agreement_float") > 97.0);
    assert_eq!(number("quantized", "/accuracy/images"), 2000.0);
    let ratio = number("float", "/weight_bytes") / number("quantized", "/weight_bytes");
    assert!(ratio >= 8.0, "{ratio}");
    for side in ["float", "quantized"] {
        assert!(number(side, "/timing/latency_ms_p50") > 0.0, "{side}");
    }
    for row in report["layers"].as_array().expect("layers") {
        let at = |key: &str| row[key].as_f64().expect(key);
        // The noise of four bits and more; all layers together err by a few dB more than one.
        assert!((10.0..60.0).contains(&at("output_sqnr_db")), "{row}");
        assert!(at("time_us") > 0.0, "{row}");
    }
    for row in report["activations"].as_array().expect("activations") {
        // Eight bits on a sensible grid: 6 dB a bit, less what the shape of the values takes.
        assert!(row["sqnr_db"].as_f64().is_some_and(|db| db > 30.0), "{row}");
    }
    let page = std::fs::read_to_string(format!("{at}/report.html")).expect("the report");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("block3.conv2"));
    let plan = std::fs::read_to_string(format!("{at}/plan.toml")).expect("the plan");
    assert!(plan.contains("block3.conv2"), "{plan}");

    // What was written is what was judged.
    let (program, images) = (format!("{at}/fashion.exbit"), format!("{at}/images"));
    let network = format!("{at}/fashion.onnx");
    let again = good(&["eval", &program, "--data", &images, "--float", &network]);
    assert_eq!(again["top1"].as_f64(), Some(integer));
    assert_eq!(again["float"]["top1"].as_f64(), Some(float));
    let size = std::fs::metadata(&program).expect("the Program").len();
    assert_eq!(number("quantized", "/file_bytes"), size as f64);
}

#[test]
fn a_folder_that_cannot_be_made_is_said_before_the_work() {
    let folder = Folder::new("demo-refused");
    let file = folder.write("file", "in the way");
    bad(&["demo", "-o", &file], "file");
    bad(&["demo", "-o", &folder.at("file/inside")], "--output");
    let run = exbit(&["demo", "-o", &file, "--json"]);
    assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    assert!(stdout(&run).contains("\"status\":2"));
}
