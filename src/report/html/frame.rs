//! Where things stand in a drawing: the plotting area, its axes and their ticks.
//!
//! Drawings are written by hand and not with a plotting crate, because colours must come from
//! the page's style (light, dark, print) and text must keep its size when the page is narrow;
//! plotters writes fixed colours and sizes into each element.

use maud::{Markup, html};

use super::axis::Axis;

/// Width of one character in a drawing, estimated on the wide side.
pub(super) const CHARACTER: f64 = 7.6;

/// A drawing with room for axes at its left and foot and for a title at its top.
pub(super) struct Frame {
    width: f64,
    height: f64,
    pub(super) left: f64,
    pub(super) top: f64,
    right: f64,
    foot: f64,
}

impl Frame {
    /// A drawing of `width` x `height` units.
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            left: 52.0,
            top: 26.0,
            right: 14.0,
            foot: 40.0,
        }
    }

    /// The part of the drawing from `top` for `height` units, as a frame of its own.
    pub(super) fn panel(&self, top: f64, height: f64) -> Self {
        Self {
            top: top + 26.0,
            height: top + height,
            ..*self
        }
    }

    pub(super) fn view_box(&self) -> String {
        format!("0 0 {} {}", px(self.width), px(self.height))
    }

    pub(super) fn bottom(&self) -> f64 {
        self.height - self.foot
    }

    pub(super) fn inner_width(&self) -> f64 {
        self.width - self.left - self.right
    }

    /// Units from the left of a place from 0 to 1.
    pub(super) fn x(&self, at: f64) -> f64 {
        self.left + at * self.inner_width()
    }

    /// Units from the top of a place from 0, at the foot, to 1.
    pub(super) fn y(&self, at: f64) -> f64 {
        self.bottom() - at * (self.bottom() - self.top)
    }

    /// Lines across at the ticks, their labels, and the title above.
    pub(super) fn y_axis(&self, axis: &Axis, title: &str) -> Markup {
        html! {
            text x=(px(2.0)) y=(px(self.top - 12.0)) { (title) }
            @for (value, label) in &axis.ticks {
                @let y = self.y(axis.at(*value));
                line.grid x1=(px(self.left)) x2=(px(self.x(1.0))) y1=(px(y)) y2=(px(y)) {}
                text.tick text-anchor="end" x=(px(self.left - 7.0)) y=(px(y + 4.0)) { (label) }
            }
        }
    }

    /// Ticks below, their labels where they have room, and the title.
    pub(super) fn x_axis(&self, axis: &Axis, title: &str) -> Markup {
        let half = |label: &str| label.chars().count() as f64 * CHARACTER / 2.0;
        let mut end = f64::MIN;
        let mut has_room = |x: f64, label: &str| {
            let room = x - half(label) > end + 4.0;
            if room {
                end = x + half(label);
            }
            room
        };
        let foot = self.bottom();
        html! {
            @for (value, label) in &axis.ticks {
                @let x = self.x(axis.at(*value));
                line.tick x1=(px(x)) x2=(px(x)) y1=(px(foot)) y2=(px(foot + 4.0)) {}
                @if has_room(x, label) {
                    text.tick text-anchor="middle" x=(px(x)) y=(px(foot + 17.0)) { (label) }
                }
            }
            text text-anchor="end" x=(px(self.x(1.0))) y=(px(foot + 34.0)) { (title) }
        }
    }
}

/// A coordinate: a tenth of a unit is enough.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), String::from)
}
