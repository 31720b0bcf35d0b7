//! What a person sees while a network trains: a line for each epoch, and under them how far the
//! whole run is, with the courses of loss and accuracy.

use exbit::learn::{Place, Record};

use crate::progress::Progress;
use crate::table;

/// Epochs of a course.
const COURSE: usize = 12;
/// The same where the line is short.
const SHORT_COURSE: usize = 6;
/// Columns from which both courses fit beside the bar.
const WIDE: usize = 120;

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
    let held_out: Vec<f64> = records.iter().map(|r| last(&r.held_out)).collect();
    let epoch = format!("epoch {}/{epochs}", records.len() + 1);
    progress.say(&match (last(&held_out), progress.columns()) {
        (top1, WIDE..) if top1 > 0.0 => format!(
            "{epoch}  loss {loss:.3} {}  held out {top1:.1} % {}",
            spark(&course, COURSE),
            spark(&held_out, COURSE)
        ),
        (top1, _) if top1 > 0.0 => format!(
            "{epoch} loss {loss:.3} {} held out {top1:.1} %",
            spark(&course, SHORT_COURSE)
        ),
        _ => format!("{epoch} loss {loss:.3} {}", spark(&course, SHORT_COURSE)),
    });
}

/// The last `count` values as bars of one line's height.
fn spark(values: &[f64], count: usize) -> String {
    let shown = &values[values.len().saturating_sub(count)..];
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
        bops => format!("  {}", table::bops(bops as u64)),
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
            "the search ended at {}, {above:.0} % above the target: all bits are brought down \
             alike; a longer search or a larger penalty comes nearer",
            table::bops(bops as u64)
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
        assert!(note.contains("650 MBOP, 30 % above"), "{note}");
    }

    #[test]
    fn a_course_goes_from_its_least_to_its_most() {
        assert_eq!(spark(&[], 12), "");
        assert_eq!(spark(&[2.0], 12), "▁");
        assert_eq!(spark(&[0.0, 1.0, 0.5], 12), "▁█▅");
        assert_eq!(spark(&[1.0, f64::NAN, 2.0], 12), "▁▁█");
        assert_eq!(spark(&[1.0; 20], 12).chars().count(), 12);
    }
}
