//! Shape arithmetic as exporters write it, and operators that move entries.

use super::{File, int, ints};
use crate::{Op, Pad, Window};

fn reshape(shape: &[usize]) -> Op {
    Op::Reshape {
        shape: shape.to_vec(),
    }
}

#[test]
fn a_view_that_asks_for_the_batch() {
    // x.view(x.size(0), -1)
    let file = File::new(&[-1, 3, 4, 5])
        .int("zero", 0)
        .ints("axis", &[0])
        .ints("rest", &[-1])
        .node("Shape x -> s")
        .node("Gather s,zero -> n")
        .node("Unsqueeze n,axis -> n1")
        .node_with("Concat n1,rest -> shape", &[int("axis", 0)])
        .node("Reshape x,shape -> y");
    assert_eq!(file.only(), (reshape(&[60]), vec![60]));
}

#[test]
fn a_channel_shuffle() {
    // x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, -1, h, w)
    let mut file = File::new(&[-1, 6, 4, 5])
        .ints("two", &[2])
        .ints("rest", &[-1]);
    file = file.ints("end", &[i64::MAX]).node("Shape x -> s");
    for (i, name) in ["n", "c", "h", "w"].into_iter().enumerate() {
        let i = i as i64;
        file = file
            .ints(&format!("i{i}"), &[i])
            .ints(&format!("j{i}"), &[i + 1]);
        file = file.node(&format!("Slice s,i{i},j{i} -> {name}"));
    }
    let axis = [int("axis", 0)];
    let perm = [ints("perm", &[0, 2, 1, 3, 4])];
    let file = file
        .node("Div c,two -> half")
        .node_with("Concat n,two,half,h,w -> there", &axis)
        .node("Reshape x,there -> a")
        .node_with("Transpose a -> b", &perm)
        .node_with("Concat n,rest,h,w -> back", &axis)
        .node("Reshape b,back -> y");
    let turn = Op::Transpose {
        perm: vec![1, 0, 2, 3],
    };
    assert_eq!(
        file.chain(),
        [reshape(&[2, 3, 4, 5]), turn, reshape(&[6, 4, 5])]
    );
}

#[test]
fn paddings_computed_as_pytorch_does() {
    // F.pad(x, [0, 1, 2, 3]): a list from the last axis on, filled up and turned round.
    let list = File::new(&[-1, 3, 4, 5])
        .ints("list", &[0, 1, 2, 3])
        .ints("missing", &[4])
        .ints("pairs", &[-1, 2])
        .ints("flat", &[-1])
        .ints("zero", &[0])
        .ints("last", &[-1])
        .ints("lowest", &[i64::MIN + 1])
        .node("ConstantOfShape missing -> zeros_f")
        .node_with("Cast zeros_f -> zeros", &[int("to", 7)])
        .node_with("Concat list,zeros -> all", &[int("axis", 0)])
        .node("Reshape all,pairs -> p")
        .node("Slice p,last,lowest,zero,last -> r")
        .node_with("Transpose r -> t", &[ints("perm", &[1, 0])])
        .node("Reshape t,flat -> pads")
        .node("Pad x,pads -> y");
    let pads = [2, 0, 3, 1];
    assert_eq!(list.chain(), [Op::Pad(Pad { pads, value: 0.0 })]);
}

#[test]
fn paddings_computed_from_the_size() {
    // max((ceil(h / 2) - 1) * 2 + 3 - h, 0) in floats, the batch cast along with the rest.
    let file = File::new(&[-1, 3, 9, 8])
        .floats("two", &[], &[2.0])
        .floats("one", &[], &[1.0])
        .floats("three", &[], &[3.0])
        .floats("none", &[], &[0.0])
        .ints("two_i", &[2])
        .ints("four", &[4])
        .ints("zeros", &[0, 0])
        .node("Shape x -> s")
        .node_with("Cast s -> f", &[int("to", 1)])
        .node("Div f,two -> d")
        .node("Ceil d -> c")
        .node("Sub c,one -> c1")
        .node("Mul c1,two -> m")
        .node("Add m,three -> a")
        .node("Sub a,f -> b")
        .node("Max b,none -> p")
        .node_with("Cast p -> i", &[int("to", 7)])
        .node("Slice i,two_i,four -> hw")
        .node_with("Concat zeros,zeros,zeros,hw -> pads", &[int("axis", 0)])
        .node("Pad x,pads -> y");
    let pads = [0, 0, 2, 1];
    assert_eq!(file.chain(), [Op::Pad(Pad { pads, value: 0.0 })]);
    let batch = file
        .ints("nought", &[0])
        .ints("one_i", &[1])
        .node("Slice i,nought,one_i -> n");
    let mut batch = batch
        .node_with("Concat n,hw -> q", &[int("axis", 0)])
        .node("Reshape x,q -> z");
    batch.graph.output[0].name = "z".to_owned();
    assert!(
        batch.error().contains("whose first axis is the batch"),
        "{}",
        batch.error()
    );
}

#[test]
fn reshapes_keep_the_batch() {
    let file = |batch, shape: &[i64]| {
        File::new(&[batch, 2, 3, 4])
            .ints("s", shape)
            .node("Reshape x,s -> y")
    };
    let good: [(i64, &[i64], &[usize]); 7] = [
        (-1, &[-1, 24], &[24]),
        (-1, &[0, -1], &[24]),
        (-1, &[0, 0, -1], &[2, 12]),
        (-1, &[-1, 4, 6], &[4, 6]),
        (1, &[1, -1], &[24]),
        (1, &[-1, 24], &[24]),
        (8, &[8, 6, -1], &[6, 4]),
    ];
    for (batch, target, expected) in good {
        assert_eq!(
            file(batch, target).chain(),
            [reshape(expected)],
            "{target:?}"
        );
    }
    let bad: [(i64, &[i64]); 9] = [
        (-1, &[-1, 12]),
        (-1, &[1, -1]),
        (-1, &[24, -1]),
        (-1, &[0, -1, -1]),
        (-1, &[0, 5, -1]),
        (-1, &[0, 0, 0, 0, 0]),
        (-1, &[]),
        (2, &[1, -1]),
        (-1, &[0, i64::MAX, i64::MAX]),
    ];
    for (batch, target) in bad {
        let error = file(batch, target).error();
        assert!(
            error.contains("(Reshape)") && error.contains("batch"),
            "{target:?}: {error}"
        );
    }
}

#[test]
fn axes_come_and_go() {
    let file = File::new(&[-1, 6, 1, 1]);
    assert_eq!(
        file.clone().node("Flatten x -> y").only(),
        (reshape(&[6]), vec![6])
    );
    let old = file
        .clone()
        .opset(11)
        .node_with("Squeeze x -> y", &[ints("axes", &[2, -1])]);
    assert_eq!(old.only(), (reshape(&[6]), vec![6]));
    assert_eq!(
        file.clone().node("Squeeze x -> y").only(),
        (reshape(&[6]), vec![6])
    );
    let more = file.clone().ints("a", &[-1, 1]).node("Unsqueeze x,a -> y");
    assert_eq!(more.only().1, [1, 6, 1, 1, 1]);
    for (op, axes) in [
        ("Squeeze", [1]),
        ("Squeeze", [0]),
        ("Unsqueeze", [0]),
        ("Unsqueeze", [9]),
    ] {
        let bad = file
            .clone()
            .ints("a", &axes)
            .node(&format!("{op} x,a -> y"));
        assert!(bad.error().contains(&format!("({op})")), "{op} {axes:?}");
    }
    let joined = file.node_with("Flatten x -> y", &[int("axis", 2)]);
    assert!(joined.error().contains("supported: axis 1"));
    let alone = File::new(&[1, 6, 1, 1]).node("Squeeze x -> y");
    assert!(alone.error().contains("removes the batch"));
}

#[test]
fn every_nth_entry() {
    let slices = |axes: &[i64], starts: &[i64], ends: &[i64], steps: &[i64]| {
        let file = File::new(&[-1, 3, 8, 9])
            .ints("a", axes)
            .ints("s", starts)
            .ints("e", ends);
        file.ints("t", steps).node("Slice x,s,e,a,t -> y")
    };
    let end = i64::MAX;
    let window = |stride| {
        Op::MaxPool(Window {
            stride,
            ..Window::square(1, 1, 0)
        })
    };
    let both = slices(&[2, 3], &[0, 0], &[end, end], &[2, 3]);
    assert_eq!(both.only(), (window([2, 3]), vec![3, 4, 3]));
    assert_eq!(
        slices(&[-1], &[0], &[1], &[1]).only(),
        (window([1, 9]), vec![3, 8, 1])
    );
    let one_by_one = slices(&[2], &[0], &[end], &[2]);
    let mut one_by_one = one_by_one.ints("b", &[3]).node("Slice y,s,e,b,t -> z");
    one_by_one.graph.output[0].name = "z".to_owned();
    assert_eq!(one_by_one.only(), (window([2, 2]), vec![3, 4, 5]));
    let channels = slices(&[1], &[0], &[end], &[2]).chain();
    assert_eq!(
        channels,
        [reshape(&[1, 3, 72]), window([2, 1]), reshape(&[2, 8, 9])]
    );
    let all = slices(&[0, 2], &[0, 0], &[end, 8], &[1, 1]).node("Flatten y -> z");
    let mut all = all;
    all.graph.output[0].name = "z".to_owned();
    assert_eq!(all.only().0, reshape(&[216]));
    for (axis, start, stop, step) in [(2, 1, end, 1), (2, 0, 7, 1), (2, -1, -9, -1), (0, 0, 1, 1)] {
        let bad = slices(&[axis], &[start], &[stop], &[step]).error();
        assert!(bad.contains("(Slice)"), "{bad}");
    }
}

#[test]
fn broadcasts_and_choices_that_change_nothing() {
    let file = File::new(&[-1, 3, 4, 5])
        .ints("wanted", &[-1, 3, 1, 5])
        .ints("minus", &[-1])
        .ints("rank", &[4])
        .node("ConstantOfShape rank -> f")
        .node_with("Cast f -> zeros", &[int("to", 7)])
        .ints("one", &[1])
        .node("Add zeros,one -> ones")
        .node("Equal wanted,minus -> mask")
        .node("Where mask,ones,wanted -> shape")
        .node("Expand x,shape -> e")
        .node("Flatten e -> y");
    assert_eq!(file.only().0, reshape(&[60]));
    let grown = File::new(&[-1, 3, 1, 1])
        .ints("s", &[1, 3, 4, 4])
        .node("Expand x,s -> y");
    assert!(grown.error().contains("repeats"));
}
