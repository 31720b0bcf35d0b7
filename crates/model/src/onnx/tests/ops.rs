//! What each operator becomes.

use super::{File, counting, float, int, ints, text};
use crate::{Activation, Affine, Conv, Linear, Op, Pad, Pool, Tensor, Window};

fn conv_file(dims: &[i64], weight: &[i64]) -> File {
    let n = weight.iter().product::<i64>() as usize;
    File::new(dims).floats("w", weight, &counting(n))
}

fn conv_window(file: &File) -> (Window, Vec<usize>) {
    match file.only() {
        (Op::Conv(Conv { window, .. }), shape) => (window, shape),
        (op, _) => panic!("{op:?}"),
    }
}

#[test]
fn convolutions() {
    let attributes = [
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[2, 1]),
        ints("dilations", &[1, 2]),
        ints("pads", &[1, 2, 0, 2]),
        int("group", 2),
    ];
    let file = conv_file(&[-1, 4, 8, 8], &[6, 2, 3, 3]).floats("b", &[6], &[0.5; 6]);
    let (op, shape) = file.node_with("Conv x,w,b -> y", &attributes).only();
    assert_eq!(shape, [6, 4, 8]);
    let expected = Conv {
        weight: Tensor::new(vec![6, 2, 3, 3], counting(108)).unwrap(),
        bias: Some(vec![0.5; 6]),
        window: Window {
            kernel: [3, 3],
            stride: [2, 1],
            dilation: [1, 2],
            pads: [1, 2, 0, 2],
        },
        groups: 2,
    };
    assert_eq!(op, Op::Conv(expected));
}

#[test]
fn automatic_padding_gives_a_stride_th_of_the_size() {
    let cases = [
        ("SAME_UPPER", [8, 7], 2, [0, 1, 1, 1]),
        ("SAME_LOWER", [8, 7], 2, [1, 1, 0, 1]),
        ("SAME_UPPER", [8, 7], 1, [1, 1, 1, 1]),
        ("SAME_UPPER", [8, 7], 5, [0, 0, 0, 1]),
        ("VALID", [8, 7], 2, [0, 0, 0, 0]),
    ];
    for (automatic, [h, w], stride, pads) in cases {
        let attributes = [
            text("auto_pad", automatic),
            ints("strides", &[stride, stride]),
        ];
        let file = conv_file(&[1, 1, h, w], &[1, 1, 3, 3]);
        let (window, shape) = conv_window(&file.node_with("Conv x,w -> y", &attributes));
        assert_eq!(window.pads, pads, "{automatic} {stride}");
        if automatic != "VALID" {
            let ceil = |n: i64| (n as usize).div_ceil(stride as usize);
            assert_eq!(shape, [1, ceil(h), ceil(w)]);
        }
    }
}

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
    let nhwc = File::new(&[-1, 4, 5, 3]).floats("mean", &[3], &counting(3));
    let perm = |perm: [usize; 3]| Op::Transpose {
        perm: perm.to_vec(),
    };
    let minus = Op::Affine(Affine {
        scale: vec![1.0; 3],
        shift: vec![-1.0, -2.0, -3.0],
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
fn windows_have_limits() {
    let same = [text("auto_pad", "SAME_UPPER")];
    let empty = File::new(&[-1, 1, 4, 4]).floats("w", &[1, 1, 0, 3], &[]);
    let error = empty.node_with("Conv x,w -> y", &same).error();
    assert!(error.contains("a weight of [1, 1, 0, 3]"), "{error}");
    let file = conv_file(&[-1, 1, 4, 4], &[1, 1, 3, 3]);
    let cases = [
        ints("strides", &[0, 1]),
        ints("strides", &[i64::MAX, 1]),
        ints("dilations", &[1 << 40, 1]),
        ints("pads", &[-1, 0, 0, 0]),
        ints("pads", &[0, 0]),
        ints("kernel_shape", &[3, 4]),
        int("group", -1),
        int("group", 2),
        text("auto_pad", "SAME"),
    ];
    for attribute in cases {
        let name = attribute.name.clone();
        let error = file
            .clone()
            .node_with("Conv x,w -> y", &[attribute])
            .error();
        assert!(error.starts_with("node y (Conv): "), "{name}: {error}");
    }
}

#[test]
fn pooling_rounds_up_by_its_pads() {
    // Extent, kernel, stride, pad before and after, what rounding up adds.
    let cases = [
        (6, 2, 2, 0, 0),
        (7, 2, 2, 0, 1),
        (7, 3, 2, 0, 0),
        (8, 3, 2, 0, 1),
        (5, 1, 3, 0, 0),
    ];
    for (size, kernel, stride, pad, added) in cases {
        let attributes = [
            ints("kernel_shape", &[kernel, kernel]),
            ints("strides", &[stride, stride]),
            ints("pads", &[pad; 4]),
            int("ceil_mode", 1),
        ];
        let file = File::new(&[-1, 2, size, size]);
        let (op, _) = file.clone().node_with("MaxPool x -> y", &attributes).only();
        let pads = [pad as usize, pad as usize, added, added];
        let window = Window {
            pads,
            ..Window::square(kernel as usize, stride as usize, 0)
        };
        assert_eq!(op, Op::MaxPool(window), "{size} {kernel} {stride}");
        let attributes: Vec<_> = attributes
            .iter()
            .cloned()
            .chain([int("count_include_pad", 1)])
            .collect();
        let (op, _) = file.node_with("AveragePool x -> y", &attributes).only();
        let count_include_pad = added == 0;
        assert_eq!(
            op,
            Op::AvgPool(Pool {
                window,
                count_include_pad
            })
        );
    }
}

#[test]
fn pooling_that_cannot_be_exact_is_refused() {
    let shape = ints("kernel_shape", &[3, 3]);
    let (strides, pads) = (ints("strides", &[2, 2]), ints("pads", &[1; 4]));
    let rounded = [
        shape.clone(),
        strides,
        pads,
        int("ceil_mode", 1),
        int("count_include_pad", 1),
    ];
    let file = File::new(&[-1, 2, 8, 8]);
    assert!(
        file.clone()
            .node_with("AveragePool x -> y", &rounded)
            .error()
            .contains("ceil_mode")
    );
    let wide = [shape.clone(), ints("pads", &[3, 0, 0, 0])];
    assert!(
        file.clone()
            .node_with("MaxPool x -> y", &wide)
            .error()
            .contains("padding alone")
    );
    let dilated = [shape, ints("dilations", &[2, 2])];
    assert!(
        file.node_with("AveragePool x -> y", &dilated)
            .error()
            .contains("dilations")
    );
}

#[test]
fn a_mean_over_all_positions() {
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    let image = File::new(&[-1, 3, 4, 5]);
    let axes = |list: &[i64], keep| [ints("axes", list), int("keepdims", keep)];
    let dropped = image
        .clone()
        .node_with("ReduceMean x -> y", &axes(&[2, 3], 0));
    assert_eq!(dropped.chain(), [Op::GlobalAvgPool, reshape(&[3])]);
    let kept = image
        .clone()
        .ints("axes", &[-1, -2])
        .opset(18)
        .node("ReduceMean x,axes -> y");
    assert_eq!(kept.chain(), [Op::GlobalAvgPool]);
    let turned = image
        .clone()
        .node_with("ReduceMean x -> y", &axes(&[1, 2], 1));
    let perm = vec![2, 0, 1];
    assert_eq!(
        turned.chain(),
        [
            Op::Transpose { perm },
            Op::GlobalAvgPool,
            reshape(&[1, 1, 5])
        ]
    );
    let one_by_one = image.clone().node_with("ReduceMean x -> r", &axes(&[3], 0));
    let one_by_one = one_by_one.node_with("ReduceMean r -> y", &axes(&[2], 0));
    assert_eq!(one_by_one.chain(), [Op::GlobalAvgPool, reshape(&[3])]);
    let rows = image.clone().node_with("ReduceMean x -> y", &axes(&[2], 0));
    let window = Window {
        kernel: [4, 1],
        ..Window::square(1, 1, 0)
    };
    let pool = Op::AvgPool(Pool {
        window,
        count_include_pad: false,
    });
    assert_eq!(rows.chain(), [pool, reshape(&[3, 5])]);
    for bad in [&[][..], &[0, 2, 3], &[4]] {
        let file = image.clone().node_with("ReduceMean x -> y", &axes(bad, 0));
        assert!(file.read().is_err(), "{bad:?}");
    }
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
fn padding() {
    let pad = |pads, value| Op::Pad(Pad { pads, value });
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    let image = File::new(&[-1, 3, 4, 5]);
    let pads = ints("pads", &[0, 0, 1, 2, 0, 0, 3, 4]);
    let old = image
        .clone()
        .opset(10)
        .node_with("Pad x -> y", &[pads, float("value", 0.5)]);
    assert_eq!(old.chain(), [pad([1, 2, 3, 4], 0.5)]);
    let new = image
        .clone()
        .opset(18)
        .ints("p", &[2, 4])
        .ints("a", &[-1])
        .node("Pad x,p,,a -> y");
    assert_eq!(new.chain(), [pad([0, 2, 0, 4], 0.0)]);
    let none = image
        .clone()
        .ints("p", &[0; 8])
        .node("Pad x,p -> p0")
        .node("Relu p0 -> y");
    assert_eq!(none.chain(), [Op::Activation(Activation::Relu)]);
    let channels = image
        .clone()
        .ints("p", &[0, 1, 0, 0, 0, 2, 0, 0])
        .node("Pad x,p -> y");
    assert_eq!(
        channels.chain(),
        [
            reshape(&[1, 3, 20]),
            pad([1, 0, 2, 0], 0.0),
            reshape(&[6, 4, 5])
        ]
    );
    let endless = image.clone().ints("p", &[0, 0, 1, 1, 0, 0, 1, 1]);
    let endless = endless
        .floats("v", &[], &[f32::NEG_INFINITY])
        .node("Pad x,p,v -> p0");
    let pooled = endless
        .clone()
        .node_with("MaxPool p0 -> y", &[ints("kernel_shape", &[3, 3])]);
    assert_eq!(pooled.chain(), [Op::MaxPool(Window::square(3, 1, 1))]);
    assert!(
        endless
            .node("Relu p0 -> y")
            .error()
            .contains("minus infinity")
    );
    let reflected = image
        .ints("p", &[0; 8])
        .node_with("Pad x,p -> y", &[text("mode", "reflect")]);
    assert!(
        reflected
            .error()
            .contains("mode reflect; supported: constant")
    );
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
