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

/// Rows, planes, positions.
const CASES: [[usize; 3]; 8] = [
    [1, 1, 16],
    [3, 4, 33],
    [5, 1, 48],
    [8, 5, 100],
    [12, 8, 80],
    [19, 10, 1300],
    [40, 17, 64],
    [16, 33, 1025],
];

/// Numbers of `n` factors: the left of a product, the right, the left of its gradients.
struct Factors {
    terms: Vec<Term>,
    planes: usize,
    apart: Term,
    len: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    y: Vec<f32>,
}

impl Factors {
    /// With so many taps in each plane.
    fn new([m, planes, len]: [usize; 3], taps: usize) -> Self {
        let room = len.next_multiple_of(ROUND);
        let term = |k| Term {
            a: k,
            b: (k * 13) % 29,
        };
        Self {
            terms: (0..taps).map(term).collect(),
            planes,
            apart: Term { a: taps, b: 40 },
            len,
            a: numbers(m * planes * taps),
            b: numbers(planes * 40 + room),
            y: numbers(m * room),
        }
    }

    fn shifts<'a, T>(&'a self, data: &'a [T]) -> Shifts<'a, T> {
        Shifts {
            data,
            taps: &self.terms,
            planes: self.planes,
            apart: self.apart,
            len: self.len,
        }
    }

    fn depth(&self) -> usize {
        self.planes * self.terms.len()
    }

    fn room(&self) -> usize {
        self.len.next_multiple_of(ROUND)
    }

    /// Where row `k` of the right factor begins.
    fn row(&self, k: usize) -> usize {
        self.terms[k % self.terms.len()].b + k / self.terms.len() * self.apart.b
    }
}

#[test]
fn every_level_equals_the_definition() {
    for (case, level) in CASES
        .iter()
        .flat_map(|c| Level::present().into_iter().map(move |l| (c, l)))
    {
        let (m, of) = (case[0], Factors::new(*case, 3));
        let (room, depth) = (of.room(), of.depth());
        let start = &numbers(40)[..m / 2];
        let mut c = vec![f32::NAN; m * room];
        let to = Rows::new(&mut c[..], m, room);
        let a = Rows::new(&of.a[..], m, depth);
        product_on(level, to, start, a, of.shifts(&of.b));
        let mut d = vec![1.0; m * depth];
        let to = Rows::new(&mut d[..], m, depth);
        dots_on(level, to, Rows::new(&of.y, m, room), of.shifts(&of.b));

        for i in 0..m {
            for p in 0..room {
                let sum: f32 = (0..depth)
                    .map(|k| of.a[i * depth + k] * of.b[of.row(k) + p])
                    .sum();
                let sum = start.get(i).unwrap_or(&0.0) + sum;
                assert_eq!(c[i * room + p], sum, "{level:?} {case:?}: {i} {p}");
            }
            for k in 0..depth {
                let sum: f32 = (0..room)
                    .map(|p| of.y[i * room + p] * of.b[of.row(k) + p])
                    .sum();
                assert_eq!(d[i * depth + k], 1.0 + sum, "{level:?} {case:?}: {i} {k}");
            }
        }
    }
}

#[test]
fn pairs_and_halves_of_whole_numbers_equal_floats() {
    for (case, bf16) in CASES
        .iter()
        .flat_map(|c| Bf16::present().into_iter().map(move |way| (c, way)))
    {
        for taps in [1, 4, 9] {
            let (m, of) = (case[0], Factors::new(*case, taps));
            let (room, depth) = (of.room(), of.depth());
            let mut d = [vec![1.0; m * depth], vec![1.0; m * depth]];
            let [float, half] = d.each_mut().map(|d| Rows::new(&mut d[..], m, depth));
            dots(float, Rows::new(&of.y, m, room), of.shifts(&of.b));
            let halves = |x: &[f32]| {
                let mut halves = vec![0; x.len()];
                bf16.round(&mut halves, x);
                halves
            };
            let (y, b) = (halves(&of.y), halves(&of.b));
            dots_halves(bf16, half, Rows::new(&y, m, room), of.shifts(&b));
            assert_eq!(d[0], d[1], "{case:?} {taps} {bf16:?}");

            // Each factor beside another one: the product is the sum of both products.
            let other: Vec<f32> = of.a.iter().rev().copied().collect();
            let two: Vec<f32> = of.b.iter().map(|x| 3.0 - x).collect();
            let mut a = vec![[0; 2]; of.a.len()];
            bf16.pair(&mut a, &of.a, &other);
            let mut b = vec![[0; 2]; of.b.len()];
            bf16.pair(&mut b, &of.b, &two);
            let mut c = [(); 3].map(|()| vec![f32::NAN; m * room]);
            let [first, second, both] = c.each_mut().map(|c| Rows::new(&mut c[..], m, room));
            product(first, &[], Rows::new(&of.a, m, depth), of.shifts(&of.b));
            product(second, &[], Rows::new(&other, m, depth), of.shifts(&two));
            product_pairs(bf16, both, Rows::new(&a, m, depth), of.shifts(&b));
            let sum: Vec<f32> = c[0].iter().zip(&c[1]).map(|(a, b)| a + b).collect();
            assert_eq!(c[2], sum, "{case:?} {taps} {bf16:?}");
        }
    }
}

/// One row of `len` positions from place `b` on.
fn one_row(data: &[f32], b: usize, len: usize) -> Shifts<'_> {
    const TAPS: [Term; 2] = [Term { a: 0, b: 0 }, Term { a: 0, b: 5 }];
    let taps = match b {
        0 => &TAPS[..1],
        _ => &TAPS[1..],
    };
    Shifts {
        data,
        taps,
        planes: 1,
        apart: Term { a: 1, b: 0 },
        len,
    }
}

#[test]
#[should_panic(expected = "rows of b")]
fn a_row_must_lie_in_its_slice() {
    let (mut c, b) = ([0.0; 32], [0.0; 36]);
    let to = Rows::new(&mut c[..], 1, 32);
    product(to, &[], Rows::new(&[1.0], 1, 1), one_row(&b, 5, 16));
}

#[test]
#[should_panic(expected = "rows of c")]
fn a_result_must_lie_in_its_slice() {
    let (mut c, b) = ([0.0; 31], [0.0; 32]);
    let to = Rows::new(&mut c[..], 2, 16);
    product(to, &[], Rows::new(&[1.0; 2], 2, 1), one_row(&b, 0, 16));
}

#[test]
#[should_panic(expected = "rows of y")]
fn a_factor_must_lie_in_its_slice() {
    let (mut d, b) = ([0.0; 2], [0.0; 32]);
    let to = Rows::new(&mut d[..], 2, 1);
    dots(to, Rows::new(&[0.0; 63], 2, 32), one_row(&b, 0, 10));
}

#[test]
#[should_panic(expected = "rows of d")]
fn a_gradient_must_lie_in_its_slice() {
    let (mut d, b) = ([0.0; 1], [0.0; 32]);
    let to = Rows::new(&mut d[..], 2, 1);
    dots(to, Rows::new(&[0.0; 64], 2, 32), one_row(&b, 0, 10));
}
