//! Several curves in one drawing.

use maud::{Markup, html};

use super::axis::Axis;
use super::frame::{Frame, px};

/// One curve.
pub(super) struct Line {
    pub(super) name: String,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// What stands behind the curves.
pub(super) struct Guides {
    /// Lines from the top down, each with what begins at its right.
    pub(super) begins: Vec<(f64, String)>,
    /// A line across, and what it is.
    pub(super) level: Option<(f64, String)>,
}

/// The style of the `i`-th curve: there are six, then they come again.
pub(super) fn class(i: usize) -> String {
    format!("line{}", i % 6)
}

/// Draws `lines` in front of `guides`, `width` units wide; `None` when no curve has a point that is
/// a number. Marks stand on the points where they are few.
pub(super) fn draw(
    lines: &[Line],
    guides: &Guides,
    titles: [&str; 2],
    width: f64,
) -> Option<Markup> {
    let usable = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let all = || lines.iter().flat_map(|l| &l.points).filter(usable);
    all().next()?;
    let level = guides.level.iter().map(|l| l.0);
    let x = Axis::linear(all().map(|p| p.0), if width < 450.0 { 4 } else { 6 });
    let y = Axis::linear(all().map(|p| p.1).chain(level), 6);
    let frame = Frame::new(width, (width * 0.6).clamp(240.0, 360.0));
    let at = |p: &(f64, f64)| (frame.x(x.at(p.0)), frame.y(y.at(p.1)));
    let path = |line: &Line| -> String {
        let points = line.points.iter().filter(usable).map(at);
        points.map(|(x, y)| px(x) + "," + &px(y) + " ").collect()
    };
    let few = |line: &Line| line.points.len() <= 40;
    Some(html! {
        svg viewBox=(frame.view_box()) role="img" aria-label=(titles[1]) {
            (frame.y_axis(&y, titles[1]))
            (frame.x_axis(&x, titles[0]))
            @for (begin, name) in &guides.begins {
                @let x = frame.x(x.at(*begin));
                line.tick x1=(px(x)) x2=(px(x)) y1=(px(frame.top)) y2=(px(frame.bottom())) {}
                @let late = x > frame.x(0.8);
                text.tick x=(px(if late { x - 4.0 } else { x + 4.0 }))
                    text-anchor=(if late { "end" } else { "start" })
                    y=(px(frame.bottom() - 5.0)) { (name) (if late { " →" } else { "" }) }
            }
            @if let Some((level, name)) = &guides.level {
                @let y = frame.y(y.at(*level));
                line.limit x1=(px(frame.left)) x2=(px(frame.x(1.0))) y1=(px(y)) y2=(px(y)) {}
                text.tick text-anchor="end" x=(px(frame.x(1.0))) y=(px(y - 5.0)) { (name) }
            }
            @for (i, line) in lines.iter().enumerate() {
                g class=(class(i)) {
                    title { (line.name) }
                    polyline points=(path(line).trim_end()) {}
                    @if few(line) {
                        @for p in line.points.iter().filter(usable) {
                            circle cx=(px(at(p).0)) cy=(px(at(p).1)) r="2.2" {}
                        }
                    }
                }
            }
        }
    })
}

/// The names of the curves with their colours, under the drawing.
pub(super) fn caption(lines: &[Line]) -> Markup {
    html! {
        @for (i, line) in lines.iter().enumerate() {
            span.key {
                svg.mark viewBox="0 0 14 14" width="14" height="14" aria-hidden="true" {
                    g class=(class(i)) { polyline points="0,7 14,7" {} }
                }
                " " (line.name)
            }
        }
    }
}
