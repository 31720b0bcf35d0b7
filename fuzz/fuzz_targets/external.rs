//! Any text as the place of external tensor data: nothing outside the model's folder is ever read,
//! not by `..`, not by an absolute path, not through a link.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use exbit_fuzz::Graph;
use exbit_model::{Op, onnx};

/// What lies inside the folder, and what must stay unread outside of it.
const INSIDE: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
const SECRET: [f32; 4] = [-9.0; 4];

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| build().expect("a folder to read from"));

fn build() -> std::io::Result<PathBuf> {
    let root = std::env::temp_dir().join(format!("exbit-fuzz-{}", std::process::id()));
    let folder = root.join("model");
    fs::create_dir_all(folder.join("d"))?;
    fs::create_dir_all(root.join("model2"))?;
    let bytes = |v: [f32; 4]| v.map(f32::to_le_bytes).concat();
    fs::write(folder.join("w"), bytes(INSIDE))?;
    fs::write(folder.join("d/w"), bytes(INSIDE))?;
    fs::write(root.join("s"), bytes(SECRET))?;
    fs::write(root.join("model2/s"), bytes(SECRET))?;
    let _ = std::os::unix::fs::symlink("../s", folder.join("l"));
    let _ = std::os::unix::fs::symlink("..", folder.join("u"));
    Ok(folder)
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    // Pairs on lines of their own: `key=value`.
    let pairs: Vec<(&str, &str)> = text.split('\n').filter_map(|l| l.split_once('=')).collect();
    let dims = [4 - text.len() as u64 % 2];
    let file = Graph::new(&[1, dims[0]])
        .external("w", &dims, &pairs)
        .node("Mul x,w -> y", &[]);
    read(&file.file(), &FOLDER);
});

fn read(file: &[u8], folder: &Path) {
    let Ok(model) = onnx::read(file, Some(folder)) else {
        return;
    };
    for node in model.nodes() {
        if let Op::Affine(affine) = &node.op {
            assert!(
                affine.scale.iter().all(|v| !SECRET.contains(v)),
                "read outside the folder"
            );
        }
    }
}
