//! The time of each layer: which kernel runs it, how near it comes to what the machine can do, and
//! a trace for a viewer.

use std::time::Instant;

use exbit_engine::Session;
use exbit_kernels::Isa;
use exbit_model::data::Batch;
use exbit_model::{Model, ValueId};
use serde::Serialize;

use crate::exit::Failure;
use crate::runner::Runner;
use crate::table::{Side, Table, bytes, count, width};

/// How often each layer is timed.
const LAYER_REPEATS: usize = 25;
/// Windows in which the peak is measured, and rounds of one: some microseconds.
const PEAK_WINDOWS: usize = 2000;
const PEAK_ROUNDS: usize = 4000;

/// What one layer takes for one image on one thread.
#[derive(Serialize)]
pub(super) struct LayerTime {
    name: String,
    kernel: String,
    microseconds: f64,
    macs: u64,
    gmacs_per_second: f64,
    /// Of the weights as they are packed for this CPU; a float network packs none.
    packed_weight_bytes: Option<usize>,
    /// Its time over that of the same layer at eight bits, where it has fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_eight_bits: Option<f64>,
}

impl LayerTime {
    pub(super) fn microseconds(&self) -> f64 {
        self.microseconds
    }

    /// Takes note of what the same layer takes at eight bits.
    pub(super) fn compare(&mut self, eight: &LayerTime) {
        let ratio = self.microseconds / eight.microseconds.max(1e-3);
        self.of_eight_bits = (self.macs > 0).then_some(ratio);
    }
}

/// An event of the trace format that Chrome, Perfetto and Speedscope read; times in microseconds.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    cat: &'a str,
    ph: &'static str,
    pid: u8,
    tid: u8,
    ts: f64,
    dur: f64,
    args: &'a LayerTime,
}

/// The layers one after another, each as long as its median time.
pub(super) fn trace(layers: &[LayerTime]) -> Result<String, Failure> {
    let (mut now, mut events) = (0.0, Vec::with_capacity(layers.len()));
    for layer in layers {
        events.push(Event {
            name: &layer.name,
            cat: &layer.kernel,
            ph: "X",
            pid: 1,
            tid: 1,
            ts: now,
            dur: layer.microseconds,
            args: layer,
        });
        now += layer.microseconds;
    }
    serde_json::to_string(&events).map_err(|e| Failure::unexpected(format!("JSON: {e}")))
}

/// The most that the instructions `isa` do with codes and weights of eight bits, in GMAC/s, where
/// there is such a thing: the best of some windows, for other work only slows one down.
pub(super) fn peak(isa: &str) -> Option<f64> {
    let isa = Isa::named(isa)?;
    let window = || {
        let start = Instant::now();
        let macs = exbit_kernels::peak(isa, PEAK_ROUNDS);
        macs as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    Some((0..PEAK_WINDOWS).map(|_| window()).fold(0.0, f64::max))
}

/// The time of each layer, for one image on one thread.
pub(super) fn times(runner: &mut Runner, image: &Batch) -> Result<Vec<LayerTime>, Failure> {
    Ok(match runner {
        Runner::Integer(session) => repeated(session, image)?,
        Runner::Float(model) => {
            let times = node_times(model, &image.x);
            let ids = (0..).map(exbit_model::NodeId);
            let of = |((node, id), microseconds): ((&exbit_model::Node, _), f64)| LayerTime {
                name: node.name.clone(),
                kernel: node.op.name().to_owned(),
                microseconds,
                macs: model.macs(id),
                gmacs_per_second: speed(model.macs(id), microseconds),
                packed_weight_bytes: None,
                of_eight_bits: None,
            };
            model.nodes().iter().zip(ids).zip(times).map(of).collect()
        }
    })
}

/// The time of each step of `session`.
pub(super) fn repeated(session: &mut Session, image: &Batch) -> Result<Vec<LayerTime>, Failure> {
    let steps = session.profile(&image.pixels, LAYER_REPEATS)?.into_iter();
    let of = |s: exbit_engine::StepTime| {
        let microseconds = s.nanoseconds as f64 / 1e3;
        LayerTime {
            name: s.step,
            kernel: s.kernel.to_owned(),
            microseconds,
            macs: s.macs,
            gmacs_per_second: speed(s.macs, microseconds),
            packed_weight_bytes: Some(s.weight_bytes),
            of_eight_bits: None,
        }
    };
    Ok(steps.map(of).collect())
}

fn speed(macs: u64, microseconds: f64) -> f64 {
    macs as f64 / microseconds.max(1e-3) / 1e3
}

/// The median time of each node, in microseconds.
fn node_times(model: &Model, x: &[f32]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(LAYER_REPEATS); model.nodes().len()];
    for _ in 0..LAYER_REPEATS {
        let mut last = Instant::now();
        exbit_grad::infer_with(model, x, 1, |ValueId(value), _| {
            if let Some(node) = value.checked_sub(1) {
                times[node].push(last.elapsed().as_secs_f64() * 1e6);
            }
            last = Instant::now();
        });
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(median).collect()
}

/// The times for people; shares are of `peak`, where it is known.
pub(super) fn table(layers: &[LayerTime], peak: Option<f64>) -> String {
    let mut table = Table::new(&[
        ("#", Side::Right),
        ("layer", Side::Name),
        ("kernel", Side::Left),
        ("µs", Side::Right),
        ("share", Side::Right),
        ("MACs", Side::Right),
        ("GMAC/s", Side::Right),
        ("of peak", Side::Right),
        ("of 8x8", Side::Right),
        ("weights", Side::Right),
    ])
    .spare(&["MACs", "weights"]);
    let total: f64 = layers.iter().map(|l| l.microseconds).sum();
    let sums = |macs: u64, text: String| if macs == 0 { String::new() } else { text };
    for (i, layer) in layers.iter().enumerate() {
        table.row([
            i.to_string(),
            layer.name.clone(),
            layer.kernel.clone(),
            format!("{:.1}", layer.microseconds),
            format!("{:.1} %", 100.0 * layer.microseconds / total),
            sums(layer.macs, count(layer.macs)),
            sums(layer.macs, format!("{:.2}", layer.gmacs_per_second)),
            peak.map_or_else(String::new, |peak| {
                let share = 100.0 * layer.gmacs_per_second / peak;
                sums(layer.macs, format!("{share:.0} %"))
            }),
            layer
                .of_eight_bits
                .map_or_else(String::new, |ratio| format!("{ratio:.2}x")),
            layer
                .packed_weight_bytes
                .map_or_else(String::new, |n| sums(layer.macs, bytes(n as u64))),
        ]);
    }
    let peak = peak.map_or_else(String::new, |peak| {
        format!("; peak of 8x8 bits, measured: {peak:.0} GMAC/s")
    });
    format!(
        "{}{total:.1} µs for one image on one thread, layer by layer{peak}\n",
        table.render(width())
    )
}
