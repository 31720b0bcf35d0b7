//! The report as one page that needs nothing else: style, drawings and table in one file.
//!
//! Everything is written through `maud`, which escapes what it is given: names of layers come
//! from foreign files and can hold any characters. The page also says, in its content policy,
//! that nothing may be fetched. It is complete without scripts; the one there is sorts tables.

mod axis;
mod depth;
mod frame;
mod front;
mod headline;
mod label;
mod lines;
mod table;
#[cfg(test)]
mod tests;
mod tradeoff;
mod training;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::column::{activation_columns, layer_columns};
use super::headline::{best_steps, step_words};
use super::{MetricRank, Origin, Report};
use crate::number::seconds;
use headline::{before_and_after, header};

/// Widths of a drawing, in units of a pixel: for a desk and for a telephone.
const WIDTHS: [(&str, f64); 2] = [("wide", 560.0), ("narrow", 340.0)];

/// Colours, and the style of drawings: of a page, and of a drawing that is a file of its own.
const DRAWING: &str = include_str!("drawing.css");

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

impl Report {
    /// The report as an HTML page in one file.
    pub fn to_html(&self) -> String {
        let body = html! {
            (header(self))
            div.pairs {
                (before_and_after(self))
                (choices(self))
                (depth(self))
                (metrics(&self.metrics))
            }
            (layers(self))
            (activations(self))
            (origin(&self.origin))
        };
        page(&format!("{}, quantized", self.network), &body)
    }
}

/// A page of `body` that needs nothing else.
fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(DRAWING)) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                main { (body) }
                script { (PreEscaped(include_str!("sort.js"))) }
            }
        }
    };
    page.into_string()
}

fn choices(report: &Report) -> Markup {
    let budgets = &report.budgets;
    html! {
        @if let Some(front) = &report.front {
            (figure("What there was to choose from", &|width| front::draw(front, budgets, width),
                Some(front::caption(front, budgets))))
        }
    }
}

fn depth(report: &Report) -> Markup {
    figure(
        "Bits along the depth",
        &|width| depth::draw(&report.layers, width),
        None,
    )
}

/// A drawing in both widths: the style shows the one that fits, so that text keeps its size.
fn figure(title: &str, draw: &dyn Fn(f64) -> Option<Markup>, caption: Option<Markup>) -> Markup {
    html! {
        @if draw(WIDTHS[0].1).is_some() {
            section {
                h2 { (title) }
                figure {
                    @for (class, width) in WIDTHS {
                        @if let Some(drawing) = draw(width) { div class=(class) { (drawing) } }
                    }
                    @if let Some(caption) = caption { figcaption { (caption) } }
                }
            }
        }
    }
}

fn layers(report: &Report) -> Markup {
    let steps = best_steps(report, 5);
    html! {
        @if !report.layers.is_empty() {
            section.landscape {
                h2 { "Layers" }
                (table::table("Layers", &layer_columns(report), &report.layers))
                @if !steps.is_empty() {
                    p { "One more bit takes most of the expected loss away, for its bytes, here:" }
                    ol.best {
                        @for (row, step) in steps {
                            li { bdi.name { (row.name) } ": " (step_words(row, step)) }
                        }
                    }
                }
            }
        }
    }
}

fn activations(report: &Report) -> Markup {
    html! {
        @if !report.activations.is_empty() {
            section {
                h2 { "Activations" }
                (table::table("Activations", &activation_columns(report), &report.activations))
            }
        }
    }
}

fn metrics(metrics: &[MetricRank]) -> Markup {
    html! {
        @if !metrics.is_empty() {
            section {
                h2 { "Sensitivity metrics against the measured loss" }
                p { "Spearman's rank correlation: 1 orders as measuring each one does, 0 says "
                    "nothing. Over all layers and bit-widths, and among the layers at one bit-width "
                    "(the mean), where it shows whether a metric knows one layer from another." }
                div.scroll tabindex="0" role="region" aria-label="Sensitivity metrics" {
                    table.metrics {
                        thead { tr {
                            th {} th {}
                            th.number scope="col" { "all" }
                            th.number scope="col" { "same bits" }
                            th {}
                        } }
                        tbody {
                            @for m in metrics {
                                tr.used[m.used] {
                                    th scope="row" { (m.metric) }
                                    td.meaning { (m.meaning) @if m.used { ", used here" } }
                                    td.number { (rank(m.spearman)) }
                                    td.number { (rank(m.spearman_at_same_bits)) }
                                    td { (correlation(m.spearman_at_same_bits)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rank(spearman: f64) -> String {
    if spearman.is_finite() {
        format!("{spearman:.3}").replace('-', "−")
    } else {
        "–".into()
    }
}

/// A bar from the middle: to the right where the correlation is positive.
fn correlation(value: f64) -> Markup {
    let value = if value.is_finite() {
        value.clamp(-1.0, 1.0)
    } else {
        0.0
    };
    let (x, width) = (60.0 + 60.0 * value.min(0.0), 60.0 * value.abs());
    html! {
        svg.correlation viewBox="0 0 120 12" width="120" height="12" aria-hidden="true" {
            line.grid x1="0" x2="120" y1="6" y2="6" {}
            rect.bar x=(frame::px(x)) y="2" width=(frame::px(width)) height="8" {}
            line.grid x1="60" x2="60" y1="0" y2="12" {}
        }
    }
}

fn origin(origin: &Origin) -> Markup {
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    let machine = origin.machine.as_ref();
    let version = Some(origin.version.clone()).filter(|v| !v.is_empty());
    let known = [
        ("exbit", version),
        ("calibration data", origin.calibration_data.clone()),
        ("calibration images", number(origin.calibration_images)),
        ("evaluation data", origin.evaluation_data.clone()),
        ("seed", number(origin.seed)),
        ("processor", machine.map(|m| m.cpu.clone())),
        ("instruction set", machine.map(|m| m.isa.clone())),
        ("threads", machine.map(|m| m.threads.to_string())),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let settings = origin
        .settings
        .iter()
        .map(|s| (s.name.clone(), s.value.clone()));
    let rows: Vec<(String, String)> = known.chain(settings).collect();
    let total: f64 = origin.stages.iter().map(|s| s.seconds).sum();
    html! {
        @if *origin != Origin::default() {
            section {
                h2 { "How this was made" }
                @if let Some(command) = &origin.command { pre { code { (command) } } }
                div.pair {
                    dl { @for (name, value) in &rows { dt { (name) } dd { (value) } } }
                    @if !origin.stages.is_empty() {
                        dl {
                            @for s in &origin.stages {
                                dt { (s.stage) } dd { (seconds(s.seconds)) }
                            }
                            dt { "in all" } dd { (seconds(total)) }
                        }
                    }
                }
            }
        }
    }
}
