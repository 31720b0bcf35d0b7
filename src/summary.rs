//! A Quantization as the rows of a Report: what each layer got, what it costs, what one more bit
//! would buy.

use exbit_kernels::Bits;
use exbit_model::{NodeId, ValueId};

use crate::Result;
use crate::allocate::{Change, Exchange, Request, Shortfall, exchanges, front};
use crate::budget::Resource;
use crate::cost::{Cost, Precisions, Sizes, cost, float_cost};
use crate::noise::Noise;
use crate::quantize::{Options, Quantization};
use crate::reconstruct::{Moments, Rounding};
use crate::report::{
    Budget, Figures, Front, FrontPoint, LayerRow, MetricRank, Origin, Report, Setting, SiteRow,
    StageTime, Step,
};
use crate::sensitivity::{Rank, ranks};

/// Points of the Pareto front in a report.
const POINTS: usize = 24;

/// The report of `done`, without what only an evaluation knows.
///
/// # Errors
/// As sweeping the front.
pub fn summarize(done: &Quantization, options: &Options) -> Result<Report> {
    let planned = cost(&done.sizes, &done.precisions);
    let float = float_cost(&done.sizes);
    let expected = done.allocation.as_ref().map(|a| a.loss);
    let mut quantized = figures(&done.sizes, &planned, expected);
    quantized.file_bytes = done.program.to_bytes().ok().map(|b| b.len() as u64);
    let bytes = done.program.activation_bytes();
    quantized.activation_bytes_peak = Some(bytes.peak);
    quantized.activation_bytes_sum = Some(bytes.sum);
    // Images and seed have fields of their own.
    let own = |name: &str| ["images", "seed"].contains(&name);
    let settings = done.plan.settings.iter().filter(|(name, _)| !own(name));
    let setting = |(name, value): (&String, &toml::Value)| Setting {
        name: name.clone(),
        value: words(value),
    };
    let stage = |&(stage, time): &(&'static str, std::time::Duration)| StageTime {
        stage: stage.to_owned(),
        seconds: time.as_secs_f64(),
    };
    Ok(Report {
        network: done.network.model.name().to_owned(),
        budgets: budgets(done, &options.request),
        float: figures(&done.sizes, &float, None),
        quantized,
        remarks: remarks(done, options),
        layers: layers(done),
        activations: activations(done),
        front: fronts(done, &options.request)?,
        metrics: metrics(done, options),
        origin: Origin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            calibration_images: Some(done.calibration.images as u64),
            seed: Some(options.seed),
            settings: settings.map(setting).collect(),
            stages: done.times.iter().map(stage).collect(),
            ..Origin::default()
        },
    })
}

/// A setting as it would be written on the command line.
fn words(value: &toml::Value) -> String {
    if let Some(list) = value.as_array() {
        return list.iter().map(words).collect::<Vec<_>>().join(", ");
    }
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn figures(sizes: &Sizes, cost: &Cost, expected_loss: Option<f64>) -> Figures {
    let weights: u64 = sizes.layers().iter().map(|l| l.weights).sum();
    Figures {
        weight_bytes: cost.weight_bytes,
        weight_bits_mean: cost.weight_bytes as f64 * 8.0 / weights.max(1) as f64,
        activation_bytes_peak: Some(cost.activation_bytes_peak),
        activation_bytes_sum: Some(cost.activation_bytes_sum),
        bops: Some(cost.bops),
        bops_edges_at_8: Some(cost.bops_edges_at_8),
        expected_loss,
        ..Figures::default()
    }
}

/// What the plan costs, with its time where times were measured.
fn planned(done: &Quantization) -> Cost {
    let timed = done.table.as_ref().map(|t| t.cost(&done.precisions));
    timed.unwrap_or_else(|| cost(&done.sizes, &done.precisions))
}

fn budgets(done: &Quantization, request: &Request) -> Vec<Budget> {
    let planned = planned(done);
    let budget = |b: &crate::Budget| {
        Some(Budget {
            asked: b.to_string(),
            resource: b.resource,
            limit: b.amount(&done.sizes),
            reached: b.resource.of(&planned)?,
        })
    };
    request.budgets.iter().filter_map(budget).collect()
}

fn remarks(done: &Quantization, options: &Options) -> Vec<String> {
    let mut remarks = search_remarks(done);
    let layers = done.network.layers().into_iter();
    let nodes = layers.map(|id| done.network.model.node(id));
    let wide: Vec<&str> = nodes
        .filter(|node| options.rounding == Rounding::Moments && !Moments::are_taken(&node.op))
        .map(|node| node.name.as_str())
        .collect();
    if let Some(pairs) = done.equalized {
        remarks.push(format!(
            "Ranges were evened out between {pairs} pairs of layers; pairs with a ReLU6, a pooling \
             or several readers between them stay as they are."
        ));
    }
    if !wide.is_empty() {
        remarks.push(format!(
            "Rounded to the nearest codes, since reconstruction does not take layers that read so \
             many numbers: {}.",
            wide.join(", ")
        ));
    }
    remarks
}

fn search_remarks(done: &Quantization) -> Vec<String> {
    let Some(allocation) = &done.allocation else {
        let mut remarks = vec!["The bits were given by a plan; nothing was searched.".to_owned()];
        let peak = done.program.activation_bytes().peak;
        if let Some(most) = done.plan.peak_activation_bytes.filter(|&most| most < peak) {
            remarks.push(format!(
                "The plan allows {} of activations at the peak; packed as far as they can be they \
                 take {}.",
                Resource::PeakActivations.amount(most as f64),
                Resource::PeakActivations.amount(peak as f64)
            ));
        }
        return remarks;
    };
    // The budgets' own lines say by how much they are missed.
    let told = |m: &Shortfall| format!("budget {}: {}.", m.budget, m.reason());
    let mut remarks: Vec<String> = allocation.missed.iter().map(told).collect();
    if allocation.missed.iter().any(|m| m.least_unpinned > m.limit) {
        let message =
            "More bit-widths to choose from (--weight-bits, --activation-bits) may do it.";
        remarks.push(message.to_owned());
    }
    if let Some(times) = &done.latency {
        remarks.push(times.verdict());
        remarks.extend(times.foreign(&done.network));
    }
    let packed = done.program.packed.len();
    if done.latency.is_some() && packed > 0 {
        remarks.push(format!(
            "{packed} values lie packed for the budget on memory: that takes time which the times of \
             layers do not hold; `exbit bench` measures the whole."
        ));
    }
    if allocation.gap() > 1e-3 {
        let percent = 100.0 * allocation.gap();
        remarks.push(format!(
            "The search was cut short: a plan of up to {percent:.1} % less expected loss may exist."
        ));
    }
    remarks
}

fn layers(done: &Quantization) -> Vec<LayerRow> {
    let model = &done.network.model;
    let rows = done.network.layers().into_iter().enumerate();
    let exchanged = done
        .table
        .as_ref()
        .map(|t| exchanges(t, &done.precisions).0);
    let planned = cost(&done.sizes, &done.precisions);
    rows.map(|(l, id)| {
        let node = model.node(id);
        let size = &done.sizes.layers()[l];
        let bits = done.precisions.weights[l];
        let input = done.precisions.activations[size.input];
        let exchange = exchanged.as_ref().map(|e| &e[l]);
        let step = |change: Option<&Change>| change.map(|c| step(c, &planned));
        LayerRow {
            name: node.name.clone(),
            op: node.op.name().to_owned(),
            output_shape: model.value(node.output).shape.clone(),
            weights: size.weights,
            macs: size.macs,
            weight_bits: bits.get(),
            input_bits: Some(input.get()),
            sensitivity: done
                .table
                .as_ref()
                .and_then(|t| loss(&t.weights()[l], bits)),
            weight_sqnr_db: weight_sqnr(done, id),
            weight_bytes: (size.weights * u64::from(bits.get())).div_ceil(8),
            bops: Some(size.macs * u64::from(bits.get()) * u64::from(input.get())),
            more: step(exchange.and_then(|e: &Exchange| e.more.as_ref())),
            less: step(exchange.and_then(|e: &Exchange| e.fewer.as_ref())),
            ..LayerRow::default()
        }
    })
    .collect()
}

fn step(change: &Change, planned: &Cost) -> Step {
    Step {
        bits: change.bits.get(),
        loss: change.loss,
        weight_bytes: change.cost.weight_bytes as i64 - planned.weight_bytes as i64,
    }
}

fn loss(choices: &[crate::cost::Choice], bits: Bits) -> Option<f64> {
    choices.iter().find(|c| c.bits == bits).map(|c| c.loss)
}

/// `10 log10(sum w^2 / sum (w - q)^2)` of the folded weight; `None` where nothing was lost.
fn weight_sqnr(done: &Quantization, id: NodeId) -> Option<f64> {
    let weight = done.network.model.node(id).op.weight()?;
    let q = done.quantized.layers.get(&id)?.weight.dequantize(weight);
    let mut noise = Noise::default();
    noise.add(weight.data(), q.data().iter().copied());
    noise.decibel()
}

fn activations(done: &Quantization) -> Vec<SiteRow> {
    let model = &done.network.model;
    let row = |(s, site): (usize, ValueId)| {
        let grid = done.quantized.grid(&done.network, site);
        let bits = done.precisions.activations[s];
        SiteRow {
            name: model.value(site).name.clone(),
            shape: model.value(site).shape.clone(),
            bits: bits.get(),
            range: done.calibration.seen[&site]
                .range()
                .map(|(a, b)| (f64::from(a), f64::from(b))),
            scale: Some(f64::from(grid.scale)),
            zero: Some(i32::from(grid.zero)),
            sensitivity: done
                .table
                .as_ref()
                .filter(|t| t.activations()[s].len() > 1)
                .and_then(|t| loss(&t.activations()[s], bits)),
            ..SiteRow::default()
        }
    };
    done.network
        .sites()
        .into_iter()
        .enumerate()
        .map(row)
        .collect()
}

/// How the metrics rank, where the file of expected losses has the measured one beside others.
fn metrics(done: &Quantization, options: &Options) -> Vec<MetricRank> {
    let rank = |rank: Rank| {
        Some(MetricRank {
            metric: rank.metric.name().to_uppercase(),
            meaning: rank.metric.meaning().to_owned(),
            spearman: rank.all?,
            spearman_at_same_bits: rank.mean()?,
            used: rank.metric == options.metric,
        })
    };
    let ranks = done.tables.iter().flat_map(ranks);
    ranks.filter_map(rank).collect()
}

/// The front over the first budget's resource, or weight bytes where there is none.
fn fronts(done: &Quantization, request: &Request) -> Result<Option<Front>> {
    let (Some(table), Some(allocation)) = (&done.table, &done.allocation) else {
        return Ok(None);
    };
    let resource = request
        .budgets
        .first()
        .map_or(Resource::Weights, |b| b.resource);
    let Some(chosen) = resource.of(&allocation.cost) else {
        return Ok(None);
    };
    let weights: u64 = done.sizes.layers().iter().map(|l| l.weights).sum();
    let point = |cost: f64, loss: f64, bytes: u64, label: Option<String>| FrontPoint {
        cost,
        loss,
        label,
        weight_bits_mean: Some(bytes as f64 * 8.0 / weights.max(1) as f64),
    };
    let free = Request {
        budgets: Vec::new(),
        ..request.clone()
    };
    let all = front(table, &free, resource, POINTS)?;
    let points = all.iter().filter_map(|a| {
        Some(point(
            resource.of(&a.cost)?,
            a.loss,
            a.cost.weight_bytes,
            None,
        ))
    });
    Ok(Some(Front {
        resource,
        points: points.collect(),
        uniform: uniform(done, resource, &point),
        chosen: Some(point(
            chosen,
            allocation.loss,
            allocation.cost.weight_bytes,
            None,
        )),
    }))
}

/// The plans with one bit-width for all weights and the widest activations.
fn uniform(
    done: &Quantization,
    resource: Resource,
    point: &dyn Fn(f64, f64, u64, Option<String>) -> FrontPoint,
) -> Vec<FrontPoint> {
    let Some(table) = &done.table else {
        return Vec::new();
    };
    let widest = |a: &Vec<crate::cost::Choice>| a.iter().map(|c| c.bits).max();
    let activations: Vec<Bits> = table.activations().iter().filter_map(widest).collect();
    let Some(a) = activations.first().copied() else {
        return Vec::new();
    };
    let plan = |b: u8| {
        let bits = Bits::new(b)?;
        let precisions = Precisions {
            weights: vec![bits; table.weights().len()],
            activations: activations.clone(),
        };
        let losses = table
            .weights()
            .iter()
            .map(|c| loss(c, bits))
            .sum::<Option<f64>>()?;
        let rounded = table.activations().iter().zip(&activations);
        let rest = rounded.map(|(c, &b)| loss(c, b)).sum::<Option<f64>>()?;
        let cost = table.cost(&precisions);
        Some(point(
            resource.of(&cost)?,
            losses + rest,
            cost.weight_bytes,
            Some(format!("W{b}A{a}")),
        ))
    };
    (1..=8).filter_map(plan).collect()
}
