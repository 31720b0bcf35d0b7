//! Any text as a table of times: an error, or times whose text reads back as itself.

#![no_main]

use exbit::latency::Times;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(times) = Times::parse(text) else {
        return;
    };
    // By their texts: a time is written to the nanosecond.
    let written = times.to_text();
    let again = Times::parse(&written).expect("what was written can be read");
    assert_eq!(again.to_text(), written);
});
