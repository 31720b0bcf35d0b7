//! Operators with a window, padding and means.

use super::{File, conv_file, counting, float, int, ints, text};
use crate::{Activation, Conv, Op, Pad, Pool, Tensor, Window};

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
    let file = File::new(&[-1, 2, 8, 8]);
    for pads in [[1; 4], [0, 0, 1, 0]] {
        let rounded = [
            shape.clone(),
            ints("strides", &[2, 2]),
            ints("pads", &pads),
            int("ceil_mode", 1),
            int("count_include_pad", 1),
        ];
        let file = file.clone().node_with("AveragePool x -> y", &rounded);
        assert!(file.error().contains("ceil_mode"), "{pads:?}");
    }
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
