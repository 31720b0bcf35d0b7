//! `exbit latency`: what each bit-width of each layer takes in time on this machine.

use std::path::PathBuf;

use exbit::calibrate::Clipping;
use exbit::latency::{Pair, PairTimes, Times, pairs, turns};
use exbit::sensitivity::Candidates;
use exbit::{Network, prepare};
use exbit_kernels::Bits;
use serde::Serialize;

use crate::args::Latency;
use crate::calibration::sorted;
use crate::exit::Failure;
use crate::output::{self, Answer};
use crate::progress::Progress;
use crate::table::{Side, Table, bits_titles, fold, width};
use crate::{cache, network};

#[derive(Serialize)]
struct Json<'a> {
    network: &'a str,
    cpu: &'a str,
    isa: &'a str,
    threads: usize,
    /// Where the times are kept.
    table: Option<PathBuf>,
    /// Pairs of bit-widths that this run measured.
    measured: usize,
    layers: &'a [String],
    pairs: Vec<PairRow<'a>>,
    verdict: String,
}

/// The times of one pair of bit-widths, in microseconds.
#[derive(Serialize)]
struct PairRow<'a> {
    weight_bits: u8,
    activation_bits: u8,
    layers_us: &'a [f64],
    rest_us: f64,
}

pub(crate) fn run(args: &Latency, progress: &Progress) -> Result<Answer, Failure> {
    output::check_places(&[args.latency_table.as_deref()], &[&args.model])?;
    let (model, _) = network::open_model(&args.model)?;
    let network = prepare(&model)?;
    let candidates = Candidates {
        weights: sorted(&args.weight_bits),
        activations: sorted(&args.activation_bits),
        clipping: Clipping::Mse,
    };
    let asked = pairs(&candidates);
    let kept = cache::times(args.latency_table.as_deref(), progress);
    let mut times = kept.open(&network)?;
    let wanted = match args.anew {
        true => asked.clone(),
        false => times.missing(&asked),
    };
    if !wanted.is_empty() {
        measure(&mut times, &network, &wanted, progress)?;
        kept.save(&network, &times)?;
    }
    let (times, table) = (times.of(&asked)?, kept.file(&network)?);
    let text = text(
        &times,
        &candidates.activations,
        wanted.len(),
        table.as_ref(),
    );
    let json = Json {
        network: &times.network,
        cpu: &times.cpu,
        isa: &times.isa,
        threads: 1,
        table,
        measured: wanted.len(),
        layers: &times.layers,
        pairs: times.pairs.iter().map(row).collect(),
        verdict: times.verdict(),
    };
    Answer::new(&json, text)
}

fn measure(
    times: &mut Times,
    network: &Network,
    wanted: &[Pair],
    progress: &Progress,
) -> Result<(), Failure> {
    let (mut done, total) = (0, turns(network, wanted) as u64);
    progress.set("latency", 0, total);
    times.measure(network, wanted, &mut |more| {
        done += more as u64;
        progress.set("latency", done, total);
    })?;
    progress.close();
    Ok(())
}

fn row(times: &PairTimes) -> PairRow<'_> {
    PairRow {
        weight_bits: times.bits.weights.get(),
        activation_bits: times.bits.activations.get(),
        layers_us: &times.layers_us,
        rest_us: times.rest_us,
    }
}

/// A table for each of `activations`, a column for each bit-width of weights.
fn text(times: &Times, activations: &[Bits], measured: usize, table: Option<&PathBuf>) -> String {
    let mut parts = vec!["Microseconds of one image on one thread, by bits of the weights".into()];
    for &bits in activations {
        let own: Vec<&PairTimes> = times
            .pairs
            .iter()
            .filter(|p| p.bits.activations == bits)
            .collect();
        let title = format!("reading activations of {bits} bits");
        parts.push(format!("{title}\n\n{}", layers(times, &own).trim_end()));
    }
    parts.push(fold(&times.verdict(), width()));
    let news = match measured {
        0 => "Nothing was measured: all of it was kept".to_owned(),
        n => format!("Measured {n} of {} pairs of bit-widths", times.pairs.len()),
    };
    parts.push(match table {
        Some(path) => format!("{news}, in {}", path.display()),
        None => format!("{news}; they are not kept"),
    });
    parts.join("\n\n")
}

fn layers(times: &Times, pairs: &[&PairTimes]) -> String {
    let titles = pairs.iter().map(|p| bits_titles(p.bits.weights).0);
    let mut columns = vec![("layer", Side::Name)];
    columns.extend(titles.map(|title| (title, Side::Right)));
    let mut table = Table::new(&columns);
    let mut add = |name: &str, us: &dyn Fn(&PairTimes) -> f64| {
        let cells = pairs.iter().map(|p| format!("{:.1}", us(p)));
        table.row(std::iter::once(name.to_owned()).chain(cells));
    };
    for (l, name) in times.layers.iter().enumerate() {
        add(name, &|p| p.layers_us[l]);
    }
    add("everything else", &|_| times.rest_us());
    add("all", &|p| times.uniform_us(p));
    table.render(width())
}
