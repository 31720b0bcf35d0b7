use super::measure::without_noise;
use super::*;

fn bits(all: &[u8]) -> Vec<Bits> {
    all.iter().map(|&b| Bits::new(b).unwrap()).collect()
}

fn times() -> Times {
    let layer = |name: &str, us: [[f64; 2]; 2]| LayerTimes {
        name: name.to_owned(),
        us: us.map(Vec::from).to_vec(),
    };
    Times {
        cpu: "some \"CPU\"".to_owned(),
        isa: "avx2".to_owned(),
        version: "0.1.0".to_owned(),
        network: "net".to_owned(),
        weights: bits(&[4, 8]),
        activations: bits(&[4, 8]),
        rest_us: 1.5,
        layers: vec![
            layer("a", [[1.0, 2.0], [3.0, 4.0]]),
            layer("b", [[5.0, 6.0], [7.0, 8.25]]),
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
    check("rest_us = 1.5", "rest_us = nan", "rest_us");
    check(
        "weight_bits = [4, 8]",
        "weight_bits = [4, 9]",
        "weight_bits",
    );
    check("weight_bits = [4, 8]", "weight_bits = [8]", "layer a");
    check(
        "8.25",
        "-8.25",
        "layer b: expected 2 rows of 2 times above 0",
    );
    check("cpu = ", "gpu = ", "gpu");
    assert!(Times::parse("\u{0}").is_err());
}

#[test]
fn latency_is_picked_by_bits_and_by_name() {
    let latency = times()
        .latency(&["a", "b"], &candidates(&[8], &[4, 8]))
        .unwrap();
    let expected = [[3.0e-3, 4.0e-3], [7.0e-3, 8.25e-3]];
    assert_eq!(latency.layers, expected.map(|row| vec![row.to_vec()]));
    assert_eq!(latency.rest_ms, 1.5e-3);
    let error = |layers: &[&str], weights: &[u8]| {
        let asked = candidates(weights, &[8]);
        times().latency(layers, &asked).unwrap_err().to_string()
    };
    assert!(error(&["a", "b"], &[2]).contains("2 bits were not measured"));
    assert!(error(&["a", "c"], &[8]).contains("not those of this network"));
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
    let fast = times().verdict();
    assert!(fast.contains("W4A4 everywhere takes 8 µs"), "{fast}");
    let mut slow = times();
    slow.layers
        .iter_mut()
        .flat_map(|l| &mut l.us)
        .flatten()
        .for_each(|t| *t = 3.0);
    assert!(
        slow.verdict()
            .starts_with("Fewer bits than W8A8 do not pay")
    );
}
