//! Files that lie: an error each, no panic, and no memory for what is not there.

use super::{File, counting, info, int, ints, text};
use crate::ErrorKind;
use crate::onnx::proto::data_type;

/// What a test does to a good file.
type Change = fn(&mut File);

fn small() -> File {
    File::new(&[-1, 2, 4, 4])
        .floats("w", &[2, 2, 3, 3], &counting(36))
        .floats("g", &[2], &[1.0, 2.0])
        .ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .ints("rest", &[-1])
        .int("zero", 0)
        .ints("axis", &[0])
        .node("Pad x,pads -> p")
        .node_with(
            "Conv p,w,g -> c",
            &[ints("kernel_shape", &[3, 3]), int("group", 1)],
        )
        .node("BatchNormalization c,g,g,g,g -> b")
        .node("Relu b -> r")
        .node_with(
            "MaxPool r -> m",
            &[ints("kernel_shape", &[2, 2]), text("auto_pad", "VALID")],
        )
        .node("Shape m -> s")
        .node("Gather s,zero -> n")
        .node("Unsqueeze n,axis -> n1")
        .node_with("Concat n1,rest -> to", &[int("axis", 0)])
        .node("Reshape m,to -> f")
        .floats("fc", &[18, 3], &counting(54))
        .node("MatMul f,fc -> o")
        .node("Softmax o -> y")
}

/// xorshift64: enough to pick bytes.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

#[test]
fn damaged_files_never_panic() {
    let whole = small().bytes();
    assert!(crate::onnx::read(&whole, None).is_ok());
    for len in 0..whole.len() {
        // A cut file may still be a shorter message; it must not be more.
        let _ = crate::onnx::read(&whole[..len], None);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut refused = 0;
    for _ in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next(&mut state) % 4 {
            let at = next(&mut state) % bytes.len();
            match next(&mut state) % 4 {
                0 => bytes[at] ^= 1 << (next(&mut state) % 8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next(&mut state) % 5],
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, next(&mut state) as u8),
            }
        }
        refused += usize::from(crate::onnx::read(&bytes, None).is_err());
    }
    assert!(refused > 2000, "{refused}");
}

#[test]
fn a_graph_must_hold_together() {
    let relu = |text: &str| File::new(&[-1, 3]).node(text);
    let cases = [
        (relu("Relu z -> y"), "it reads z"),
        (
            relu("Add x,b -> a").node("Relu a -> b").node("Relu b -> y"),
            "it reads b",
        ),
        (relu("Relu x -> z"), "nothing gives the output y"),
        (
            relu("Relu x -> x").node("Relu x -> y"),
            "the name x is given twice",
        ),
        (
            relu("Relu x -> a").node("Relu x -> a").node("Add a,a -> y"),
            "two nodes give a",
        ),
        (
            relu("GRU x -> y"),
            "node y (GRU): this operator is outside the supported set: Conv",
        ),
        (relu("Relu  -> y"), "supported there"),
        (relu("Add x -> y"), "1 inputs; it has two"),
        (
            relu("Relu x -> y").floats("x", &[1], &[1.0]),
            "the graph has no input",
        ),
    ];
    for (file, expected) in cases {
        let error = file.error();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_input_and_the_output_are_checked() {
    let over = |change: Change| {
        let mut file = File::new(&[-1, 3, 4, 4]).node("Relu x -> y");
        change(&mut file);
        file.error()
    };
    let cases: [(Change, &str); 8] = [
        (|f| f.opset = 8, "opset 8; supported: 9 to 21"),
        (|f| f.opset = 22, "opset 22"),
        (|f| f.graph.output.clear(), "no output"),
        (
            |f| f.graph.output.push(info("x", &[])),
            "2 outputs (y, x); supported: one",
        ),
        (
            |f| f.graph.input[0] = info("x", &[-1, 3, -1, 4]),
            "axis 2 has no fixed extent",
        ),
        (|f| f.graph.input[0] = info("x", &[-1, 3, 4]), "3 axes"),
        (
            |f| f.graph.input[0] = info("x", &[-1, 1 << 40, 1 << 40, 4]),
            "2^28",
        ),
        (|f| f.graph.input[0].r#type = None, "not a tensor"),
    ];
    for (change, expected) in cases {
        let error = over(change);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn attributes_are_not_skipped() {
    let file = File::new(&[-1, 3]).node_with("Relu x -> y", &[int("slope", 1)]);
    let error = file.read().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("node y (Relu): attribute slope"),
        "{error}"
    );
    let wrong = File::new(&[-1, 3]).node_with("Flatten x -> y", &[text("axis", "1")]);
    assert!(
        wrong
            .error()
            .contains("attribute axis is not a whole number")
    );
}

#[test]
fn weights_must_be_what_they_say() {
    let conv = |change: Change| {
        let mut file = small();
        change(&mut file);
        file.error()
    };
    let cases: [(Change, &str); 7] = [
        (
            |f| f.graph.initializer[0].dims[0] = 3,
            "needs 54 entries, has 36",
        ),
        (|f| f.graph.initializer[0].dims[0] = -2, "negative extent"),
        (
            |f| f.graph.initializer[0].dims = vec![i64::MAX; 4],
            "too large",
        ),
        (
            |f| f.graph.initializer[0].data_type = Some(8),
            "data type 8",
        ),
        (
            |f| f.graph.initializer[0].data_type = Some(data_type::INT64),
            "has none",
        ),
        (
            |f| f.graph.initializer[0].data_location = Some(1),
            "external data nowhere",
        ),
        (|f| f.graph.initializer[0].dims = vec![36], "supported: 2-d"),
    ];
    for (change, expected) in cases {
        let error = conv(change);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_small_file_cannot_ask_for_much() {
    let million = [int("to", 1)];
    let mut file = File::new(&[-1, 4])
        .ints("n", &[1 << 19])
        .node("ConstantOfShape n -> c0");
    for i in 0..64 {
        file = file.node_with(&format!("Cast c{i} -> c{}", i + 1), &million);
    }
    let all: Vec<String> = (0..=64).map(|i| format!("c{i}")).collect();
    let file = file.node_with(&format!("Concat {} -> c", all.join(",")), &[int("axis", 0)]);
    let error = file.node("Add x,c -> y").error();
    assert!(error.contains("many times more memory"), "{error}");
    let wide = File::new(&[-1, 1 << 27])
        .floats("s", &[], &[2.0])
        .node("Mul x,s -> y")
        .error();
    assert!(wide.contains("many times more memory"), "{wide}");
}
