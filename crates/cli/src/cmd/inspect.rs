//! `exbit inspect`: what a network consists of.

mod exits;

use std::collections::BTreeMap;
use std::path::Path;

use exbit::report::printable;
use exbit_engine::Session;
use serde::Serialize;

use crate::args::Inspect;
use crate::exit::Failure;
use crate::network::{self, Network};
use crate::output::Answer;
use crate::survey::{Row, Survey, Totals, of_model, of_program};
use crate::table::{Side, Table, bops, bytes, count, fold, width};

#[derive(Serialize)]
struct Json<'a> {
    file: &'a Path,
    kind: &'static str,
    name: &'a str,
    file_bytes: u64,
    input: &'a [usize],
    output: &'a [usize],
    #[serde(flatten)]
    totals: &'a Totals,
    arena_bytes: Option<usize>,
    /// Of the arena, what steps work in.
    working_bytes: Option<usize>,
    /// Values whose codes lie packed.
    packed_values: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Runs>,
    peak_at: Option<&'a str>,
    classes: &'a [String],
    preprocess: Option<&'a str>,
    notes: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exits: Vec<exits::Exit>,
    layers: &'a [Row],
}

/// How layers below eight bits run on this CPU.
#[derive(Serialize)]
struct Runs {
    isa: &'static str,
    layers_below_eight_bits: usize,
    /// By kernels that do more with fewer bits; all others take the time of eight bits.
    of_them_faster: usize,
}

/// How the names of kernels begin that do more with fewer bits.
const FASTER: [&str; 3] = ["lookup-", "popcount-", "conv-low-"];

impl Runs {
    /// `None` where every layer has eight bits.
    fn of(session: &Session, survey: &Survey) -> Option<Self> {
        let steps = survey.rows.iter().zip(session.kernels());
        let low = |row: &Row| row.weight_bits.is_some_and(|bits| bits < 8);
        let low: Vec<_> = steps.filter(|(row, _)| low(row)).collect();
        let faster = |kernel: &str| FASTER.iter().any(|name| kernel.starts_with(name));
        (!low.is_empty()).then(|| Self {
            isa: session.isa(),
            layers_below_eight_bits: low.len(),
            of_them_faster: low.iter().filter(|(_, kernel)| faster(kernel)).count(),
        })
    }

    fn text(&self) -> String {
        format!(
            "{} of {} layers below eight bits have a faster kernel on {}; the others save memory \
             (`exbit bench` measures)",
            self.of_them_faster, self.layers_below_eight_bits, self.isa
        )
    }
}

pub(crate) fn run(args: &Inspect) -> Result<Answer, Failure> {
    let file = network::open(&args.network)?;
    let (survey, session) = match &file.network {
        Network::Float(model) => (of_model(model), None),
        Network::Integer(program) => (of_program(program), Some(Session::new(program, 1)?)),
    };
    let (kind, name) = match &file.network {
        Network::Float(model) => ("model", model.name()),
        Network::Integer(program) => ("program", program.name.as_str()),
    };
    let program = match &file.network {
        Network::Float(_) => None,
        Network::Integer(program) => Some(program),
    };
    let notes = program.into_iter().flat_map(|p| &p.notes);
    let json = Json {
        file: &file.path,
        kind,
        name,
        file_bytes: file.bytes,
        input: &survey.input,
        output: &survey.output,
        totals: &survey.totals,
        arena_bytes: session.as_ref().map(Session::arena_bytes),
        working_bytes: session.as_ref().map(Session::working_bytes),
        packed_values: program.map_or(0, |p| p.packed.len()),
        runs: session
            .as_ref()
            .and_then(|session| Runs::of(session, &survey)),
        peak_at: peak(&survey).map(|row| row.name.as_str()),
        classes: program.map_or(&[], |p| &p.classes),
        preprocess: program.map(|p| p.input.preprocess.as_str()),
        notes: notes
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
        policy: program
            .filter(|p| !p.exits.is_empty())
            .map(|p| p.policy.to_string()),
        exits: program.map_or(Vec::new(), exits::of_program),
        layers: &survey.rows,
    };
    Answer::new(&json, text(&json, &survey))
}

/// The first row at which the most memory is alive.
fn peak(survey: &Survey) -> Option<&Row> {
    survey
        .rows
        .iter()
        .find(|r| r.memory_bytes == survey.totals.activation_bytes_peak)
}

fn text(json: &Json, survey: &Survey) -> String {
    let kind = if json.kind == "model" {
        "float model"
    } else {
        "integer Program"
    };
    let file = json.file.file_name().unwrap_or(json.file.as_os_str());
    let title = format!(
        "{}: {kind}, {} -> {}, file {}\n\n",
        printable(&file.to_string_lossy()),
        shape(json.input),
        shape(json.output),
        bytes(json.file_bytes)
    );
    title + &rows(survey, json.kind) + &sums(json, survey) + &exits::table(json)
}

fn rows(survey: &Survey, kind: &str) -> String {
    // All of a float model's bits are alike: they need no column.
    let bits = (kind == "program").then_some(("bits", Side::Left));
    let before = [
        ("#", Side::Right),
        ("layer", Side::Name),
        ("op", Side::Left),
        ("output", Side::Left),
        ("MACs", Side::Right),
        ("params", Side::Right),
    ];
    let after = [
        ("weights", Side::Right),
        ("memory", Side::Right),
        ("", Side::Left),
    ];
    let columns: Vec<_> = before.into_iter().chain(bits).chain(after).collect();
    let mut table = Table::new(&columns).spare(&["output", "MACs", "params"]);
    let some = |n: u64, text: fn(u64) -> String| if n == 0 { String::new() } else { text(n) };
    let peak = survey.totals.activation_bytes_peak;
    for (i, row) in survey.rows.iter().enumerate() {
        let before = [
            (i + 1).to_string(),
            row.name.clone(),
            row.op.clone(),
            shape(&row.shape),
            some(row.macs, count),
            some(row.parameters, count),
        ];
        let after = [
            some(row.weight_bytes, bytes),
            bytes(row.memory_bytes),
            if row.memory_bytes == peak {
                "peak".into()
            } else {
                String::new()
            },
        ];
        table.row(
            before
                .into_iter()
                .chain(bits.map(|_| row_bits(row)))
                .chain(after),
        );
    }
    table.render(width())
}

fn row_bits(row: &Row) -> String {
    match row.weight_bits {
        Some(weight_bits) => format!("W{weight_bits}A{}", row.input_bits),
        None => format!("A{}", row.input_bits),
    }
}

fn sums(json: &Json, survey: &Survey) -> String {
    let totals = &survey.totals;
    let mean = totals.weight_bits_mean.filter(|&mean| mean < 32.0);
    let mean = mean.map_or(String::new(), |mean| {
        format!(", mean {mean:.2} bits: {}", shares(&survey.rows))
    });
    let arena = json.arena_bytes.zip(json.working_bytes);
    let arena = arena.map_or(String::new(), |(all, working)| {
        let [values, working] = [all - working, working].map(|b| bytes(b as u64));
        format!(", arena {values} and {working} to work in")
    });
    let packed = match json.packed_values {
        0 => String::new(),
        n => format!(" ({n} values packed)"),
    };
    let without = match json.policy {
        Some(_) => ", to the end without exits",
        None => "",
    };
    let lines = [
        format!(
            "{} parameters, {} MACs",
            count(totals.parameters),
            count(totals.macs)
        ),
        format!("weights {}{mean}", bytes(totals.weight_bytes)),
        format!(
            "activations {} at the peak{packed}, {} in all at their bits{arena}",
            bytes(totals.activation_bytes_peak),
            bytes(totals.activation_bytes_sum)
        ),
        format!(
            "{}, or {} with the first and last layer counted at 8x8{}",
            bops(totals.bops_full),
            bops(totals.bops_edges_at_8),
            without
        ),
    ];
    let runs = json.runs.iter().map(Runs::text);
    let lines: Vec<String> = lines.into_iter().chain(runs).collect();
    let lines = lines.iter().map(|line| fold(line, width()));
    format!("\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// How many layers have which bits.
fn shares(rows: &[Row]) -> String {
    let mut layers: BTreeMap<u64, usize> = BTreeMap::new();
    rows.iter()
        .filter_map(|r| r.weight_bits)
        .for_each(|b| *layers.entry(b).or_default() += 1);
    let share = |(bits, n): (&u64, &usize)| match n {
        1 => format!("1 layer of {bits}"),
        n => format!("{n} layers of {bits}"),
    };
    layers.iter().map(share).collect::<Vec<_>>().join(", ")
}

fn shape(extents: &[usize]) -> String {
    extents
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("x")
}
