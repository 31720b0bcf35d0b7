//! Any text as tables of expected losses: an error, or tables whose text reads back as the same.

#![no_main]

use exbit::sensitivity::{Tables, ranks};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(tables) = Tables::parse(text) else {
        return;
    };
    let again = Tables::parse(&tables.to_text()).expect("what was written can be read");
    assert_eq!(again, tables);
    ranks(&tables);
});
