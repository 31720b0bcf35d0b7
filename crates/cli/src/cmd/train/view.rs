//! What a person sees while a network trains: a line for each epoch, and under them how far the
//! whole run is, with the courses of loss and accuracy.

use exbit::learn::{Place, Record};

use crate::progress::Progress;
use crate::table;

/// Epochs of a course.
const COURSE: usize = 12;

/// Shows a run of `epochs`, of which those of `records` are done, at `place` of an epoch of
/// `steps`.
pub(super) fn show(
    progress: &Progress,
    (records, epochs): (&[Record], usize),
    place: &Place,
    steps: usize,
) {
    let done = records.len() * steps + place.step;
    progress.set("training", done as u64, (epochs * steps) as u64);
    let images = place.sums.images.max(1) as f64;
    let last = |all: &[f64]| all.last().copied().unwrap_or_default();
    let mut course: Vec<f64> = records.iter().map(|r| last(&r.loss)).collect();
    let loss = last(&place.sums.losses) / images;
    course.push(loss);
    let mut text = format!(
        "epoch {}/{epochs}  loss {loss:.3} {}",
        records.len() + 1,
        spark(&course)
    );
    let held_out: Vec<f64> = records.iter().map(|r| last(&r.held_out)).collect();
    if held_out.iter().any(|&top1| top1 > 0.0) {
        text += &format!("  held out {:.1} % {}", last(&held_out), spark(&held_out));
    }
    progress.say(&text);
}

/// The last values as bars of one line's height.
fn spark(values: &[f64]) -> String {
    let shown = &values[values.len().saturating_sub(COURSE)..];
    let (least, most) = shown
        .iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &v| {
            (least.min(v), most.max(v))
        });
    let bar = |v: &f64| {
        let height = (v - least) / (most - least).max(f64::MIN_POSITIVE);
        let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        bars[((height * 7.0).round().max(0.0) as usize).min(7)]
    };
    shown.iter().map(bar).collect()
}

/// One epoch on a line.
pub(super) fn epoch_line(record: &Record) -> String {
    let list = |all: &[f64]| {
        let all: Vec<String> = all.iter().map(|x| format!("{x:.2}")).collect();
        all.join(" ")
    };
    let bops = match record.bops {
        0.0 => String::new(),
        bops => format!("  {} BOPs", table::count(bops as u64)),
    };
    format!(
        "{:<6} {:>3}  loss {:.4}  train {}  held out {} %{bops}  {:.0} s",
        record.phase.name(),
        record.epoch,
        record.loss.last().copied().unwrap_or_default(),
        list(&record.train),
        list(&record.held_out),
        record.seconds
    )
}

/// What is to be said when bits are made whole: that the search did not reach its target.
pub(super) fn rounded(bops: f64, target: f64) -> Option<String> {
    let above = 100.0 * (bops / target - 1.0);
    (above > 5.0).then(|| {
        format!(
            "the search ended at {} BOPs, {above:.0} % above the target: all bits are brought down \
             alike; a longer search or a larger penalty comes nearer",
            table::count(bops as u64)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_fell_short_is_told() {
        assert_eq!(rounded(0.51e9, 0.5e9), None);
        let note = rounded(0.65e9, 0.5e9).unwrap();
        assert!(note.contains("650 M BOPs, 30 % above"), "{note}");
    }

    #[test]
    fn a_course_goes_from_its_least_to_its_most() {
        assert_eq!(spark(&[]), "");
        assert_eq!(spark(&[2.0]), "▁");
        assert_eq!(spark(&[0.0, 1.0, 0.5]), "▁█▅");
        assert_eq!(spark(&[1.0, f64::NAN, 2.0]), "▁▁█");
        assert_eq!(spark(&[1.0; 20]).chars().count(), COURSE);
    }
}
