//! The page with names, numbers and gaps of every kind.

use exbit_engine::Policy;

use crate::Resource;
use crate::exits::Outcome;
use crate::learn::{Phase, Record};
use crate::report::{Budget, Front, FrontPoint, Report, Setting, Training, sample};

const HOSTILE: &str = "</title></style><script>alert(1)</script>\"'><img src=x>&amp;\u{202e}\0";

#[test]
fn names_from_foreign_files_stay_text() {
    let mut report = sample::resnet(20);
    let hostile = || HOSTILE.to_owned();
    report.network = hostile();
    report.budgets[0].asked = hostile();
    report.remarks = vec![hostile()];
    report.layers[0].name = hostile();
    report.layers[0].op = hostile();
    report.activations[0].name = hostile();
    report.front.as_mut().unwrap().uniform[0].label = Some(hostile());
    report.metrics[0].metric = hostile();
    report.metrics[0].meaning = hostile();
    report.origin.version = hostile();
    report.origin.command = Some(hostile());
    report.origin.calibration_data = Some(hostile());
    report.origin.settings[0] = Setting {
        name: hostile(),
        value: hostile(),
    };
    report.origin.stages[0].stage = hostile();
    report.origin.machine.as_mut().unwrap().cpu = hostile();
    let page = report.to_html();
    for tag in ["<script", "</script", "</style"] {
        assert_eq!(page.matches(tag).count(), 1, "{tag}");
    }
    assert_eq!(
        page.matches("</title").count(),
        page.matches("<title>").count()
    );
    assert!(!page.contains("<img") && !page.contains("\"'>"));
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 15);
}

#[test]
fn the_page_needs_nothing_else() {
    let page = sample::resnet(20).to_html();
    for outside in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<link",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let page = Report::default().to_html();
    for absent in ["<section", "<table", "<svg", "NaN", "None"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let mut report = sample::resnet(20);
    report.front = None;
    report.metrics.clear();
    report.layers.iter_mut().for_each(|l| l.sensitivity = None);
    let page = report.to_html();
    for absent in ["choose from", "Spearman", "at these weight bits"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("Bits along the depth"));
}

#[test]
fn a_front_of_one_point_is_drawn() {
    let mut report = sample::resnet(20);
    let one = FrontPoint {
        cost: 1000.0,
        loss: 0.0,
        ..FrontPoint::default()
    };
    report.front = Some(Front {
        resource: Resource::Bops,
        points: vec![one],
        uniform: Vec::new(),
        chosen: None,
    });
    let page = report.to_html();
    assert!(page.contains("kBOP") && page.contains("Drawn at the foot"));
    assert!(!page.contains("NaN"));
}

#[test]
fn numbers_of_any_size_leave_the_drawings_whole() {
    for value in [
        f64::NAN,
        f64::INFINITY,
        -f64::INFINITY,
        1e300,
        -1e300,
        5e-324,
        0.0,
    ] {
        let mut report = sample::resnet(20);
        let point = FrontPoint {
            cost: value,
            loss: value,
            ..FrontPoint::default()
        };
        let front = report.front.as_mut().unwrap();
        front.points.push(point.clone());
        front.chosen = Some(point);
        report.budgets.push(Budget {
            asked: String::new(),
            resource: Resource::Weights,
            limit: value,
            reached: value,
        });
        report.layers[0].sensitivity = Some(value);
        report.layers[0].weight_sqnr_db = Some(value);
        report.layers[0].time_us = Some(value);
        report.layers[0].weight_bits = u8::MAX;
        report.layers[0].macs = u64::MAX;
        report.metrics[0].spearman = value;
        report.metrics[0].spearman_at_same_bits = value;
        report.activations[0].range = Some((value, value));
        let page = report.to_html();
        assert!(!page.contains("inf\"") && !page.contains("inf,"), "{value}");
        assert!(!page.contains("NaN"), "{value}");
        assert!(report.to_text(80).contains("layer1.0.conv1"));
    }
}

#[test]
fn a_training_run_shows_its_phases_and_what_was_asked() {
    let record = |phase, epoch, bops| Record {
        phase,
        epoch,
        loss: vec![2.0, 1.0],
        train: vec![70.0, 80.0],
        held_out: vec![69.0, 79.0],
        bops,
        weight_bits: vec![4.0],
        activation_bits: vec![4.0],
        seconds: 60.0,
    };
    let mut run = Training {
        network: HOSTILE.to_owned(),
        layers: vec!["conv".to_owned()],
        records: vec![
            record(Phase::Search, 1, 0.5e9),
            record(Phase::Search, 2, 0.4e9),
            record(Phase::Settle, 1, 0.4e9),
        ],
        target_bops: Some(0.39e9),
        leaving: None,
        recipe: String::new(),
        command: String::new(),
    };
    let page = run.to_html();
    // One line in each curve, in the drawing of either width.
    assert_eq!(page.matches(">settle</text>").count(), 8);
    assert_eq!(page.matches(">search</text>").count(), 0);
    assert_eq!(page.matches(">asked</text>").count(), 2);
    assert!(!page.contains("<img") && !page.contains("average"));
    run.leaving = Some(Outcome {
        policy: Policy::MaxSoftmax(vec![0.9]),
        top1: 78.5,
        bops_mean: 0.3e9,
        fractions: vec![0.5, 0.5],
    });
    let page = run.to_html();
    for shown in ["78.50 %", "300 MBOP", "max-softmax=0.9"] {
        assert!(page.contains(shown), "{shown}");
    }
}
