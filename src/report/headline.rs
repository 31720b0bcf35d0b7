//! What to say first: the figures side by side, the budgets in words, the best single steps.

use super::{Accuracy, Budget, Figures, LayerRow, Report, Step};
use crate::number::{bops, bytes, bytes_change, change, digits, real, seconds};

/// One figure of both networks, as text; a side that is not known is empty.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) float: String,
    pub(super) quantized: String,
    /// What the integer network gains or loses.
    pub(super) change: String,
}

/// All figures of which at least one side is known.
pub(super) fn figures(report: &Report) -> Vec<Figure> {
    let sized = |name: &str, show: fn(f64) -> String, of: fn(&Figures) -> Option<u64>| {
        let sides = [&report.float, &report.quantized].map(|f| of(f).map(|n| n as f64));
        figure(name, sides, show, |a, b| ratio(a, b, ["smaller", "larger"]))
    };
    let known_bits = |f: &Figures| Some(f.weight_bits_mean).filter(|b| *b > 0.0);
    let bits = [&report.float, &report.quantized].map(known_bits);
    let mut rows = vec![
        figure("mean weight bits", bits, digits, |_, _| String::new()),
        sized("weights", bytes, |f| {
            Some(f.weight_bytes).filter(|n| *n > 0)
        }),
        sized("file", bytes, |f| f.file_bytes),
        sized("peak activations", bytes, |f| f.activation_bytes_peak),
        sized("summed activations", bytes, |f| f.activation_bytes_sum),
        sized("bit-operations", bops, |f| f.bops),
        sized("bit-ops, ends at 8x8", bops, |f| f.bops_edges_at_8),
    ];
    rows.extend(accuracy(
        report.float.accuracy.as_ref(),
        report.quantized.accuracy.as_ref(),
    ));
    let losses = [report.float.expected_loss, report.quantized.expected_loss];
    rows.push(figure("expected loss increase", losses, real, |_, _| {
        String::new()
    }));
    rows.push(time(report));
    rows.retain(|row| !(row.float.is_empty() && row.quantized.is_empty()));
    rows
}

/// What came of a budget, to be read after its name.
pub(super) fn sentence(budget: &Budget) -> String {
    let amount = |value: f64| budget.resource.amount(value);
    let words = budget.resource.words();
    let share = budget.reached / budget.limit;
    if budget.met() {
        let used = if share.is_finite() {
            format!(" ({:.1} %)", share * 100.0)
        } else {
            String::new()
        };
        return format!(
            "is met: {words} {} of the {} allowed{used}.",
            amount(budget.reached),
            amount(budget.limit)
        );
    }
    let over = match (share - 1.0) * 100.0 {
        p if !p.is_finite() || p < 0.0 => String::new(),
        p if p < 10.0 => format!(" ({p:.2} % over)"),
        p => format!(" ({p:.0} % over)"),
    };
    format!(
        "is not met. The nearest plan: {words} {}, which is {} more than the {} allowed{over}.",
        amount(budget.reached),
        amount(budget.reached - budget.limit),
        amount(budget.limit)
    )
}

/// The layers to which one more bit takes the most expected loss away for each byte.
pub(super) fn best_steps(report: &Report, most: usize) -> Vec<(&LayerRow, Step)> {
    let gain = |step: &Step| -step.loss / step.weight_bytes.max(1) as f64;
    let better = |row: &'_ LayerRow| row.more.is_some_and(|step| gain(&step) > 0.0);
    let mut steps: Vec<_> = report
        .layers
        .iter()
        .filter(|row| better(row))
        .filter_map(|row| Some((row, row.more?)))
        .collect();
    steps.sort_by(|a, b| gain(&b.1).total_cmp(&gain(&a.1)));
    steps.truncate(most);
    steps
}

/// One step in words, without the layer's name.
pub(super) fn step_words(row: &LayerRow, step: Step) -> String {
    format!(
        "{} to {} bits: loss {}, {}",
        row.weight_bits,
        step.bits,
        change(step.loss),
        bytes_change(step.weight_bytes as f64)
    )
}

fn accuracy(float: Option<&Accuracy>, quantized: Option<&Accuracy>) -> Vec<Figure> {
    let sides = [float, quantized];
    let show_percent = |p: f64| format!("{p:.2} %");
    let points = |a: f64, b: f64| match b - a {
        d if d.abs() < 0.005 => "the same".into(),
        d => format!("{d:+.2} points").replace('-', "−"),
    };
    let row = |name: &str, of: fn(&Accuracy) -> Option<f64>| {
        figure(
            name,
            sides.map(|side| side.and_then(of)),
            show_percent,
            points,
        )
    };
    let cross_entropy = sides.map(|side| side.and_then(|a| a.cross_entropy));
    let images = sides.map(|side| side.map(|a| a.images as f64));
    vec![
        row("top-1", |a| Some(a.top1)),
        row("top-5", |a| a.top5),
        row("agreement with float", |a| a.agreement_float),
        figure("mean cross-entropy", cross_entropy, real, |a, b| {
            change(b - a)
        }),
        figure(
            "images evaluated",
            images,
            |n| format!("{n}"),
            |_, _| String::new(),
        ),
    ]
}

fn time(report: &Report) -> Figure {
    let sides = [&report.float, &report.quantized].map(|f| f.timing.as_ref());
    let ms = sides.map(|t| t.map(|t| t.latency_ms_p50 * 1e-3));
    let mut row = figure("time per image", ms, seconds, |a, b| {
        ratio(a, b, ["faster", "slower"])
    });
    if let [Some(a), Some(b)] = sides
        && (a.batch, a.threads) != (b.batch, b.threads)
    {
        // Times of different batches or threads are told, not compared.
        row.change.clear();
    }
    row
}

fn figure(
    name: &str,
    sides: [Option<f64>; 2],
    show: impl Fn(f64) -> String,
    compare: impl Fn(f64, f64) -> String,
) -> Figure {
    let [float, quantized] = sides.map(|side| side.map(&show).unwrap_or_default());
    let change = match sides {
        [Some(a), Some(b)] => compare(a, b),
        [None, _] | [_, None] => String::new(),
    };
    Figure {
        name: name.into(),
        float,
        quantized,
        change,
    }
}

/// `7.93× smaller`.
fn ratio(before: f64, after: f64, [less, more]: [&str; 2]) -> String {
    if !(before > 0.0 && after > 0.0) {
        return String::new();
    }
    match before / after {
        r if (0.995..1.005).contains(&r) => "the same".into(),
        r if r > 1.0 => format!("{}× {less}", digits(r)),
        r => format!("{}× {more}", digits(1.0 / r)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resource;

    #[test]
    fn budgets_are_told_in_plain_words() {
        let told = |resource, limit, reached| {
            sentence(&Budget {
                asked: String::new(),
                resource,
                limit,
                reached,
            })
        };
        assert_eq!(
            told(Resource::Weights, 2048.0, 1536.0),
            "is met: weights 1.50 KiB of the 2.00 KiB allowed (75.0 %)."
        );
        assert_eq!(
            told(Resource::Latency, 2.0, 3.0),
            "is not met. The nearest plan: time per image 3.00 ms, which is 1.00 ms more than the \
             2.00 ms allowed (50 % over)."
        );
        assert!(told(Resource::Bops, 0.0, 5.0).ends_with("the 0 BOP allowed."));
        assert!(told(Resource::Bops, f64::NAN, 5.0).starts_with("is not met."));
    }

    #[test]
    fn times_are_compared_only_when_taken_alike() {
        let mut report = Report::default();
        let timing = |latency_ms_p50, threads| {
            Some(super::super::Timing {
                latency_ms_p50,
                batch: 1,
                threads,
            })
        };
        report.float.timing = timing(3.0, 2);
        report.quantized.timing = timing(1.5, 2);
        let rows = figures(&report);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].change, "2.00× faster");
        report.quantized.timing = timing(1.5, 1);
        assert_eq!(figures(&report)[0].change, "");
    }
}
