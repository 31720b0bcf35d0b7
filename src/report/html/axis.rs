//! Axes: where a number stands between two ends, and the round numbers to write beside it.

/// Numbers beyond this, and those that are none, do not stretch an axis.
const LARGEST: f64 = 1e30;

/// A scale from `low` to `high`, linear or logarithmic, both ends round numbers.
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Round numbers and how they are written, from low to high.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis over `values`, with about `most` ticks.
    pub(super) fn linear(values: impl Iterator<Item = f64>, most: usize) -> Self {
        let (mut low, mut high) = ends(values).unwrap_or((0.0, 1.0));
        if high - low <= high.abs().max(low.abs()) * 1e-6 {
            let room = if high == 0.0 { 1.0 } else { high.abs() * 0.2 };
            (low, high) = (low - room, high + room);
        }
        let step = round_step((high - low) / most.max(1) as f64);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let places = (-step.log10().floor()).max(0.0) as usize;
        let tick = |i: usize| {
            let value = (first + i as f64) * step;
            // Adding zero takes the sign of a negative zero away.
            let written = format!("{:.places$}", value + 0.0);
            (value, written.replace('-', "−"))
        };
        Self {
            low: first * step,
            high: last * step,
            log: false,
            ticks: (0..=(last - first) as usize).map(tick).collect(),
        }
    }

    /// A logarithmic axis over the positive ones of `values`, with at most `most` ticks or so.
    /// It never spans more than ten decades: what is smaller stands at the low end.
    pub(super) fn log(values: impl Iterator<Item = f64>, most: usize) -> Self {
        let (low, high) = ends(values.filter(|v| *v > 1.0 / LARGEST)).unwrap_or((0.1, 1.0));
        let low = low.max(high * 1e-10);
        let candidates: [&[f64]; 2] = [&[1.0, 2.0, 5.0], &[1.0]];
        let mut ticks = Vec::new();
        for mantissas in candidates {
            ticks = around(low, high, mantissas);
            if ticks.len() <= most {
                break;
            }
        }
        let ends = (ticks[0], ticks[ticks.len() - 1]);
        let stride = ticks.len().div_ceil(most.max(2));
        Self {
            low: ends.0,
            high: ends.1,
            log: true,
            ticks: ticks
                .into_iter()
                .step_by(stride)
                .map(|v| (v, power(v)))
                .collect(),
        }
    }

    /// Where `value` stands, from 0 at the low end to 1 at the high end; never outside.
    pub(super) fn at(&self, value: f64) -> f64 {
        let [low, high, value] = [self.low, self.high, value.max(self.low)]
            .map(|v| if self.log { v.log10() } else { v });
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let usable = values.filter(|v| v.abs() < LARGEST);
    usable.fold(None, |ends, v| match ends {
        None => Some((v, v)),
        Some((low, high)) => Some((v.min(low), v.max(high))),
    })
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|m| m * decade >= step * 0.999);
    round.unwrap_or(10.0) * decade
}

/// Mantissas times powers of ten, the last one at or below `low` to the first at or above
/// `high`; at least two.
fn around(low: f64, high: f64, mantissas: &[f64]) -> Vec<f64> {
    let decades = (low.log10().floor() as i32 - 1)..=(high.log10().ceil() as i32 + 1);
    let all: Vec<f64> = decades
        .flat_map(|d| mantissas.iter().map(move |m| m * 10f64.powi(d)))
        .collect();
    let slack = 1e-9;
    let first = all
        .iter()
        .rposition(|v| *v <= low * (1.0 + slack))
        .unwrap_or(0);
    let last = all
        .iter()
        .position(|v| *v >= high * (1.0 - slack))
        .unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1).min(all.len() - 1)].to_vec()
}

/// `10⁻³`, `2×10⁻³`; plain where that is short.
fn power(value: f64) -> String {
    let exponent = (value.log10() + 1e-9).floor();
    let mantissa = (value / 10f64.powf(exponent)).round();
    if (-2.0..=3.0).contains(&exponent) {
        return format!("{}", (value * 1e4).round() / 1e4);
    }
    let superscript: String = format!("{exponent}")
        .chars()
        .map(|c| match c.to_digit(10) {
            Some(d) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][d as usize],
            None => '⁻',
        })
        .collect();
    match mantissa {
        1.0 => format!("10{superscript}"),
        m => format!("{m}×10{superscript}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> String {
        let labels: Vec<&str> = axis.ticks.iter().map(|(_, l)| l.as_str()).collect();
        labels.join(" ")
    }

    #[test]
    fn linear_axes_end_at_round_numbers() {
        for (values, expected) in [
            (&[3.0, 97.0][..], "0 20 40 60 80 100"),
            (&[0.31, 0.33], "0.310 0.315 0.320 0.325 0.330"),
            (&[-5.0, 5.0], "−6 −4 −2 0 2 4 6"),
            (&[7.0], "5 6 7 8 9"),
            (&[0.0], "−1.0 −0.5 0.0 0.5 1.0"),
            (&[f64::NAN, f64::INFINITY], "0.0 0.2 0.4 0.6 0.8 1.0"),
        ] {
            assert_eq!(labels(&Axis::linear(values.iter().copied(), 5)), expected);
        }
    }

    #[test]
    fn logarithmic_axes_end_at_round_numbers() {
        for (values, expected) in [
            (&[3e-5, 0.4][..], "10⁻⁵ 10⁻⁴ 10⁻³ 0.01 0.1 1"),
            (&[0.021, 0.19], "0.02 0.05 0.1 0.2"),
            (&[1e-4], "10⁻⁴ 2×10⁻⁴"),
            (&[0.0, -3.0], "0.1 0.2 0.5 1"),
            (&[5e-324, 1.0], "1 2"),
            (&[1e-20, 1.0], "10⁻¹⁰ 10⁻⁸ 10⁻⁶ 10⁻⁴ 0.01 1"),
            (&[1e20, f64::NAN, 1e300], "10²⁰ 2×10²⁰"),
        ] {
            assert_eq!(labels(&Axis::log(values.iter().copied(), 6)), expected);
        }
    }

    #[test]
    fn values_outside_stand_at_the_ends() {
        let axis = Axis::log([1e-3, 1.0].into_iter(), 6);
        for (value, expected) in [
            (1e-9, 0.0),
            (-1.0, 0.0),
            (1e-3, 0.0),
            (1.0, 1.0),
            (9.0, 1.0),
        ] {
            assert!((axis.at(value) - expected).abs() < 1e-12, "{value}");
        }
    }
}
