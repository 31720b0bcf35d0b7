//! What is written is read back equal.

use crate::onnx::{read, write};
use crate::{
    Activation, Affine, BatchNorm, Conv, FakeQuant, Linear, Model, Op, Pad, Pool, Tensor, ValueId,
    Window,
};

/// Every op and every activation at least once, with parameters that differ from the defaults.
fn everything() -> Model {
    let mut m = Model::new("all", "image", vec![4, 9, 8]);
    let list = |n: usize, from: f32| (0..n).map(|i| from + i as f32 / 8.0).collect::<Vec<_>>();
    let weight = |shape: &[usize]| {
        let n = shape.iter().product();
        Tensor::new(shape.to_vec(), list(n, -1.0)).unwrap()
    };
    let input = m.input();
    let mut y = input;
    let mut push = |op: Op, inputs: &[ValueId]| {
        let name = op.name().to_owned();
        m.push(name, op, inputs).unwrap()
    };
    let window = Window {
        kernel: [3, 2],
        stride: [2, 1],
        dilation: [1, 2],
        pads: [1, 0, 2, 1],
    };
    let quant = |scale, zero, levels| {
        Op::FakeQuant(FakeQuant {
            scale,
            step: 0.75 * scale,
            zero,
            levels,
        })
    };
    let chain = [
        Op::Pad(Pad {
            pads: [0, 1, 2, 3],
            value: 0.25,
        }),
        Op::Conv(Conv {
            weight: weight(&[6, 2, 3, 2]),
            bias: Some(list(6, 3.0)),
            window,
            groups: 2,
        }),
        Op::BatchNorm(BatchNorm {
            gamma: list(6, 1.0),
            beta: list(6, 2.0),
            mean: list(6, 3.0),
            var: list(6, 4.0),
            eps: 1e-3,
        }),
        Op::Activation(Activation::HardSigmoid {
            alpha: 0.25,
            beta: 0.75,
        }),
        quant(0.5, 3.0, 15.0),
        Op::Conv(Conv {
            weight: weight(&[6, 6, 1, 1]),
            bias: None,
            window: Window::square(1, 1, 0),
            groups: 1,
        }),
        Op::Affine(Affine {
            scale: list(6, 0.5),
            shift: list(6, -3.0),
        }),
        Op::Activation(Activation::LeakyRelu { slope: 0.2 }),
        Op::Affine(Affine {
            scale: vec![1.0; 6],
            shift: list(6, -3.0),
        }),
        Op::Activation(Activation::HardSwish),
        quant(0.125, 128.0, 255.0),
        Op::Affine(Affine {
            scale: list(6, 0.5),
            shift: vec![0.0; 6],
        }),
        Op::Activation(Activation::Clip {
            lo: f32::NEG_INFINITY,
            hi: 6.0,
        }),
        Op::MaxPool(Window {
            dilation: [1, 1],
            ..window
        }),
        Op::Activation(Activation::Clip { lo: -1.0, hi: 6.0 }),
        Op::AvgPool(Pool {
            window: Window::square(2, 1, 1),
            count_include_pad: true,
        }),
        Op::AvgPool(Pool {
            window: Window::square(2, 1, 1),
            count_include_pad: false,
        }),
        Op::Transpose {
            perm: vec![0, 2, 1],
        },
    ];
    for op in chain {
        y = push(op, &[y]);
    }
    let relu = push(Op::Activation(Activation::Relu), &[y]);
    let sigmoid = push(Op::Activation(Activation::Sigmoid), &[y]);
    let sum = push(Op::Add, &[relu, sigmoid]);
    let joined = push(Op::Concat { axis: 0 }, &[sum, y, relu]);
    let mean = push(Op::GlobalAvgPool, &[joined]);
    let soft = push(Op::Softmax { axis: 0 }, &[mean]);
    let flat = push(Op::Reshape { shape: vec![18] }, &[soft]);
    let first = push(
        Op::Linear(Linear {
            weight: weight(&[5, 18]),
            bias: None,
        }),
        &[flat],
    );
    let bias = Some(list(3, 1.0));
    push(
        Op::Linear(Linear {
            weight: weight(&[3, 5]),
            bias,
        }),
        &[first],
    );
    m
}

#[test]
fn every_op_comes_back() {
    let model = everything();
    let again = read(&write(&model).unwrap(), None).unwrap();
    let parts = |m: &Model| {
        let nodes = m
            .nodes()
            .iter()
            .map(|n| (n.op.clone(), n.inputs.clone(), n.output));
        (
            nodes.collect::<Vec<_>>(),
            m.output(),
            m.value(m.input()).clone(),
            m.name().to_owned(),
        )
    };
    assert_eq!(parts(&again), parts(&model));
    // Names that were unique stay.
    assert!(again.nodes().iter().any(|n| n.name == "BatchNorm"));
    assert!(read(&write(&again).unwrap(), None).unwrap() == again);
}

#[test]
fn nothing_is_a_network_too() {
    let model = Model::new("nothing", "x", vec![7]);
    assert_eq!(read(&write(&model).unwrap(), None).unwrap(), model);
}

#[test]
fn a_grid_that_does_not_fit_is_refused() {
    let cases = [
        (0.5, 7.0),
        (8.0, 7.0),
        (0.0, 0.0),
        (0.0, 65535.0),
        (0.0, f32::NAN),
    ];
    for (zero, levels) in cases {
        let mut model = Model::new("m", "x", vec![1]);
        let op = Op::FakeQuant(FakeQuant {
            scale: 1.0,
            step: 1.0,
            zero,
            levels,
        });
        model.push("quant", op, &[model.input()]).unwrap();
        let error = write(&model).unwrap_err().to_string();
        assert!(error.starts_with("node quant:"), "{error}");
    }
}
