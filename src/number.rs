//! Numbers as a person reads them: three significant digits and a unit.

use crate::budget::{Resource, Unit};

impl Resource {
    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::PeakActivations => "peak activations",
            Self::Activations => "summed activations",
            Self::Memory => "weights and peak activations",
            Self::Bops => "bit-operations",
            Self::Latency => "time per image",
        }
    }

    /// An amount of it with its unit: `272 KiB`, `2.60 GBOP`, `1.25 ms`.
    pub fn amount(self, value: f64) -> String {
        match self.unit() {
            Unit::Bytes => bytes(value),
            Unit::Operations => bops(value),
            Unit::Milliseconds => seconds(value * 1e-3),
        }
    }

    /// The unit for an axis that ends at `largest`, and how much of the resource it is.
    pub(crate) fn axis_unit(self, largest: f64) -> (f64, &'static str) {
        let (factor, units): (f64, &[&str]) = match self.unit() {
            Unit::Bytes => (1024.0, &BYTES),
            Unit::Operations => (1000.0, &BOPS),
            Unit::Milliseconds if largest < 1.0 => return (1e-3, "µs"),
            Unit::Milliseconds => return (1.0, "ms"),
        };
        let mut unit = 1.0;
        let mut names = units.iter();
        let mut name = names.next();
        while largest >= unit * factor {
            let Some(next) = names.next() else { break };
            name = Some(next);
            unit *= factor;
        }
        (unit, name.copied().unwrap_or_default())
    }
}

const BYTES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
const BOPS: [&str; 6] = ["BOP", "kBOP", "MBOP", "GBOP", "TBOP", "PBOP"];

/// Bytes in binary units: `984 B`, `272 KiB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &BYTES)
}

/// Bit-operations: `2.60 GBOP`.
pub fn bops(value: f64) -> String {
    scaled(value, 1000.0, &BOPS)
}

/// A count: `640`, `40.6 M`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T"])
}

/// A time: `12.0 µs`, `1.25 ms`, `3.40 s`, `2 min 5 s`.
pub(crate) fn seconds(value: f64) -> String {
    if (119.95..1e9).contains(&value) {
        let whole = value.round() as u64;
        return format!("{} min {} s", whole / 60, whole % 60);
    }
    match value.abs() {
        0.0 => "0 s".into(),
        v if v < 1e-6 => format!("{} ns", digits(value * 1e9)),
        v if v < 0.999_5e-3 => format!("{} µs", digits(value * 1e6)),
        v if v < 0.999_5 => format!("{} ms", digits(value * 1e3)),
        _ => format!("{} s", digits(value)),
    }
}

/// A loss, a scale or another number of any size: `0.0125`, `1.2e-5`.
pub(crate) fn real(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v.is_nan() => "–".into(),
        v if v.is_infinite() => if value > 0.0 { "∞" } else { "−∞" }.into(),
        v if !(9.95e-4..9.995e4).contains(&v) => format!("{value:.1e}").replace('-', "−"),
        v if v < 0.999_5 => {
            let places = (2.0 - v.log10().floor()) as usize;
            minus(format!("{value:.places$}"))
        }
        _ => digits(value),
    }
}

/// A change: `real` with its sign, and `0` without one.
pub(crate) fn change(value: f64) -> String {
    if value > 0.0 {
        format!("+{}", real(value))
    } else {
        real(value)
    }
}

/// A change of bytes, with its sign.
pub(crate) fn bytes_change(value: f64) -> String {
    if value > 0.0 {
        format!("+{}", bytes(value))
    } else {
        bytes(value)
    }
}

/// Three significant digits of a number of at least 1 (fewer places as it grows).
pub(crate) fn digits(value: f64) -> String {
    minus(match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    })
}

fn scaled(value: f64, factor: f64, units: &[&str]) -> String {
    if !value.is_finite() {
        return real(value);
    }
    let (mut value, mut unit) = (value, 0);
    // 999.5 would be written as a fourth digit: it belongs to the next unit.
    while value.abs() >= factor.min(999.5) && unit + 1 < units.len() {
        value /= factor;
        unit += 1;
    }
    let text = if unit == 0 {
        minus(format!("{value:.0}"))
    } else {
        digits(value)
    };
    format!("{text} {}", units[unit]).trim_end().to_owned()
}

/// A true minus sign, as wide as a plus.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_have_three_digits_and_a_unit() {
        let check = |written: String, expected: &str| assert_eq!(written, expected);
        for (value, expected) in [
            (0.0, "0 B"),
            (984.0, "984 B"),
            (1000.0, "0.98 KiB"),
            (98_304.0, "96.0 KiB"),
            (1_073_741_824.0, "1.00 GiB"),
            (1024.0, "1.00 KiB"),
            (278_528.0, "272 KiB"),
            (1e6, "977 KiB"),
            (1e30, "909494701772928256 TiB"),
            (-2048.0, "−2.00 KiB"),
            (f64::NAN, "–"),
        ] {
            check(bytes(value), expected);
        }
        for (value, expected) in [
            (0.0, "0"),
            (640.0, "640"),
            (999.0, "999"),
            (1000.0, "1.00 k"),
            (999_960.0, "1.00 M"),
            (40.55e6, "40.5 M"),
            (41.5e6, "41.5 M"),
        ] {
            check(count(value), expected);
        }
        check(bops(2.5953e9), "2.60 GBOP");
        for (value, expected) in [
            (0.0, "0 s"),
            (2.5e-8, "25.0 ns"),
            (1.2e-5, "12.0 µs"),
            (9.999e-4, "1.00 ms"),
            (0.0015, "1.50 ms"),
            (3.4, "3.40 s"),
            (125.2, "2 min 5 s"),
        ] {
            check(seconds(value), expected);
        }
        for (value, expected) in [
            (0.0, "0"),
            (0.01254, "0.0125"),
            (0.5, "0.500"),
            (-1.26e-5, "−1.3e−5"),
            (7.0, "7.00"),
            (1234.5, "1234"),
            (3e9, "3.0e9"),
            (f64::NEG_INFINITY, "−∞"),
        ] {
            check(real(value), expected);
        }
        check(change(0.25), "+0.250");
        check(bytes_change(-512.0), "−512 B");
    }
}
