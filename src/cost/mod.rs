//! What a plan costs, counted exactly from its bits.
//!
//! Over layers l of `n_l` weights and `m_l` MACs that read activation `in(l)`, and values v of
//! `h_v` lines of `e_v` entries on activation `j(v)`, with `w_l` and `a_j` bits:
//!
//! ```text
//! weight bytes       sum_l ceil(n_l w_l / 8)
//! activation bytes   sum_v h_v ceil(e_v a_j(v) / 8), a line beginning with a byte of its own; an
//!                    answer has 32 bits an entry
//! their peak         the same over the places taken at a moment, where the values of one place
//!                    (a sum is written over what it sums in) have the bits of the widest
//! memory             weight bytes + peak activation bytes
//! BOPs               sum_l m_l w_l a_in(l)
//! ```
//!
//! BOPs are counted twice: as planned, and with the first and the last layer at 8x8 whatever
//! their bits, as most published tables count them. BOPs are not a speed: time is a
//! [`Latency`] table, measured.

mod exits;
mod sizes;
mod table;

use exbit_kernels::Bits;

pub use exits::{Work, bops_to_exits, expected, work_to_exits};
pub use sizes::{LayerSize, Precisions, Sizes, ValueSize};
pub(crate) use table::index_of;
pub use table::{Choice, Latency, Table};

/// What one image costs under a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Packed weights, each layer rounded up to whole bytes; biases and scales not counted.
    pub weight_bytes: u64,
    /// All values together.
    pub activation_bytes_sum: u64,
    /// The most that are alive at once, all of them packed.
    pub activation_bytes_peak: u64,
    /// Bit-operations, as planned.
    pub bops: u64,
    /// Bit-operations with the first and the last layer counted at 8x8.
    pub bops_edges_at_8: u64,
    /// Time of one image, where a table of measured times has an entry for every layer.
    pub latency_ms: Option<f64>,
}

impl Cost {
    /// Weights and the activations' peak together.
    pub fn memory_bytes(&self) -> u64 {
        self.weight_bytes + self.activation_bytes_peak
    }
}

/// What `precisions` cost; without latency, which needs a [`Table`].
pub fn cost(sizes: &Sizes, precisions: &Precisions) -> Cost {
    debug_assert_eq!(sizes.layers().len(), precisions.weights.len());
    debug_assert_eq!(sizes.activations().len(), precisions.activations.len());
    let bits = |b: &Bits| u64::from(b.get());
    let weights: Vec<u64> = precisions.weights.iter().map(bits).collect();
    let activations: Vec<u64> = precisions.activations.iter().map(bits).collect();
    count(sizes, &weights, &activations)
}

/// What the float network costs: 32 bits for everything.
pub fn float_cost(sizes: &Sizes) -> Cost {
    count(
        sizes,
        &vec![32; sizes.layers().len()],
        &vec![32; sizes.activations().len()],
    )
}

fn count(sizes: &Sizes, weights: &[u64], activations: &[u64]) -> Cost {
    let last = sizes.layers().len().saturating_sub(1);
    let layers = || sizes.layers().iter().zip(weights).enumerate();
    let values = sizes.values();
    let bits = |v: &ValueSize| v.activation.map_or(REAL_BITS, |j| activations[j]);
    let mut widest = vec![0; values.len()];
    for value in values {
        widest[value.place] = bits(value).max(widest[value.place]);
    }
    let alive = |moment: &Vec<usize>| moment.iter().map(|&v| values[v].bytes(widest[v])).sum();
    let planned = |l: &LayerSize, w: u64| l.macs * w * activations[l.input];
    let edges_at_8 = |(i, (l, &w)): (usize, (&LayerSize, &u64))| {
        if i == 0 || i == last {
            l.macs * 64
        } else {
            planned(l, w)
        }
    };
    Cost {
        weight_bytes: layers()
            .map(|(_, (l, &w))| packed_bytes(l.weights, w))
            .sum(),
        activation_bytes_sum: values.iter().map(|v| v.bytes(bits(v))).sum(),
        activation_bytes_peak: sizes.moments().iter().map(alive).max().unwrap_or(0),
        bops: layers().map(|(_, (l, &w))| planned(l, w)).sum(),
        bops_edges_at_8: layers().map(edges_at_8).sum(),
        latency_ms: None,
    }
}

/// Bits of an entry of an answer.
pub(crate) const REAL_BITS: u64 = 32;

/// Bytes of `count` codes of `bits` each, packed.
pub fn packed_bytes(count: u64, bits: u64) -> u64 {
    (count * bits).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(macs: &[u64]) -> Sizes {
        let activations = (0..macs.len()).map(|i| format!("a{i}")).collect();
        let value = |i: usize| ValueSize {
            activation: Some(i),
            lines: 1,
            line: 10 * (i as u64 + 1),
            place: i,
        };
        let values = (0..macs.len()).map(value).collect();
        let layer = |(i, &macs): (usize, &u64)| LayerSize {
            name: format!("l{i}"),
            weights: 3,
            macs,
            input: i,
            tie: None,
        };
        let layers = macs.iter().enumerate().map(layer).collect();
        let moments = (1..macs.len()).map(|i| vec![i - 1, i]).collect();
        Sizes::new(layers, activations, values, moments).unwrap()
    }

    /// A ResNet of `blocks` per stage: 3x3 convolutions in pairs, sides halved between stages.
    fn resnet(stem: u64, stages: &[(u64, u64)], blocks: u64, shortcut: bool, fc: u64) -> Vec<u64> {
        let mut macs = vec![stem];
        let mut cin = stages[0].0;
        for &(c, side) in stages {
            for _ in 0..blocks {
                let positions = side * side;
                macs.extend([9 * cin * c * positions, 9 * c * c * positions]);
                if shortcut && cin != c {
                    macs.push(cin * c * positions);
                }
                cin = c;
            }
        }
        macs.push(fc);
        macs
    }

    fn check_bops(sizes: &Sizes, float: &str, at_8: [(u8, &str); 4]) {
        let giga = |bops: u64, like: &str| {
            let digits = like.len() - like.find('.').unwrap() - 1;
            format!("{:.digits$}", bops as f64 / 1e9)
        };
        assert_eq!(giga(float_cost(sizes).bops, float), float);
        for (bits, expected) in at_8 {
            let bits = Bits::new(bits).unwrap();
            let cost = cost(sizes, &Precisions::uniform(sizes, bits, bits));
            assert_eq!(
                giga(cost.bops_edges_at_8, expected),
                expected,
                "W{bits}A{bits}"
            );
        }
    }

    #[test]
    fn bops_of_resnet20_on_cifar10() {
        let macs = resnet(
            27 * 16 * 1024,
            &[(16, 32), (32, 16), (64, 8)],
            3,
            false,
            640,
        );
        let at_8 = [(2, "0.1888"), (3, "0.3893"), (4, "0.6701"), (8, "2.5953")];
        check_bops(&network(&macs), "41.524", at_8);
    }

    #[test]
    fn bops_of_resnet18_on_imagenet() {
        let stages = [(64, 56), (128, 28), (256, 14), (512, 7)];
        let macs = resnet(147 * 64 * 112 * 112, &stages, 2, true, 512_000);
        let at_8 = [(2, "14.368"), (3, "22.846"), (4, "34.714"), (8, "116.101")];
        check_bops(&network(&macs), "1857.611", at_8);
    }

    #[test]
    fn bytes_round_up_per_layer_and_the_peak_is_of_one_moment() {
        let sizes = network(&[1, 1, 1]);
        let bits = |b: u8| Bits::new(b).unwrap();
        let precisions = Precisions {
            weights: vec![bits(8), bits(3), bits(2)],
            activations: vec![bits(8), bits(3), bits(1)],
        };
        let cost = cost(&sizes, &precisions);
        assert_eq!(cost.weight_bytes, 3 + 2 + 1);
        assert_eq!(cost.activation_bytes_sum, 10 + 8 + 4);
        assert_eq!(cost.activation_bytes_peak, 10 + 8);
        assert_eq!(cost.memory_bytes(), 6 + 18);
        assert_eq!((cost.bops, cost.bops_edges_at_8), (64 + 9 + 2, 64 + 9 + 64));
    }
}
