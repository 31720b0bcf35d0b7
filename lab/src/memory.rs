//! Peaks of resident memory: of `exbit predict` against the file and the arena, and of `exbit
//! quantize` against the number of images.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use exbit::Options;
use exbit::reconstruct::Rounding;
use exbit_engine::Session;

use crate::case::{Case, Name};
use crate::figure::{Asked, Record};

/// How many images are predicted.
const PREDICTED: usize = 20;
/// How many are calibrated on: few, and four and sixteen times as many (ImageNet: all there are).
const CALIBRATED: [usize; 3] = [256, 1024, 4096];
/// The last peak over the first, at most: runs of one count differ by up to a tenth.
const MOST_GROWTH: f64 = 1.25;
/// MB as the figure asked for counts them.
const MB: f64 = 1e6;

pub(crate) fn check(case: &Case, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let binary = build()?;
    of_predict(case, &binary, record)?;
    of_quantize(case, &binary, record)
}

/// `quantize` over more and more images: the peak stays where it was.
fn of_quantize(case: &Case, binary: &Path, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let name = case.name.text();
    let all = case.calibration.len();
    let fewest = CALIBRATED[0].min(all / 4);
    let counts = CALIBRATED.map(|images| (images * fewest / CALIBRATED[0]).min(all));
    let mut peaks = Vec::new();
    for images in counts {
        if peaks.last().is_some_and(|&(last, _)| last == images) {
            continue;
        }
        let peak = peak_of_quantize(case, binary, images)?;
        let what = format!("peak resident memory of quantize, {images} images");
        record.add(name, &what, (peak / MB, "MB"), Asked::Nothing)?;
        peaks.push((images, peak));
    }
    if let [(few, least), .., (many, most)] = peaks[..] {
        let what = format!("peak of quantize, {many} images over {few}");
        record.add(name, &what, (most / least, "x"), Asked::AtMost(MOST_GROWTH))?;
    }
    Ok(())
}

/// Bytes at the peak of the main job, as a user runs it.
fn peak_of_quantize(case: &Case, binary: &Path, images: usize) -> Result<f64, Box<dyn Error>> {
    let file = std::env::temp_dir().join(format!("exbit-lab-{}.exbit", std::process::id()));
    let mut child = Command::new(binary)
        .arg("quantize")
        .arg(&case.file)
        .arg("--calib")
        .arg(&case.folder)
        .args(["--images", &images.to_string()])
        .args(["--budget", "weights=8x", "--quiet", "-o"])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0f64;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        // A process that has just ended has no such line.
        let text = fs::read_to_string(&status)?;
        if text.contains("VmHWM:") {
            peak = peak_in(&text)?;
        }
        sleep(Duration::from_millis(20));
    };
    if !ended.success() {
        return Err("exbit quantize failed".into());
    }
    fs::remove_file(&file)?;
    Ok(peak)
}

fn of_predict(case: &Case, binary: &Path, record: &mut Record) -> Result<(), Box<dyn Error>> {
    let name = case.name.text();
    let limit = match case.name {
        Name::Resnet20 | Name::Mobilenet => Asked::AtMost(10.0),
        Name::Resnet56 | Name::Lite0 => Asked::Nothing,
    };
    let mut options = Options {
        rounding: Rounding::Nearest,
        ..Options::default()
    };
    options.request.budgets.push("weights=8x".parse()?);
    let done = case.quantize(32, &options)?;
    let file = std::env::temp_dir().join(format!("exbit-lab-{}-{name}.exbit", std::process::id()));
    done.program.save(&file)?;
    let arena = Session::new(&done.program, 1)?.arena_bytes() as f64;
    let size = fs::metadata(&file)?.len() as f64;
    let image = image(&case.shared)?;
    let images = std::iter::repeat_n(image.as_path(), PREDICTED);
    // The last image never comes: the process waits for it, and can be looked at.
    let waiting = [Path::new("/dev/stdin")];
    let predict = [Path::new("predict"), &file].into_iter().chain(images);
    let peak = peak_while_waiting(binary, predict.chain(waiting));
    fs::remove_file(&file)?;
    let peak = peak?;
    // A command that has done nothing yet: the program itself and what it links to.
    let nothing = [Path::new("inspect")].into_iter().chain(waiting);
    let least = peak_while_waiting(binary, nothing)?;
    let figures = [
        ("peak resident memory of predict", peak, Asked::Nothing),
        ("of a process that does nothing", least, Asked::Nothing),
        ("file and arena", size + arena, Asked::Nothing),
        ("predict beyond file and arena", peak - size - arena, limit),
    ];
    for (what, bytes, asked) in figures {
        record.add(name, what, (bytes / MB, "MB"), asked)?;
    }
    Ok(())
}

/// Builds the binary, so that it is the one of this source.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "-p", "exbit-cli"]);
    if !command.status()?.success() {
        return Err("`cargo build --release -p exbit-cli` failed".into());
    }
    let own = std::env::current_exe()?;
    let binary = own.with_file_name("exbit");
    match binary.is_file() {
        true => Ok(binary),
        false => Err(format!("{}: is not there; run this in --release", binary.display()).into()),
    }
}

/// The first of the validation images; a smaller network reads its middle.
fn image(shared: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = shared.join("data/imagenet_val650/images");
    let mut images: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        images.push(entry?.path());
    }
    images.sort();
    let first = images.into_iter().next();
    first.ok_or_else(|| "no validation image".into())
}

/// Bytes at the peak of a run that ends up waiting for its standard input.
fn peak_while_waiting<'a>(
    binary: &Path,
    arguments: impl Iterator<Item = &'a Path>,
) -> Result<f64, Box<dyn Error>> {
    let mut child = Command::new(binary)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let (mut asleep, mut text) = (0, String::new());
    // Reading a file may make it sleep too, but not for so long.
    while asleep < 25 {
        sleep(Duration::from_millis(20));
        if child.try_wait()?.is_some() {
            return Err("exbit ended before it waited for an image".into());
        }
        text = fs::read_to_string(&status)?;
        asleep = match field(&text, "State:")? {
            "S" => asleep + 1,
            _ => 0,
        };
    }
    child.kill()?;
    child.wait()?;
    peak_in(&text)
}

/// The most bytes that were resident, in the text that the kernel gives of a process.
fn peak_in(status: &str) -> Result<f64, Box<dyn Error>> {
    let kib: f64 = field(status, "VmHWM:")?.parse()?;
    Ok(kib * 1024.0)
}

/// The first word behind `name` in the text that the kernel gives of a process.
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str, Box<dyn Error>> {
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let word = line.and_then(|l| l.split_whitespace().next());
    word.ok_or_else(|| format!("the kernel tells no {name}").into())
}
