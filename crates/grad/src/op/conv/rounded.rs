//! A convolution's gradients from products of bfloat16, sums in floats: faster where the CPU
//! multiplies pairs or tiles. Both factors of each product are rounded, to 8 bits of precision;
//! what was computed forward is not.

use exbit_kernels::bf16::{Bf16, Half, Pair};
use exbit_kernels::shifted::{Rows, dots_halves, product_pairs};
use exbit_model::Conv;

use super::super::flat::Layout;
use super::super::{Seen, Wants};
use super::{
    Extents, backward_taps, forward_taps, input_phase, put_gradient, weight, weight_gradient,
};
use crate::scratch::{Scratch, take};

/// As the general path of [`super::backward`].
pub(super) fn backward(
    bf16: Bf16,
    op: &Conv,
    (e, layout): (&Extents, &Layout),
    seen: Seen,
    dys: &[&[f32]],
    wants: &mut Wants,
) {
    let pairs = e.cout.div_ceil(2);
    let (taps, back) = (forward_taps(e, layout), backward_taps(e, pairs, layout));
    let mut x = halves(e.cin * layout.phases.len() * layout.len);
    let mut dy = halves(e.cout * layout.len);
    let mut dy_pairs = take(pairs * layout.len);
    for group in 0..e.groups {
        if !wants.parameters.is_empty() {
            let mut plane = take(layout.len);
            let planes = bytemuck::cast_slice_mut::<f32, Half>(&mut x);
            for (i, to) in planes.chunks_exact_mut(layout.len).enumerate() {
                input_phase(e, layout, group, i, seen.xs[0], &mut plane);
                bf16.round(to, &plane);
            }
        }
        let weights = weight_pairs(bf16, weight(op, e, group), e);
        for (c, all) in dys.iter().enumerate() {
            let (dy, dy_pairs) = (bytemuck::cast_slice_mut(&mut dy), &mut *dy_pairs);
            let dy_pairs = bytemuck::cast_slice_mut(dy_pairs);
            put_output(bf16, e, layout, group, all, (dy, dy_pairs));
            if let Some(gradient) = wants.parameters.get_mut(c) {
                let dw = weight_gradient(&mut gradient.weight, e, group);
                let dy = Rows::new(&dy[layout.lead..], e.cout, layout.len);
                let x = taps.read(bytemuck::cast_slice(&x), layout.outputs());
                dots_halves(bf16, dw, dy, x);
            }
            if let Some(dx) = &mut wants.dxs[0][c] {
                let dx = &mut dx[group * e.cin * e.in_plane()..];
                put_gradient(e, layout, dx, |phase, laid| {
                    let weights = bytemuck::cast_slice::<f32, Pair>(&weights);
                    let weights = Rows::new(weights, e.cin, e.taps);
                    let shifts = back[phase].read(dy_pairs, layout.inputs());
                    product_pairs(bf16, laid, weights, shifts);
                });
            }
        }
    }
}

/// Room for so many halves.
fn halves(len: usize) -> Scratch {
    take(len.div_ceil(2))
}

/// Every output channel of a group, laid out: as halves, and two and two as pairs.
fn put_output(
    bf16: Bf16,
    e: &Extents,
    layout: &Layout,
    group: usize,
    y: &[f32],
    (halves, pairs): (&mut [Half], &mut [Pair]),
) {
    let mut planes = take(2 * layout.len);
    let (one, two) = planes.split_at_mut(layout.len);
    for (i, pairs) in pairs.chunks_exact_mut(layout.len).enumerate() {
        for (o, plane) in [(2 * i, &mut *one), (2 * i + 1, &mut *two)] {
            if o == e.cout {
                plane.fill(0.0);
                break;
            }
            let y = &y[(group * e.cout + o) * e.out_plane()..];
            layout.put_output(y, e.out_len(), plane);
            bf16.round(&mut halves[o * layout.len..][..layout.len], plane);
        }
        bf16.pair(pairs, one, two);
    }
}

/// The weights of a group, those of two output channels as pairs.
fn weight_pairs(bf16: Bf16, weight: &[f32], e: &Extents) -> Scratch {
    let len = e.cin * e.taps;
    let mut pairs = take(e.cout.div_ceil(2) * len);
    let none = vec![0.0; len];
    let both = weight.chunks(2 * len);
    for (to, both) in pairs.chunks_exact_mut(len).zip(both) {
        let (one, two) = both.split_at(len);
        let two = if two.is_empty() { &none } else { two };
        bf16.pair(bytemuck::cast_slice_mut(to), one, two);
    }
    pairs
}
