//! Layers whose bits are given, not chosen: `conv1=8`, `*.downsample*=w8a8`, `first`.

use std::fmt;
use std::str::FromStr;

use exbit_kernels::Bits;

use crate::cost::{LayerSize, Sizes};
use crate::{Error, ErrorKind, Result};

/// Bits that every layer of a pattern has whatever the budget.
///
/// As text `PATTERN=BITS`. In the pattern `*` stands for any run of characters and `?` for one;
/// `first` and `last` are also the first and last layer in running order. The bits are `8` or
/// `w8` (the weights), `a8` (the activation that the layer reads) or `w8a8`; a pattern alone
/// keeps both at 8. Of two pins on one layer the later holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Which layers.
    pub pattern: String,
    /// Bits of their weights.
    pub weights: Option<Bits>,
    /// Bits of the activation that each reads.
    pub input: Option<Bits>,
}

impl Pin {
    /// The indices of the layers that the pattern names.
    pub(crate) fn layers<'a>(&'a self, sizes: &'a Sizes) -> impl Iterator<Item = usize> + 'a {
        let count = sizes.layers().len();
        let named =
            move |(i, layer): (usize, &LayerSize)| self.names((i, count), &layer.name).then_some(i);
        sizes.layers().iter().enumerate().filter_map(named)
    }

    /// Whether the pattern names the layer of this place among so many, and of this name.
    pub(crate) fn names(&self, (i, count): (usize, usize), name: &str) -> bool {
        let by_place = match self.pattern.as_str() {
            "first" => i == 0,
            "last" => i + 1 == count,
            _ => false,
        };
        by_place || matches(&self.pattern, name)
    }
}

/// Whether `name` fits `pattern`. Only the last `*` passed ever takes more: linear in practice
/// and at most the product of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

impl FromStr for Pin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let eight = Some(Bits::EIGHT);
        let (pattern, bits) = match text.rsplit_once('=') {
            Some((pattern, bits)) => (pattern.trim(), parse_bits(bits.trim())),
            None => (text.trim(), Some((eight, eight))),
        };
        match bits {
            Some((weights, input)) if !pattern.is_empty() => Ok(Self {
                pattern: pattern.to_owned(),
                weights,
                input,
            }),
            _ => {
                let message = "expected LAYERS=BITS with BITS as 8, w4, a8 or w4a8, from 1 to 8";
                Err(Error::new(
                    ErrorKind::Malformed,
                    format!("keep {text}"),
                    message,
                ))
            }
        }
    }
}

fn parse_bits(text: &str) -> Option<(Option<Bits>, Option<Bits>)> {
    let bits = |digits: &str| Bits::new(digits.parse().ok()?);
    let (weights, input) = match text.split_once('a') {
        Some((weights, input)) => (weights, Some(bits(input)?)),
        None => (text, None),
    };
    match (weights, input) {
        ("", Some(_)) => Some((None, input)),
        _ => Some((
            Some(bits(weights.strip_prefix('w').unwrap_or(weights))?),
            input,
        )),
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.pattern)?;
        if let Some(bits) = self.weights {
            write!(f, "w{bits}")?;
        }
        self.input.map_or(Ok(()), |bits| write!(f, "a{bits}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, name: &str, expected| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("conv1", "conv1", true);
        check("conv1", "conv10", false);
        check("*", "", true);
        check("*.downsample*", "layer2.0.downsample.0", true);
        check("*.downsample*", "downsample", false);
        check("layer?.0.*", "layer2.0.conv1", true);
        check("layer?.0.*", "layer12.0.conv1", false);
        check("a*b*c", "axxbxxbyyc", true);
        check("a*b*c", "axxbxxbyy", false);
        check(&"*a".repeat(200), &"a".repeat(5000), true);
        check(&format!("{}b", "*a".repeat(200)), &"a".repeat(5000), false);
    }

    #[test]
    fn pins_are_read_and_written() {
        let bits = Bits::new;
        let check = |text: &str, weights, input, shown: &str| {
            let pin: Pin = text.parse().unwrap();
            assert_eq!((pin.weights, pin.input), (weights, input), "{text}");
            assert_eq!(pin.to_string(), shown);
            assert_eq!(shown.parse(), Ok(pin));
        };
        check("conv1=8", bits(8), None, "conv1=w8");
        check("*.alpha = w4", bits(4), None, "*.alpha=w4");
        check("fc=a8", None, bits(8), "fc=a8");
        check("a=b=w4a2", bits(4), bits(2), "a=b=w4a2");
        check("first", bits(8), bits(8), "first=w8a8");
        for text in [
            "conv1=9", "conv1=0", "conv1=", "=8", "", "x=w", "x=a", "x=aa8", "x=4.5",
        ] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }

    #[test]
    fn first_and_last_are_places() {
        let layer = |name: &str| LayerSize {
            name: name.into(),
            weights: 1,
            macs: 1,
            input: 0,
            tie: None,
        };
        let layers = ["stem", "a", "b", "head"].map(layer).to_vec();
        let sizes = Sizes::new(layers, vec!["x".into()], vec![], vec![]).unwrap();
        let check = |pattern: &str, expected: &[usize]| {
            let pin: Pin = pattern.parse().unwrap();
            assert_eq!(
                pin.layers(&sizes).collect::<Vec<_>>(),
                expected,
                "{pattern}"
            );
        };
        check("first", &[0]);
        check("last", &[3]);
        check("?", &[1, 2]);
        check("none", &[]);
    }
}
