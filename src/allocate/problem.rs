//! The question in numbers: which choices are open, what each uses of every limited resource,
//! and which layers move together.

use exbit_kernels::Bits;

use super::Request;
use super::row::{Row, beyond, rows_of};
use crate::budget::Pin;
use crate::cost::{Choice, Precisions, Sizes, Table, index_of};
use crate::{Error, ErrorKind, Result};

/// Layers that have one bit-width: one layer, or all of a tie.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) layers: Vec<usize>,
    /// `options[o][i]` is the choice of `layers[i]` under option `o`.
    pub(crate) options: Vec<Vec<usize>>,
}

/// A choice for every layer and every activation, as indices into the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picks {
    pub(crate) weights: Vec<usize>,
    pub(crate) activations: Vec<usize>,
}

/// An allocation problem: the least loss over `units` and `inputs` within every row.
#[derive(Clone)]
pub(crate) struct Problem<'t> {
    pub(crate) table: &'t Table,
    pub(crate) rows: Vec<Row>,
    pub(crate) units: Vec<Unit>,
    /// The open choices of each activation.
    pub(crate) inputs: Vec<Vec<usize>>,
    /// The layers that read each activation.
    pub(crate) readers: Vec<Vec<usize>>,
}

impl<'t> Problem<'t> {
    /// The problem that `request` poses.
    ///
    /// # Errors
    /// `Mismatch` for a latency budget without measured times, a pin that names no layer or bits
    /// that are no choice, and a tie whose layers have no bit-width in common.
    pub(crate) fn new(table: &'t Table, request: &Request) -> Result<Self> {
        let mut readers = vec![Vec::new(); table.activations().len()];
        for (l, layer) in table.sizes().layers().iter().enumerate() {
            readers[layer.input].push(l);
        }
        let mut weights = all_open(table.weights());
        let mut inputs = all_open(table.activations());
        apply_pins(table, request, &mut weights, &mut inputs)?;
        let units = units(table, &weights, request.tied)?;
        let mut rows = Vec::new();
        for (i, budget) in request.budgets.iter().enumerate() {
            rows.extend(rows_of(table, &inputs, i, budget)?);
        }
        Ok(Self {
            table,
            rows,
            units,
            inputs,
            readers,
        })
    }

    /// The input of layer `l`.
    pub(crate) fn input(&self, l: usize) -> usize {
        self.table.sizes().layers()[l].input
    }

    /// The expected loss of `picks`.
    pub(crate) fn loss(&self, picks: &Picks) -> f64 {
        let sum = |table: &[Vec<Choice>], picks: &[usize]| -> f64 {
            table
                .iter()
                .zip(picks)
                .map(|(choices, &k)| choices[k].loss)
                .sum()
        };
        sum(self.table.weights(), &picks.weights)
            + sum(self.table.activations(), &picks.activations)
    }

    /// What `picks` use of a row.
    pub(crate) fn used(&self, row: &Row, picks: &Picks) -> f64 {
        let mut used = row.fixed;
        for (l, &k) in picks.weights.iter().enumerate() {
            used += row.layer(l, k, picks.activations[self.input(l)]);
        }
        for (j, &a) in picks.activations.iter().enumerate() {
            used += row.activation(j, a);
        }
        used
    }

    /// Whether a limit is one of a peak, whose rows come as they are needed.
    pub(crate) fn has_peaks(&self) -> bool {
        self.rows.iter().any(Row::is_peak)
    }

    /// Adds the rows of peaks that `picks` exceed unseen; whether there were any.
    pub(crate) fn add_beyond(&mut self, picks: &Picks) -> bool {
        let new = beyond(self.table, &self.rows, picks, &|row| self.used(row, picks));
        let any = !new.is_empty();
        self.rows.extend(new);
        any
    }

    /// Whether `picks` keep within every limit.
    pub(crate) fn fits(&self, picks: &Picks) -> bool {
        self.rows
            .iter()
            .all(|row| self.used(row, picks) <= row.limit)
    }

    /// The bit-widths that `picks` stand for.
    pub(crate) fn precisions(&self, picks: &Picks) -> Precisions {
        let bits = |table: &[Vec<Choice>], picks: &[usize]| {
            table
                .iter()
                .zip(picks)
                .map(|(choices, &k)| choices[k].bits)
                .collect()
        };
        Precisions {
            weights: bits(self.table.weights(), &picks.weights),
            activations: bits(self.table.activations(), &picks.activations),
        }
    }
}

fn all_open(table: &[Vec<Choice>]) -> Vec<Vec<usize>> {
    table
        .iter()
        .map(|choices| (0..choices.len()).collect())
        .collect()
}

fn apply_pins(
    table: &Table,
    request: &Request,
    weights: &mut [Vec<usize>],
    inputs: &mut [Vec<usize>],
) -> Result<()> {
    let sizes = table.sizes();
    for pin in &request.pins {
        let mismatch = |m: String| Error::new(ErrorKind::Mismatch, format!("keep {pin}"), m);
        let close = |open: &mut Vec<usize>, choices: &[Choice], bits: Bits, what: String| {
            let Some(k) = index_of(choices, bits) else {
                let known: Vec<String> = choices.iter().map(|c| c.bits.to_string()).collect();
                let known = known.join(", ");
                return Err(mismatch(format!(
                    "{what} may have {known} bits only; --weight-bits and --activation-bits say \
                     which"
                )));
            };
            *open = vec![k];
            Ok(())
        };
        let layers: Vec<usize> = pin.layers(sizes).collect();
        if layers.is_empty() {
            return Err(mismatch(nobody(pin, sizes)));
        }
        for l in layers {
            let layer = &sizes.layers()[l];
            if let Some(bits) = pin.weights {
                close(
                    &mut weights[l],
                    &table.weights()[l],
                    bits,
                    format!("layer {}", layer.name),
                )?;
            }
            if let Some(bits) = pin.input {
                let what = format!("activation {}", sizes.activations()[layer.input]);
                let choices = &table.activations()[layer.input];
                close(&mut inputs[layer.input], choices, bits, what)?;
            }
        }
    }
    Ok(())
}

/// That no layer has the name that `pin` tells, and which may be meant.
fn nobody(pin: &Pin, sizes: &Sizes) -> String {
    let part = pin.pattern.trim_matches('*');
    let near = |name: &&str| name.contains(part);
    let names = || sizes.layers().iter().map(|l| l.name.as_str());
    let found: Vec<&str> = names().filter(near).take(4).collect();
    match found.is_empty() {
        true => {
            let first: Vec<&str> = names().take(4).collect();
            let first = first.join(", ");
            format!("no layer has such a name; they are called {first}, ...")
        }
        false => format!(
            "no layer has such a name; *{part}* fits {}",
            found.join(", ")
        ),
    }
}

fn units(table: &Table, open: &[Vec<usize>], tied: bool) -> Result<Vec<Unit>> {
    let sizes = table.sizes();
    let mut units: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
    for (l, layer) in sizes.layers().iter().enumerate() {
        let tie = layer.tie.filter(|_| tied);
        match units.iter_mut().find(|(t, _)| tie.is_some() && *t == tie) {
            Some((_, layers)) => layers.push(l),
            None => units.push((tie, vec![l])),
        }
    }
    let built = units.into_iter().map(|(_, layers)| {
        let first = layers[0];
        let option = |&k: &usize| {
            let bits = table.weights()[first][k].bits;
            let same =
                |&l: &usize| index_of(&table.weights()[l], bits).filter(|k| open[l].contains(k));
            layers.iter().map(same).collect::<Option<Vec<usize>>>()
        };
        let options: Vec<Vec<usize>> = open[first].iter().filter_map(option).collect();
        if options.is_empty() {
            let names: Vec<&str> = layers
                .iter()
                .map(|&l| sizes.layers()[l].name.as_str())
                .collect();
            let message = "tied layers have no bit-width that all of them may take";
            return Err(Error::new(ErrorKind::Mismatch, names.join(", "), message));
        }
        Ok(Unit { layers, options })
    });
    built.collect()
}
