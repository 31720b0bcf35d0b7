//! Axes permuted: output axis `i` is input axis `perm[i]`.

use super::Site;

pub(super) fn forward_transpose(perm: &[usize], site: &Site, x: &[f32], y: &mut [f32]) {
    let len = site.output_len().max(1);
    for (x, y) in x.chunks_exact(len).zip(y.chunks_exact_mut(len)) {
        let mut to = y.iter_mut();
        each_place(perm, site, |from| {
            to.next().into_iter().for_each(|y| *y = x[from])
        });
    }
}

pub(super) fn backward_transpose(perm: &[usize], site: &Site, dy: &[f32], dx: &mut [f32]) {
    let len = site.output_len().max(1);
    for (dy, dx) in dy.chunks_exact(len).zip(dx.chunks_exact_mut(len)) {
        let mut from = dy.iter();
        each_place(perm, site, |to| {
            from.next().into_iter().for_each(|&dy| dx[to] = dy)
        });
    }
}

/// Calls `f` with the place in the input of every entry of the output, in the output's order.
fn each_place(perm: &[usize], site: &Site, mut f: impl FnMut(usize)) {
    let shape = site.inputs[0];
    let stride = |axis: &usize| shape[axis + 1..].iter().product::<usize>();
    let strides: Vec<usize> = perm.iter().map(stride).collect();
    let mut index = vec![0; perm.len()];
    let mut place = 0;
    for _ in 0..site.output_len() {
        f(place);
        for axis in (0..perm.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < site.output[axis] {
                break;
            }
            place -= strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
}
