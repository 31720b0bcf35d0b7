//! `exbit train`: a run to its end, one that goes on, and what is said of bad recipes.

#[allow(dead_code, reason = "the small files that cli.rs reads")]
mod support;

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
        message.contains("net.exbit.run: is a run with another recipe"),
        "{message}"
    );
}

#[test]
fn bad_recipes_are_told() {
    let folder = Folder::new("train-bad");
    let (model, data) = (folder.model(), folder.idx(24));
    let net = folder.at("net.exbit");
    let cases = [
        ("bits = 1", "recipe: bits: expected 2 to 8"),
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
