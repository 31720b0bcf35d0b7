//! Convolutions of all kinds, for tests: strides, dilations, pads, groups.

use exbit_model::{Conv, Op, Tensor, Window};

/// Input shape, output channels, groups, bias, window.
pub(crate) type Case = ([usize; 3], usize, usize, bool, Window);

/// The op of a case; `draw` gives so many numbers, for the weight and then for the bias.
pub(crate) fn convolution(case: &Case, mut draw: impl FnMut(usize) -> Vec<f32>) -> Op {
    let &(shape, out, groups, has_bias, window) = case;
    let [kh, kw] = window.kernel;
    let weight = vec![out, shape[0] / groups, kh, kw];
    let data = draw(weight.iter().product());
    Op::Conv(Conv {
        weight: Tensor::new(weight, data).expect("as many as there are"),
        bias: has_bias.then(|| draw(out)),
        window,
        groups,
    })
}

/// Of a few channels: narrow enough for differences of every number.
pub(crate) fn narrow() -> Vec<Case> {
    let square = Window::square;
    vec![
        ([3, 6, 5], 4, 1, true, square(3, 1, 1)),
        ([2, 7, 7], 3, 1, false, square(3, 2, 1)),
        ([2, 8, 6], 3, 1, false, square(3, 2, 0)),
        ([5, 4, 3], 7, 1, true, square(1, 1, 0)),
        ([5, 4, 4], 7, 1, true, square(1, 1, 0)),
        ([9, 8, 4], 17, 1, false, square(1, 1, 0)),
        ([4, 5, 5], 3, 1, false, square(1, 2, 0)),
        ([2, 4, 4], 2, 1, false, square(1, 1, 1)),
        (
            [2, 9, 8],
            2,
            1,
            true,
            window([3, 3], [1, 1], [2, 2], [2, 2, 2, 2]),
        ),
        (
            [1, 8, 9],
            2,
            1,
            false,
            window([3, 2], [2, 1], [1, 3], [0, 1, 1, 2]),
        ),
        (
            [2, 5, 6],
            2,
            1,
            false,
            window([5, 4], [3, 2], [1, 1], [2, 0, 1, 3]),
        ),
        (
            [1, 3, 3],
            1,
            1,
            false,
            window([2, 2], [1, 1], [1, 1], [3, 0, 0, 4]),
        ),
        ([4, 5, 4], 6, 2, true, square(3, 1, 1)),
        ([6, 5, 5], 3, 3, false, square(3, 2, 1)),
        ([4, 6, 5], 4, 4, true, square(3, 1, 1)),
        ([3, 7, 8], 3, 3, false, square(3, 2, 1)),
        ([2, 8, 8], 2, 2, true, square(5, 1, 2)),
        (
            [2, 9, 7],
            2,
            2,
            false,
            window([3, 3], [2, 2], [1, 1], [0, 0, 1, 1]),
        ),
        (
            [2, 9, 7],
            2,
            2,
            false,
            window([3, 3], [1, 1], [2, 1], [2, 1, 2, 0]),
        ),
        ([2, 5, 5], 4, 2, true, square(3, 1, 1)),
        ([17, 2, 2], 9, 1, false, square(3, 1, 1)),
        (
            [1, 1, 40],
            1,
            1,
            true,
            window([1, 3], [1, 1], [1, 1], [0, 1, 0, 1]),
        ),
        (
            [1, 40, 1],
            1,
            1,
            false,
            window([3, 1], [2, 1], [1, 1], [1, 0, 0, 0]),
        ),
        (
            [2, 9, 7],
            2,
            2,
            false,
            window([3, 2], [1, 2], [2, 1], [2, 1, 2, 0]),
        ),
    ]
}

/// A window by its parts.
pub(crate) fn window(
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
) -> Window {
    Window {
        kernel,
        stride,
        dilation,
        pads,
    }
}
