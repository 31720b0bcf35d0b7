//! Any bytes as a training run, any text as a recipe: an error, or one that makes sense.

#![no_main]

use exbit::learn::{Recipe, Saved};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(saved) = Saved::from_bytes(bytes) {
        let text = saved.recipe().to_toml().expect("a recipe has a text");
        Recipe::parse(&text).expect("a saved recipe is one");
    }
    if let Ok(recipe) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| Recipe::parse(text).map_err(drop)) {
        let text = recipe.to_toml().expect("a recipe has a text");
        let again = Recipe::parse(&text).expect("what was written can be read");
        assert_eq!(again, recipe);
    }
});
