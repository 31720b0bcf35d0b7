//! Every level against plain loops, and what the fronts refuse.

mod fenced;

use fenced::Fenced;

use super::dots::dots_on;
use super::product::product_on;
use super::*;
use crate::float::bf16::Bf16;
use crate::float::isa::Level;

/// Whole numbers from -8 to 8, drawn: their sums of products are exact.
fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) % 17
    };
    (0..n).map(|_| draw() as f32 - 8.0).collect()
}

/// Rows, planes, taps, positions: narrow ones, and such as fill tiles, evenly and not.
const CASES: [[usize; 4]; 12] = [
    [1, 1, 3, 16],
    [3, 4, 3, 33],
    [5, 1, 4, 48],
    [8, 5, 3, 100],
    [16, 16, 9, 512],
    [12, 8, 1, 80],
    [19, 10, 4, 1300],
    [40, 17, 2, 64],
    [16, 33, 5, 1025],
    [37, 40, 3, 70],
    [8, 37, 2, 600],
    [9, 64, 1, 65],
];

/// The factors of a case. Rows are further apart than they are long, columns stand in another
/// order than terms, and what lies between is not to be touched.
struct Factors {
    rows: usize,
    taps: Vec<Term>,
    planes: usize,
    apart: Term,
    len: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    y: Vec<f32>,
    d: Vec<f32>,
}

impl Factors {
    fn new([rows, planes, taps, len]: [usize; 4]) -> Self {
        let tap = |k| Term {
            a: 2 * (taps - 1 - k),
            b: (k * 13) % 29,
        };
        let mut own = Self {
            rows,
            taps: (0..taps).map(tap).collect(),
            planes,
            apart: Term {
                a: 2 * taps + 1,
                b: 41,
            },
            len,
            a: Vec::new(),
            b: Vec::new(),
            y: Vec::new(),
            d: Vec::new(),
        };
        let furthest = own.terms().into_iter().map(|t| t.b).max().unwrap_or(0);
        own.a = numbers(1, own.row_of_a() * rows);
        own.b = numbers(2, furthest + own.room());
        own.y = numbers(3, own.row_of_y() * rows);
        own.d = numbers(4, own.row_of_a() * rows);
        own
    }

    fn terms(&self) -> Vec<Term> {
        self.shifts::<f32>(&[]).terms()
    }

    fn shifts<'a, T>(&'a self, data: &'a [T]) -> Shifts<'a, T> {
        Shifts {
            data,
            taps: &self.taps,
            planes: self.planes,
            apart: self.apart,
            len: self.len,
        }
    }

    fn row_of_a(&self) -> usize {
        self.planes * self.apart.a + 3
    }

    fn room(&self) -> usize {
        self.len.next_multiple_of(ROUND)
    }

    fn row_of_y(&self) -> usize {
        self.room() + 5
    }

    /// Distance between rows of a product.
    fn row_of_c(&self) -> usize {
        self.room() + 3
    }

    /// `start + a b` by the definition; what lies between rows is not a number.
    fn product(&self, start: &[f32], a: &[f32], b: &[f32]) -> Vec<f32> {
        let mut c = vec![f32::NAN; self.row_of_c() * self.rows];
        for (m, c) in c.chunks_exact_mut(self.row_of_c()).enumerate() {
            let row = &a[m * self.row_of_a()..];
            for (p, c) in c[..self.room()].iter_mut().enumerate() {
                let all = self.terms().into_iter().map(|t| row[t.a] * b[t.b + p]);
                *c = start.get(m).unwrap_or(&0.0) + all.sum::<f32>();
            }
        }
        c
    }

    /// `d + y b`, twice, by the definition.
    fn twice_dots(&self) -> Vec<f32> {
        let mut d = self.d.clone();
        for (m, d) in d.chunks_exact_mut(self.row_of_a()).enumerate() {
            let y = &self.y[m * self.row_of_y()..][..self.room()];
            for t in self.terms() {
                let all = y.iter().zip(&self.b[t.b..]).map(|(y, b)| y * b);
                d[t.a] += 2.0 * all.sum::<f32>();
            }
        }
        d
    }
}

/// Equal in every bit but those of what is no number.
fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            a == b || a.is_nan() && b.is_nan(),
            "{what}: [{i}] {a} for {b}"
        );
    }
}

#[test]
fn every_level_equals_the_definition() {
    for case in CASES {
        let of = Factors::new(case);
        let start = &numbers(5, 40)[..of.rows / 2];
        let (product, dots) = (of.product(start, &of.a, &of.b), of.twice_dots());
        for level in Level::present() {
            let what = format!("{level:?} {case:?}");
            let mut c = vec![f32::NAN; product.len()];
            let to = Rows::new(&mut c[..], of.rows, of.row_of_c());
            let a = Rows::new(&of.a[..], of.rows, of.row_of_a());
            product_on(level, to, start, a, of.shifts(&of.b));
            assert_same(&c, &product, &what);
            let mut d = of.d.clone();
            for _ in 0..2 {
                let to = Rows::new(&mut d[..], of.rows, of.row_of_a());
                let y = Rows::new(&of.y[..], of.rows, of.row_of_y());
                dots_on(level, to, y, of.shifts(&of.b));
            }
            assert_same(&d, &dots, &what);
        }
    }
}

#[test]
fn pairs_and_halves_of_whole_numbers_equal_floats() {
    if Bf16::present().is_empty() {
        eprintln!("this CPU has no bfloat16: ITS PRODUCTS WERE NOT TESTED");
    }
    for (case, bf16) in CASES
        .into_iter()
        .flat_map(|c| Bf16::present().into_iter().map(move |way| (c, way)))
    {
        let (of, what) = (Factors::new(case), format!("{bf16:?} {case:?}"));
        let halves = |x: &[f32]| {
            let mut halves = vec![0; x.len()];
            bf16.round(&mut halves, x);
            Fenced::new(&halves)
        };
        let (y, b) = (halves(&of.y), halves(&of.b));
        let mut d = Fenced::new(&of.d);
        for _ in 0..2 {
            let to = Rows::new(&mut d[..], of.rows, of.row_of_a());
            let y = Rows::new(&y[..], of.rows, of.row_of_y());
            dots_halves(bf16, to, y, of.shifts(&b));
        }
        assert_same(&d, &of.twice_dots(), &what);

        // Each factor beside another one: the product is the sum of both products.
        let (a_two, b_two) = (numbers(6, of.a.len()), numbers(7, of.b.len()));
        let pairs = |one: &[f32], two: &[f32]| {
            let mut pairs = vec![[0; 2]; one.len()];
            bf16.pair(&mut pairs, one, two);
            Fenced::new(&pairs)
        };
        let (a, b) = (pairs(&of.a, &a_two), pairs(&of.b, &b_two));
        let one = of.product(&[], &of.a, &of.b);
        let two = of.product(&[], &a_two, &b_two);
        let both: Vec<f32> = one.iter().zip(&two).map(|(a, b)| a + b).collect();
        let mut c = Fenced::new(&vec![f32::NAN; both.len()]);
        let to = Rows::new(&mut c[..], of.rows, of.row_of_c());
        let a = Rows::new(&a[..], of.rows, of.row_of_a());
        product_pairs(bf16, to, a, of.shifts(&b));
        assert_same(&c, &both, &what);
    }
}

/// Two rows, one in each of two planes, from place 3 and 8 on; columns 1 and 3.
fn two_rows(data: &[f32], len: usize) -> Shifts<'_> {
    Shifts {
        data,
        taps: &[Term { a: 1, b: 3 }],
        planes: 2,
        apart: Term { a: 2, b: 5 },
        len,
    }
}

/// A product and dot products of two rows, from buffers of these lengths.
fn run([a, b, c]: [usize; 3], y: usize) {
    let (mut c, a, b) = (vec![0.0; c], vec![0.0; a], vec![0.0; b]);
    let to = Rows::new(&mut c[..], 2, 32);
    product(to, &[], Rows::new(&a[..], 2, 4), two_rows(&b, 16));
    let mut d = a;
    let to = Rows::new(&mut d[..], 2, 4);
    dots(to, Rows::new(&vec![0.0; y], 2, 32), two_rows(&b, 16));
}

#[test]
fn what_lies_in_its_slices_is_taken() {
    run([8, 40, 64], 64);
}

#[test]
#[should_panic(expected = "rows of a")]
fn the_last_column_must_lie_in_its_slice() {
    run([7, 40, 64], 64);
}

#[test]
#[should_panic(expected = "rows of b")]
fn the_row_of_the_last_plane_must_lie_in_its_slice() {
    run([8, 39, 64], 64);
}

#[test]
#[should_panic(expected = "rows of c")]
fn a_result_must_lie_in_its_slice() {
    run([8, 40, 63], 64);
}

#[test]
#[should_panic(expected = "rows of y")]
fn a_factor_must_lie_in_its_slice() {
    run([8, 40, 64], 63);
}

#[test]
#[should_panic(expected = "rows of d")]
fn a_gradient_must_lie_in_its_slice() {
    let (mut d, b) = ([0.0; 7], [0.0; 40]);
    let to = Rows::new(&mut d[..], 2, 4);
    dots(to, Rows::new(&[0.0; 64], 2, 32), two_rows(&b, 16));
}

#[test]
#[should_panic(expected = "as many rows of a as of c")]
fn a_product_has_the_rows_of_its_factor() {
    let (mut c, b) = ([0.0; 64], [0.0; 40]);
    let to = Rows::new(&mut c[..], 2, 32);
    product(to, &[], Rows::new(&[0.0; 8], 1, 4), two_rows(&b, 16));
}

#[test]
#[should_panic(expected = "as many rows of d as of y")]
fn gradients_have_the_rows_of_their_factor() {
    let (mut d, b) = ([0.0; 8], [0.0; 40]);
    let to = Rows::new(&mut d[..], 1, 4);
    dots(to, Rows::new(&[0.0; 64], 2, 32), two_rows(&b, 16));
}

#[test]
fn places_beyond_all_numbers_are_refused() {
    for apart in [
        Term {
            a: usize::MAX,
            b: 0,
        },
        Term {
            a: 0,
            b: usize::MAX,
        },
    ] {
        let shifts = Shifts {
            planes: 3,
            apart,
            ..two_rows(&[0.0; 40], 16)
        };
        assert!(std::panic::catch_unwind(|| shifts.check()).is_err());
    }
    let endless = two_rows(&[], usize::MAX);
    assert!(std::panic::catch_unwind(|| endless.positions()).is_err());
}
