//! Gradients from factors in bfloat16 against those from floats. Whole numbers survive rounding,
//! and their sums are exact: so both are equal.

mod convolutions;
mod draw;

use convolutions::{Case, convolution, narrow};
use draw::Draw;
use exbit_grad::{Mode, Wanted, backward, forward};
use exbit_model::{Model, NodeId, Window};

const IMAGES: usize = 3;

#[test]
fn narrow_convolutions() {
    narrow().iter().for_each(check);
}

/// Wide enough for tiles of 16 rows, where the CPU has such: even, uneven, and in groups.
#[test]
fn wide_convolutions() {
    let square = Window::square;
    let cases = [
        ([16, 9, 8], 16, 1, false, square(3, 1, 1)),
        ([24, 8, 9], 33, 1, false, square(3, 1, 1)),
        ([20, 11, 12], 17, 1, false, square(3, 2, 1)),
        ([40, 16, 16], 9, 1, false, square(1, 2, 0)),
        ([20, 8, 8], 36, 2, false, square(3, 1, 1)),
        ([9, 10, 10], 8, 1, false, square(5, 1, 2)),
    ];
    cases.iter().for_each(check);
}

fn check(case: &Case) {
    let shape = case.0;
    let mut draw = Draw((shape[0] * 100 + case.1) as u64);
    let mut whole = |n| -> Vec<f32> { draw.floats(n, 9.0).iter().map(|x| x.round()).collect() };
    let op = convolution(case, &mut whole);
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
