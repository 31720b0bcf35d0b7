//! What is asked and what is answered, on tables small enough to know the answer.

mod brute_force;

use exbit_kernels::Bits;

use super::*;
use crate::budget::Resource;
use crate::cost::{Choice, LayerSize, Sizes, ValueSize};

/// Layers of 1000 weights and 1000 MACs whose losses fall by 4 a bit, from `scales[l]`.
fn chain(scales: &[f64]) -> Table {
    let layer = |l: usize| LayerSize {
        name: format!("layer{l}"),
        weights: 1000,
        macs: 1000,
        input: l,
        tie: Some(0),
    };
    let layers = (0..scales.len()).map(layer).collect();
    let activations = (0..scales.len()).map(|j| format!("value{j}")).collect();
    let value = |j: usize| ValueSize {
        activation: Some(j),
        lines: 1,
        line: 100,
        place: j,
    };
    let values = (0..scales.len()).map(value).collect();
    let moments = (0..scales.len()).map(|j| vec![j]).collect();
    let sizes = Sizes::new(layers, activations, values, moments).unwrap();
    let falling = |scale: f64, of: &[u8]| -> Vec<Choice> {
        let choice = |&b: &u8| {
            let loss = scale * 4f64.powf(-f64::from(b));
            Choice {
                bits: Bits::new(b).unwrap(),
                loss,
            }
        };
        of.iter().map(choice).collect()
    };
    let weights = scales
        .iter()
        .map(|&s| falling(s, &[2, 3, 4, 5, 6, 8]))
        .collect();
    let inputs = scales.iter().map(|_| falling(0.0, &[8])).collect();
    Table::new(sizes, weights, inputs).unwrap()
}

fn request(budgets: &[&str], pins: &[&str]) -> Request {
    Request {
        budgets: budgets.iter().map(|b| b.parse().unwrap()).collect(),
        pins: pins.iter().map(|p| p.parse().unwrap()).collect(),
        ..Request::default()
    }
}

fn bits_of(allocation: &Allocation) -> Vec<u8> {
    allocation
        .precisions
        .weights
        .iter()
        .map(|b| b.get())
        .collect()
}

#[test]
fn bits_go_where_the_loss_is() {
    let table = chain(&[1.0, 16.0, 1.0, 1.0 / 16.0]);
    let check = |request: &Request, expected: &[u8]| {
        assert_eq!(
            bits_of(&allocate(&table, request).unwrap()),
            expected,
            "{request:?}"
        );
    };
    check(&request(&[], &[]), &[8, 8, 8, 8]);
    check(&request(&["weights=8x"], &[]), &[4, 6, 4, 2]);
    check(&request(&["weights=8x"], &["first"]), &[8, 4, 2, 2]);
    check(
        &request(&["weights=8x"], &["*=4", "layer3=6"]),
        &[4, 4, 4, 6],
    );
    check(
        &Request {
            tied: true,
            ..request(&["weights=8x"], &[])
        },
        &[4, 4, 4, 4],
    );
    let tied = Request {
        tied: true,
        ..request(&["bops=140k"], &[])
    };
    check(&tied, &[4, 4, 4, 4]);
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let check = |request: Request, expected: &str| {
        assert_eq!(
            allocate(&chain(&[1.0]), &request).unwrap_err().to_string(),
            expected
        );
    };
    check(
        request(&[], &["conv1=8"]),
        "keep conv1=w8: no layer has such a name; they are called layer0, ...",
    );
    check(
        request(&[], &["ayer=8"]),
        "keep ayer=w8: no layer has such a name; *ayer* fits layer0",
    );
    check(
        request(&[], &["first=7"]),
        "keep first=w7: layer layer0 may have 2, 3, 4, 5, 6, 8 bits only; --weight-bits and --activation-bits say which",
    );
    check(
        request(&["latency=2ms"], &[]),
        "budget latency=2ms: no times were measured, so no plan can be held to it",
    );
}

#[test]
fn a_budget_that_cannot_be_met_is_answered_in_words() {
    let table = chain(&[1.0, 16.0, 1.0, 1.0]);
    let near = allocate(&table, &request(&["weights=1100B", "bops=1M"], &["last"])).unwrap();
    assert_eq!(bits_of(&near), [2, 2, 2, 8]);
    let words: Vec<String> = near.missed.iter().map(Shortfall::to_string).collect();
    let expected = "budget weights=1.1KB allows 1.07 KiB, the nearest plan takes 1.71 KiB \
        (59.1 % more): no plan of these bit-widths takes less than 1.71 KiB with these pins; without them 0.98 KiB";
    assert_eq!(words, [expected]);
}

#[test]
fn a_search_without_time_still_answers() {
    let scales: Vec<f64> = (0..40).map(|l| 1.0 + f64::from(l * 7 % 11)).collect();
    let table = chain(&scales);
    let hurried = Request {
        time_limit: Duration::ZERO,
        ..request(&["weights=3.7bits"], &[])
    };
    let found = allocate(&table, &hurried).unwrap();
    assert!(found.missed.is_empty() && found.cost.weight_bytes <= 18500);
    assert!(
        found.bound <= found.loss && found.gap() < 0.05,
        "{}",
        found.gap()
    );
}

#[test]
fn the_front_falls_in_cost_and_rises_in_loss() {
    let table = chain(&[1.0, 16.0, 3.0, 0.2]);
    let plans = front(&table, &request(&[], &["last=4"]), Resource::Weights, 9).unwrap();
    assert_eq!(bits_of(&plans[0]), [8, 8, 8, 4]);
    assert_eq!(bits_of(plans.last().unwrap()), [2, 2, 2, 4]);
    assert!(plans.len() >= 6);
    for pair in plans.windows(2) {
        assert!(pair[0].cost.weight_bytes > pair[1].cost.weight_bytes);
        assert!(pair[0].loss < pair[1].loss);
    }
    let bound = front(&table, &request(&["weights=8x"], &[]), Resource::Bops, 5).unwrap();
    assert!(bound.iter().all(|plan| plan.cost.weight_bytes <= 2000));
}

#[test]
fn exchanges_say_what_a_step_is_worth() {
    let table = chain(&[1.0, 16.0]);
    let found = allocate(&table, &request(&["weights=8x"], &[])).unwrap();
    assert_eq!(bits_of(&found), [3, 5]);
    let (layers, activations) = exchanges(&table, &found.precisions);
    let more = layers[0].more.unwrap();
    assert_eq!(
        (more.bits.get(), more.cost.weight_bytes),
        (4, found.cost.weight_bytes + 125)
    );
    assert_eq!(more.loss, 4f64.powi(-4) - 4f64.powi(-3));
    let fewer = layers[1].fewer.unwrap();
    assert_eq!(
        (fewer.bits.get(), fewer.cost.bops),
        (4, found.cost.bops - 8000)
    );
    assert_eq!(layers[1].more.unwrap().bits.get(), 6);
    assert_eq!((activations[0].more, activations[0].fewer), (None, None));
}
