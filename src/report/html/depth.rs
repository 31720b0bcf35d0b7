//! Bits and sensitivity of the layers along the depth of the network.

use maud::{Markup, html};

use super::axis::Axis;
use super::frame::{Frame, px};
use crate::number::real;
use crate::report::LayerRow;

/// Draws `layers` `width` units wide: bars of bits, and under them the expected losses.
pub(super) fn draw(layers: &[LayerRow], width: f64) -> Option<Markup> {
    if layers.is_empty() {
        return None;
    }
    let losses = || layers.iter().filter_map(|l| l.sensitivity);
    let known = losses().any(|loss| loss > 0.0);
    let whole = Frame::new(width, if known { 380.0 } else { 220.0 });
    let upper = whole.panel(0.0, 210.0);
    let lower = whole.panel(182.0, 198.0);
    let last = if known { &lower } else { &upper };
    let y = Axis::log(losses(), 5);
    Some(html! {
        svg viewBox=(whole.view_box()) role="img" aria-label="Bits and sensitivity by layer" {
            (bits(layers, &upper))
            @if known { (sensitivities(layers, &lower, &y)) }
            @for n in numbers(layers.len(), last) {
                text.tick text-anchor="middle" x=(px(centre(last, layers.len(), n - 1)))
                    y=(px(last.bottom() + 16.0)) { (n) }
            }
            text text-anchor="end" x=(px(last.x(1.0))) y=(px(last.bottom() + 34.0)) {
                "layer, in running order"
            }
        }
    })
}

fn bits(layers: &[LayerRow], frame: &Frame) -> Markup {
    let step = frame.inner_width() / layers.len() as f64;
    let bar = (step * 0.72).min(28.0);
    let y = |bits: u8| frame.y(f64::from(bits.min(8)) / 8.0);
    html! {
        text x="2" y=(px(frame.top - 12.0)) { "bits of weights (bars) and of the input (lines)" }
        @for bits in [0, 2, 4, 6, 8] {
            line.grid x1=(px(frame.left)) x2=(px(frame.x(1.0))) y1=(px(y(bits))) y2=(px(y(bits))) {}
            text.tick text-anchor="end" x=(px(frame.left - 7.0)) y=(px(y(bits) + 4.0)) { (bits) }
        }
        @for (i, layer) in layers.iter().enumerate() {
            @let x = centre(frame, layers.len(), i);
            @let top = y(layer.weight_bits);
            g {
                title { (title(i, layer)) }
                rect.bar x=(px(x - bar / 2.0)) width=(px(bar)) y=(px(top))
                    height=(px(frame.bottom() - top)) {}
                @if let Some(bits) = layer.input_bits {
                    line.input x1=(px(x - step / 2.0)) x2=(px(x + step / 2.0))
                        y1=(px(y(bits))) y2=(px(y(bits))) {}
                }
            }
        }
    }
}

fn sensitivities(layers: &[LayerRow], frame: &Frame, y: &Axis) -> Markup {
    html! {
        (frame.y_axis(y, "expected loss increase at these weight bits"))
        @for (i, layer) in layers.iter().enumerate() {
            @if let Some(loss) = layer.sensitivity.filter(|loss| loss.is_finite()) {
                @let x = px(centre(frame, layers.len(), i));
                @let top = px(frame.y(y.at(loss)));
                g {
                    title { (title(i, layer)) }
                    line.stem x1=(x) x2=(x) y1=(px(frame.bottom())) y2=(top) {}
                    circle.stem cx=(x) cy=(top) r="2.6" {}
                }
            }
        }
    }
}

fn centre(frame: &Frame, layers: usize, i: usize) -> f64 {
    frame.x((i as f64 + 0.5) / layers as f64)
}

fn title(i: usize, layer: &LayerRow) -> String {
    let mut title = format!(
        "{} {}: weights {} bits",
        i + 1,
        layer.name,
        layer.weight_bits
    );
    if let Some(bits) = layer.input_bits {
        title += &format!(", input {bits} bits");
    }
    if let Some(loss) = layer.sensitivity {
        title += &format!(", expected loss {}", real(loss));
    }
    title
}

/// Every so many layers, as many as have room.
fn numbers(layers: usize, frame: &Frame) -> impl Iterator<Item = usize> {
    let room = (frame.inner_width() / 30.0).max(1.0);
    let mut strides = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].into_iter();
    let stride = strides
        .find(|s| layers as f64 / *s as f64 <= room)
        .unwrap_or(layers);
    (stride..=layers).step_by(stride)
}
