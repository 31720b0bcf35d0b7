//! Labels beside the marks of a drawing: each where it hides least, or not at all.

use maud::{Markup, html};

use super::frame::{CHARACTER, Frame, px};

/// Height of a line of text in a drawing.
const LINE: f64 = 14.0;

/// Between the middle of a mark and its label.
const GAP: f64 = 9.0;

/// A rectangle that a mark or a label takes up.
#[derive(Clone, Copy)]
pub(super) struct Place {
    x0: f64,
    y0: f64,
    x1: f64,
    y1: f64,
    /// Which end of the text stays put when it is not as wide as estimated.
    anchor: &'static str,
}

/// Places for labels: `wanted` are marks that must stay visible, and what to write beside each;
/// `avoid` may be covered where there is no better place. The first label has the first choice.
pub(super) fn place(
    frame: &Frame,
    wanted: Vec<((f64, f64), String)>,
    avoid: &[Place],
) -> Vec<(Place, String)> {
    let marks: Vec<Place> = wanted
        .iter()
        .map(|(at, _)| Place::around(*at, 5.0))
        .collect();
    let mut placed: Vec<(Place, String)> = Vec::new();
    for (at, text) in wanted {
        let hits = |of: &[Place], place: &Place| of.iter().filter(|o| o.meets(place)).count();
        let allowed = |place: &Place| {
            let labels: Vec<Place> = placed.iter().map(|(place, _)| *place).collect();
            place.is_within(frame) && hits(&marks, place) + hits(&labels, place) == 0
        };
        let places = Place::beside(at, &text).into_iter().filter(allowed);
        if let Some(best) = places.min_by_key(|place| hits(avoid, place)) {
            placed.push((best, text));
        }
    }
    placed
}

impl Place {
    /// `reach` units to every side of a point.
    pub(super) fn around((x, y): (f64, f64), reach: f64) -> Self {
        Self {
            x0: x - reach,
            y0: y - reach,
            x1: x + reach,
            y1: y + reach,
            anchor: "middle",
        }
    }

    /// A line from the top of a frame to its foot.
    pub(super) fn upright(frame: &Frame, x: f64) -> Self {
        Self {
            x0: x - 1.0,
            y0: frame.top,
            x1: x + 1.0,
            y1: frame.bottom(),
            anchor: "middle",
        }
    }

    /// `text` in this place.
    pub(super) fn text(&self, text: &str) -> Markup {
        let x = match self.anchor {
            "start" => self.x0,
            "end" => self.x1,
            _ => (self.x0 + self.x1) / 2.0,
        };
        html! {
            text.label text-anchor=(self.anchor) x=(px(x)) y=(px(self.y1 - 3.5)) { (text) }
        }
    }

    /// Where `text` can stand beside a point, the best first.
    fn beside((x, y): (f64, f64), text: &str) -> [Self; 8] {
        let wide = text.chars().count() as f64 * CHARACTER;
        let place = |anchor: &'static str, x0: f64, y0: f64| Self {
            x0,
            y0,
            x1: x0 + wide,
            y1: y0 + LINE,
            anchor,
        };
        let (right, left, middle) = (x + GAP, x - GAP - wide, x - wide / 2.0);
        let (above, below, level) = (y - GAP - LINE, y + GAP, y - LINE / 2.0);
        let corner = 0.4 * GAP;
        [
            place("start", right, level),
            place("start", right - corner, above + corner),
            place("middle", middle, above),
            place("end", left, level),
            place("end", left + corner, below - corner),
            place("start", right - corner, below - corner),
            place("middle", middle, below),
            place("end", left + corner, above + corner),
        ]
    }

    fn meets(&self, other: &Self) -> bool {
        self.x0 < other.x1 && other.x0 < self.x1 && self.y0 < other.y1 && other.y0 < self.y1
    }

    fn is_within(&self, frame: &Frame) -> bool {
        self.x0 >= frame.left
            && self.x1 <= frame.x(1.0) + 10.0
            && self.y0 >= frame.top
            && self.y1 <= frame.bottom()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_cover_marks_or_each_other() {
        let frame = Frame::new(560.0, 360.0);
        let spiral = (0..40).map(|i| {
            let (r, turn) = (i as f64 * 3.0, i as f64 * 0.7);
            let at = (280.0 + r * turn.cos(), 180.0 + r * turn.sin());
            (at, format!("W{i}"))
        });
        let wanted: Vec<_> = spiral.collect();
        let placed = place(&frame, wanted.clone(), &[]);
        assert!(placed.len() > 10, "{}", placed.len());
        for (i, (a, _)) in placed.iter().enumerate() {
            assert!(placed[..i].iter().all(|(b, _)| !a.meets(b)));
            assert!(
                wanted
                    .iter()
                    .all(|(at, _)| !a.meets(&Place::around(*at, 5.0)))
            );
        }
    }

    #[test]
    fn labels_move_to_the_free_side() {
        let frame = Frame::new(560.0, 360.0);
        let at = (300.0, 200.0);
        let right = Place::around((330.0, 200.0), 30.0);
        let placed = place(&frame, vec![(at, "W4A8".into())], &[right]);
        assert!(placed[0].0.x1 < 330.0 && !placed[0].0.meets(&right));
    }
}
