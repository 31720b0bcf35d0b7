//! A Plan: how many bits each layer's weights and each activation get, and how that was decided.
//!
//! It is a text that a person reads, compares and edits, one line for each decision:
//!
//! ```toml
//! model = "resnet20"
//!
//! [settings]
//! budget = ["weights=8x"]
//! seed = 0
//!
//! [weights]
//! conv1 = 8
//! "layer1.0.conv1" = 4
//!
//! [activations]
//! input = 8
//! "layer1.0.relu" = 8
//! ```
//!
//! A plan of a network that has to do with little memory also says `peak_activation_bytes`: codes
//! of activations are then packed, which takes time, until no more bytes than that live at once.
//!
//! Layers and activations go by name and stand in running order; what a network has is in
//! [`Sizes`], and [`Plan::precisions`] brings the two together.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use exbit_kernels::Bits;
use serde::Deserialize;
use toml::Spanned;

use crate::cost::{Precisions, Sizes};
use crate::{Error, ErrorKind, Result};

/// Bits by name, and how they were decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The Model's name.
    pub model: String,
    /// How the plan was made (method, images, seed, budget, ..): carried, not interpreted here.
    pub settings: toml::Table,
    /// The bytes of activations that may live at once; where it is not said, every code takes one.
    pub peak_activation_bytes: Option<u64>,
    /// Bits of each layer's weights.
    pub weights: Vec<(String, Bits)>,
    /// Bits of each activation.
    pub activations: Vec<(String, Bits)>,
}

impl Plan {
    /// The plan that gives `precisions` to the layers and activations of `sizes`.
    pub fn new(model: impl Into<String>, sizes: &Sizes, precisions: &Precisions) -> Self {
        let layers = sizes.layers().iter().map(|l| l.name.clone());
        let activations = sizes.activations().iter().cloned();
        Self {
            model: model.into(),
            settings: toml::Table::new(),
            peak_activation_bytes: None,
            weights: layers.zip(precisions.weights.iter().copied()).collect(),
            activations: activations
                .zip(precisions.activations.iter().copied())
                .collect(),
        }
    }

    /// The plan with the same bits everywhere.
    pub fn uniform(
        model: impl Into<String>,
        sizes: &Sizes,
        weights: Bits,
        activations: Bits,
    ) -> Self {
        Self::new(
            model,
            sizes,
            &Precisions::uniform(sizes, weights, activations),
        )
    }

    /// Reads the text that `Display` writes, as edited by hand.
    ///
    /// # Errors
    /// `Malformed`, with the line, when the text is not TOML, has a table or key that a plan does
    /// not have, lacks one, or gives a layer other than 1 to 8 bits.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed: Text = toml::from_str(text).map_err(|e| {
            let place = e
                .span()
                .map_or_else(String::new, |span| line(text, span.start));
            Error::new(ErrorKind::Malformed, place, e.message().trim())
        })?;
        Ok(Self {
            model: parsed.model,
            settings: parsed.settings,
            peak_activation_bytes: parsed.peak_activation_bytes,
            weights: in_text_order(text, "layer", parsed.weights)?,
            activations: in_text_order(text, "activation", parsed.activations)?,
        })
    }

    /// The bits in the order of `sizes`.
    ///
    /// # Errors
    /// `Mismatch` when a layer or activation of the network is not in the plan, or the other way
    /// round; names it.
    pub fn precisions(&self, sizes: &Sizes) -> Result<Precisions> {
        let layers: Vec<&str> = sizes.layers().iter().map(|l| l.name.as_str()).collect();
        let activations: Vec<&str> = sizes.activations().iter().map(String::as_str).collect();
        Ok(Precisions {
            weights: match_names(["layer", "weights"], &self.weights, &layers)?,
            activations: match_names(
                ["activation", "activations"],
                &self.activations,
                &activations,
            )?,
        })
    }
}

/// The text as TOML sees it; spans give the order and the lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    model: String,
    #[serde(default)]
    settings: toml::Table,
    peak_activation_bytes: Option<u64>,
    weights: BTreeMap<Spanned<String>, Spanned<i64>>,
    activations: BTreeMap<Spanned<String>, Spanned<i64>>,
}

fn in_text_order(
    text: &str,
    what: &str,
    entries: BTreeMap<Spanned<String>, Spanned<i64>>,
) -> Result<Vec<(String, Bits)>> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let checked = entries.into_iter().map(|(name, value)| {
        let start = value.span().start;
        let (name, value) = (name.into_inner(), value.into_inner());
        let bits = u8::try_from(value)
            .ok()
            .and_then(Bits::new)
            .ok_or_else(|| {
                let message = format!("{what} {name} has {value} bits; expected 1 to 8");
                Error::new(ErrorKind::Malformed, line(text, start), message)
            })?;
        Ok((name, bits))
    });
    checked.collect()
}

fn line(text: &str, at: usize) -> String {
    let before = text.as_bytes().iter().take(at);
    format!("line {}", before.filter(|b| **b == b'\n').count() + 1)
}

fn match_names(
    [what, table]: [&str; 2],
    planned: &[(String, Bits)],
    wanted: &[&str],
) -> Result<Vec<Bits>> {
    let by_name: HashMap<&str, Bits> = planned.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    let mismatch = |name: &str, message: String| {
        Err(Error::new(
            ErrorKind::Mismatch,
            format!("{what} {name}"),
            message,
        ))
    };
    let foreign = (planned.iter()).find(|(name, _)| !wanted.contains(&name.as_str()));
    let missing = wanted.iter().find(|name| !by_name.contains_key(*name));
    match (foreign, missing) {
        (None, None) => Ok(wanted.iter().map(|name| by_name[name]).collect()),
        (None, Some(name)) => {
            let message = "the network has it, the plan does not; add a line for it to";
            mismatch(name, format!("{message} [{table}]"))
        }
        (Some((name, _)), missing) => {
            let message = format!(
                "the plan has it, the network does not: it has {} {what}s",
                wanted.len()
            );
            // Perhaps the one is meant by the other.
            let other = missing.map_or(String::new(), |name| {
                format!(", of which {name} has no line in the plan")
            });
            mismatch(name, message + &other)
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Bits, 1 to 8, of each layer's weights and of each activation."
        )?;
        writeln!(f, "model = {}", quoted(&self.model))?;
        if let Some(bytes) = self.peak_activation_bytes {
            writeln!(f, "peak_activation_bytes = {bytes}")?;
        }
        if !self.settings.is_empty() {
            let nested =
                toml::Table::from_iter([("settings".into(), self.settings.clone().into())]);
            write!(f, "\n{nested}")?;
        }
        for (table, entries) in [
            ("weights", &self.weights),
            ("activations", &self.activations),
        ] {
            writeln!(f, "\n[{table}]")?;
            for (name, bits) in entries {
                writeln!(f, "{} = {bits}", key(name))?;
            }
        }
        Ok(())
    }
}

/// A name as a TOML key: bare where that is allowed.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A string as TOML's basic string, on one line whatever it holds.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::LayerSize;

    fn sizes(layers: &[&str], activations: &[&str]) -> Sizes {
        let layer = |name: &&str| LayerSize {
            name: name.to_string(),
            weights: 1,
            macs: 1,
            input: 0,
            tie: None,
        };
        let layers = layers.iter().map(layer).collect();
        let activations = activations.iter().map(|a| a.to_string()).collect();
        Sizes::new(layers, activations, vec![], vec![]).unwrap()
    }

    fn bits(b: u8) -> Bits {
        Bits::new(b).unwrap()
    }

    #[test]
    fn texts_round_trip_whatever_the_names() {
        let names = [
            "conv2",
            "layer1.0.conv1",
            "a \"b\" \\ c",
            "two\nlines",
            "",
            "é/ü",
            "conv1",
        ];
        let sizes = sizes(&names, &["x", "w 1"]);
        let mut plan = Plan::uniform("res \"net\"", &sizes, bits(4), bits(8));
        plan.weights[1].1 = bits(2);
        for with_settings in [false, true] {
            if with_settings {
                plan.peak_activation_bytes = Some(1234);
                plan.settings.insert("seed".into(), 7.into());
                plan.settings
                    .insert("budget".into(), vec!["weights=8x", "bops=1G"].into());
            }
            let text = plan.to_string();
            let again = Plan::parse(&text).unwrap();
            assert_eq!(again, plan);
            assert_eq!(again.to_string(), text);
            let found = again.precisions(&sizes).unwrap();
            assert_eq!(found.weights[..2], [bits(4), bits(2)]);
        }
    }

    #[test]
    fn bad_texts_are_errors_that_give_the_line() {
        let check = |text: &str, expected: &str| {
            let error = Plan::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        let plan = |weights: &str| format!("model='m'\n[activations]\nx=8\n[weights]\n{weights}");
        check(
            &plan("a=4\nb=9"),
            "line 6: layer b has 9 bits; expected 1 to 8",
        );
        check(&plan("a=4\nb=0"), "line 6: layer b has 0 bits");
        check(
            &plan("a=-99999999999"),
            "line 5: layer a has -99999999999 bits",
        );
        check(&plan("a=4.5"), "line 5: invalid type: floating point");
        check(&plan("a=4\na=4"), "line 6: duplicate key");
        check(&plan("a=4\n[exitz]"), "line 6: unknown field");
        check(
            "model='m'\n[weights]\n",
            "line 1: missing field `activations`",
        );
        check("model=", "line 1: ");
    }

    #[test]
    fn plans_match_networks_by_name() {
        let plan = Plan::uniform("m", &sizes(&["a", "b"], &["x"]), bits(4), bits(8));
        let check = |layers: &[&str], activations: &[&str], expected: &str| {
            let error = plan.precisions(&sizes(layers, activations)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(
            &["a", "b", "c"],
            &["x"],
            "layer c: the network has it, the plan does not; add a line for it to [weights]",
        );
        let message = "layer b: the plan has it, the network does not: it has 1 layers";
        check(&["a"], &["x"], message);
        check(
            &["b", "a"],
            &["y"],
            "activation x: the plan has it, the network does not: it has 1 activations, of which y has \
             no line in the plan",
        );
        let swapped = plan.precisions(&sizes(&["b", "a"], &["x"])).unwrap();
        assert_eq!(swapped.weights.len(), 2);
    }
}
