//! A training run as a page: its curves, and how the bits of each layer moved.

use maud::{Markup, html};

use super::frame::{Frame, px};
use super::lines::{self, Guides, Line};
use super::{figure, page};
use crate::learn::Record;
use crate::number::{bops, seconds};
use crate::report::training::Training;

impl Training {
    /// The run as an HTML page in one file.
    pub fn to_html(&self) -> String {
        let body = html! {
            (header(self))
            div.pairs {
                (curves(self, "Held-out accuracy", "held-out images right, %", |r| &r.held_out))
                (curves(self, "Training accuracy", "training images right, %", |r| &r.train))
                (curves(self, "Loss", "mean loss, nats", |r| &r.loss))
                (cost(self))
                (bits("Bits of weights", self, |r| &r.weight_bits))
                (bits("Bits of what layers read", self, |r| &r.activation_bits))
            }
            section {
                h2 { "How this was made" }
                @if !self.command.is_empty() { pre { code { (self.command) } } }
                pre { code { (self.recipe) } }
            }
        };
        page(&format!("{}, trained", self.network), &body)
    }
}

fn header(run: &Training) -> Markup {
    let taken: f64 = run.records.iter().map(|r| r.seconds).sum();
    html! {
        h1 { (run.network) ", trained" }
        @if let Some(last) = run.records.last() {
            div.tiles {
                @if let Some(right) = last.held_out.last() {
                    (tile("held-out images right", format!("{right:.2} %")))
                }
                @if last.bops > 0.0 { (tile("BOPs, all heads too", bops(last.bops))) }
                @if let Some(left) = &run.leaving {
                    (tile("right, leaving early", format!("{:.2} %", left.top1)))
                    (tile("BOPs on average then", bops(left.bops_mean)))
                }
                (tile("epochs", run.records.len().to_string()))
                (tile("time", seconds(taken)))
            }
        }
        @if let Some(left) = &run.leaving {
            p { "Images leave by " code { (left.policy) } ", chosen on the held-out images." }
        }
    }
}

fn tile(what: &str, value: String) -> Markup {
    html! { div { span.what { (what) } span.big { (value) } } }
}

/// Where each phase but the first begins: between two epochs.
fn phases(run: &Training) -> Vec<(f64, String)> {
    let pairs = run.records.windows(2).enumerate();
    let begins = pairs.filter(|(_, pair)| pair[0].phase != pair[1].phase);
    begins
        .map(|(i, pair)| (i as f64 + 1.5, pair[1].phase.name().to_owned()))
        .collect()
}

/// One curve for each answer, over epochs.
fn curves(run: &Training, title: &str, unit: &str, of: fn(&Record) -> &Vec<f64>) -> Markup {
    let answers = run.records.iter().map(|r| of(r).len()).max().unwrap_or(0);
    let line = |a: usize| {
        let points = run.records.iter().enumerate();
        let points = points.filter_map(|(i, r)| Some((i as f64 + 1.0, *of(r).get(a)?)));
        Line {
            name: match a + 1 == answers {
                true => "output".to_owned(),
                false => format!("exit {}", a + 1),
            },
            points: points.collect(),
        }
    };
    let all: Vec<Line> = (0..answers).map(line).collect();
    let guides = Guides {
        begins: phases(run),
        level: None,
    };
    figure(
        title,
        &|width| lines::draw(&all, &guides, ["epoch", unit], width),
        Some(lines::caption(&all)),
    )
}

fn cost(run: &Training) -> Markup {
    let points = run.records.iter().enumerate();
    let line = [Line {
        name: String::new(),
        points: points
            .map(|(i, r)| (i as f64 + 1.0, r.bops / 1e9))
            .collect(),
    }];
    let any = run.records.iter().any(|r| r.bops > 0.0);
    let guides = Guides {
        begins: phases(run),
        level: run.target_bops.map(|t| (t / 1e9, "asked".to_owned())),
    };
    let titles = ["epoch", "GBOPs, all heads too, bits rounded"];
    let draw = |width| lines::draw(&line, &guides, titles, width);
    figure(
        "Bit-operations",
        &|width| any.then(|| draw(width)).flatten(),
        None,
    )
}

/// A field of layers by epochs, the darker the more bits.
fn bits(title: &str, run: &Training, of: fn(&Record) -> &Vec<f32>) -> Markup {
    let layers = run.layers.len();
    let moved = |l: usize| {
        let bits = run.records.iter().filter_map(move |r| of(r).get(l));
        bits.clone().any(|b| Some(b) != bits.clone().next())
    };
    let draw = |width: f64| {
        if !(0..layers).any(moved) {
            return None;
        }
        let frame = Frame::new(width, 66.0 + 9.0 * layers as f64);
        let step = frame.inner_width() / run.records.len() as f64;
        let row = (frame.bottom() - frame.top) / layers as f64;
        Some(html! {
            svg viewBox=(frame.view_box()) role="img" aria-label=(title) {
                text x="2" y=(px(frame.top - 12.0)) { "layer, in running order" }
                @for (l, name) in run.layers.iter().enumerate() {
                    @if l % 5 == 4 || l == 0 {
                        text.tick text-anchor="end" x=(px(frame.left - 7.0))
                            y=(px(frame.top + (l as f64 + 0.5) * row + 4.0)) { (l + 1) }
                    }
                    @for (e, record) in run.records.iter().enumerate() {
                        @if let Some(bits) = of(record).get(l) {
                            rect.cell x=(px(frame.left + e as f64 * step)) width=(px(step))
                                y=(px(frame.top + l as f64 * row)) height=(px(row - 1.0))
                                fill-opacity=(format!("{:.2}", (bits - 1.0) / 7.0)) {
                                title { (name) ", epoch " (e + 1) ": " (format!("{bits:.2}")) " bits" }
                            }
                        }
                    }
                }
                text text-anchor="end" x=(px(frame.x(1.0))) y=(px(frame.bottom() + 20.0)) { "epoch" }
            }
        })
    };
    let caption = html! { span.key { "The darker, the more bits: from 2 to 8." } };
    figure(title, &draw, Some(caption))
}
