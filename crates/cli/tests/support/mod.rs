//! Runs of the binary, what they printed, and the small files that they read.

use std::path::PathBuf;
use std::process::{Command, Output};

use exbit_model::{Activation, BatchNorm, Conv, Linear, Model, Op, Tensor, Window};

/// Classes of the tiny network.
const CLASSES: usize = 3;
/// The sides of its images.
const SIDE: usize = 8;

/// `exbit` with `args`, to its end.
pub(crate) fn exbit(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_exbit"))
        .args(args)
        .output()
        .expect("exbit can be started")
}

/// The JSON of a run that must end well.
pub(crate) fn good(args: &[&str]) -> serde_json::Value {
    let run = exbit(&[args, &["--json"]].concat());
    assert_eq!(run.status.code(), Some(0), "{args:?}: {}", stderr(&run));
    json(&run)
}

/// Runs what must end with status 2, one message that has `expected` in it, and no answer.
pub(crate) fn bad(args: &[&str], expected: &str) {
    let run = exbit(args);
    let message = stderr(&run);
    assert_eq!(run.status.code(), Some(2), "{args:?}: {message}");
    assert_eq!(stdout(&run), "", "{args:?}");
    assert_eq!(message.matches("error: ").count(), 1, "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    assert!(
        message.contains(expected),
        "{args:?}: {expected:?} is not in: {message}"
    );
}

/// Standard output as text.
pub(crate) fn stdout(run: &Output) -> String {
    String::from_utf8(run.stdout.clone()).expect("standard output is text")
}

/// Standard error as text.
pub(crate) fn stderr(run: &Output) -> String {
    String::from_utf8(run.stderr.clone()).expect("standard error is text")
}

/// The one JSON object on standard output.
pub(crate) fn json(run: &Output) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_str(&stdout(run)).expect("standard output is one JSON value");
    assert!(value.is_object(), "{value}");
    value
}

/// A folder of its own for one test, empty at first and removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("exbit-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    /// The path of `name` in it, as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        self.0
            .join(name)
            .to_str()
            .expect("a path in UTF-8")
            .to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.join(name), bytes).expect("a file for the test");
        self.at(name)
    }

    /// The tiny network, its preprocessing beside it: its path.
    pub(crate) fn model(&self) -> String {
        self.write(
            "tiny.toml",
            format!("crop = {SIDE}\nchannels = \"grey\"\nmean = [0.5]\nstd = [0.25]\n"),
        );
        self.write(
            "tiny.onnx",
            exbit_model::onnx::write(&tiny()).expect("a model"),
        )
    }

    /// Images and labels as IDX: `count` of both, the label of each being what the tiny network
    /// was built to answer: which third is bright.
    pub(crate) fn idx(&self, count: usize) -> String {
        let folder = self.0.join("idx");
        std::fs::create_dir_all(&folder).expect("a folder");
        for (part, seed) in [("train", 1), ("t10k", 2)] {
            let mut images = vec![0, 0, 8, 3];
            let mut labels = vec![0, 0, 8, 1];
            for extent in [count, SIDE, SIDE] {
                images.extend((extent as u32).to_be_bytes());
            }
            labels.extend((count as u32).to_be_bytes());
            for i in 0..count {
                images.extend(picture(i % CLASSES, i + seed));
                labels.push((i % CLASSES) as u8);
            }
            let write = |name: &str, bytes: &[u8]| {
                std::fs::write(folder.join(format!("{part}-{name}")), bytes).expect("a file");
            };
            write("images-idx3-ubyte", &images);
            write("labels-idx1-ubyte", &labels);
        }
        self.at("idx")
    }

    /// A PNG of the picture that belongs to `class`: its path.
    pub(crate) fn png(&self, class: usize) -> String {
        let path = self.at(&format!("class{class}.png"));
        let side = SIDE as u32;
        let file = std::fs::File::create(&path).expect("a file");
        let mut encoder = png::Encoder::new(file, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().expect("a header");
        writer
            .write_image_data(&picture(class, 7))
            .expect("a picture");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the system's temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Grey noise with `class` bright rows at the top, in the middle or at the bottom.
fn picture(class: usize, seed: usize) -> Vec<u8> {
    let level = |i: usize| {
        let row = i / SIDE;
        let bright = row * CLASSES / SIDE == class;
        let noise = (i * 37 + seed * 101) % 60;
        (if bright { 180 + noise } else { noise }) as u8
    };
    (0..SIDE * SIDE).map(level).collect()
}

/// A network of two layers that answers which third of the picture is bright.
fn tiny() -> Model {
    let mut model = Model::new("tiny", "image", vec![1, SIDE, SIDE]);
    let kernel = |c: usize| (0..9).map(move |i| if i == 4 { 1.0 } else { 0.02 * (c as f32 - 1.5) });
    let conv = Op::Conv(Conv {
        weight: Tensor::new(vec![4, 1, 3, 3], (0..4).flat_map(kernel).collect()).expect("a weight"),
        bias: None,
        window: Window::square(3, 1, 1),
        groups: 1,
    });
    let norm = Op::BatchNorm(BatchNorm {
        gamma: vec![1.0; 4],
        beta: vec![0.1; 4],
        mean: vec![0.0; 4],
        var: vec![1.0; 4],
        eps: 1e-5,
    });
    let features = 4 * SIDE * SIDE;
    let row = |f: usize| f % (SIDE * SIDE) / SIDE * CLASSES / SIDE;
    let entry = |i: usize| {
        if row(i % features) == i / features {
            0.02
        } else {
            -0.01
        }
    };
    let linear = Op::Linear(Linear {
        weight: Tensor::new(
            vec![CLASSES, features],
            (0..CLASSES * features).map(entry).collect(),
        )
        .expect("a weight"),
        bias: Some(vec![0.0; CLASSES]),
    });
    let ops = [
        ("conv", conv),
        ("norm", norm),
        ("relu", Op::Activation(Activation::Relu)),
        (
            "flat",
            Op::Reshape {
                shape: vec![features],
            },
        ),
        ("fc", linear),
    ];
    let mut last = model.input();
    for (name, op) in ops {
        last = model.push(name, op, &[last]).expect("a node that fits");
    }
    model
}
