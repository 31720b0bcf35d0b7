//! `exbit sensitivity`, and the file of losses that `quantize` goes on with.

#[allow(dead_code, reason = "the small files that cli.rs reads")]
mod support;

use serde_json::Value;
use support::{Folder, bad, exbit, good, stdout};

/// The losses of weights by `metric`: `[layer][bits]`.
fn losses(object: &Value, metric: &str) -> Vec<Vec<f64>> {
    let rows = &object["losses"][metric]["weights"];
    serde_json::from_value(rows.clone()).expect("rows of numbers")
}

#[test]
fn fewer_bits_are_expected_to_cost_more() {
    let folder = Folder::new("losses");
    let (model, data) = (folder.model(), folder.idx(12));
    let object = good(&["sensitivity", &model, "--calib", &data, "--metric", "f6"]);
    assert_eq!(object["layers"], serde_json::json!(["conv", "fc"]));
    assert_eq!(
        object["weight_bits"],
        serde_json::json!([2, 3, 4, 5, 6, 7, 8])
    );
    assert_eq!(
        (&object["images"], &object["ranks"]),
        (&12.into(), &serde_json::json!([]))
    );
    let rows = losses(&object, "f6");
    assert!(
        rows[0].len() == 7 && rows[0][0] > 10.0 * rows[0][6],
        "{rows:?}"
    );
    // The matrix has two values, one -2 times the other: codes of 2 bits lose nothing of it.
    assert!(rows[1][0] < 1e-9, "{rows:?}");
    let options = ["--activation-bits", "4,8", "--weight-bits", "8,2,2"];
    let args = ["sensitivity", &model, "--calib", &data];
    let text = stdout(&exbit(&[&args[..], &options].concat()));
    let titles = |first: &str| {
        text.lines()
            .find(|l| l.starts_with(first))
            .map(str::to_owned)
    };
    let words = |line: Option<String>| line.map(|l| l.split_whitespace().count());
    assert_eq!(words(titles("layer")), Some(5), "{text}");
    assert_eq!(words(titles("activation")), Some(5), "{text}");
}

#[test]
fn what_was_measured_is_taken_up_by_quantize_and_its_report() {
    let folder = Folder::new("losses-kept");
    let (model, data, table) = (folder.model(), folder.idx(12), folder.at("losses.toml"));
    let study = ["--calib", &data, "--sensitivity-table", &table];
    let compare = [&["sensitivity", &model, "--compare"], &study[..]].concat();
    let first = good(&compare);
    assert_eq!(first["ranks"].as_array().map(Vec::len), Some(6));
    assert!(
        first["ranks"][0]["spearman"]
            .as_f64()
            .is_some_and(|r| r.abs() <= 1.0)
    );
    // Of the measured table the last row is taken away, as if the work had been cut off there.
    let text = std::fs::read_to_string(&table).expect("the table");
    let at = text.find("[metrics.measured]").expect("the measured table");
    let (head, tail) = text.split_at(at);
    let row = tail.find("], [").expect("two rows");
    let end = tail.find("]]").expect("an end");
    let emptied = format!("{}]\nactivations = []\n", &tail[..row + 1]);
    assert!(row < end);
    folder.write("losses.toml", format!("{head}{emptied}"));
    assert_eq!(good(&compare), first);
    assert_eq!(std::fs::read_to_string(&table).expect("the table"), text);

    let page = folder.at("report.html");
    let budget = [
        "--budget",
        "weights=8x",
        "--report",
        &page,
        "--metric",
        "measured",
    ];
    let quantize = [&["quantize", &model], &study[..], &budget].concat();
    let report = good(&quantize);
    assert_eq!(report["metrics"].as_array().map(Vec::len), Some(6));
    assert_eq!(report["metrics"][3]["metric"], "F4");
    let page = std::fs::read_to_string(&page).expect("the report");
    assert!(page.contains("Sensitivity metrics against the measured loss"));
    bad(&[&quantize[..], &["--seed", "5"]].concat(), "seed 0, now 5");
    bad(
        &[&compare[..], &["--images", "3"]].concat(),
        "number of images 12, now 3",
    );
    folder.write("losses.toml", "version = 1");
    bad(&compare, "losses.toml: sensitivity table: ");
}
