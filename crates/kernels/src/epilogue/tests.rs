//! From sums to codes: clips, the nearest code, sums of two values and means.

use super::*;
use crate::Bits;

const fn grid(bits: u8, scale: f32, zero: u8) -> Grid {
    let Some(bits) = Bits::new(bits) else {
        panic!()
    };
    Grid { bits, scale, zero }
}

#[test]
fn a_clip_becomes_the_ends_of_the_codes() {
    let relu6 = Activation::Clip { lo: 0.0, hi: 6.0 };
    for (activation, output, ends) in [
        (Activation::NONE, grid(8, 0.1, 3), (0.0, 255.0)),
        (Activation::RELU, grid(4, 0.1, 3), (3.0, 15.0)),
        (relu6, grid(8, 0.05, 0), (0.0, 120.0)),
        (relu6, grid(4, 0.05, 0), (0.0, 15.0)),
    ] {
        let finish = Finish::new(activation, Some(output));
        assert_eq!(
            finish,
            Finish::Clip {
                lo: ends.0,
                hi: ends.1
            }
        );
    }
}

#[test]
fn codes_are_the_nearest_to_the_real_result() {
    let (input, residual) = (grid(8, 0.02, 7), grid(6, 0.3, 31));
    let curves = [
        Activation::NONE,
        Activation::RELU,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::HardSwish,
        Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        },
    ];
    for activation in curves {
        for output in [grid(8, 0.07, 90), grid(3, 0.9, 2)] {
            let fold = |output| {
                Epilogue::conv(input, &[0.01], &[-0.4], Some(residual), activation, output)
            };
            let (codes, real) = (fold(Some(output)), fold(None));
            for (acc, r) in [
                (0, 31),
                (12_345, 0),
                (-54_321, 63),
                (777, 30),
                (i32::MIN, 5),
            ] {
                let y = activation.apply(
                    (f64::from(acc) * 0.02 * 0.01 - 0.4 + 0.3 * (f64::from(r) - 31.0)) as f32,
                );
                assert!((real.real(acc, 0, r) - y).abs() <= 1e-6 * y.abs().max(10.0));
                let near = i32::from(codes.code(acc, 0, r)) - i32::from(output.code(y));
                assert!(near.abs() <= 1, "{activation:?} {acc} {r}");
            }
        }
    }
}

#[test]
fn a_sum_and_a_mean_keep_zero() {
    let (a, b, out) = (grid(8, 0.1, 12), grid(4, 0.7, 3), grid(5, 0.4, 9));
    assert_eq!(
        Epilogue::add(a, b, Activation::NONE, Some(out)).code(12, 0, 3),
        9
    );
    assert_eq!(
        Epilogue::add(a, b, Activation::NONE, None).real(22, 0, 3),
        1.0
    );
    assert_eq!(Epilogue::mean(a, 4, Some(out)).code(0, 0, 0), 9);
    assert_eq!(Epilogue::mean(a, 4, Some(out)).code(16, 0, 0), 10);
}
