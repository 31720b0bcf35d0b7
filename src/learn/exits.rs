//! Attaching exits to a float network: where they may stand, and what they consist of.

use exbit_model::{
    Activation, BatchNorm, Conv, Linear, Model, NodeId, Op, Tensor, ValueId, Window,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::recipe::{Head, Position};
use crate::prepare::network::stages;
use crate::{Error, ErrorKind, Result};

/// Where exits may stand, each with the share of the network's MACs before it: values of channels
/// and positions that a stage gives (a layer with its normalisation, residual sum and activation),
/// and through which everything goes that comes after them.
///
/// # Errors
/// `Unsupported` for an op that has no integer step where it stands.
pub fn cuts(model: &Model) -> Result<Vec<(ValueId, f64)>> {
    let stages = stages(model.clone())?.stages;
    let macs: Vec<u64> = (0..model.nodes().len())
        .map(|i| model.macs(NodeId(i)))
        .collect();
    let total = macs.iter().sum::<u64>().max(1) as f64;
    let mut last_read = vec![0; model.values().len()];
    for (i, node) in model.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|v| last_read[v.0] = i + 1);
    }
    let (mut done, mut found) = (0, Vec::new());
    let mut open = last_read[0];
    for (i, node) in model.nodes().iter().enumerate() {
        done += macs[i];
        // Nothing from before this node is read after it.
        let alone = open <= i + 1;
        open = open.max(last_read[node.output.0]);
        let shape = &model.value(node.output).shape;
        let has_positions = matches!(shape[..], [_, h, w] if h * w > 1);
        let ends_stage = || stages.iter().any(|s| s.output == node.output);
        if alone && has_positions && ends_stage() && !model.is_answer(node.output) {
            found.push((node.output, done as f64 / total));
        }
    }
    Ok(found)
}

/// `model` with an exit at each of `positions`; weights of the heads are drawn from `seed`.
///
/// # Errors
/// `Mismatch` when an exit cannot stand where it should ([`cuts`]), or two fall on one place;
/// `Unsupported` as [`cuts`].
pub fn attach(model: &Model, positions: &[Position], head: Head, seed: u64) -> Result<Model> {
    if positions.is_empty() {
        return Ok(model.clone());
    }
    let places = places(model, positions)?;
    let answer = model.value(model.output()).shape.clone();
    let shapes = model.values().iter().rev().map(|v| &v.shape[..]);
    let three = |shape: &[usize]| <[usize; 3]>::try_from(shape).ok();
    let last = shapes.filter_map(three).find(|s| s[1] * s[2] > 1);
    let last = last.unwrap_or([1; 3]);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let input = model.value(model.input());
    let mut out = Model::new(model.name(), input.name.clone(), input.shape.clone());
    let mut renamed = vec![out.input(); model.values().len()];
    let mut exits = Vec::with_capacity(places.len());
    for node in model.nodes() {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| renamed[v.0]).collect();
        renamed[node.output.0] = out.push(&node.name, node.op.clone(), &inputs)?;
        if places.contains(&node.output) {
            let name = format!("exit{}", exits.len() + 1);
            let at = renamed[node.output.0];
            let steps = convolutions(&out, at, head, last);
            let of = (&steps[..], &answer[..]);
            exits.push(push_head(&mut out, &name, at, of, &mut random)?);
        }
    }
    out.set_output(renamed[model.output().0]);
    out.set_exits(exits)?;
    Ok(out)
}

/// The values behind which the exits stand.
fn places(model: &Model, positions: &[Position]) -> Result<Vec<ValueId>> {
    let cuts = cuts(model)?;
    let fail =
        |place: String, message: String| Err(Error::new(ErrorKind::Mismatch, place, message));
    let mut places = Vec::new();
    for position in positions {
        let (place, found) = match position {
            Position::Name(name) => {
                let named = model.nodes().iter().find(|n| n.name == *name);
                let found = named.map(|n| n.output);
                (format!("exit {name}"), found)
            }
            Position::Share(share) => {
                let off = |cut: &&(ValueId, f64)| (cut.1 - share).abs();
                let nearest = cuts.iter().min_by(|a, b| off(a).total_cmp(&off(b)));
                (format!("exit at {share}"), nearest.map(|cut| cut.0))
            }
        };
        let Some(value) = found.filter(|&v| cuts.iter().any(|cut| cut.0 == v)) else {
            let names: Vec<&str> = cuts
                .iter()
                .map(|(v, _)| model.value(*v).name.as_str())
                .collect();
            let message = match names.is_empty() {
                true => "this network has no place for an exit".to_owned(),
                false => format!("no such place; exits may stand behind {}", names.join(", ")),
            };
            return fail(place, message);
        };
        if places.contains(&value) {
            let message = format!("another exit stands behind {}", model.value(value).name);
            return fail(place, message);
        }
        places.push(value);
    }
    Ok(places)
}

fn push_head(
    model: &mut Model,
    name: &str,
    from: ValueId,
    (convolutions, answer): (&[Step], &[usize]),
    random: &mut ChaCha8Rng,
) -> Result<ValueId> {
    let classes = answer.iter().product();
    let mut at = from;
    let mut channels = model.value(from).shape[0];
    for (i, step) in convolutions.iter().enumerate() {
        let number = match convolutions.len() {
            1 => String::new(),
            _ => format!("{}", i + 1),
        };
        let conv = Op::Conv(Conv {
            weight: drawn(&[step.channels, channels, 3, 3], random)?,
            bias: None,
            window: Window::square(3, step.stride, 1),
            groups: 1,
        });
        channels = step.channels;
        let norm = Op::BatchNorm(BatchNorm {
            gamma: vec![1.0; channels],
            beta: vec![0.0; channels],
            mean: vec![0.0; channels],
            var: vec![1.0; channels],
            eps: 1e-5,
        });
        let relu = Op::Activation(Activation::Relu);
        at = model.push(format!("{name}.conv{number}"), conv, &[at])?;
        at = model.push(format!("{name}.bn{number}"), norm, &[at])?;
        at = model.push(format!("{name}.relu{number}"), relu, &[at])?;
    }
    at = model.push(format!("{name}.pool"), Op::GlobalAvgPool, &[at])?;
    let flat = Op::Reshape {
        shape: vec![channels],
    };
    at = model.push(format!("{name}.flatten"), flat, &[at])?;
    let linear = Op::Linear(Linear {
        weight: drawn(&[classes, channels], random)?,
        bias: Some(vec![0.0; classes]),
    });
    at = model.push(format!("{name}.fc"), linear, &[at])?;
    if *answer == [classes] {
        return Ok(at);
    }
    let shape = answer.to_vec();
    Ok(model.push(format!("{name}.answer"), Op::Reshape { shape }, &[at])?)
}

/// A 3x3 convolution of a head.
struct Step {
    stride: usize,
    channels: usize,
}

/// The convolutions of a head at `from`; `last` are the channels and sides that the
/// network itself ends in.
fn convolutions(model: &Model, from: ValueId, head: Head, last: [usize; 3]) -> Vec<Step> {
    let shape = &model.value(from).shape;
    let [mut channels, mut h, mut w] = [shape[0], shape[1], shape[2]];
    match head {
        Head::Pool => Vec::new(),
        Head::Conv => vec![Step {
            stride: 1,
            channels,
        }],
        Head::Strided => vec![Step {
            stride: 2,
            channels,
        }],
        Head::Tower => {
            let mut steps = Vec::new();
            while steps.is_empty() || h * w > last[1] * last[2] {
                if h * w > last[1] * last[2] {
                    channels = (2 * channels).min(last[0].max(channels));
                }
                steps.push(Step {
                    stride: 2,
                    channels,
                });
                (h, w) = (h.div_ceil(2), w.div_ceil(2));
            }
            steps
        }
    }
}

/// Uniform with the variance that ReLU keeps (He et al. 2015).
fn drawn(shape: &[usize], random: &mut ChaCha8Rng) -> Result<Tensor> {
    let fan_in: usize = shape[1..].iter().product();
    let spread = (6.0 / fan_in as f32).sqrt();
    let unit =
        |random: &mut ChaCha8Rng| (random.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
    let entries = (0..shape.iter().product()).map(|_: usize| spread * unit(random));
    Ok(Tensor::new(shape.to_vec(), entries.collect())?)
}
