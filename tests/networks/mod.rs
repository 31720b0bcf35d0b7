//! Small float networks of every shape that the importer can bring, with seeded weights, and images
//! for them: what the integration tests run on.

// Each test file takes what it needs, and a network that cannot be built fails the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use exbit_model::{
    Activation, Affine, BatchNorm, Conv, Linear, Model, Op, Pad, Pool, Tensor, ValueId, Window,
};

/// A stream of numbers in -1..1 (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn vec(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| self.next() * scale).collect()
    }
}

pub struct Builder {
    pub model: Model,
    random: Numbers,
    at: ValueId,
    count: usize,
}

impl Builder {
    pub fn new(name: &str, shape: [usize; 3], seed: u64) -> Self {
        let model = Model::new(name, "x", shape.to_vec());
        let at = model.input();
        Self {
            model,
            random: Numbers(seed),
            at,
            count: 0,
        }
    }

    pub fn push(&mut self, op: Op) -> ValueId {
        self.push_on(op, &[self.at])
    }

    pub fn push_on(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        self.count += 1;
        let name = format!("{}{}", op.name().to_lowercase(), self.count);
        self.at = self.model.push(name, op, inputs).unwrap();
        self.at
    }

    fn channels(&self) -> usize {
        self.model.value(self.at).shape[0]
    }

    pub fn conv(&mut self, out: usize, window: Window, groups: usize) -> ValueId {
        let shape = vec![
            out,
            self.channels() / groups,
            window.kernel[0],
            window.kernel[1],
        ];
        let n: usize = shape.iter().product();
        let fan_in = (n / out) as f32;
        let weight = Tensor::new(shape, self.random.vec(n, (3.0 / fan_in).sqrt() * 1.3)).unwrap();
        let bias = Some(self.random.vec(out, 0.1));
        self.push(Op::Conv(Conv {
            weight,
            bias,
            window,
            groups,
        }))
    }

    pub fn norm(&mut self) -> ValueId {
        let n = self.channels();
        let mut near_one = |spread: f32| -> Vec<f32> {
            self.random.vec(n, spread).iter().map(|x| 1.0 + x).collect()
        };
        let (gamma, var) = (near_one(0.4), near_one(0.5));
        let (beta, mean) = (self.random.vec(n, 0.3), self.random.vec(n, 0.2));
        self.push(Op::BatchNorm(BatchNorm {
            gamma,
            beta,
            mean,
            var,
            eps: 1e-5,
        }))
    }

    pub fn affine(&mut self) -> ValueId {
        let n = self.channels();
        let (scale, shift) = (self.random.vec(n, 1.0), self.random.vec(n, 0.5));
        self.push(Op::Affine(Affine { scale, shift }))
    }

    pub fn act(&mut self, activation: Activation) -> ValueId {
        self.push(Op::Activation(activation))
    }

    pub fn linear(&mut self, out: usize) -> ValueId {
        let n = self.model.value(self.at).len();
        let weight = Tensor::new(
            vec![out, n],
            self.random.vec(out * n, 2.0 / (n as f32).sqrt()),
        );
        let bias = Some(self.random.vec(out, 0.1));
        self.push(Op::Linear(Linear {
            weight: weight.unwrap(),
            bias,
        }))
    }

    pub fn flatten(&mut self) -> ValueId {
        let n = self.model.value(self.at).len();
        self.push(Op::Reshape { shape: vec![n] })
    }

    pub fn go_on_from(&mut self, value: ValueId) {
        self.at = value;
    }
}

/// Residual blocks with BatchNorm, a strided shortcut convolution, global pooling.
pub fn residual() -> Model {
    let mut b = Builder::new("residual", [3, 9, 9], 1);
    b.conv(6, Window::square(3, 1, 1), 1);
    b.norm();
    let x = b.act(Activation::Relu);
    b.conv(6, Window::square(3, 1, 1), 1);
    b.norm();
    b.act(Activation::Relu);
    b.conv(6, Window::square(3, 1, 1), 1);
    let y = b.norm();
    b.push_on(Op::Add, &[y, x]);
    let x = b.act(Activation::Relu);
    b.conv(10, Window::square(1, 2, 0), 1);
    let shortcut = b.norm();
    b.go_on_from(x);
    b.conv(10, Window::square(3, 2, 1), 1);
    b.norm();
    b.act(Activation::Relu);
    b.conv(10, Window::square(3, 1, 1), 1);
    let y = b.norm();
    b.push_on(Op::Add, &[shortcut, y]);
    b.act(Activation::Relu);
    b.push(Op::GlobalAvgPool);
    b.flatten();
    b.linear(7);
    b.push(Op::Softmax { axis: 0 });
    b.model
}

/// A residual block whose shortcut has no weights: every other pixel, and channels padded.
pub fn padded() -> Model {
    let mut b = Builder::new("padded", [3, 8, 10], 5);
    b.conv(5, Window::square(3, 1, 1), 1);
    let x = b.act(Activation::Relu);
    b.push(Op::MaxPool(Window::square(1, 2, 0)));
    b.push(Op::Reshape {
        shape: vec![1, 5, 4 * 5],
    });
    b.push(Op::Pad(Pad {
        pads: [2, 0, 3, 0],
        value: 0.0,
    }));
    let shortcut = b.push(Op::Reshape {
        shape: vec![10, 4, 5],
    });
    b.go_on_from(x);
    b.conv(10, Window::square(3, 2, 1), 1);
    b.act(Activation::Relu);
    let y = b.conv(10, Window::square(3, 1, 1), 1);
    b.push_on(Op::Add, &[y, shortcut]);
    b.act(Activation::Relu);
    b.push(Op::GlobalAvgPool);
    b.flatten();
    b.linear(6);
    b.model
}

/// Inverted residuals: depthwise layers, ReLU6 as ReLU and Clip, asymmetric Pad nodes, a linear
/// bottleneck whose sum has no activation.
pub fn inverted() -> Model {
    let relu6 = Activation::Clip { lo: 0.0, hi: 6.0 };
    let mut b = Builder::new("inverted", [3, 11, 10], 2);
    b.push(Op::Pad(Pad {
        pads: [0, 0, 1, 1],
        value: 0.0,
    }));
    b.conv(8, Window::square(3, 2, 0), 1);
    b.act(Activation::Relu);
    b.act(relu6);
    let x = b.conv(6, Window::square(1, 1, 0), 1);
    b.conv(18, Window::square(1, 1, 0), 1);
    b.act(relu6);
    b.conv(18, Window::square(3, 1, 1), 18);
    b.act(relu6);
    let y = b.conv(6, Window::square(1, 1, 0), 1);
    b.push_on(Op::Add, &[x, y]);
    b.conv(12, Window::square(5, 2, 2), 6);
    b.act(relu6);
    b.push(Op::AvgPool(Pool {
        window: Window::square(2, 1, 0),
        count_include_pad: true,
    }));
    b.flatten();
    b.linear(20);
    b.act(Activation::Relu);
    b.linear(5);
    b.model
}

/// Everything else: concatenation, channel shuffle, pooling with padding, a lone affine map, curved
/// activations, a dilated convolution, an answer that is a pooled convolution.
pub fn mixed() -> Model {
    let mut b = Builder::new("mixed", [3, 12, 12], 3);
    b.affine();
    b.conv(8, Window::square(3, 1, 1), 1);
    b.act(Activation::HardSwish);
    let x = b.push(Op::MaxPool(Window::square(3, 2, 1)));
    b.conv(4, Window::square(1, 1, 0), 1);
    let a = b.act(Activation::LeakyRelu { slope: 0.1 });
    b.go_on_from(x);
    let dilated = Window {
        dilation: [2, 2],
        ..Window::square(3, 1, 2)
    };
    b.conv(4, dilated, 2);
    let c = b.act(Activation::Sigmoid);
    b.push_on(Op::Concat { axis: 0 }, &[a, x, c]);
    b.affine();
    b.act(Activation::Relu);
    let [channels, h, w] = b.model.value(b.at).shape[..] else {
        panic!()
    };
    b.push(Op::Reshape {
        shape: vec![2, channels / 2, h, w],
    });
    b.push(Op::Transpose {
        perm: vec![1, 0, 2, 3],
    });
    b.push(Op::Reshape {
        shape: vec![channels, h, w],
    });
    b.push(Op::AvgPool(Pool {
        window: Window::square(3, 2, 1),
        count_include_pad: false,
    }));
    b.act(Activation::HardSigmoid {
        alpha: 0.2,
        beta: 0.5,
    });
    b.push(Op::Pad(Pad {
        pads: [1, 0, 0, 2],
        value: 0.5,
    }));
    b.conv(9, Window::square(2, 1, 0), 1);
    b.act(Activation::Relu);
    b.push(Op::GlobalAvgPool);
    b.flatten();
    b.model
}

/// A plain chain that ends in a wide fully connected layer after a flatten of an image.
pub fn chain() -> Model {
    let mut b = Builder::new("chain", [1, 8, 8], 4);
    b.conv(8, Window::square(5, 1, 2), 1);
    b.act(Activation::Relu);
    b.push(Op::MaxPool(Window::square(2, 2, 0)));
    b.conv(16, Window::square(3, 1, 0), 1);
    b.act(Activation::Relu);
    b.flatten();
    b.linear(24);
    b.act(Activation::Relu);
    b.linear(10);
    b.model
}

/// A chain whose image is flattened with its channels last, as TensorFlow does.
pub fn channels_last() -> Model {
    let mut b = Builder::new("channels_last", [3, 8, 8], 5);
    b.conv(8, Window::square(3, 2, 1), 1);
    b.act(Activation::Relu);
    b.push(Op::Transpose {
        perm: vec![1, 2, 0],
    });
    b.flatten();
    b.linear(10);
    b.model
}

/// All of them.
pub fn all() -> Vec<Model> {
    vec![
        residual(),
        inverted(),
        mixed(),
        chain(),
        channels_last(),
        padded(),
    ]
}

/// `images` random images of raw pixels, `(N, H, W, C)`, smooth enough to look like something.
pub fn pixels(model: &Model, images: usize, seed: u64) -> Vec<u8> {
    let mut random = Numbers(seed);
    let n = images * model.value(model.input()).len();
    let mut level = 128.0f32;
    let mut pixel = || {
        level = (level + 40.0 * random.next()).clamp(0.0, 255.0);
        level as u8
    };
    (0..n).map(|_| pixel()).collect()
}

/// The pixels as the float network reads them, `(N, C, H, W)`, at `scale` and `shift`.
pub fn preprocessed(model: &Model, pixels: &[u8], scale: f32, shift: f32) -> Vec<f32> {
    let shape = &model.value(model.input()).shape;
    let (channels, positions) = (shape[0], shape[1] * shape[2]);
    let image = |p: &[u8]| -> Vec<f32> {
        let x = |c: usize, i: usize| f32::from(p[i * channels + c]) * scale + shift;
        (0..channels)
            .flat_map(|c| (0..positions).map(move |i| x(c, i)))
            .collect()
    };
    pixels
        .chunks_exact(channels * positions)
        .flat_map(image)
        .collect()
}
