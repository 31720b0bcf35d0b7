//! Element-wise loops and sums, compiled for each level: the same loop, wider registers.
//!
//! Nothing is fused here, and sums run over fixed lanes, so every level gives the same bits.

use super::bf16::{Half, Pair, nearest};
use super::isa::Level;

/// Defines a function whose body is compiled for each [`Level`] and chosen at the call.
macro_rules! for_each_level {
    ($(#[$doc:meta])* pub fn $name:ident [$($generics:tt)*]
     ($($arg:ident: $type:ty),* $(,)?) -> $result:ty $body:block) => {
        $(#[$doc])*
        pub fn $name<$($generics)*>($($arg: $type),*) -> $result {
            #[inline(always)]
            fn body<$($generics)*>($($arg: $type),*) -> $result $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl")]
            fn avx512<$($generics)*>($($arg: $type),*) -> $result {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$($generics)*>($($arg: $type),*) -> $result {
                body($($arg),*)
            }

            match Level::best() {
                // SAFETY: the CPU has what the function was compiled for.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe { avx2($($arg),*) },
                Level::Portable => body($($arg),*),
            }
        }
    };
}

for_each_level! {
    /// `y[i] = f(x[i])`, as far as both reach.
    pub fn map [F: Fn(f32) -> f32] (y: &mut [f32], x: &[f32], f: F) -> () {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
    }
}

for_each_level! {
    /// `y[i] = f(a[i], b[i])`, as far as all reach.
    pub fn map2 [F: Fn(f32, f32) -> f32] (y: &mut [f32], a: &[f32], b: &[f32], f: F) -> () {
        y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = f(a, b));
    }
}

for_each_level! {
    /// `y[i] = f(y[i], x[i])`, as far as both reach.
    pub fn update [F: Fn(f32, f32) -> f32] (y: &mut [f32], x: &[f32], f: F) -> () {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(*y, x));
    }
}

for_each_level! {
    /// `y[i]` is `x[i]` as a bfloat16, as far as both reach.
    pub fn halves [] (y: &mut [Half], x: &[f32]) -> () {
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = nearest(x));
    }
}

for_each_level! {
    /// `y[i]` is `a[i]` beside `b[i]`, as bfloat16, as far as all reach.
    pub fn pairs [] (y: &mut [Pair], a: &[f32], b: &[f32]) -> () {
        y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = [nearest(a), nearest(b)]);
    }
}

/// Lanes of a sum.
const LANES: usize = 32;

for_each_level! {
    /// The sums over `i` of the `N` numbers `f(a[i], b[i])`, as far as both reach.
    pub fn sums [F: Fn(f32, f32) -> [f32; N], const N: usize]
        (a: &[f32], b: &[f32], f: F) -> [f32; N]
    {
        let len = a.len().min(b.len());
        let mut lanes = [[0.0f32; LANES]; N];
        let (a, b) = (a[..len].as_chunks::<LANES>(), b[..len].as_chunks::<LANES>());
        for (a, b) in a.0.iter().zip(b.0) {
            for l in 0..LANES {
                let terms = f(a[l], b[l]);
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[l] += term;
                }
            }
        }
        let (a, b) = (a.1.as_chunks::<8>(), b.1.as_chunks::<8>());
        for (a, b) in a.0.iter().zip(b.0) {
            for l in 0..8 {
                let terms = f(a[l], b[l]);
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[l] += term;
                }
            }
        }
        for (l, (&a, &b)) in a.1.iter().zip(b.1).enumerate() {
            for (lanes, term) in lanes.iter_mut().zip(f(a, b)) {
                lanes[8 + l] += term;
            }
        }
        lanes.map(total)
    }
}

/// The sum of all lanes.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
    }
    lanes[0]
}

for_each_level! {
    /// `g[i]` becomes the first that `f(g[i], a[i], b[i])` gives; gives the sums of the others, as
    /// far as all reach.
    pub fn update_sums [F: Fn(f32, f32, f32) -> (f32, [f32; N]), const N: usize]
        (g: &mut [f32], a: &[f32], b: &[f32], f: F) -> [f32; N]
    {
        let len = g.len().min(a.len()).min(b.len());
        let mut lanes = [[0.0f32; LANES]; N];
        let (g, g_rest) = g[..len].as_chunks_mut::<LANES>();
        let (a, a_rest) = a[..len].as_chunks::<LANES>();
        let (b, b_rest) = b[..len].as_chunks::<LANES>();
        for ((g, a), b) in g.iter_mut().zip(a).zip(b) {
            for l in 0..LANES {
                let (to, terms) = f(g[l], a[l], b[l]);
                g[l] = to;
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[l] += term;
                }
            }
        }
        for (l, g) in g_rest.iter_mut().enumerate() {
            let (to, terms) = f(*g, a_rest[l], b_rest[l]);
            *g = to;
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[l] += term;
            }
        }
        lanes.map(total)
    }
}

for_each_level! {
    /// As [`update_sums`], but that what it makes of `g` goes to `to`.
    pub fn map_sums [F: Fn(f32, f32, f32) -> (f32, [f32; N]), const N: usize]
        (to: &mut [f32], g: &[f32], a: &[f32], b: &[f32], f: F) -> [f32; N]
    {
        let len = to.len().min(g.len()).min(a.len()).min(b.len());
        let mut lanes = [[0.0f32; LANES]; N];
        let (to, to_rest) = to[..len].as_chunks_mut::<LANES>();
        let (g, g_rest) = g[..len].as_chunks::<LANES>();
        let (a, a_rest) = a[..len].as_chunks::<LANES>();
        let (b, b_rest) = b[..len].as_chunks::<LANES>();
        for (((to, g), a), b) in to.iter_mut().zip(g).zip(a).zip(b) {
            for l in 0..LANES {
                let (made, terms) = f(g[l], a[l], b[l]);
                to[l] = made;
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[l] += term;
                }
            }
        }
        for (l, to) in to_rest.iter_mut().enumerate() {
            let (made, terms) = f(g_rest[l], a_rest[l], b_rest[l]);
            *to = made;
            for (lanes, term) in lanes.iter_mut().zip(terms) {
                lanes[l] += term;
            }
        }
        lanes.map(total)
    }
}

/// Rows of a plane: how many, how wide, and the distances between rows and between entries.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Rows.
    pub height: usize,
    /// Entries of a row.
    pub width: usize,
    /// Distance between rows.
    pub pitch: usize,
    /// Distance between entries.
    pub step: usize,
}

for_each_level! {
    /// Copies a plane out of `x`, laid out as `plane`, into rows of `pitch`, with zeros behind
    /// each row.
    ///
    /// # Panics
    /// When a row does not lie in its slice, has no entry, or is wider than `pitch`.
    pub fn spread [] (to: &mut [f32], pitch: usize, x: &[f32], plane: Plane) -> () {
        let Plane { height, width, .. } = plane;
        for row in 0..height {
            let (to, behind) = to[row * pitch..(row + 1) * pitch].split_at_mut(width);
            let from = &x[row * plane.pitch..][..(width - 1) * plane.step + 1];
            match plane.step {
                1 => copy_row(to, from),
                2 => {
                    let (pairs, last) = from.as_chunks::<2>();
                    to.iter_mut().zip(pairs).for_each(|(to, from)| *to = from[0]);
                    to[width - 1] = last[0];
                }
                step => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, x)| *to = *x),
            }
            behind.iter_mut().for_each(|zero| *zero = 0.0);
        }
    }
}

for_each_level! {
    /// The reverse of [`spread`]: copies rows of `pitch` into a plane of `y`, laid out as `plane`.
    ///
    /// # Panics
    /// When a row does not lie in its slice, or has no entry.
    pub fn collect [] (y: &mut [f32], plane: Plane, from: &[f32], pitch: usize) -> () {
        for row in 0..plane.height {
            let from = &from[row * pitch..][..plane.width];
            let to = &mut y[row * plane.pitch..][..(plane.width - 1) * plane.step + 1];
            match plane.step {
                1 => copy_row(to, from),
                step => {
                    let to = to.iter_mut().step_by(step);
                    to.zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// `to = from`, rows of one length. They are too short for a call to `memcpy`, and for going entry
/// by entry: the last run of a row overlaps the one before.
#[inline(always)]
fn copy_row(to: &mut [f32], from: &[f32]) {
    #[inline(always)]
    fn run<const N: usize>(to: &mut [f32], from: &[f32]) {
        let mut at = 0;
        while at + N <= from.len() {
            to[at..at + N].copy_from_slice(&from[at..at + N]);
            at += N;
        }
        if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
            *to = *from;
        }
    }
    match from.len() {
        16.. => run::<16>(to, from),
        8.. => run::<8>(to, from),
        4.. => run::<4>(to, from),
        _ => run::<1>(to, from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_take_every_entry_once() {
        for n in [0, 1, 7, 8, 31, 32, 49, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let [sum, dot] = sums(&x, &x, |a, b| [a, a * b]);
            assert_eq!(sum, x.iter().sum());
            assert_eq!(dot, x.iter().map(|x| x * x).sum());
        }
    }

    #[test]
    fn sums_on_the_way_are_those_of_a_pass_of_their_own() {
        for n in [0, 1, 31, 32, 33, 100] {
            let [g, a, b] =
                [1, 2, 3].map(|k| -> Vec<f32> { (0..n).map(|i| (i * k % 7) as f32).collect() });
            let f = |g: f32, a: f32, b: f32| (g + a, [g * a, g * b, b]);
            let expected: Vec<f32> = g.iter().zip(&a).map(|(g, a)| g + a).collect();
            let of = |i: usize| {
                g.iter()
                    .zip(&a)
                    .zip(&b)
                    .map(|((g, a), b)| f(*g, *a, *b).1[i])
                    .sum()
            };
            let (mut to, mut own) = (vec![f32::NAN; n], g.clone());
            assert_eq!(map_sums(&mut to, &g, &a, &b, f), [of(0), of(1), of(2)]);
            assert_eq!(update_sums(&mut own, &a, &b, f), [of(0), of(1), of(2)]);
            assert_eq!((to, own), (expected.clone(), expected));
        }
    }

    #[test]
    fn what_is_spread_is_collected_again() {
        for (width, step) in [
            (1, 1),
            (3, 1),
            (5, 1),
            (8, 1),
            (14, 1),
            (33, 1),
            (1, 2),
            (7, 2),
            (4, 3),
        ] {
            let plane = Plane {
                height: 3,
                width,
                pitch: width * step,
                step,
            };
            let x: Vec<f32> = (0..3 * width * step).map(|i| 1.0 + i as f32).collect();
            let pitch = width + 2;
            let mut laid = vec![f32::NAN; 3 * pitch];
            spread(&mut laid, pitch, &x, plane);
            let entry = |i: usize| {
                if i % pitch < width {
                    x[i / pitch * plane.pitch + i % pitch * step]
                } else {
                    0.0
                }
            };
            assert!(
                laid.iter().enumerate().all(|(i, &v)| v == entry(i)),
                "{laid:?}"
            );
            let mut y = x.clone();
            laid.iter_mut().for_each(|v| *v += 0.5);
            collect(&mut y, plane, &laid, pitch);
            let half = |i: usize| if i.is_multiple_of(step) { 0.5 } else { 0.0 };
            assert!(
                y.iter().enumerate().all(|(i, &v)| v == x[i] + half(i)),
                "{y:?}"
            );
        }
    }
}
