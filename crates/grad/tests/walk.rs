//! Whole graphs: what the walks must keep whatever the number of images, losses and threads.

mod definition;
mod draw;

use definition::{parameters, values};
use draw::Draw;
use exbit_grad::{Cotangent, Gradients, Mode, Wanted, backward, forward, infer, infer_with};
use exbit_model::{
    Activation, BatchNorm, Conv, Linear, Model, NodeId, Op, Tensor, ValueId, Window,
};

fn conv(draw: &mut Draw, [cin, out, kernel, stride]: [usize; 4]) -> Op {
    let shape = vec![out, cin, kernel, kernel];
    let data = draw.floats(shape.iter().product(), 0.4);
    Op::Conv(Conv {
        weight: Tensor::new(shape, data).expect("lengths fit"),
        bias: None,
        window: Window::square(kernel, stride, kernel / 2),
        groups: 1,
    })
}

fn norm(draw: &mut Draw, n: usize) -> Op {
    Op::BatchNorm(BatchNorm {
        gamma: draw.floats(n, 0.3).iter().map(|g| g + 1.0).collect(),
        beta: draw.floats(n, 0.5),
        mean: draw.floats(n, 0.2),
        var: draw.floats(n, 0.2).iter().map(|v| v + 1.0).collect(),
        eps: 1e-3,
    })
}

/// A BatchNorm on the input, a residual block whose shortcut has a BatchNorm of its own, and two
/// values joined before the classifier: every way in which passes hand gradients to each other.
fn network(size: usize) -> Model {
    let mut d = Draw(77);
    let relu = || Op::Activation(Activation::Relu);
    let mut m = Model::new("network", "x", vec![2, size, size]);
    let mut push = |name, op, inputs: &[_]| m.push(name, op, inputs).expect("shapes fit");
    let x = push("norm0", norm(&mut d, 2), &[ValueId(0)]);
    let x = push("conv1", conv(&mut d, [2, 4, 3, 1]), &[x]);
    let x = push("norm1", norm(&mut d, 4), &[x]);
    let x = push("relu1", relu(), &[x]);
    let a = push("conv2", conv(&mut d, [4, 6, 3, 2]), &[x]);
    let a = push("norm2", norm(&mut d, 6), &[a]);
    let b = push("conv3", conv(&mut d, [4, 6, 1, 2]), &[x]);
    let b = push("norm3", norm(&mut d, 6), &[b]);
    let c = push("add", Op::Add, &[a, b]);
    let c = push("relu2", relu(), &[c]);
    let j = push("concat", Op::Concat { axis: 0 }, &[c, b]);
    let p = push("pool", Op::GlobalAvgPool, &[j]);
    let f = push("flatten", Op::Reshape { shape: vec![12] }, &[p]);
    let weight = Tensor::new(vec![5, 12], d.floats(60, 0.5)).expect("lengths fit");
    let linear = Linear {
        weight,
        bias: Some(d.floats(5, 0.1)),
    };
    push("linear", Op::Linear(linear), &[f]);
    m
}

/// The value `conv3`'s output, where the second loss of the tests below enters too.
const INNER: ValueId = ValueId(7);

fn seeds(model: &Model, images: usize, seed: u64) -> Cotangent {
    let mut draw = Draw(seed);
    let of = |draw: &mut Draw, id| (id, draw.floats(images * model.value(id).len(), 1.0));
    match seed % 2 {
        0 => vec![of(&mut draw, model.output())],
        _ => vec![of(&mut draw, model.output()), of(&mut draw, INNER)],
    }
}

/// Every gradient of the parameters, one after the other, in running order.
fn flat(model: &Model, gradients: &Gradients) -> Vec<f32> {
    let nodes = (0..model.nodes().len()).filter_map(|i| gradients.node(NodeId(i)));
    nodes
        .flat_map(|g| g.weight.iter().chain(&g.bias).copied())
        .collect()
}

#[test]
fn gradients_of_a_graph_are_its_slopes() {
    let (model, images) = (network(6), 3);
    let x = Draw(5).floats(images * model.input_len(), 1.5);
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for mode in [Mode::Eval, Mode::Train] {
        let tape = forward(&model, &x, images, mode);
        let seeds = seeds(&model, images, 3);
        let wanted = Wanted {
            parameters: true,
            values: vec![],
            rounded: false,
        };
        let found = &backward(&model, &tape, std::slice::from_ref(&seeds), &wanted)[0];
        let got = flat(&model, found);
        let at = parameters(&model);
        let objective = |at: &definition::Parameters| -> f64 {
            let values = values(&model, at, &wide, images, mode);
            let dot = |(id, g): &(ValueId, Vec<f32>)| -> f64 {
                values[id.0]
                    .iter()
                    .zip(g)
                    .map(|(v, g)| v * f64::from(*g))
                    .sum()
            };
            seeds.iter().map(dot).sum()
        };
        let mut expected = Vec::new();
        for (i, own) in at.iter().enumerate() {
            for (part, entries) in own.iter().enumerate() {
                for j in 0..entries.len() {
                    let mut moved = [at.clone(), at.clone()];
                    moved[0][i][part][j] += 1e-6;
                    moved[1][i][part][j] -= 1e-6;
                    expected.push((objective(&moved[0]) - objective(&moved[1])) / 2e-6);
                }
            }
        }
        assert_eq!(got.len(), expected.len());
        let largest = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            // Some 20 roundings in f32 lie on each path of ten nodes: 200 * 2^-24 = 1.2e-5.
            let error = (f64::from(*g) - e).abs();
            assert!(
                error < 2e-5 * largest,
                "{mode:?} {i}: {g} for {e} of {largest}"
            );
        }
    }
}

#[test]
fn rounded_factors_leave_gradients_where_they_point() {
    for images in [3, 40] {
        let model = network(9);
        let x = Draw(5).floats(images * model.input_len(), 1.5);
        let tape = forward(&model, &x, images, Mode::Train);
        let losses = [seeds(&model, images, 2), seeds(&model, images, 3)];
        let found = [false, true].map(|rounded| {
            let wanted = Wanted {
                parameters: true,
                values: vec![],
                rounded,
            };
            backward(&model, &tape, &losses, &wanted)
        });
        for (a, b) in found[0].iter().zip(&found[1]) {
            for (i, node) in model.nodes().iter().enumerate() {
                let (Some(a), Some(b)) = (a.node(NodeId(i)), b.node(NodeId(i))) else {
                    continue;
                };
                let largest = a.weight.iter().fold(0.0f32, |m, g| m.max(g.abs()));
                // Each factor errs by 2^-9 of itself at most, in up to four layers on a path.
                for (a, b) in a.weight.iter().zip(&b.weight) {
                    let error = (a - b).abs() / largest;
                    assert!(error < 0.02, "{}: {b} for {a} of {largest}", node.name);
                }
            }
        }
    }
}

#[test]
fn two_losses_in_one_walk_are_two_walks() {
    let (model, images) = (network(6), 20);
    let x = Draw(6).floats(images * model.input_len(), 1.5);
    for mode in [Mode::Eval, Mode::Train] {
        let tape = forward(&model, &x, images, mode);
        let losses = [seeds(&model, images, 2), seeds(&model, images, 3)];
        let wanted = Wanted {
            parameters: true,
            values: vec![model.input(), INNER],
            rounded: false,
        };
        let both = backward(&model, &tape, &losses, &wanted);
        for (loss, found) in losses.iter().zip(&both) {
            let alone = &backward(&model, &tape, std::slice::from_ref(loss), &wanted)[0];
            assert_eq!(flat(&model, found), flat(&model, alone));
            for id in &wanted.values {
                assert_eq!(found.value(*id), alone.value(*id));
            }
        }
    }
}

#[test]
fn what_a_loss_does_not_reach_is_zero() {
    let model = network(6);
    let tape = forward(&model, &[0.5; 72], 1, Mode::Eval);
    let early = vec![(ValueId(2), vec![1.0; model.value(ValueId(2)).len()])];
    let wanted = Wanted {
        parameters: true,
        values: vec![model.output()],
        rounded: false,
    };
    let found = &backward(&model, &tape, &[early], &wanted)[0];
    assert_eq!(found.value(model.output()), Some([0.0; 5].as_slice()));
    assert!(
        found
            .node(NodeId(13))
            .unwrap()
            .weight
            .iter()
            .all(|&g| g == 0.0)
    );
    assert!(
        found
            .node(NodeId(1))
            .unwrap()
            .weight
            .iter()
            .any(|&g| g != 0.0)
    );
    assert!(found.node(NodeId(3)).is_none() && found.value(INNER).is_none());
}

#[test]
fn a_batch_is_the_sum_of_its_images() {
    // The larger images are more than a tile each, the smaller ones many to a tile.
    for (size, images) in [(6, 37), (130, 18)] {
        let model = network(size);
        let len = model.input_len();
        let x = Draw(8).floats(images * len, 1.5);
        let wanted = Wanted {
            parameters: true,
            values: vec![model.input()],
            rounded: false,
        };
        let tape = forward(&model, &x, images, Mode::Eval);
        let loss = seeds(&model, images, 2);
        let whole = &backward(&model, &tape, std::slice::from_ref(&loss), &wanted)[0];
        let mut sum = vec![0.0f64; flat(&model, whole).len()];
        for i in 0..images {
            let tape = forward(&model, &x[i * len..(i + 1) * len], 1, Mode::Eval);
            let seed = vec![(model.output(), loss[0].1[i * 5..(i + 1) * 5].to_vec())];
            let one = &backward(&model, &tape, &[seed], &wanted)[0];
            sum.iter_mut()
                .zip(flat(&model, one))
                .for_each(|(s, g)| *s += f64::from(g));
            let of_x = |g: &Gradients| g.value(model.input()).unwrap().to_vec();
            let part = &of_x(whole)[i * len..(i + 1) * len];
            close(
                part,
                &of_x(one)
                    .iter()
                    .map(|&g| f64::from(g))
                    .collect::<Vec<f64>>(),
            );
        }
        close(&flat(&model, whole), &sum);
    }
}

/// Equal but for the order of summation: sums of up to 130^2 * 18 terms in runs of at least 16,
/// each rounding by 2^-24, so well inside 2^-24 * sqrt(3e5) * 4 = 1.3e-4 of the largest.
fn close(got: &[f32], expected: &[f64]) {
    let largest = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
    for (g, e) in got.iter().zip(expected) {
        assert!(
            (f64::from(*g) - e).abs() <= 1.3e-4 * largest,
            "{g} for {e} of {largest}"
        );
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let (model, images) = (network(6), 37);
    let x = Draw(9).floats(images * model.input_len(), 1.5);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let tape = forward(&model, &x, images, Mode::Train);
            let wanted = Wanted {
                parameters: true,
                values: vec![model.input()],
                rounded: false,
            };
            let found = backward(&model, &tape, &[seeds(&model, images, 3)], &wanted).remove(0);
            (
                tape.output().to_vec(),
                flat(&model, &found),
                infer(&model, &x, images),
            )
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn inference_gives_the_values_of_the_tape() {
    for (size, images) in [(6, 37), (130, 3)] {
        let model = network(size);
        let x = Draw(10).floats(images * model.input_len(), 1.5);
        let tape = forward(&model, &x, images, Mode::Eval);
        close(
            &infer(&model, &x, images),
            &tape.output().iter().map(|&y| y.into()).collect::<Vec<_>>(),
        );
        let mut seen = Vec::new();
        infer_with(&model, &x, images, |id, value| {
            seen.push(id);
            close(
                value,
                &tape.value(id).iter().map(|&y| y.into()).collect::<Vec<_>>(),
            );
        });
        assert!(seen.into_iter().eq((0..model.values().len()).map(ValueId)));
    }
}

#[test]
fn no_images_are_no_work() {
    let model = network(6);
    assert!(infer(&model, &[], 0).is_empty());
    let tape = forward(&model, &[], 0, Mode::Eval);
    let wanted = Wanted {
        parameters: true,
        values: vec![],
        rounded: false,
    };
    let found = backward(&model, &tape, &[vec![(model.output(), vec![])]], &wanted);
    assert!(flat(&model, &found[0]).iter().all(|&g| g == 0.0));
}
