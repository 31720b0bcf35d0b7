//! Writes what each target starts from into `corpus/TARGET`: small sound files of every kind, made
//! by code so that none has to be kept. Run in this folder: `cargo run --example seeds`.

#[path = "../../tests/networks/mod.rs"]
mod networks;
#[allow(dead_code)]
#[path = "../../crates/engine/tests/random/mod.rs"]
mod random;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use exbit_fuzz::Graph;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Files = Vec<Vec<u8>>;

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = std::env::args()
        .nth(1)
        .map_or(here.join("corpus"), PathBuf::from);
    let onnx = onnx()?;
    let seeds = [
        ("onnx", onnx.clone()),
        ("prepare", onnx),
        ("external", external()),
        ("program", programs()?),
        ("idx", idx()?),
        ("cifar", records()),
        ("image", images(here)?),
        ("labels", labels()),
        ("preprocess", preprocesses(here)?),
        ("plan", plans()),
        ("losses", losses()),
        ("times", times()),
        ("run", runs()),
    ];
    for (target, files) in seeds {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        for (i, bytes) in files.iter().enumerate() {
            fs::write(folder.join(format!("seed{i:02}")), bytes)?;
        }
    }
    Ok(())
}

/// Networks as we write them, and graphs as exporters do: shapes computed, detours, constants.
fn onnx() -> Result<Files> {
    let counting = |n: u16| -> Vec<f32> { (1..=n).map(f32::from).collect() };
    let image = || Graph::new(&[1, 2, 4, 4]);
    let mut files = vec![
        image()
            .floats("w", &[2, 1, 3, 3], &counting(18))
            .floats("g", &[2], &[1.0, 2.0])
            .ints("p", &[8], &[0, 0, 1, 1, 0, 0, 1, 1])
            .node("Pad x,p -> a", &[])
            .node(
                "Conv a,w,g -> c",
                &[("kernel_shape", &[3, 3]), ("group", &[2])],
            )
            .node("BatchNormalization c,g,g,g,g -> b", &[])
            .node("Relu b -> r", &[])
            .node(
                "MaxPool r -> y",
                &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])],
            ),
        image()
            .ints("zero", &[], &[0])
            .ints("axis", &[1], &[0])
            .ints("rest", &[1], &[-1])
            .node("Shape x -> s", &[])
            .node("Gather s,zero -> n", &[])
            .node("Unsqueeze n,axis -> n1", &[])
            .node("Concat n1,rest -> to", &[("axis", &[0])])
            .node("Reshape x,to -> f", &[])
            .floats("m", &[32, 3], &counting(96))
            .node("MatMul f,m -> o", &[])
            .node("Softmax o -> y", &[]),
        image()
            .ints("to", &[5], &[-1, 2, 1, 4, 4])
            .ints("back", &[4], &[0, 2, 4, 4])
            .node("Reshape x,to -> a", &[])
            .node("Transpose a -> b", &[("perm", &[0, 2, 1, 3, 4])])
            .node("Reshape b,back -> c", &[])
            .node("HardSwish c -> d", &[])
            .node("Add d,x -> e", &[])
            .node("Concat e,d -> f", &[("axis", &[1])])
            .node("GlobalAveragePool f -> g", &[])
            .node("Flatten g -> y", &[]),
        image()
            .ints("start", &[2], &[0, 0])
            .ints("end", &[2], &[4, 4])
            .ints("axes", &[2], &[2, 3])
            .ints("step", &[2], &[2, 2])
            .node("Slice x,start,end,axes,step -> a", &[])
            .floats("k", &[], &[0.5])
            .node("Mul a,k -> b", &[])
            .node("Sigmoid b -> c", &[])
            .node(
                "AveragePool c -> d",
                &[("kernel_shape", &[2, 2]), ("pads", &[1, 1, 0, 0])],
            )
            .floats("six", &[], &[6.0])
            .node("Clip d,,six -> y", &[]),
        image()
            .ints("n", &[1], &[2])
            .ints("a", &[], &[1])
            .node("ConstantOfShape n -> c", &[])
            .node("Cast c -> d", &[("to", &[7])])
            .node("Squeeze x,n -> q", &[])
            .node(
                "ReduceMean x -> m",
                &[("axes", &[2, 3]), ("keepdims", &[0])],
            )
            .floats("w", &[3, 2], &counting(6))
            .node("Gemm m,w -> y", &[("transB", &[1])]),
    ]
    .into_iter()
    .map(Graph::file)
    .collect::<Files>();
    for (i, file) in files.iter().enumerate() {
        // A seed that is refused starts nothing.
        exbit_model::onnx::read(file, None).map_err(|e| format!("graph {i}: {e}"))?;
    }
    for model in networks::all() {
        files.push(exbit_model::onnx::write(&model)?);
    }
    Ok(files)
}

fn external() -> Files {
    let texts = [
        "location=w",
        "location=d/w\noffset=4\nlength=12",
        "location=./d/../w",
        "location=../s\nlength=16",
        "location=../model2/s",
        "location=/etc/hostname",
        "location=l",
        "location=u/s\noffset=0",
        "location=w\noffset=18446744073709551615\nlength=-1",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

fn programs() -> Result<Files> {
    let program = |seed| {
        let mut random = random::Random::new(seed);
        let mut program = match seed % 2 {
            0 => random::with_exits(&mut random, 3),
            _ => random::program(&mut random, 3),
        };
        if seed % 3 == 0 {
            program.pack(0);
        }
        program.to_bytes()
    };
    let mut files = (0..80)
        .map(program)
        .collect::<std::result::Result<Files, _>>()?;
    files.sort_by_key(Vec::len);
    files.truncate(40);
    Ok(files)
}

fn idx() -> Result<Files> {
    let file = |axes: &[u32], entries: &[u8]| {
        let axes_bytes = axes.iter().flat_map(|a| a.to_be_bytes());
        let magic = [0, 0, 8, axes.len() as u8];
        magic
            .into_iter()
            .chain(axes_bytes)
            .chain(entries.iter().copied())
            .collect::<Vec<u8>>()
    };
    let packed = |bytes: &[u8]| -> Result<Vec<u8>> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes)?;
        Ok(gzip.finish()?)
    };
    let joined = |images: &[u8], labels: &[u8]| {
        [&(images.len() as u16).to_be_bytes(), images, labels].concat()
    };
    let (images, labels) = (file(&[2, 3, 4], &[5; 24]), file(&[2], &[0, 9]));
    let alone = [&[255, 255], &images[..]].concat();
    let zipped = joined(&packed(&images)?, &packed(&labels)?);
    Ok(vec![joined(&images, &labels), alone, zipped])
}

/// CIFAR-10 records, IDX, a list of labels.
fn records() -> Files {
    let record = |label: u8| std::iter::once(label).chain((0..3072).map(|i| i as u8));
    let idx = [
        &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..],
        &[7; 4],
    ]
    .concat();
    let labels = b"a.png 3\nb c.png\t12\r\n\n./a.png 0\nimages/b c.png 9\n".to_vec();
    let outside = b"../secret.png 1\n".to_vec();
    let one = record(9).collect();
    vec![
        one,
        record(0).chain(record(3)).collect(),
        idx,
        labels,
        outside,
    ]
}

fn images(here: &Path) -> Result<Files> {
    let mut files = Files::new();
    for name in [
        "ramp.jpg",
        "ramp_cmyk.jpg",
        "ramp_grey.jpg",
        "ramp_progressive.jpg",
    ] {
        files.push(fs::read(
            here.join("../crates/model/src/data/fixtures").join(name),
        )?);
    }
    let levels: Vec<u8> = (0..13 * 19 * 8).map(|i| (i * 7 % 251) as u8).collect();
    use png::{BitDepth, ColorType};
    for (color, depth, bits) in [
        (ColorType::Grayscale, BitDepth::Eight, 8),
        (ColorType::Grayscale, BitDepth::One, 1),
        (ColorType::Rgb, BitDepth::Eight, 24),
        (ColorType::Rgba, BitDepth::Sixteen, 64),
        (ColorType::Indexed, BitDepth::Four, 4),
    ] {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, 19, 13);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.set_palette((0..48).collect::<Vec<u8>>());
        let row = usize::div_ceil(19 * bits, 8);
        encoder
            .write_header()?
            .write_image_data(&levels[..13 * row])?;
        files.push(out);
    }
    use image_webp::ColorType as Webp;
    for (color, samples) in [(Webp::L8, 1), (Webp::Rgb8, 3), (Webp::Rgba8, 4)] {
        let mut out = Vec::new();
        image_webp::WebPEncoder::new(&mut out).encode(
            &levels[..13 * 19 * samples],
            19,
            13,
            color,
        )?;
        files.push(out);
    }
    Ok(files)
}

fn preprocesses(here: &Path) -> Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(here.join("../examples/preprocess"))? {
        files.push(fs::read(entry?.path())?);
    }
    files.sort();
    files.push(
        b"resize = [9, 8]\nfilter = \"bicubic\"\ncrop = [5, 4]\noffset = [1, 2]\nchannels = \"grey\"\n\
          scale = 1.0\nmean = [127.5]\nstd = [1e2]\n"
            .to_vec(),
    );
    files.push(b"resize = 6\ncrop = 5\nchannels = 'bgr'\nmean = [1, -2.5, +3]\nstd = [1]".to_vec());
    Ok(files)
}

/// Lines of a labels.txt, with spaces in a name, tabs, empty lines and two line ends.
fn labels() -> Files {
    ["a.png 3\n", "b c.jpg\t5\r\n\na.png 0\n", "./a.png 1048575"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fn plans() -> Files {
    let texts = [
        "model = \"resnet20\"\n\n[settings]\nbudget = [\"weights=8x\"]\nseed = 0\n\n[weights]\n\
         conv1 = 8\n\"layer1.0.conv1\" = 4\n\n[activations]\ninput = 8\n\"layer1.0.relu\" = 1\n",
        "model = 'm'\nweights = {a = 0x4, \"\\u00e9\\n\" = 2}\nactivations.x = 8\n\
         settings = {t = 1979-05-27T07:32:00Z, n = {d = [nan, -inf, 1e9]}, s = '''x'''}\n",
        "model = \"\"\n[activations]\n[weights]\n[[settings.a]]\nb.c = true\n[[settings.a]]\n",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

fn losses() -> Files {
    let head = "version = \"0.1.0\"\nnetwork = \"net\"\nnetwork_fingerprint = \"6c46\"\nimages = 8\n\
                images_fingerprint = \"74\"\nseed = -1\nweight_bits = [2, 4]\nactivation_bits = [8]\n\
                clipping = \"mse\"\nlayers = [\"conv\", \"fc\"]\nactivations = [\"x\"]\n\n";
    let f4 = "[metrics.f4]\nweights = [[1e-3, 0.0], [0.25, -1.5]]\nactivations = [[0.0]]\n\n";
    let part = "[metrics.measured]\nweights = [[0.5, 0.125]]\nactivations = []\n";
    [
        format!("{head}{f4}{part}"),
        format!("{head}[metrics]\n"),
        format!("{head}{f4}{}", f4.replace("f4", "measured")),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fn runs() -> Files {
    let recipe = "method = \"lsq\"\nbits = 4\nexits = [0.5, \"a.relu\"]\nepochs = { settle = 3 }\n";
    let run = r#"{"recipe":{"method":"lsq","bits":4},"place":{"phase":0,"epoch":1,"step":2,
        "sums":{"images":2,"losses":[0.5],"right":[1],"seconds":0.1}},"records":[]}"#;
    // Quotes and line ends are escaped in Rust as in JSON.
    let tensor = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let header = format!("{{\"__metadata__\":{{\"exbit.run\":{run:?}}},\"w\":{tensor}}}");
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(1.0f32.to_le_bytes());
    vec![recipe.as_bytes().to_vec(), file]
}

fn times() -> Files {
    let head = "network = \"net\"\ncpu = \"a CPU\"\nisa = \"avx2\"\nversion = \"0.1.0\"\n\
                geometry = \"6c46\"\nlayers = [\"conv\", \"fc\"]\n";
    let pair = "\n[[pairs]]\nweight_bits = 4\nactivation_bits = 8\nrest_us = 1.5\nlayers_us = [1.25, 3.0]\n";
    [
        format!("{head}pairs = []\n"),
        format!("{head}{pair}"),
        format!("{head}{pair}{}", pair.replace('4', "2")),
    ]
    .map(String::into_bytes)
    .to_vec()
}
