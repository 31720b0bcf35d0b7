//! A folder of JPEG, PNG and WebP files: labelled by `labels.txt`, by class sub-folders, or not
//! at all.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::{Error, ErrorKind, Result};

/// The file of "file class" lines.
pub(super) const LABELS: &str = "labels.txt";
/// The longest such file that is read.
const MAX_LABELS: u64 = 1 << 28;
/// The most classes that a number may name.
const MAX_CLASS: usize = 1 << 20;

/// Files, and what is known of them.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) files: Vec<PathBuf>,
    pub(super) labels: Option<Vec<usize>>,
    pub(super) classes: Option<Vec<String>>,
}

/// What lies in `path`, sorted by name, without hidden entries.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let io =
        |e: std::io::Error| Error::new(ErrorKind::Io, path.display().to_string(), e.to_string());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The class names that the sub-folders of `path` give.
pub(super) fn class_names(path: &Path) -> Result<Vec<String>> {
    let folders = entries(path)?.into_iter().filter(|p| p.is_dir());
    Ok(folders.map(|p| name_of(&p)).collect())
}

/// The images of the folder `path`. `classes` are the names that number its class sub-folders,
/// where another part of the data set has already given them.
pub(super) fn open(path: &Path, classes: Option<Vec<String>>) -> Result<Folder> {
    let inside = entries(path)?;
    let labels = path.join(LABELS);
    let folder = if labels.is_file() {
        labelled(path, &labels)?
    } else {
        let files: Vec<PathBuf> = inside.iter().filter(|p| is_image(p)).cloned().collect();
        let folders: Vec<PathBuf> = inside.into_iter().filter(|p| p.is_dir()).collect();
        let of_images = |folder: &PathBuf| Ok(entries(folder)?.iter().any(|p| is_image(p)));
        let classes_too = !files.is_empty() && {
            let found: Result<Vec<bool>> = folders.iter().map(of_images).collect();
            found?.contains(&true)
        };
        match folders.as_slice() {
            _ if classes_too => {
                let message = "holds images and folders of images: name the one that is meant, or \
                               add a labels.txt of `file class` lines";
                let place = path.display().to_string();
                return Err(Error::new(ErrorKind::Unsupported, place, message));
            }
            _ if !files.is_empty() => Folder {
                files,
                ..Folder::default()
            },
            [only] if name_of(only) == "images" => {
                let files = entries(only)?.into_iter().filter(|p| is_image(p)).collect();
                Folder {
                    files,
                    ..Folder::default()
                }
            }
            folders => by_class(folders, classes)?,
        }
    };
    if folder.files.is_empty() {
        let message = "holds no images; expected CIFAR-10 binaries (*.bin), IDX files \
                       (*-images-idx3-ubyte), JPEG, PNG or WebP files with labels.txt, or class \
                       folders of them";
        return Err(Error::new(
            ErrorKind::Malformed,
            path.display().to_string(),
            message,
        ));
    }
    Ok(folder)
}

fn by_class(folders: &[PathBuf], classes: Option<Vec<String>>) -> Result<Folder> {
    let classes = classes.unwrap_or_else(|| folders.iter().map(|p| name_of(p)).collect());
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for folder in folders {
        let name = name_of(folder);
        let place = folder.display().to_string();
        let Some(class) = classes.iter().position(|c| *c == name) else {
            let message = format!("no class of the training part is called {name}");
            return Err(Error::new(ErrorKind::Mismatch, place, message));
        };
        let before = files.len();
        files.extend(entries(folder)?.into_iter().filter(|p| is_image(p)));
        if files.len() == before {
            // Skipped, it would shift the numbers of the classes behind it.
            let message = "this class folder holds no JPEG, PNG or WebP file";
            return Err(Error::new(ErrorKind::Malformed, place, message));
        }
        labels.resize(files.len(), class);
    }
    Ok(Folder {
        files,
        labels: Some(labels),
        classes: Some(classes),
    })
}

/// The images that `labels`, a text of "file class" lines, names; they lie beside it or in
/// `images`.
fn labelled(root: &Path, labels: &Path) -> Result<Folder> {
    let place = labels.display().to_string();
    let mut bytes = Vec::new();
    File::open(labels)
        .and_then(|file| file.take(MAX_LABELS + 1).read_to_end(&mut bytes))
        .map_err(|e| Error::new(ErrorKind::Io, place.clone(), e.to_string()))?;
    let malformed = |message: &str| Error::new(ErrorKind::Malformed, place.clone(), message);
    if bytes.len() as u64 > MAX_LABELS {
        return Err(malformed("too long for a list of labels"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("not a text in UTF-8"))?;
    let mut folder = Folder {
        labels: Some(Vec::new()),
        ..Folder::default()
    };
    let numbers = folder.labels.get_or_insert_default();
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let at = |e: Error| e.within(format!("{place}: line {}", i + 1));
        let (name, class) = parse_line(line).map_err(at)?;
        folder.files.push(locate(root, name).map_err(at)?);
        numbers.push(class);
    }
    Ok(folder)
}

/// `file class`; the file may have spaces in its name.
fn parse_line(line: &str) -> Result<(&str, usize)> {
    let malformed = |message: String| Error::new(ErrorKind::Malformed, "", message);
    let Some((name, class)) = line.trim().rsplit_once(char::is_whitespace) else {
        return Err(malformed(format!(
            "{:?} is not `file class`",
            shortened(line)
        )));
    };
    match class.parse() {
        Ok(number) if number < MAX_CLASS => Ok((name.trim_end(), number)),
        Ok(_) | Err(_) => {
            let class = shortened(class);
            Err(malformed(format!(
                "the class {class:?} is not a number below {MAX_CLASS}"
            )))
        }
    }
}

fn locate(root: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    let inside = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(inside) {
        let message = format!("{:?} leads out of the folder", shortened(name));
        return Err(Error::new(ErrorKind::Malformed, "", message));
    }
    let found = [root.join(relative), root.join("images").join(relative)];
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let message = format!("no file {:?}, nor in images/", shortened(name));
            Error::new(ErrorKind::Mismatch, "", message)
        })
}

/// The beginning of a text from a file, fit for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    ["jpg", "jpeg", "png", "webp"]
        .iter()
        .any(|e| extension.eq_ignore_ascii_case(e))
        && path.is_file()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
