//! Any text as a Plan: an error, or a Plan whose text reads back as the same.

#![no_main]

use exbit::Plan;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(plan) = Plan::parse(text) else { return };
    let written = plan.to_string();
    let again = Plan::parse(&written).expect("what was written can be read");
    // By their texts: a setting may be a number that does not equal itself.
    assert_eq!(again.to_string(), written);
    assert_eq!(
        (again.model, again.weights, again.activations),
        (plan.model, plan.weights, plan.activations)
    );
});
