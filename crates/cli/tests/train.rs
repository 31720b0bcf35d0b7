//! `exbit train`: a run to its end, one that goes on, and what is said of bad recipes.

#[allow(dead_code, reason = "the small files that cli.rs reads")]
mod support;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Folder, bad, exbit, good, stderr};

const RECIPE: &str = "\
    bits = 4\n\
    batch = 8\n\
    held_out = 4\n\
    warmup_steps = 1\n\
    augment = { shift = 1, mirror = false }\n\
    epochs = { warm = 0, search = 0, settle = 2 }\n";

#[test]
fn a_run_gives_a_program_that_runs_and_a_page() {
    let folder = Folder::new("train");
    let (model, data) = (folder.model(), folder.idx(24));
    let recipe = folder.write("recipe.toml", RECIPE);
    let (net, page) = (folder.at("net.exbit"), folder.at("train.html"));
    let args = [
        "train", &model, "--method", "lsq", "--data", &data, "--recipe", &recipe, "-o", &net,
        "--report", &page,
    ];
    let object = good(&args);
    assert_eq!(object["done"], true);
    let epochs = object["epochs"].as_array().expect("the epochs");
    assert_eq!(epochs.len(), 2);
    assert_eq!(epochs[1]["phase"], "settle");
    assert!(
        epochs[1]["loss"][0]
            .as_f64()
            .is_some_and(|l| l > 0.0 && l < 20.0)
    );
    let score = good(&["eval", &net, "--data", &data, "--split", "train"]);
    assert_eq!(score["images"], 24);
    let text = std::fs::read_to_string(&page).expect("the page");
    assert!(text.contains("Held-out accuracy") && text.contains("<polyline"));

    // Nothing is left to do: the same command says the same at once.
    let bytes = std::fs::read(&net).expect("the Program");
    assert_eq!(good(&args)["epochs"], object["epochs"]);
    assert_eq!(std::fs::read(&net).expect("the Program"), bytes);
    // Another recipe is another run.
    folder.write("recipe.toml", RECIPE.replace("bits = 4", "bits = 3"));
    let run = exbit(&args);
    assert_eq!(run.status.code(), Some(2));
    let message = stderr(&run);
    assert!(
        message.contains("net.exbit.run: is a run with another recipe (bits)"),
        "{message}"
    );
}

#[test]
fn thresholds_are_chosen_on_what_training_kept_apart() {
    let folder = Folder::new("train-apart");
    let (model, data) = (folder.model(), folder.idx(24));
    let exits = format!("{RECIPE}exits = [0.5]\nhead = \"pool\"\ndrop = 100\n");
    let recipe = folder.write("recipe.toml", exits);
    let net = folder.at("net.exbit");
    let trained = good(&command(&model, &data, &recipe, &net));
    assert_eq!(trained["exits"]["met"], true);
    let images = |more: &[&str]| {
        let args = ["exits", &net, "--data", &data, "--drop", "100"];
        good(&[&args, more].concat())["images"].as_u64()
    };
    assert_eq!(images(&[]), Some(4));
    assert_eq!(images(&["--skip", "10"]), Some(14));
    assert_eq!(images(&["--split", "train"]), Some(24));
    let told = |more: &[&str]| {
        let args = ["exits", &net, "--data", &data, "--drop", "100"];
        stderr(&exbit(&[&args, more].concat())).contains("training saw these images")
    };
    assert_eq!([told(&[]), told(&["--split", "train"])], [false, true]);
}

#[test]
fn bad_recipes_are_told() {
    let folder = Folder::new("train-bad");
    let (model, data) = (folder.model(), folder.idx(24));
    let net = folder.at("net.exbit");
    let cases = [
        ("bits = 1", "recipe: bits: expected 2 to 8"),
        ("keep = [\"*=w1\"]", "recipe: keep: only the method lsq"),
        ("keep = [\"*=a1\"]", "recipe: keep: expected a2 to a8"),
        ("keep = [\"conv=w9\"]", "keep conv=w9: expected LAYERS=BITS"),
        ("rate = -1.0", "recipe: rate"),
        ("momentum = 1.0", "recipe: momentum"),
        ("epoch = 3", "unknown field `epoch`"),
        (
            "bits = 8",
            "recipe: target_bops: the search for bits needs it",
        ),
        (
            "method = \"lsq\"",
            "recipe: method: another method is asked for",
        ),
        (
            "target_bops = 1e6\nepochs = { settle = 0 }",
            "recipe: epochs: a search needs",
        ),
        (
            "target_bops = 1e6\nexits = [0.5]\nhead = \"pool\"\nheld_out = 20",
            "training images",
        ),
        ("mean_bops = 1e6\ntarget_bops = 1e6", "recipe: mean_bops"),
        (
            "target_bops = 1e6\ntemperature = 4.0\nbatch = 8\nheld_out = 4",
            "recipe: temperature",
        ),
        (
            "target_bops = 1e6\nexits = [\"nowhere\"]\nbatch = 8\nheld_out = 4",
            "exit nowhere",
        ),
    ];
    for (text, expected) in cases {
        let recipe = folder.write("recipe.toml", text);
        let args = [
            "train", &model, "--method", "mcqueen", "--data", &data, "--recipe", &recipe, "-o",
            &net,
        ];
        bad(&args, expected);
    }
}

/// The command that trains `model` by `recipe`.
fn command<'a>(model: &'a str, data: &'a str, recipe: &'a str, net: &'a str) -> Vec<&'a str> {
    let (train, of) = (["train", model, "--method", "lsq"], ["--data", data]);
    [&train[..], &of, &["--recipe", recipe, "-o", net]].concat()
}

/// The training of `args`, once it has written its first Program.
fn begun(args: &[&str], net: &str) -> Child {
    let mut run = Command::new(env!("CARGO_BIN_EXE_exbit"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("exbit can be started");
    // The Program comes with the end of an epoch, after the run.
    while !Path::new(net).exists() {
        assert_eq!(run.try_wait().expect("its state"), None, "it goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    run
}

/// The epochs of the run that is saved beside `net`.
fn saved_epochs(net: &str) -> usize {
    let bytes = std::fs::read(format!("{net}.run")).expect("the run");
    let saved = exbit::learn::Saved::from_bytes(&bytes).expect("a run");
    saved.records().len()
}

#[test]
#[cfg(unix)]
fn a_terminated_run_saves_what_it_has() {
    let folder = Folder::new("train-terminated");
    let (model, data) = (folder.model(), folder.idx(24));
    let recipe = folder.write("recipe.toml", RECIPE.replace("settle = 2", "settle = 9999"));
    let net = folder.at("net.exbit");
    let mut run = begun(&command(&model, &data, &recipe, &net), &net);
    let pid = run.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.expect("kill can be run").success());
    assert_eq!(run.wait().expect("its end").code(), Some(130));
    assert!((1..9999).contains(&saved_epochs(&net)));
}

#[test]
fn a_killed_run_ends_as_one_that_was_never_killed() {
    let folder = Folder::new("train-killed");
    let (model, data) = (folder.model(), folder.idx(24));
    let recipe = folder.write("recipe.toml", RECIPE.replace("settle = 2", "settle = 150"));
    let (net, whole) = (folder.at("net.exbit"), folder.at("whole.exbit"));
    let args = command(&model, &data, &recipe, &net);
    let mut run = begun(&args, &net);
    run.kill().expect("it can be killed");
    run.wait().expect("its end");
    assert!((1..150).contains(&saved_epochs(&net)));
    let object = good(&args);
    assert_eq!(object["epochs"].as_array().map(Vec::len), Some(150));
    good(&command(&model, &data, &recipe, &whole));
    let bytes = |path: &str| std::fs::read(path).expect("a Program");
    assert!(bytes(&net) == bytes(&whole), "the Programs differ");
}

#[test]
fn losses_that_grow_without_end_are_told() {
    let folder = Folder::new("train-grows");
    let (model, data) = (folder.model(), folder.idx(24));
    let recipe = folder.write("recipe.toml", format!("{RECIPE}rate = 1000.0\n"));
    let net = folder.at("net.exbit");
    let args = command(&model, &data, &recipe, &net);
    bad(
        &args,
        "times those of a network that guesses: training has diverged",
    );
    assert!(!Path::new(&net).exists());
}

#[test]
fn targets_that_cannot_be_are_told() {
    let folder = Folder::new("train-target");
    let (model, data) = (folder.model(), folder.idx(24));
    let net = folder.at("net.exbit");
    let search = RECIPE.replace("search = 0", "search = 1");
    let recipe = folder.write("recipe.toml", format!("{search}target_bops = 1e3\n"));
    let args = [
        "train", &model, "--method", "mcqueen", "--data", &data, "--recipe", &recipe, "-o", &net,
    ];
    let run = exbit(&args);
    assert_eq!(run.status.code(), Some(3), "{}", stderr(&run));
    assert!(stderr(&run).contains("cannot be reached: two bits everywhere take"));
    folder.write("recipe.toml", format!("{search}target_bops = 1e12\n"));
    bad(&args, "leaves nothing to learn: eight bits everywhere take");
}

#[test]
fn another_teacher_other_images_or_another_network_is_another_run() {
    let folder = Folder::new("train-origin");
    let (model, data) = (folder.model(), folder.idx(24));
    let (recipe, net) = (folder.write("recipe.toml", RECIPE), folder.at("net.exbit"));
    let teacher = folder.at("teacher.onnx");
    std::fs::copy(&model, &teacher).expect("a copy");
    let beside = std::fs::read_to_string(folder.at("tiny.toml")).expect("preprocessing");
    folder.write("teacher.toml", &beside);
    let plain = command(&model, &data, &recipe, &net);
    let args = [&plain[..], &["--teacher", &teacher]].concat();
    let loss = |object: &serde_json::Value| object["epochs"][0]["loss"][0].as_f64();
    let first = loss(&good(&args));

    // A teacher reads images in its own way.
    folder.write("teacher.toml", beside.replace("0.25", "0.1"));
    let other = folder.at("other.exbit");
    let elsewhere = [
        &command(&model, &data, &recipe, &other)[..],
        &["--teacher", &teacher],
    ]
    .concat();
    assert_ne!(loss(&good(&elsewhere)), first);

    let images = format!("{data}/train-images-idx3-ubyte");
    let mut bytes = std::fs::read(&images).expect("images");
    bytes[100] ^= 1;
    std::fs::write(&images, &bytes).expect("images");
    bad(&args, "is a run with another set of images");
    bytes[100] ^= 1;
    std::fs::write(&images, &bytes).expect("images");
    let mut bytes = std::fs::read(&teacher).expect("the teacher");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&teacher, &bytes).expect("the teacher");
    bad(&args, "is a run with another teacher (its file)");
}

#[test]
fn places_that_cannot_be_written_are_told_before_the_work() {
    let folder = Folder::new("train-places");
    let (model, data) = (folder.model(), folder.idx(24));
    let recipe = folder.write("recipe.toml", RECIPE);
    let nowhere = folder.at("nowhere/net.exbit");
    bad(
        &command(&model, &data, &recipe, &nowhere),
        "lies in a folder that is not there",
    );
    let float = folder.at("other.ONNX");
    bad(
        &command(&model, &data, &recipe, &float),
        "a Program is no ONNX file",
    );
    let net = folder.at("net.exbit");
    let args = [
        &command(&model, &data, &recipe, &net)[..],
        &["--report", &data],
    ]
    .concat();
    bad(&args, "is a folder; give the name of a file");
}

#[test]
fn what_diverges_is_told_and_the_run_is_kept() {
    let folder = Folder::new("train-diverged");
    let (model, data) = (folder.model(), folder.idx(24));
    let (recipe, net) = (folder.write("recipe.toml", RECIPE), folder.at("net.exbit"));
    let args = command(&model, &data, &recipe, &net);
    good(&args);
    // A run on the edge: every number as large as there is.
    let run = folder.at("net.exbit.run");
    let mut bytes = std::fs::read(&run).expect("the run");
    let (length, _) = bytes.split_first_chunk().expect("a length");
    let header = 8 + u64::from_le_bytes(*length) as usize;
    for number in bytes[header..].chunks_exact_mut(4) {
        number.copy_from_slice(&f32::MAX.to_le_bytes());
    }
    std::fs::write(&run, &bytes).expect("the run");
    folder.write("recipe.toml", RECIPE.replace("settle = 2", "settle = 3"));
    bad(&args, "is no longer a number: training has diverged");
    assert_eq!(std::fs::read(&run).expect("the run"), bytes);
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_told_and_the_run_is_kept() {
    let folder = Folder::new("train-full");
    let (model, data) = (folder.model(), folder.idx(24));
    let (recipe, net) = (folder.write("recipe.toml", RECIPE), folder.at("net.exbit"));
    let args = command(&model, &data, &recipe, &net);
    good(&args);
    let kept = std::fs::read(folder.at("net.exbit.run")).expect("the run");
    folder.write("recipe.toml", RECIPE.replace("settle = 2", "settle = 3"));
    // No file may grow beyond two blocks of 512 bytes, which the run does.
    let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
    let run = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_exbit")])
        .args(&args)
        .output()
        .expect("a shell");
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    let message = stderr(&run);
    assert!(message.contains("net.exbit.run"), "{message}");
    assert!(message.contains("File too large"), "{message}");
    let now = std::fs::read(folder.at("net.exbit.run")).expect("the run");
    assert!(now == kept, "the run was touched");
}

#[test]
fn bad_data_is_told() {
    let folder = Folder::new("train-data");
    let (model, data) = (folder.model(), folder.idx(24));
    let (recipe, net) = (folder.write("recipe.toml", RECIPE), folder.at("net.exbit"));
    let args = command(&model, &data, &recipe, &net);
    let labels = format!("{data}/train-labels-idx1-ubyte");
    let mut bytes = std::fs::read(&labels).expect("labels");
    bytes[8 + 5] = 3;
    std::fs::write(&labels, bytes).expect("labels");
    bad(&args, "class 3");

    let photos = folder.at("photos");
    for class in ["a", "b", "c"] {
        std::fs::create_dir_all(format!("{photos}/{class}")).expect("a folder");
    }
    for class in [0, 1] {
        let place = format!("{photos}/{}/one.png", ["a", "b"][class]);
        std::fs::copy(folder.png(class), place).expect("a copy");
    }
    bad(&command(&model, &photos, &recipe, &net), "photos/c");
}
