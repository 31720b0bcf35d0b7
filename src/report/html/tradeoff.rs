//! The page of a trade-off: top-1 against mean BOPs, and against time.

use maud::{Markup, PreEscaped, html};

use super::axis::Axis;
use super::frame::{Frame, px};
use super::label::{Place, place};
use super::table::table;
use super::{DRAWING, WIDTHS, figure, page};
use crate::Resource;
use crate::number::digits;
use crate::report::column::point_columns;
use crate::report::{Tradeoff, TradeoffPoint};

impl Tradeoff {
    /// The trade-off as an HTML page in one file.
    pub fn to_html(&self) -> String {
        let over = |resource| move |width| draw(self, resource, width, None);
        let body = html! {
            h1 { (self.network) ", leaving early" }
            p { (self.images) " of " (self.data) "." }
            @for remark in &self.remarks { p { (remark) } }
            div.pairs {
                (figure("Accuracy and work", &over(Resource::Bops), Some(caption(self))))
                (figure("Accuracy and time", &over(Resource::Latency), Some(caption(self))))
            }
            @let points = named(self);
            @if !points.is_empty() {
                section {
                    h2 { "In numbers" }
                    (table("In numbers", &point_columns(&points), &points))
                }
            }
        };
        page(&format!("{}, leaving early", self.network), &body)
    }

    /// Top-1 against mean BOPs as an SVG file that needs nothing else, to be shown in a text.
    pub fn to_svg(&self) -> String {
        draw(self, Resource::Bops, WIDTHS[0].1, Some(DRAWING)).map_or_else(String::new, |d| d.0)
    }
}

/// The choice and what stands beside it.
fn named(tradeoff: &Tradeoff) -> Vec<TradeoffPoint> {
    let all = tradeoff.chosen.iter().chain(&tradeoff.others);
    all.cloned().collect()
}

/// How much of `resource` a point takes; nothing but work and time is drawn over.
fn amount(point: &TradeoffPoint, resource: Resource) -> Option<f64> {
    match resource {
        Resource::Bops => Some(point.bops_mean),
        Resource::Latency => point.ms_mean,
        Resource::Weights
        | Resource::PeakActivations
        | Resource::Activations
        | Resource::Memory => None,
    }
    .filter(|amount| amount.is_finite() && point.top1.is_finite())
}

/// Draws the points that have `resource`, `width` units wide, with a `style` of its own where the
/// page has none; `None` where there are no points.
fn draw(
    tradeoff: &Tradeoff,
    resource: Resource,
    width: f64,
    style: Option<&str>,
) -> Option<Markup> {
    let with = |p| amount(p, resource).map(|amount| (p, amount));
    let curve: Vec<(&TradeoffPoint, f64)> = tradeoff.curve.iter().filter_map(with).collect();
    let others: Vec<(&TradeoffPoint, f64)> = tradeoff.others.iter().filter_map(with).collect();
    let chosen = tradeoff.chosen.as_ref().and_then(with);
    let all = || curve.iter().chain(&others).copied().chain(chosen);
    let largest = all().map(|p| p.1).reduce(f64::max)?;
    let (unit, name) = resource.axis_unit(largest);
    let zero = std::iter::once(0.0);
    let most = if width < 450.0 { 4 } else { 6 };
    let x = Axis::linear(all().map(|p| p.1 / unit).chain(zero), most);
    let y = Axis::linear(all().map(|p| p.0.top1), 6);
    let frame = Frame::new(width, (width * 0.66).clamp(260.0, 400.0));
    let at = |p: &(&TradeoffPoint, f64)| (frame.x(x.at(p.1 / unit)), frame.y(y.at(p.0.top1)));
    let line = |(x, y): (f64, f64)| px(x) + "," + &px(y) + " ";
    let line: String = curve.iter().map(|p| line(at(p))).collect();
    let avoid: Vec<Place> = curve.iter().map(|p| Place::around(at(p), 2.0)).collect();
    let named = chosen.iter().chain(&others);
    let named = named.filter_map(|p| Some((at(p), p.0.label.clone()?)));
    let labels = place(&frame, named.collect(), &avoid);
    let title = |p: &(&TradeoffPoint, f64)| {
        let label =
            p.0.label
                .as_ref()
                .map_or(String::new(), |l| format!("{l}: "));
        let amount = resource.amount(p.1);
        format!("{label}top-1 {} %, {amount}", digits(p.0.top1))
    };
    Some(html! {
        svg viewBox=(frame.view_box()) role="img" aria-label="Top-1 against cost"
            xmlns=[style.map(|_| "http://www.w3.org/2000/svg")] {
            @if let Some(style) = style { style { (PreEscaped(style)) } }
            (frame.y_axis(&y, "top-1, %"))
            (frame.x_axis(&x, &format!("{} on average, {name}", resource.words())))
            polyline.front points=(line.trim_end()) {}
            @for p in &curve {
                circle.front cx=(px(at(p).0)) cy=(px(at(p).1)) r="2.2" { title { (title(p)) } }
            }
            @for p in &others {
                @let (cx, cy) = at(p);
                rect.uniform x=(px(cx - 3.5)) y=(px(cy - 3.5)) width="7" height="7" {
                    title { (title(p)) }
                }
            }
            @if let Some(p) = &chosen {
                circle.chosen cx=(px(at(p).0)) cy=(px(at(p).1)) r="5.5" { title { (title(p)) } }
            }
            @for (place, text) in &labels { (place.text(text)) }
        }
    })
}

fn caption(tradeoff: &Tradeoff) -> Markup {
    html! {
        span.key { (super::front::mark("front")) " one threshold for all exits" }
        @if !tradeoff.others.is_empty() {
            span.key { (super::front::mark("uniform")) " other networks, as they run" }
        }
        @if tradeoff.chosen.is_some() {
            span.key { (super::front::mark("chosen")) " this policy" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(
        label: Option<&str>,
        top1: f64,
        bops_mean: f64,
        ms_mean: Option<f64>,
    ) -> TradeoffPoint {
        TradeoffPoint {
            label: label.map(str::to_owned),
            top1,
            bops_mean,
            ms_mean,
        }
    }

    fn sample(time: bool) -> Tradeoff {
        let ms = |ms: f64| time.then_some(ms);
        Tradeoff {
            network: "</title><script>net".into(),
            images: 5000,
            data: "<b>data".into(),
            curve: (0..20)
                .map(|i| point(None, 91.0 - f64::from(i), 1e9 - 4e7 * f64::from(i), ms(0.2)))
                .collect(),
            chosen: Some(point(Some("max-softmax=0.9"), 90.5, 8e8, ms(0.15))),
            others: vec![
                point(Some("<i>end"), 91.2, 1e9, ms(0.2)),
                point(None, f64::NAN, 1.0, None),
            ],
            remarks: vec!["<u>remark".into()],
        }
    }

    #[test]
    fn the_page_draws_what_is_known_and_keeps_names_as_text() {
        let page = sample(true).to_html();
        assert_eq!(page.matches("<svg viewBox=\"0 0 560").count(), 2);
        assert!(page.contains("GBOP") && page.contains("µs"));
        assert!(!page.contains("NaN"));
        assert_eq!(page.matches("<script").count(), 1);
        for tag in ["<b>", "<i>", "<u>"] {
            assert!(!page.contains(tag), "{tag}");
        }
        let without = sample(false).to_html();
        assert_eq!(without.matches("<svg viewBox=\"0 0 560").count(), 1);
        assert!(!Tradeoff::default().to_html().contains("<svg"));
        let alone = sample(false).to_svg();
        assert!(alone.starts_with("<svg viewBox=\"0 0 560") && alone.ends_with("</svg>"));
        assert!(alone.contains("http://www.w3.org/2000/svg") && alone.contains("--paper"));
    }
}
