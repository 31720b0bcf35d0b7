//! Spearman's rank correlation: do two tables put the same tensors first?
//!
//! Over all layers and bit-widths together it flatters: any metric knows that fewer bits cost more.
//! Among the layers at one bit-width it tells whether a metric knows one layer from another.

use super::{Metric, Sensitivity, Tables};

/// How well a metric orders weights as the measured one does.
#[derive(Clone, Debug, PartialEq)]
pub struct Rank {
    /// The metric.
    pub metric: Metric,
    /// Over all layers and bit-widths; `None` where there is nothing to order.
    pub all: Option<f64>,
    /// Among the layers at each bit-width.
    pub by_bits: Vec<Option<f64>>,
}

impl Rank {
    /// The mean over those bit-widths at which there is something to order.
    pub fn mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.by_bits.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// The ranks of every metric of `tables` that is whole, where the measured one is.
pub fn ranks(tables: &Tables) -> Vec<Rank> {
    let Some(measured) = tables.whole(Metric::Measured) else {
        return Vec::new();
    };
    let others = Metric::ALL.into_iter().filter(|&m| m != Metric::Measured);
    let rank = |metric| Some(rank(metric, tables.whole(metric)?, measured));
    others.filter_map(rank).collect()
}

fn rank(metric: Metric, table: &Sensitivity, measured: &Sensitivity) -> Rank {
    let flat = |s: &Sensitivity| s.weights.concat();
    let column = |s: &Sensitivity, b: usize| s.weights.iter().map(|l| l[b]).collect::<Vec<_>>();
    let widths = table.weights.first().map_or(0, Vec::len);
    let at = |b| spearman(&column(table, b), &column(measured, b));
    Rank {
        metric,
        all: spearman(&flat(table), &flat(measured)),
        by_bits: (0..widths).map(at).collect(),
    }
}

/// The rank correlation of two lists of one length, ties at their mean rank: 1 for the same order,
/// -1 for the reverse. `None` when there are fewer than two entries or a list has only ties.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "lists of one length");
    let (ra, rb) = (places(a), places(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    let scale = (product(&ra, &ra) * product(&rb, &rb)).sqrt();
    (scale > 0.0).then(|| product(&ra, &rb) / scale)
}

/// The place of each number among all, ties at their mean place.
fn places(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mut ranks = vec![0.0; x.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..]
            .iter()
            .take_while(|&&i| x[i] == x[order[start]])
            .count();
        for &i in &order[start..start + same] {
            ranks[i] = start as f64 + (same as f64 - 1.0) / 2.0;
        }
        start += same;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 1e9]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        // Wikipedia's worked example of IQ and hours of television.
        let iq = [106., 100., 86., 101., 99., 103., 97., 113., 112., 110.];
        let tv = [7., 27., 2., 50., 28., 29., 20., 12., 6., 17.];
        let rho = spearman(&iq, &tv).unwrap();
        assert!((rho + 29.0 / 165.0).abs() < 1e-12, "{rho}");
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        // Ties at their mean rank: ranks (0.5, 0.5, 2) against (0, 1, 2).
        let rho = spearman(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]).unwrap();
        assert!((rho - 1.5 / 3.0f64.sqrt()).abs() < 1e-12, "{rho}");
    }
}
