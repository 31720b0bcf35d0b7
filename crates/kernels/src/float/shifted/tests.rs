//! Every level against plain loops, and what the fronts refuse.

use super::dots::dots_on;
use super::product::product_on;
use super::*;
use crate::float::bf16::Bf16;
use crate::float::isa::Level;

/// Whole numbers from -8 to 8: their sums of products are exact.
fn numbers(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7 + i / 5) % 17) as f32 - 8.0)
        .collect()
}

#[test]
fn every_level_equals_the_definition() {
    // Rows, terms, positions.
    let cases: [[usize; 3]; 6] = [
        [1, 9, 16],
        [3, 4, 33],
        [5, 1, 48],
        [8, 7, 100],
        [12, 3, 80],
        [19, 10, 1300],
    ];
    for (case, level) in cases
        .iter()
        .flat_map(|c| Level::present().into_iter().map(move |l| (c, l)))
    {
        let &[m, depth, n] = case;
        let room = n.next_multiple_of(ROUND);
        let (a, b, y) = (
            numbers(m * depth),
            numbers(depth * 5 + room),
            numbers(m * room),
        );
        let term = |k| Term {
            a: k,
            b: (k * 13) % (depth * 5),
        };
        let terms: Vec<Term> = (0..depth).map(term).collect();
        let start = &numbers(19)[..m / 2];

        let mut c = vec![f32::NAN; m * room];
        let shifts = Shifts {
            data: &b,
            terms: &terms,
            len: n,
        };
        product_on(
            level,
            Rows::new(&mut c, m, room),
            start,
            Rows::new(&a, m, depth),
            shifts,
        );
        let rows: Vec<usize> = terms.iter().map(|t| t.b).collect();
        let mut d = vec![1.0; m * depth];
        dots_on(level, &mut d, Rows::new(&y, m, room), &b, &rows, n);

        for i in 0..m {
            for p in 0..room {
                let sum: f32 = terms.iter().map(|t| a[i * depth + t.a] * b[t.b + p]).sum();
                let sum = start.get(i).unwrap_or(&0.0) + sum;
                assert_eq!(c[i * room + p], sum, "{level:?} {case:?}: {i} {p}");
            }
            for (k, row) in rows.iter().enumerate() {
                let sum: f32 = (0..room).map(|p| y[i * room + p] * b[row + p]).sum();
                assert_eq!(d[i * depth + k], 1.0 + sum, "{level:?} {case:?}: {i} {k}");
            }
        }
    }
}

#[test]
fn pairs_and_halves_of_whole_numbers_equal_floats() {
    let Some(bf16) = Bf16::detect() else { return };
    for [m, depth, n] in [[1, 2, 16_usize], [3, 4, 33], [8, 6, 100], [19, 10, 1300]] {
        let room = n.next_multiple_of(ROUND);
        let (a, b, y) = (
            numbers(m * depth),
            numbers(depth * 5 + room),
            numbers(m * room),
        );
        let rows: Vec<usize> = (0..depth).map(|k| (k * 13) % (depth * 5)).collect();
        let mut d = [vec![1.0; m * depth], vec![1.0; m * depth]];
        dots(&mut d[0], Rows::new(&y, m, room), &b, &rows, n);
        let half = |x: &[f32]| {
            let mut halves = vec![0; x.len()];
            bf16.round(&mut halves, x);
            halves
        };
        let halves = half(&y);
        let factor = Rows::new(&halves[..], m, room);
        dots_halves(bf16, &mut d[1], factor, &half(&b), &rows, n);
        assert_eq!(d[0], d[1], "{m} {depth} {n}");

        // Terms two and two: the first rows beside the last ones.
        let (one, two) = (&b, numbers(depth * 7 + room));
        let both = depth / 2;
        let term = |k: usize| Term { a: k, b: rows[k] };
        let terms: Vec<Term> = (0..both).map(term).collect();
        let mut c = [vec![f32::NAN; m * room], vec![f32::NAN; m * room]];
        let mut pairs = vec![[0; 2]; one.len()];
        bf16.pair(&mut pairs, one, &two);
        let mut weights = vec![[0; 2]; m * depth];
        let other: Vec<f32> = a.iter().rev().copied().collect();
        bf16.pair(&mut weights, &a, &other);
        let shifts = Shifts {
            data: &pairs[..],
            terms: &terms,
            len: n,
        };
        let (to, weights) = (Rows::new(&mut c[0][..], m, room), &weights[..]);
        product_pairs(bf16, to, &[0.5], Rows::new(weights, m, depth), shifts);
        let data = [&one[..], &two[..]].concat();
        let seconds = terms.iter().map(|t| Term {
            a: m * depth + t.a,
            b: one.len() + t.b,
        });
        let terms: Vec<Term> = terms.iter().copied().chain(seconds).collect();
        let weights = [&a[..], &other[..]].concat();
        let shifts = Shifts {
            data: &data,
            terms: &terms,
            len: n,
        };
        let weights = Rows::new(&weights[..], m, depth);
        product(Rows::new(&mut c[1][..], m, room), &[0.5], weights, shifts);
        assert_eq!(c[0], c[1], "{m} {depth} {n}");
    }
}

#[test]
#[should_panic(expected = "rows of b")]
fn a_row_must_lie_in_its_slice() {
    let shifts = Shifts {
        data: &[0.0; 20],
        terms: &[Term { a: 0, b: 5 }],
        len: 16,
    };
    product(
        Rows::new(&mut [0.0; 16], 1, 16),
        &[],
        Rows::new(&[1.0], 1, 1),
        shifts,
    );
}

#[test]
#[should_panic(expected = "rows of c")]
fn a_result_must_lie_in_its_slice() {
    let shifts = Shifts {
        data: &[0.0; 32],
        terms: &[Term { a: 0, b: 0 }],
        len: 16,
    };
    product(
        Rows::new(&mut [0.0; 31], 2, 16),
        &[],
        Rows::new(&[1.0; 2], 2, 1),
        shifts,
    );
}

#[test]
#[should_panic(expected = "rows of y")]
fn a_factor_must_lie_in_its_slice() {
    dots(
        &mut [0.0; 2],
        Rows::new(&[0.0; 63], 2, 32),
        &[0.0; 32],
        &[0],
        10,
    );
}
