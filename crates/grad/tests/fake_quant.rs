//! The fake quantizer against numbers worked out by hand.

use exbit_grad::{Mode, Wanted, backward, forward};
use exbit_model::{FakeQuant, Model, NodeId, Op};

/// A model of one quantizer on `len` numbers.
fn alone(quantizer: FakeQuant, len: usize) -> Model {
    let mut model = Model::new("alone", "x", vec![len]);
    let x = model.input();
    model
        .push("node", Op::FakeQuant(quantizer), &[x])
        .expect("shapes fit");
    model
}

#[test]
fn fake_quantization_is_the_kernels_rounding_and_lsq_backwards() {
    // The quantizer, x, y, dx and dscale + dstep at dy = 1: tied, as LSQ has them.
    let unsigned = FakeQuant {
        scale: 0.5,
        step: 0.5,
        zero: 0.0,
        levels: 15.0,
    };
    let signed = FakeQuant {
        scale: 0.25,
        step: 0.25,
        zero: 3.0,
        levels: 7.0,
    };
    let cases = [
        (unsigned, 1.1, 1.0, 1.0, 2.0 - 2.2),
        (unsigned, 0.75, 1.0, 1.0, 2.0 - 1.5),
        (unsigned, 1.25, 1.0, 1.0, 2.0 - 2.5),
        // What rounds to the first code is in range, below that nothing is.
        (unsigned, -0.1, 0.0, 1.0, 0.2),
        (unsigned, -0.3, 0.0, 0.0, 0.0),
        (unsigned, 7.7, 7.5, 1.0, 15.0 - 15.4),
        (unsigned, 7.75, 7.5, 0.0, 15.0),
        (unsigned, 9.0, 7.5, 0.0, 15.0),
        (signed, -0.3, -0.25, 1.0, -1.0 + 1.2),
        // x / scale + zero = 2.5 and 3.5: the zero is added before rounding half to even.
        (signed, -0.125, -0.25, 1.0, -1.0 + 0.5),
        (signed, 0.125, 0.25, 1.0, 1.0 - 0.5),
        (signed, 9.0, 1.0, 0.0, 4.0),
        (signed, -9.0, -0.75, 0.0, -3.0),
    ];
    for (op, x, y, dx, ds) in cases {
        let model = alone(op, 1);
        let tape = forward(&model, &[x], 1, Mode::Eval);
        assert_eq!(tape.output(), [y], "{op:?} of {x}");
        let wanted = Wanted {
            parameters: true,
            values: vec![model.input()],
            rounded: false,
        };
        let found = &backward(&model, &tape, &[vec![(model.output(), vec![1.0])]], &wanted)[0];
        assert_eq!(
            found.value(model.input()).expect("wanted"),
            [dx],
            "{op:?} of {x}"
        );
        let sums = &found.node(NodeId(0)).unwrap().weight;
        let got = sums[0] + sums[1];
        // One quotient and one difference of numbers below 16 in f32.
        assert!((got - ds).abs() < 4e-6, "{op:?} of {x}: {got} for {ds}");
    }
}

/// The test vector of the method's description: PDQ with alpha 0.9, beta 0.5 and three signed bits.
#[test]
fn fake_quantization_with_two_scales_has_the_gradients_of_pdq() {
    let op = FakeQuant {
        scale: 0.9,
        step: 0.5,
        zero: 4.0,
        levels: 7.0,
    };
    let (x, dy) = ([-3.0, -0.4, 0.2, 0.7, 5.0], vec![1.0, 1.0, 1.0, 1.0, 2.0]);
    let model = alone(op, 5);
    let tape = forward(&model, &x, 1, Mode::Eval);
    close(tape.output(), &[-3.6, -0.9, 0.0, 0.9, 2.7]);
    let wanted = Wanted {
        parameters: true,
        values: vec![model.input()],
        rounded: false,
    };
    let found = &backward(&model, &tape, &[vec![(model.output(), dy)]], &wanted)[0];
    close(
        found.value(model.input()).expect("wanted"),
        &[0.0, 1.8, 1.8, 1.8, 0.0],
    );
    // sum(g c) = -4 - 1 + 0 + 1 + 2 * 3; -alpha / beta^2 * (0.5); 2 * alpha above, alpha below.
    close(
        &found.node(NodeId(0)).unwrap().weight,
        &[2.0, -1.8, 1.8, 0.9],
    );
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5, "{found:?} for {expected:?}");
    }
}
