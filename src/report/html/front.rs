//! The Pareto front as a drawing: expected loss, logarithmic, against cost.

use maud::{Markup, html};

use super::axis::Axis;
use super::frame::{Frame, px};
use super::label::{Place, place};
use crate::number::{digits, real};
use crate::report::{Budget, Front, FrontPoint};

/// Draws `front` `width` units wide; `None` when no point of it is a number.
pub(super) fn draw(front: &Front, budgets: &[Budget], width: f64) -> Option<Markup> {
    let usable = |p: &&FrontPoint| p.cost.is_finite() && p.loss.is_finite();
    let mut points: Vec<&FrontPoint> = front.points.iter().filter(usable).collect();
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let uniform: Vec<&FrontPoint> = front.uniform.iter().filter(usable).collect();
    let chosen = front.chosen.as_ref().filter(usable);
    let all = || points.iter().chain(&uniform).copied().chain(chosen);
    let largest = all().map(|p| p.cost).reduce(f64::max)?;
    let (unit, name) = front.resource.axis_unit(largest);
    let limit = budgets
        .iter()
        .find(|b| b.resource == front.resource && b.limit.is_finite());
    let limit = limit.filter(|b| b.limit <= largest * 1.5);
    let costs = all().map(|p| p.cost).chain(limit.map(|b| b.limit));
    let x = Axis::linear(costs.map(|c| c / unit), if width < 450.0 { 4 } else { 6 });
    let y = Axis::log(all().map(|p| p.loss), 6);
    let frame = Frame::new(width, (width * 0.66).clamp(260.0, 400.0));
    let at = |p: &FrontPoint| (frame.x(x.at(p.cost / unit)), frame.y(y.at(p.loss)));
    let line: String = points
        .iter()
        .map(|p| at(p))
        .map(|(x, y)| px(x) + "," + &px(y) + " ")
        .collect();
    let limit_at = limit.map(|b| frame.x(x.at(b.limit / unit)));
    let mut avoid: Vec<Place> = points.iter().map(|p| Place::around(at(p), 2.0)).collect();
    avoid.extend(limit_at.map(|x| Place::upright(&frame, x)));
    let labels = place(&frame, labelled(&uniform, chosen, &at), &avoid);
    let title = |p: &FrontPoint| point_title(front, p);
    let x_title = format!("{}, {name}", front.resource.words());
    Some(html! {
        svg viewBox=(frame.view_box()) role="img" aria-label="Expected loss against cost" {
            (frame.y_axis(&y, "expected loss increase"))
            (frame.x_axis(&x, &x_title))
            @if let (Some(budget), Some(at)) = (limit, limit_at) {
                line.limit x1=(px(at)) x2=(px(at)) y1=(px(frame.top)) y2=(px(frame.bottom())) {
                    title { "budget " (budget.asked) }
                }
            }
            polyline.front points=(line.trim_end()) {}
            @for p in &points {
                circle.front cx=(px(at(p).0)) cy=(px(at(p).1)) r="2.2" { title { (title(p)) } }
            }
            @for p in &uniform {
                @let (cx, cy) = at(p);
                rect.uniform x=(px(cx - 3.5)) y=(px(cy - 3.5)) width="7" height="7" {
                    title { (title(p)) }
                }
            }
            @if let Some(p) = chosen {
                circle.chosen cx=(px(at(p).0)) cy=(px(at(p).1)) r="5.5" { title { (title(p)) } }
            }
            @for (place, text) in &labels { (place.text(text)) }
        }
    })
}

/// What the marks mean, in words, under the drawing.
pub(super) fn caption(front: &Front, budgets: &[Budget]) -> Markup {
    let limited = budgets.iter().any(|b| b.resource == front.resource);
    let all = front
        .points
        .iter()
        .chain(&front.uniform)
        .chain(&front.chosen);
    let at_the_foot = all.filter(|p| p.loss <= 0.0).count();
    html! {
        @if !front.points.is_empty() {
            span.key { (mark("front")) " plans that no other beats" }
        }
        @if !front.uniform.is_empty() {
            span.key { (mark("uniform")) " the same bits everywhere" }
        }
        @if front.chosen.is_some() { span.key { (mark("chosen")) " this plan" } }
        @if limited { span.key { (mark("limit")) " budget" } }
        @if at_the_foot > 0 {
            span.key { "Drawn at the foot: plans of no expected loss, " (at_the_foot) " in all." }
        }
    }
}

pub(super) fn mark(kind: &str) -> Markup {
    html! {
        svg.mark viewBox="0 0 14 14" width="14" height="14" aria-hidden="true" {
            @match kind {
                "front" => { circle.front cx="7" cy="7" r="2.5" {} }
                "uniform" => { rect.uniform x="3.5" y="3.5" width="7" height="7" {} }
                "limit" => { line.limit x1="7" x2="7" y1="0" y2="14" {} }
                _ => { circle.chosen cx="7" cy="7" r="5" {} }
            }
        }
    }
}

/// The plans with a name, the chosen one first, and where they are marked.
fn labelled(
    uniform: &[&FrontPoint],
    chosen: Option<&FrontPoint>,
    at: &dyn Fn(&FrontPoint) -> (f64, f64),
) -> Vec<((f64, f64), String)> {
    let name = |p: &FrontPoint| p.label.clone();
    let chosen = chosen.map(|p| (at(p), name(p).unwrap_or_else(|| "this plan".into())));
    let uniform = uniform.iter().filter_map(|p| Some((at(p), name(p)?)));
    chosen.into_iter().chain(uniform).collect()
}

fn point_title(front: &Front, p: &FrontPoint) -> String {
    let mut title = String::new();
    if let Some(label) = &p.label {
        title = format!("{label}: ");
    }
    title += &format!(
        "{}, expected loss {}",
        front.resource.amount(p.cost),
        real(p.loss)
    );
    if let Some(bits) = p.weight_bits_mean {
        title += &format!(", {} bits a weight", digits(bits));
    }
    title
}
