//! The networks of the examples, built node by node.

use exbit_model::{Activation, BatchNorm, Conv, Linear, Model, Op, Tensor, ValueId, Window};

/// Where the parameters come from: a tensor by its name and shape.
pub(crate) type Source<'a> = dyn FnMut(&str, &[usize]) -> Vec<f32> + 'a;

/// A network under construction: every node takes the value before it unless told otherwise.
struct Builder<'a, 's> {
    model: Model,
    source: &'a mut Source<'s>,
}

impl Builder<'_, '_> {
    fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.model.push(name, op, inputs).expect("shapes fit")
    }

    fn conv(
        &mut self,
        name: &str,
        x: ValueId,
        out: usize,
        window: Window,
        groups: usize,
    ) -> ValueId {
        let [kh, kw] = window.kernel;
        let shape = vec![out, self.model.value(x).shape[0] / groups, kh, kw];
        let data = (self.source)(&format!("{name}.weight"), &shape);
        let weight = Tensor::new(shape, data).expect("a weight of this shape");
        self.push(
            name,
            Op::Conv(Conv {
                weight,
                bias: None,
                window,
                groups,
            }),
            &[x],
        )
    }

    fn norm(&mut self, name: &str, x: ValueId) -> ValueId {
        let n = self.model.value(x).shape[0];
        let mut vector = |part: &str| (self.source)(&format!("{name}.{part}"), &[n]);
        let op = Op::BatchNorm(BatchNorm {
            gamma: vector("weight"),
            beta: vector("bias"),
            mean: vector("running_mean"),
            var: vector("running_var"),
            eps: 1e-5,
        });
        self.push(name, op, &[x])
    }

    fn linear(&mut self, name: &str, x: ValueId, out: usize) -> ValueId {
        let c = self.model.value(x).shape[0];
        let x = self.push("pool", Op::GlobalAvgPool, &[x]);
        let x = self.push("flatten", Op::Reshape { shape: vec![c] }, &[x]);
        let data = (self.source)(&format!("{name}.weight"), &[out, c]);
        let weight = Tensor::new(vec![out, c], data).expect("a weight of this shape");
        let bias = Some((self.source)(&format!("{name}.bias"), &[out]));
        self.push(name, Op::Linear(Linear { weight, bias }), &[x])
    }
}

/// CIFAR ResNet-20 (He et al. 2016) with option A shortcuts: every other pixel, channels padded
/// with zeros, here a 1x1 convolution by a fixed selection of channels.
#[allow(dead_code, reason = "two of the examples need it")]
pub(crate) fn resnet20(source: &mut Source) -> Model {
    let model = Model::new("resnet20", "x", vec![3, 32, 32]);
    let mut b = Builder { model, source };
    let relu = || Op::Activation(Activation::Relu);
    let x = b.conv("conv1", ValueId(0), 16, Window::square(3, 1, 1), 1);
    let x = b.norm("bn1", x);
    let mut x = b.push("relu", relu(), &[x]);
    for (stage, out) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let y = b.conv(&name("conv1"), x, out, Window::square(3, stride, 1), 1);
            let y = b.norm(&name("bn1"), y);
            let y = b.push(&name("relu1"), relu(), &[y]);
            let y = b.conv(&name("conv2"), y, out, Window::square(3, 1, 1), 1);
            let y = b.norm(&name("bn2"), y);
            let shortcut = if stride == 2 {
                shortcut(&mut b, &name("shortcut"), x, out)
            } else {
                x
            };
            let y = b.push(&name("add"), Op::Add, &[y, shortcut]);
            x = b.push(&name("relu2"), relu(), &[y]);
        }
    }
    b.linear("linear", x, 10);
    b.model
}

#[allow(dead_code, reason = "part of resnet20")]
fn shortcut(b: &mut Builder, name: &str, x: ValueId, out: usize) -> ValueId {
    let cin = b.model.value(x).shape[0];
    let mut weight = Tensor::zeros(vec![out, cin, 1, 1]);
    (0..cin).for_each(|c| weight.row_mut(c + out / 4)[c] = 1.0);
    let window = Window::square(1, 2, 0);
    b.push(
        name,
        Op::Conv(Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        }),
        &[x],
    )
}

/// A residual network of three blocks for 28x28 grey images: the network of `exbit demo`. Where a
/// block halves the image, its shortcut is a 1x1 convolution that learns.
#[allow(dead_code, reason = "one of the examples needs it")]
pub(crate) fn fashion(source: &mut Source) -> Model {
    let model = Model::new("fashion", "x", vec![1, 28, 28]);
    let mut b = Builder { model, source };
    let relu = || Op::Activation(Activation::Relu);
    let x = b.conv("stem", ValueId(0), 16, Window::square(3, 1, 1), 1);
    let x = b.norm("stem.bn", x);
    let mut x = b.push("stem.relu", relu(), &[x]);
    for (block, out) in [16, 32, 64].into_iter().enumerate() {
        let name = |part: &str| format!("block{}.{part}", block + 1);
        let stride = if block > 0 { 2 } else { 1 };
        let y = b.conv(&name("conv1"), x, out, Window::square(3, stride, 1), 1);
        let y = b.norm(&name("bn1"), y);
        let y = b.push(&name("relu1"), relu(), &[y]);
        let y = b.conv(&name("conv2"), y, out, Window::square(3, 1, 1), 1);
        let y = b.norm(&name("bn2"), y);
        if stride == 2 {
            x = b.conv(&name("shortcut"), x, out, Window::square(1, 2, 0), 1);
            x = b.norm(&name("shortcut.bn"), x);
        }
        x = b.push(&name("add"), Op::Add, &[y, x]);
        x = b.push(&name("relu2"), relu(), &[x]);
    }
    b.linear("linear", x, 10);
    b.model
}

/// MobileNetV2 (Sandler et al. 2018), BatchNorm folded, with TensorFlow's padding.
#[allow(dead_code, reason = "one of the examples needs it")]
pub(crate) fn mobilenet_v2(source: &mut Source) -> Model {
    let model = Model::new("mobilenet_v2", "x", vec![3, 224, 224]);
    let mut b = Builder { model, source };
    let mut x = spatial(&mut b, "stem", ValueId(0), [32, 2, 1]);
    let rows = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
    ];
    for (row, (expand, out, repeat, stride)) in rows
        .into_iter()
        .chain([(6, 160, 3, 2), (6, 320, 1, 1)])
        .enumerate()
    {
        for block in 0..repeat {
            let name = |part: &str| format!("{row}.{block}.{part}");
            let cin = b.model.value(x).shape[0];
            let stride = if block == 0 { stride } else { 1 };
            let mut y = x;
            if expand > 1 {
                y = b.conv(&name("expand"), y, cin * expand, Window::square(1, 1, 0), 1);
                y = relu6(&mut b, &name("expand"), y);
            }
            let hidden = cin * expand;
            y = spatial(&mut b, &name("depthwise"), y, [hidden, stride, hidden]);
            y = b.conv(&name("project"), y, out, Window::square(1, 1, 0), 1);
            x = if block > 0 {
                b.push(&name("add"), Op::Add, &[x, y])
            } else {
                y
            };
        }
    }
    let x = b.conv("head", x, 1280, Window::square(1, 1, 0), 1);
    let x = relu6(&mut b, "head", x);
    b.linear("linear", x, 1000);
    b.model
}

/// A padded 3x3 convolution to `[channels, stride, groups]`, and ReLU6.
fn spatial(b: &mut Builder, name: &str, x: ValueId, [out, stride, groups]: [usize; 3]) -> ValueId {
    let pads = if stride == 2 { [0, 0, 1, 1] } else { [1; 4] };
    let window = Window {
        pads,
        ..Window::square(3, stride, 0)
    };
    let x = b.conv(name, x, out, window, groups);
    relu6(b, name, x)
}

fn relu6(b: &mut Builder, name: &str, x: ValueId) -> ValueId {
    let clip = Activation::Clip { lo: 0.0, hi: 6.0 };
    b.push(&format!("{name}.clip"), Op::Activation(clip), &[x])
}
