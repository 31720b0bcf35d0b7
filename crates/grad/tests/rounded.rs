//! Gradients from factors in bfloat16 against those from floats. Whole numbers survive rounding,
//! and their sums are exact: so both are equal.

mod draw;

use draw::Draw;
use exbit_grad::{Mode, Wanted, backward, forward};
use exbit_model::{Conv, Model, NodeId, Op, Tensor, Window};

const IMAGES: usize = 3;

/// Input shape, output channels, groups, window.
type Case = ([usize; 3], usize, usize, Window);

#[test]
fn narrow_convolutions() {
    let square = Window::square;
    let uneven = Window {
        kernel: [3, 2],
        stride: [1, 2],
        dilation: [2, 1],
        pads: [2, 1, 2, 0],
    };
    let cases = [
        ([3, 6, 5], 4, 1, square(3, 1, 1)),
        ([2, 7, 7], 3, 1, square(3, 2, 1)),
        ([2, 8, 6], 3, 1, square(3, 2, 0)),
        ([5, 4, 4], 7, 1, square(1, 1, 0)),
        ([4, 6, 5], 4, 4, square(3, 1, 1)),
        ([3, 7, 8], 3, 3, square(3, 2, 1)),
        ([17, 2, 2], 9, 1, square(3, 1, 1)),
        ([2, 9, 7], 2, 2, uneven),
    ];
    cases.into_iter().for_each(check);
}

/// Wide enough for tiles of 16 rows, where the CPU has such: even, uneven, and in groups.
#[test]
fn wide_convolutions() {
    let square = Window::square;
    let cases = [
        ([16, 9, 8], 16, 1, square(3, 1, 1)),
        ([24, 8, 9], 33, 1, square(3, 1, 1)),
        ([20, 11, 12], 17, 1, square(3, 2, 1)),
        ([40, 16, 16], 9, 1, square(1, 2, 0)),
        ([20, 8, 8], 36, 2, square(3, 1, 1)),
        ([9, 10, 10], 8, 1, square(5, 1, 2)),
    ];
    cases.into_iter().for_each(check);
}

fn check(case: Case) {
    let (shape, out, groups, window) = case;
    let mut draw = Draw((shape[0] * 100 + out) as u64);
    let mut whole = |n| -> Vec<f32> { draw.floats(n, 9.0).iter().map(|x| x.round()).collect() };
    let [kh, kw] = window.kernel;
    let weight = vec![out, shape[0] / groups, kh, kw];
    let data = whole(weight.iter().product());
    let op = Op::Conv(Conv {
        weight: Tensor::new(weight, data).expect("as many as there are"),
        bias: None,
        window,
        groups,
    });
    let mut model = Model::new("alone", "x", shape.to_vec());
    model
        .push("node", op, &[model.input()])
        .expect("shapes fit");
    let x = whole(IMAGES * model.input_len());
    let tape = forward(&model, &x, IMAGES, Mode::Eval);
    let seeds = [vec![(model.output(), whole(tape.output().len()))]];
    let found = [false, true].map(|rounded| {
        let wanted = Wanted {
            parameters: true,
            values: vec![model.input()],
            rounded,
        };
        backward(&model, &tape, &seeds, &wanted).remove(0)
    });
    let of = |i: usize| (found[i].value(model.input()), found[i].node(NodeId(0)));
    assert_eq!(of(0), of(1), "{case:?}");
}
