//! The head of the page: the name, the figures that count, what came of the budgets.

use maud::{Markup, html};

use crate::report::headline::{Figure, figures, sentence};
use crate::report::{Figures, Report};

/// The network's name, its first figures, and what must be told.
pub(super) fn header(report: &Report) -> Markup {
    let figures = figures(report);
    html! {
        header {
            h1 { bdi { (report.network) } }
            (tiles(&figures))
        }
        @if !report.budgets.is_empty() || !report.remarks.is_empty() {
            section.told {
                @for budget in &report.budgets {
                    p.missed[!budget.met()] { code { (budget.asked) } " " (sentence(budget)) }
                }
                @for remark in &report.remarks { p { (remark) } }
            }
        }
    }
}

/// All figures of both networks.
pub(super) fn before_and_after(report: &Report) -> Markup {
    let figures = figures(report);
    html! {
        @if !figures.is_empty() {
            section {
                h2 { "Before and after" }
                div.scroll tabindex="0" role="region" aria-label="Before and after" {
                    table.figures {
                        thead { tr {
                            td {}
                            th.number scope="col" { "float32" }
                            th.number scope="col" { "integer" }
                            td {}
                        } }
                        tbody {
                            @for f in &figures {
                                tr {
                                    th scope="row" { (f.name) }
                                    td.number { (f.float) }
                                    td.number { strong { (f.quantized) } }
                                    td.change { (f.change) }
                                }
                            }
                        }
                    }
                }
                (how_measured(report))
            }
        }
    }
}

/// The four figures that most readers come for.
fn tiles(figures: &[Figure]) -> Markup {
    let wanted = ["weights", "top-1", "time per image", "peak activations"];
    let shown = wanted.iter().filter_map(|name| {
        figures
            .iter()
            .find(|f| f.name == *name && !f.quantized.is_empty())
    });
    html! {
        div.tiles {
            @for f in shown {
                div {
                    span.what { (f.name) }
                    span.big { (f.quantized) }
                    @if !f.float.is_empty() {
                        span.was { "from " (f.float) @if !f.change.is_empty() { ", " (f.change) } }
                    }
                }
            }
        }
    }
}

/// How the times in the table were taken.
fn how_measured(report: &Report) -> Markup {
    let side = |name: &str, f: &Figures| {
        let t = f.timing.as_ref()?;
        Some(format!("{name}: batch {}, threads {}", t.batch, t.threads))
    };
    let sides = [
        side("float", &report.float),
        side("integer", &report.quantized),
    ];
    let told: Vec<String> = sides.into_iter().flatten().collect();
    html! {
        @if !told.is_empty() {
            p.note {
                "Times are medians (" (told.join("; ")) "). Bit-operations are no measure of time."
            }
        }
    }
}
