//! Every op against its definition in `f64`: values directly, gradients by central differences.

mod convolutions;
mod definition;
mod draw;

use convolutions::{convolution, narrow, window};
use definition::{Parameters, parameters, values};
use draw::Draw;
use exbit_grad::{Mode, NodeGradient, Wanted, backward, forward};
use exbit_model::{
    Activation, Affine, BatchNorm, Linear, Model, NodeId, Op, Pad, Pool, Tensor, ValueId, Window,
};

/// Images of a test batch: more than one tile's worth is tested in `walk.rs`.
const IMAGES: usize = 3;

/// A model of one node on as many inputs as it takes: the others are the input through an
/// element-wise function, so that all of them move when it does.
fn alone(op: Op, shape: &[usize]) -> Model {
    let mut model = Model::new("alone", "x", shape.to_vec());
    let x = model.input();
    let mut inputs = vec![x];
    if matches!(op, Op::Add | Op::Concat { .. }) {
        let other = Op::Activation(Activation::Sigmoid);
        inputs.push(model.push("other", other, &[x]).expect("shapes fit"));
    }
    model.push("node", op, &inputs).expect("shapes fit");
    model
}

/// `sum(cotangent * output)` by the definition.
fn objective(model: &Model, at: &Parameters, x: &[f64], mode: Mode, cotangent: &[f32]) -> f64 {
    let values = values(model, at, x, IMAGES, mode);
    let y = &values[model.output().0];
    y.iter()
        .zip(cotangent)
        .map(|(y, g)| y * f64::from(*g))
        .sum()
}

fn assert_close(what: &str, got: &[f32], expected: &[f64]) {
    // Values here are sums of at most 200 products of numbers below 4 in f32: each rounds by
    // 2^-24 of a partial sum that stays below 50, so errors stay below 200 * 50 * 2^-24 = 6e-4
    // in the worst case, and near sqrt(200) * 50 * 2^-24 = 4e-5 when roundings are independent.
    // Differences with step 1e-5 err by 1e-10 of third derivatives, and 1e-13 / 1e-5.
    let largest = expected.iter().fold(1.0f64, |m, e| m.max(e.abs()));
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*g) - e).abs();
        assert!(error <= 1e-5 * largest, "{what}[{i}]: {g} for {e}");
    }
}

/// The central difference of `f` about 0.
fn slope(f: impl Fn(f64) -> f64) -> f64 {
    (f(1e-5) - f(-1e-5)) / 2e-5
}

fn check(name: &str, model: &Model, mode: Mode) {
    let mut draw = Draw(name.len() as u64 + 1);
    let x = draw.floats(IMAGES * model.input_len(), 2.0);
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    let at = parameters(model);

    let tape = forward(model, &x, IMAGES, mode);
    let expected = values(model, &at, &wide, IMAGES, mode);
    assert_close(
        &format!("{name}: output"),
        tape.output(),
        &expected[model.output().0],
    );

    let cotangent = draw.floats(tape.output().len(), 1.0);
    let seeds = [vec![(model.output(), cotangent.clone())]];
    let wanted = Wanted {
        parameters: true,
        values: vec![model.input()],
        rounded: false,
    };
    let found = &backward(model, &tape, &seeds, &wanted)[0];

    let of_x = (0..x.len()).map(|i| {
        slope(|h| {
            let mut x = wide.clone();
            x[i] += h;
            objective(model, &at, &x, mode, &cotangent)
        })
    });
    let of_x: Vec<f64> = of_x.collect();
    assert_close(
        &format!("{name}: dx"),
        found.value(model.input()).expect("wanted"),
        &of_x,
    );

    for (i, own) in at.iter().enumerate() {
        let none = NodeGradient::default();
        let gradient = found.node(NodeId(i)).unwrap_or(&none);
        for (part, got) in [&gradient.weight, &gradient.bias].into_iter().enumerate() {
            let of_parameter = (0..own[part].len()).map(|j| {
                slope(|h| {
                    let mut at = at.clone();
                    at[i][part][j] += h;
                    objective(model, &at, &wide, mode, &cotangent)
                })
            });
            let of_parameter: Vec<f64> = of_parameter.collect();
            assert_close(&format!("{name}: parameter {part}"), got, &of_parameter);
        }
    }
}

#[test]
fn convolutions() {
    for (i, case) in narrow().iter().enumerate() {
        let mut draw = Draw(i as u64 + 100);
        let op = convolution(case, |n| draw.floats(n, 1.0));
        let model = alone(op, &case.0);
        check(&format!("convolution {i}"), &model, Mode::Eval);
    }
}

#[test]
fn linear_layers() {
    for (features, out, has_bias) in [(1, 1, true), (7, 3, false), (20, 33, true)] {
        let mut draw = Draw(features as u64);
        let weight = Tensor::new(vec![out, features], draw.floats(out * features, 1.0)).unwrap();
        let bias = has_bias.then(|| draw.floats(out, 1.0));
        let model = alone(Op::Linear(Linear { weight, bias }), &[features]);
        check(&format!("linear {features}"), &model, Mode::Eval);
    }
}

#[test]
fn batch_norms_on_running_and_on_batch_statistics() {
    for shape in [vec![3, 4, 5], vec![2, 1, 1], vec![2, 6, 7], vec![5]] {
        let mut draw = Draw(shape.len() as u64);
        let n = shape[0];
        let op = Op::BatchNorm(BatchNorm {
            gamma: draw.floats(n, 1.0),
            beta: draw.floats(n, 1.0),
            mean: draw.floats(n, 1.0),
            var: draw.floats(n, 0.5).iter().map(|v| v.abs() + 0.2).collect(),
            eps: 1e-2,
        });
        let model = alone(op, &shape);
        check(&format!("running {shape:?}"), &model, Mode::Eval);
        check(&format!("batch {shape:?}"), &model, Mode::Train);

        let x = draw.floats(IMAGES * model.input_len(), 1.0);
        let tape = forward(&model, &x, IMAGES, Mode::Train);
        let (mean, var) = tape.batch_statistics(NodeId(0)).unwrap();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let expected = definition::statistics(&wide, &shape);
        assert_close("mean", mean, &expected.0);
        assert_close("variance", var, &expected.1);
        assert!(
            forward(&model, &x, IMAGES, Mode::Eval)
                .batch_statistics(NodeId(0))
                .is_none()
        );
    }
}

#[test]
fn affine_maps() {
    for shape in [vec![3, 4, 5], vec![4]] {
        let mut draw = Draw(9);
        let (scale, shift) = (draw.floats(shape[0], 1.0), draw.floats(shape[0], 1.0));
        let model = alone(Op::Affine(Affine { scale, shift }), &shape);
        check("affine", &model, Mode::Eval);
    }
}

#[test]
fn activations() {
    for (i, activation) in [
        Activation::Relu,
        Activation::Clip { lo: 0.0, hi: 1.0 },
        Activation::Clip {
            lo: -0.5,
            hi: f32::INFINITY,
        },
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Sigmoid,
        Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
        Activation::HardSwish,
    ]
    .into_iter()
    .enumerate()
    {
        let mut model = Model::new("activation", "x", vec![3, 5, 7]);
        // Stretched, so that both flat ends of every function are met.
        let stretch = Op::Affine(Affine {
            scale: vec![2.5; 3],
            shift: vec![0.1; 3],
        });
        let x = model
            .push("stretch", stretch, &[model.input()])
            .expect("shapes fit");
        model
            .push("node", Op::Activation(activation), &[x])
            .unwrap();
        check(&format!("activation {i}"), &model, Mode::Eval);
    }
}

#[test]
fn pools() {
    let cases = [
        ([2, 6, 6], Window::square(2, 2, 0)),
        ([1, 7, 5], Window::square(3, 2, 1)),
        ([2, 5, 6], window([3, 2], [1, 2], [1, 1], [1, 0, 0, 1])),
        ([1, 5, 5], window([2, 2], [1, 1], [1, 1], [0, 0, 1, 1])),
        // One entry: every second, every third.
        ([2, 6, 7], window([1, 1], [2, 2], [1, 1], [0; 4])),
        ([2, 5, 6], window([1, 1], [1, 3], [1, 1], [0; 4])),
    ];
    for (shape, window) in cases {
        let dilated = Window {
            dilation: [2, 1],
            ..window
        };
        for window in [window, dilated] {
            check(
                &format!("max {shape:?}"),
                &alone(Op::MaxPool(window), &shape),
                Mode::Eval,
            );
        }
        for count_include_pad in [false, true] {
            let op = Op::AvgPool(Pool {
                window,
                count_include_pad,
            });
            check(&format!("mean {shape:?}"), &alone(op, &shape), Mode::Eval);
        }
        check("global", &alone(Op::GlobalAvgPool, &shape), Mode::Eval);
    }
}

#[test]
fn sums_shapes_and_softmax() {
    let cases = [
        (Op::Add, vec![2, 3, 4]),
        (Op::Concat { axis: 0 }, vec![2, 3, 4]),
        (Op::Concat { axis: 1 }, vec![2, 3, 4]),
        (Op::Concat { axis: 2 }, vec![2, 3, 4]),
        (
            Op::Pad(Pad {
                pads: [1, 0, 2, 3],
                value: 0.5,
            }),
            vec![2, 3, 4],
        ),
        (Op::Reshape { shape: vec![4, 6] }, vec![2, 3, 4]),
        (
            Op::Transpose {
                perm: vec![2, 0, 1],
            },
            vec![2, 3, 4],
        ),
        (Op::Transpose { perm: vec![1, 0] }, vec![5, 3]),
        (Op::Softmax { axis: 0 }, vec![6]),
        (Op::Softmax { axis: 1 }, vec![2, 5, 3]),
    ];
    for (op, shape) in cases {
        check(op.name(), &alone(op, &shape), Mode::Eval);
    }
}

#[test]
fn a_sum_of_a_value_with_itself_counts_it_twice() {
    let mut model = Model::new("twice", "x", vec![4]);
    model
        .push("sum", Op::Add, &[ValueId(0), ValueId(0)])
        .unwrap();
    check("twice", &model, Mode::Eval);
}
