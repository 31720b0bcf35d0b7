//! Times that are made up, kept and completed.

use super::*;

fn bits(all: &[u8]) -> Vec<Bits> {
    all.iter().map(|&b| Bits::new(b).unwrap()).collect()
}

fn times() -> Times {
    let pair = |weights, activations, layers_us: [f64; 2]| PairTimes {
        bits: Pair {
            weights: Bits::new(weights).unwrap(),
            activations: Bits::new(activations).unwrap(),
        },
        rest_us: 1.5,
        layers_us: layers_us.to_vec(),
    };
    Times {
        cpu: "some \"CPU\"".to_owned(),
        isa: "avx2".to_owned(),
        version: "0.1.0".to_owned(),
        network: "net".to_owned(),
        geometry: "0123".to_owned(),
        layers: vec!["a".to_owned(), "b".to_owned()],
        pairs: vec![
            pair(4, 4, [1.0, 5.0]),
            pair(4, 8, [2.0, 6.0]),
            pair(8, 4, [3.0, 7.0]),
            pair(8, 8, [4.0, 8.25]),
        ],
    }
}

fn candidates(weights: &[u8], activations: &[u8]) -> Candidates {
    Candidates {
        weights: bits(weights),
        activations: bits(activations),
        clipping: crate::calibrate::Clipping::MinMax,
    }
}

#[test]
fn a_text_has_all_of_the_times() {
    let text = times().to_text();
    assert_eq!(Times::parse(&text).unwrap(), times());
}

#[test]
fn what_is_no_table_is_an_error_that_names_the_field() {
    let good = times().to_text();
    let check = |from: &str, to: &str, expected: &str| {
        assert!(good.contains(from), "{from} in {good}");
        let error = Times::parse(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("rest_us = 1.5", "rest_us = nan", "W4A4: expected a rest_us");
    check(
        "weight_bits = 8",
        "weight_bits = 9",
        "weight_bits: expected",
    );
    check("weight_bits = 8", "weight_bits = 4", "W4A4: is there twice");
    check("layers_us = [4.0, 8.25]", "layers_us = [4.0]", "W8A8");
    check("8.25", "-8.25", "W8A8: expected 2 times above 0");
    check("cpu = ", "gpu = ", "gpu");
    assert!(Times::parse("\u{0}").is_err());
}

#[test]
fn latency_is_picked_by_bits() {
    let latency = times().latency(&candidates(&[8], &[4, 8])).unwrap();
    let expected = [[3.0e-3, 4.0e-3], [7.0e-3, 8.25e-3]];
    assert_eq!(latency.layers, expected.map(|row| vec![row.to_vec()]));
    assert_eq!(latency.rest_ms, 1.5e-3);
    let missing = candidates(&[2, 8], &[8]);
    let error = times().latency(&missing).unwrap_err().to_string();
    assert!(error.contains("W2A8 was not measured"), "{error}");
    // In the order of the candidates, whatever that is.
    let turned = times().latency(&candidates(&[8, 4], &[8])).unwrap();
    assert_eq!(turned.layers[0], [[4.0e-3], [2.0e-3]]);
    assert_eq!(times().missing(&pairs(&missing)).len(), 1);
}

#[test]
fn times_that_are_added_are_on_the_scale_of_those_that_are_kept() {
    let [new, known] = [0, 3].map(|i| times().pairs.swap_remove(i));
    let mut slower = known.clone();
    slower.scale(4.0);
    let measured = vec![new.clone(), slower];
    let mut expected = new.clone();
    expected.scale(0.25);
    let scaled = super::measure::on_the_scale_of(Some(&known), measured);
    assert_eq!(scaled, [expected]);
    let alone = super::measure::on_the_scale_of(None, vec![new.clone()]);
    assert_eq!(alone, [new]);
}

#[test]
fn times_of_this_machine_are_not_foreign() {
    let mut model = exbit_model::Model::new("m", "x", vec![1, 4, 4]);
    let input = model.input();
    model
        .push("mean", exbit_model::Op::GlobalAvgPool, &[input])
        .unwrap();
    let network = crate::prepare::prepare(&model).unwrap();
    let own = Times::none(&network).unwrap();
    assert_eq!(own.foreign(&network), None);
    let of_isa = |isa: &str| Times {
        isa: isa.to_owned(),
        ..own.clone()
    };
    let told = of_isa("other").foreign(&network).unwrap();
    assert!(told.contains(", other, by exbit"), "{told}");
}

#[test]
fn times_that_hardly_differ_are_one_and_the_verdict_says_it() {
    assert_eq!(
        without_noise(vec![3.0, 1.0, 3.0, 1.03125]),
        [3.0, 1.015625, 3.0, 1.015625]
    );
    assert_eq!(
        without_noise(vec![4.0, 1.0, 4.0, 1.2]),
        [4.0, 1.0, 4.0, 1.2]
    );
    // Each is within 4 % of the one before it; the ends are not alike.
    let ladder = without_noise(vec![1.0, 1.04, 1.08, 1.12, 1.16]);
    assert!(ladder[0] < ladder[4], "{ladder:?}");
    let fast = times().verdict();
    assert!(fast.contains("W4A4 everywhere takes 8 µs"), "{fast}");
    let mut slow = times();
    slow.pairs.iter_mut().for_each(|p| p.layers_us.fill(3.0));
    assert!(
        slow.verdict()
            .starts_with("Fewer bits than W8A8 do not pay")
    );
}
