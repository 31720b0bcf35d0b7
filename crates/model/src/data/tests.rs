//! Data sets as they lie on a disk, whole and broken.

use std::fs;
use std::path::PathBuf;

use super::order::Random;
use super::*;
use crate::ErrorKind;

/// A folder that goes away with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("exbit-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A 4x3 PNG, all of one level.
    fn image(&self, name: &str, level: u8) {
        self.write(name, encode_png(4, 3, 3, &[level; 36]));
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `count` damaged versions of `bytes`: flipped, cut, spliced, from a fixed seed.
pub(super) fn mutations(bytes: &[u8], count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = Random(7);
    (0..count).map(move |_| {
        let mut bytes = bytes.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len().max(1));
            match random.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, random.next() as u8),
                _ if bytes.is_empty() => {}
                2 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
        bytes
    })
}

/// A PNG of 1 to 4 samples a pixel: grey, grey and alpha, colour, colour and alpha.
pub(super) fn encode_png(width: u32, height: u32, samples: usize, levels: &[u8]) -> Vec<u8> {
    use png::ColorType::{Grayscale, GrayscaleAlpha, Rgb, Rgba};
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color([Grayscale, GrayscaleAlpha, Rgb, Rgba][samples - 1]);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(levels)
        .unwrap();
    out
}

fn cifar_records(labels: &[u8]) -> Vec<u8> {
    labels
        .iter()
        .flat_map(|&l| std::iter::once(l).chain((0..3072).map(move |i| l + (i >> 10) as u8)))
        .collect()
}

fn idx(axes: &[u32], entries: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, axes.len() as u8];
    out.extend(axes.iter().flat_map(|a| a.to_be_bytes()));
    out.extend(entries);
    out
}

fn grey(size: usize) -> Preprocess {
    Preprocess::from_toml(&format!(
        "channels = 'grey'\ncrop = {size}\nmean = [0]\nstd = [1]\n"
    ))
    .unwrap()
}

#[test]
fn cifar_has_two_parts() {
    let dir = Scratch::new("cifar");
    dir.write(
        "cifar-10-batches-bin/data_batch_1.bin",
        cifar_records(&[3, 9]),
    );
    dir.write("cifar-10-batches-bin/data_batch_2.bin", cifar_records(&[1]));
    dir.write("cifar-10-batches-bin/test_batch.bin", cifar_records(&[7]));
    let train = DataSet::open(&dir.0, Split::Train).unwrap();
    assert_eq!(train.labels().unwrap(), [3, 9, 1]);
    assert_eq!(train.part(), Some(Split::Train));
    assert_eq!(train.classes().unwrap()[9], "truck");
    // Planes become pixels, across files.
    let image = train.image(2).unwrap();
    assert_eq!(
        (image.height(), image.width(), &image.bytes()[..4]),
        (32, 32, &[1, 2, 3, 1][..])
    );
    assert!(train.image(3).is_err());
    let test = DataSet::open(dir.0.join("cifar-10-batches-bin"), Split::Test).unwrap();
    assert_eq!((test.len(), test.part()), (1, Some(Split::Test)));
    let file = DataSet::open(
        dir.0.join("cifar-10-batches-bin/data_batch_2.bin"),
        Split::Test,
    );
    let file = file.unwrap();
    assert_eq!((file.len(), file.part()), (1, None));
    assert!(
        file.to_string()
            .ends_with("1 images (CIFAR-10 binaries, one part, which serves as any)")
    );
}

#[test]
fn idx_finds_its_labels_packed_or_not() {
    let dir = Scratch::new("idx");
    let pixels: Vec<u8> = (0..24).collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &idx(&[2, 3, 4], &pixels)).unwrap();
    dir.write("train-images-idx3-ubyte.gz", packed.finish().unwrap());
    dir.write("train-labels-idx1-ubyte", idx(&[2], &[4, 250]));
    dir.write("t10k-images-idx3-ubyte", idx(&[1, 4, 4], &pixels[..16]));
    let train = DataSet::open(&dir.0, Split::Train).unwrap();
    assert_eq!((train.len(), train.labels().unwrap()), (2, &[4, 250][..]));
    assert_eq!(train.image(1).unwrap().bytes(), &pixels[12..]);
    let error = train.labels_below(10).unwrap_err().to_string();
    assert!(error.contains("image 1 has class 250"), "{error}");
    let test = DataSet::open(&dir.0, Split::Test).unwrap();
    assert_eq!((test.len(), test.labels()), (1, None));
    let file = DataSet::open(dir.0.join("train-images-idx3-ubyte.gz"), Split::Test).unwrap();
    assert_eq!(
        (file.len(), file.part(), file.labels().is_some()),
        (2, None, true)
    );
}

#[test]
fn class_folders_are_numbered_as_the_network_numbers_its_classes() {
    let dir = Scratch::new("some-folders");
    dir.image("cat/1.png", 1);
    dir.image("ape/1.png", 2);
    let open = || DataSet::open(&dir.0, Split::Test).unwrap();
    let names = |names: [&str; 3]| names.map(str::to_owned);
    let mut by_name = open();
    by_name
        .number_classes(&names(["bee", "cat", "ape"]), 3)
        .unwrap();
    assert_eq!(by_name.labels().unwrap(), [2, 1]);
    assert_eq!(by_name.classes().unwrap(), ["bee", "cat", "ape"]);
    let mut in_order = open();
    in_order.number_classes(&[], 2).unwrap();
    assert_eq!(in_order.labels().unwrap(), [0, 1]);
    for names in [vec![], names(["bee", "cat", "dog"]).to_vec()] {
        let error = open().number_classes(&names, 3).unwrap_err().to_string();
        assert!(
            error.contains("2 class folders; the network has 3"),
            "{error}"
        );
    }
    // As many as the network has, but called otherwise: their order would be a guess.
    let others = ["ape", "dog"].map(str::to_owned);
    assert!(open().number_classes(&others, 2).is_err());
    assert_eq!(open().without_labels().labels(), None);
}

#[test]
fn class_folders_are_numbered_by_the_training_part() {
    let dir = Scratch::new("folders");
    for (name, level) in [
        ("train/a/1.png", 1),
        ("train/b/1.PNG", 2),
        ("train/c/x.png", 3),
    ] {
        dir.image(name, level);
    }
    dir.image("val/c/1.png", 9);
    dir.write("train/a/notes.txt", "not an image");
    let train = DataSet::open(&dir.0, Split::Train).unwrap();
    assert_eq!(train.labels().unwrap(), [0, 1, 2]);
    assert_eq!(train.classes().unwrap(), ["a", "b", "c"]);
    for split in [Split::Test, Split::Val] {
        let val = DataSet::open(&dir.0, split).unwrap();
        assert_eq!(
            (val.labels().unwrap(), val.part()),
            (&[2][..], Some(Split::Val))
        );
    }
    let part = DataSet::open(dir.0.join("train"), Split::Test).unwrap();
    assert_eq!((part.len(), part.part()), (3, None));
    dir.image("val/new/1.png", 9);
    let error = DataSet::open(&dir.0, Split::Val).err().unwrap().to_string();
    assert!(
        error.contains("no class of the training part is called new"),
        "{error}"
    );
    fs::create_dir(dir.0.join("train/d")).unwrap();
    let error = DataSet::open(&dir.0, Split::Train)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("train") && error.contains("holds no JPEG"),
        "{error}"
    );
}

#[test]
fn a_list_of_labels_chooses_and_names_the_images() {
    let dir = Scratch::new("labels");
    dir.image("b with space.png", 1);
    dir.image("images/a.png", 2);
    dir.image("unlisted.png", 2);
    dir.write("labels.txt", "b with space.png 5\n\na.png\t3\r\n");
    let set = DataSet::open(&dir.0, Split::Test).unwrap();
    assert_eq!(set.labels().unwrap(), [5, 3]);
    assert!(set.name(1).ends_with("a.png"));
    let cases = [
        (
            "a.png 3\nmissing.png 1\n",
            "labels.txt: line 2: no file \"missing.png\"",
        ),
        (
            "a.png three\n",
            "labels.txt: line 1: the class \"three\" is not a number",
        ),
        ("a.png -1\n", "line 1: the class \"-1\""),
        ("a.png\n", "line 1: \"a.png\" is not `file class`"),
        ("../labels/images/a.png 1\n", "leads out of the folder"),
        ("/etc/passwd 1\n", "leads out of the folder"),
        ("", "holds no images"),
    ];
    for (text, expected) in cases {
        dir.write("labels.txt", text);
        let error = DataSet::open(&dir.0, Split::Test)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    dir.write("labels.txt", [0xFF, 0xFE]);
    assert!(DataSet::open(&dir.0, Split::Test).is_err());
}

#[test]
fn images_without_labels_are_a_data_set_too() {
    let dir = Scratch::new("plain");
    let error = DataSet::open(&dir.0, Split::Train).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    dir.image("images/2.png", 2);
    assert_eq!(DataSet::open(&dir.0, Split::Train).unwrap().len(), 1);
    dir.image("1.png", 1);
    let both = DataSet::open(&dir.0, Split::Train).err().unwrap();
    assert_eq!(both.kind(), ErrorKind::Unsupported);
    std::fs::remove_dir_all(dir.0.join("images")).unwrap();
    dir.image(".hidden.png", 1);
    let set = DataSet::open(&dir.0, Split::Train).unwrap();
    assert_eq!((set.len(), set.labels(), set.classes()), (1, None, None));
    let error = set.labels_below(10).unwrap_err().to_string();
    assert!(error.contains("add a labels.txt"), "{error}");
    let file = DataSet::open(dir.0.join("1.png"), Split::Train)
        .err()
        .unwrap();
    assert_eq!(file.kind(), ErrorKind::Unsupported);
    assert_eq!(
        DataSet::open(dir.0.join("none"), Split::Train)
            .err()
            .unwrap()
            .kind(),
        ErrorKind::Io
    );
}

#[test]
fn batches_come_in_order_and_stop_at_a_corrupt_image() {
    let dir = Scratch::new("batches");
    for i in 0..7 {
        dir.image(&format!("{i}.png"), i * 10);
    }
    let set = DataSet::open(&dir.0, Split::Train).unwrap();
    let preprocess = grey(3);
    let batches: Vec<Batch> = set
        .batches(&preprocess, [6, 0, 3, 1, 2], 2)
        .collect::<crate::Result<_>>()
        .unwrap();
    let firsts = |b: &Batch| b.pixels.chunks(9).map(|image| image[0]).collect::<Vec<_>>();
    assert_eq!(
        batches.iter().map(firsts).collect::<Vec<_>>(),
        [vec![60, 0], vec![30, 10], vec![20]]
    );
    assert_eq!(batches[2].x.len(), 9);
    assert!((batches[2].x[0] - 20.0 / 255.0).abs() < 1e-7);
    let (third, fifth) = (dir.0.join("3.png"), dir.0.join("5.png"));
    fs::write(&third, &fs::read(&third).unwrap()[..40]).unwrap();
    fs::write(&fifth, "nothing").unwrap();
    let results: Vec<_> = set.batches(&preprocess, [0, 1, 5, 3, 6], 2).collect();
    assert_eq!(results.len(), 2);
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("5.png"),
        "the first in order is reported: {error}"
    );
    let error = set.batch(&preprocess, &[3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("3.png"), "{error}");
    let error = set.batch(&grey(4), &[0]).unwrap_err().to_string();
    assert!(
        error.contains("0.png") && error.contains("do not hold the 4x4 window"),
        "{error}"
    );
}

#[test]
fn damaged_files_never_panic() {
    let dir = Scratch::new("damaged");
    for records in mutations(&cifar_records(&[1, 2]), 300) {
        dir.write("test_batch.bin", records);
        probe(DataSet::open(&dir.0, Split::Test));
    }
    let images = idx(&[2, 3, 4], &[5; 24]);
    let labels = idx(&[2], &[0, 1]);
    for images in mutations(&images, 3000) {
        probe(DataSet::from_idx(images, Some(labels.clone())));
    }
    for labels in mutations(&labels, 1000) {
        probe(DataSet::from_idx(images.clone(), Some(labels)));
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &images).unwrap();
    for images in mutations(&packed.finish().unwrap(), 2000) {
        probe(DataSet::from_idx(images, None));
    }
}

/// Reads all of a data set that opened.
fn probe(set: crate::Result<DataSet>) {
    let Ok(set) = set else { return };
    assert!((1..100).contains(&set.len()));
    for i in 0..set.len() {
        assert!(set.image(i).is_ok());
    }
}

#[test]
fn an_idx_header_cannot_ask_for_the_memory() {
    for axes in [
        [u32::MAX; 3],
        [1, u32::MAX, 1],
        [0, 28, 28],
        [1, 0, 28],
        [1, 1, 1],
    ] {
        assert!(
            DataSet::from_idx(idx(&axes, &[]), None).is_err(),
            "{axes:?}"
        );
    }
    let two = idx(&[2, 1, 1], &[0; 2]);
    let error = DataSet::from_idx(two, Some(idx(&[3], &[0; 3])))
        .err()
        .unwrap()
        .to_string();
    assert_eq!(error, "labels: 3 labels for 2 images");
}

#[test]
fn a_split_has_a_name() {
    assert_eq!("val".parse::<Split>().unwrap(), Split::Val);
    assert!("dev".parse::<Split>().is_err());
}
