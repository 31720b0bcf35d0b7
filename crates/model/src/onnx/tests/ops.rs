//! What operators without a window become.

use super::{File, conv_file, counting, float, int, ints};
use crate::{Activation, Affine, Linear, Op, Tensor};

#[test]
fn layers_of_all_spellings() {
    let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 outputs of 3 features, or the other way round
    let expected = |weight: &[f32], bias: Option<Vec<f32>>| {
        let weight = Tensor::new(vec![2, 3], weight.to_vec()).unwrap();
        vec![Op::Linear(Linear { weight, bias })]
    };
    let gemm = File::new(&[-1, 3])
        .floats("w", &[2, 3], &w)
        .floats("b", &[1, 2], &[7.0, 8.0]);
    let scaled = [int("transB", 1), float("alpha", 2.0), float("beta", 3.0)];
    assert_eq!(
        gemm.node_with("Gemm x,w,b -> y", &scaled).chain(),
        expected(&w.map(|v| 2.0 * v), Some(vec![21.0, 24.0]))
    );
    let matmul = File::new(&[-1, 3])
        .floats("w", &[3, 2], &w)
        .node("MatMul x,w -> m");
    let turned = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    let with_bias = matmul
        .clone()
        .floats("b", &[2], &[7.0, 8.0])
        .node("Add b,m -> y");
    assert_eq!(with_bias.chain(), expected(&turned, Some(vec![7.0, 8.0])));
    let row = File::new(&[-1, 1, 1, 3])
        .floats("w", &[3, 2], &w)
        .node("MatMul x,w -> y")
        .chain();
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    assert_eq!(
        row,
        [
            &[reshape(&[3])],
            &expected(&turned, None)[..],
            &[reshape(&[1, 1, 2])]
        ]
        .concat()
    );
    let rows = File::new(&[-1, 1, 2, 3])
        .floats("w", &[3, 2], &w)
        .node("MatMul x,w -> y");
    assert!(rows.error().contains("many rows"));
    let subtracted = matmul.floats("b", &[], &[7.0]).node("Sub m,b -> y");
    assert_eq!(subtracted.chain(), expected(&turned, Some(vec![-7.0; 2])));
}

#[test]
fn a_bias_that_others_would_see_stays_apart() {
    let file = conv_file(&[-1, 1, 4, 4], &[2, 1, 1, 1])
        .floats("b", &[2, 1, 1], &[7.0, 8.0])
        .node("Conv x,w -> c")
        .node("Add c,b -> d")
        .node("Add c,d -> y");
    let [Op::Conv(conv), Op::Affine(affine), Op::Add] = &file.chain()[..] else {
        panic!()
    };
    assert_eq!(conv.bias, None);
    assert_eq!(
        affine,
        &Affine {
            scale: vec![1.0; 2],
            shift: vec![7.0, 8.0]
        }
    );
}

#[test]
fn arithmetic_with_constants_is_affine() {
    let affine = |scale: [f32; 2], shift: [f32; 2]| {
        vec![Op::Affine(Affine {
            scale: scale.to_vec(),
            shift: shift.to_vec(),
        })]
    };
    let cases = [
        ("Add x,c -> y", affine([1.0; 2], [2.0, 4.0])),
        ("Sub x,c -> y", affine([1.0; 2], [-2.0, -4.0])),
        ("Sub c,x -> y", affine([-1.0; 2], [2.0, 4.0])),
        ("Mul c,x -> y", affine([2.0, 4.0], [0.0; 2])),
        ("Div x,c -> y", affine([0.5, 0.25], [0.0; 2])),
        ("Mul x,s -> y", affine([3.0; 2], [0.0; 2])),
    ];
    let file = File::new(&[-1, 2, 4, 4]).floats("c", &[1, 2, 1, 1], &[2.0, 4.0]);
    let file = file.floats("s", &[], &[3.0]);
    for (node, expected) in cases {
        assert_eq!(file.clone().node(node).chain(), expected, "{node}");
    }
    let both = file.node("Mul x,c -> m").node("Add m,s -> y");
    assert_eq!(both.chain(), affine([2.0, 4.0], [3.0; 2]));
}

#[test]
fn a_constant_along_another_axis_is_turned_there() {
    // Nothing that is taken for an image with its channels last.
    let nhwc = File::new(&[-1, 4, 5, 7]).floats("mean", &[7], &counting(7));
    let perm = |perm: [usize; 3]| Op::Transpose {
        perm: perm.to_vec(),
    };
    let minus = Op::Affine(Affine {
        scale: vec![1.0; 7],
        shift: (1..=7).map(|i| -i as f32).collect(),
    });
    let alone = nhwc.clone().node("Sub x,mean -> y");
    assert_eq!(
        alone.chain(),
        [perm([2, 0, 1]), minus.clone(), perm([1, 2, 0])]
    );
    let first = nhwc
        .node("Sub x,mean -> s")
        .node_with("Transpose s -> y", &[ints("perm", &[0, 3, 1, 2])]);
    assert_eq!(first.chain(), [perm([2, 0, 1]), minus]);
}

#[test]
fn activations_from_attributes_and_inputs() {
    let file = File::new(&[-1, 2, 4, 4])
        .floats("zero", &[], &[0.0])
        .floats("six", &[], &[6.0]);
    let clip = |lo, hi| Activation::Clip { lo, hi };
    let (alpha, beta) = (1.0 / 6.0, 0.5);
    let cases: [(&str, Vec<_>, Activation); 11] = [
        ("Relu x -> y", vec![], Activation::Relu),
        ("Clip x,zero,six -> y", vec![], clip(0.0, 6.0)),
        ("Clip x,,six -> y", vec![], clip(f32::NEG_INFINITY, 6.0)),
        (
            "Clip x -> y",
            vec![float("min", 0.0), float("max", 6.0)],
            clip(0.0, 6.0),
        ),
        (
            "Clip x -> y",
            vec![float("max", f32::MAX), float("min", 0.0)],
            clip(0.0, f32::INFINITY),
        ),
        ("Min six,x -> y", vec![], clip(f32::NEG_INFINITY, 6.0)),
        (
            "LeakyRelu x -> y",
            vec![float("alpha", 0.2)],
            Activation::LeakyRelu { slope: 0.2 },
        ),
        (
            "LeakyRelu x -> y",
            vec![],
            Activation::LeakyRelu { slope: 0.01 },
        ),
        ("Sigmoid x -> y", vec![], Activation::Sigmoid),
        (
            "HardSigmoid x -> y",
            vec![float("alpha", alpha)],
            Activation::HardSigmoid { alpha, beta },
        ),
        ("HardSwish x -> y", vec![], Activation::HardSwish),
    ];
    for (node, attributes, expected) in cases {
        let (op, _) = file.clone().node_with(node, &attributes).only();
        assert_eq!(op, Op::Activation(expected), "{node}");
    }
    let twice = file.node("Relu x -> r").node("Clip r,,six -> y");
    assert_eq!(twice.only().0, Op::Activation(clip(0.0, 6.0)));
}

#[test]
fn hard_swish_in_every_spelling() {
    let file = File::new(&[-1, 2, 4, 4])
        .floats("zero", &[], &[0.0])
        .floats("three", &[], &[3.0])
        .floats("six", &[], &[6.0])
        .floats("sixth", &[1], &[1.0 / 6.0]);
    let gate = file
        .clone()
        .node("Add x,three -> s")
        .node("Clip s,zero,six -> c");
    let spellings = [
        file.node_with("HardSigmoid x -> h", &[float("alpha", 1.0 / 6.0)])
            .node("Mul x,h -> y"),
        gate.clone().node("Div c,six -> d").node("Mul x,d -> y"),
        gate.clone().node("Mul sixth,c -> d").node("Mul d,x -> y"),
        gate.clone().node("Mul x,c -> d").node("Div d,six -> y"),
        gate.clone().node("Mul c,x -> d").node("Mul d,sixth -> y"),
    ];
    for file in spellings {
        assert_eq!(file.chain(), [Op::Activation(Activation::HardSwish)]);
    }
    let other = gate.node("Relu x -> r").node("Mul r,c -> y").error();
    assert!(
        other.contains("node y (Mul)") && other.contains("HardSwish"),
        "{other}"
    );
}

#[test]
fn softmax_changed_with_opset_13() {
    let file = File::new(&[-1, 3, 4, 5]);
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    let softmax = |axis| Op::Softmax { axis };
    assert_eq!(file.clone().node("Softmax x -> y").chain(), [softmax(2)]);
    let old = file.opset(12).node("Softmax x -> y");
    assert_eq!(
        old.chain(),
        [reshape(&[1, 60]), softmax(1), reshape(&[3, 4, 5])]
    );
    let vector = File::new(&[-1, 10]).opset(9).node("Softmax x -> y");
    assert_eq!(vector.chain(), [softmax(0)]);
}

#[test]
fn batch_norm_and_its_unused_outputs() {
    let file = File::new(&[-1, 2, 4, 4])
        .floats("g", &[2], &[1.0, 2.0])
        .floats("v", &[2], &[3.0, 4.0])
        .node_with(
            "BatchNormalization x,g,g,g,v -> y,m,s",
            &[float("momentum", 0.9)],
        );
    let (Op::BatchNorm(bn), _) = file.only() else {
        panic!()
    };
    assert_eq!(
        (bn.gamma, bn.var, bn.eps),
        (vec![1.0, 2.0], vec![3.0, 4.0], 1e-5)
    );
    let read = file.node("Add y,m -> z");
    let mut other = read.clone();
    other.graph.output[0].name = "z".to_owned();
    assert!(other.error().contains("it reads m"), "{}", other.error());
}
