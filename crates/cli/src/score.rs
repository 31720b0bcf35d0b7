//! How right a network is: the share of images whose true class is its first or among its first
//! five, and the mean cross-entropy.

use exbit_grad::loss::cross_entropy;

/// The scores of the images so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    images: usize,
    first: usize,
    among_five: usize,
    cross_entropy: f64,
}

impl Score {
    /// Adds images: their `logits` (N, classes) and true classes. Labels are below `classes`.
    pub(crate) fn add(&mut self, logits: &[f32], labels: &[usize], classes: usize) {
        for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
            // Of equal logits the earlier class is the answer.
            let ahead =
                |(i, z): (usize, &f32)| *z > logits[label] || (*z == logits[label] && i < label);
            let rank = logits
                .iter()
                .enumerate()
                .filter(|&entry| ahead(entry))
                .count();
            let known = !logits[label].is_nan();
            self.first += usize::from(known && rank == 0);
            self.among_five += usize::from(known && rank < 5);
        }
        let (losses, _) = cross_entropy(logits, labels, classes);
        self.cross_entropy += losses.iter().map(|&l| f64::from(l)).sum::<f64>();
        self.images += labels.len();
    }

    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Percent.
    pub(crate) fn top1(&self) -> f64 {
        percent(self.first, self.images)
    }

    /// Percent.
    pub(crate) fn top5(&self) -> f64 {
        percent(self.among_five, self.images)
    }

    pub(crate) fn mean_cross_entropy(&self) -> f64 {
        self.cross_entropy / self.images.max(1) as f64
    }
}

/// `part` of `whole`, in percent.
pub(crate) fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// The `count` likeliest classes and their probabilities.
pub(crate) fn top(logits: &[f32], count: usize) -> Vec<(usize, f64)> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weights: Vec<f64> = logits.iter().map(|&z| (f64::from(z) - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    classes.truncate(count);
    classes
        .into_iter()
        .map(|class| (class, weights[class] / sum))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_earlier_class() {
        let mut score = Score::default();
        let logits = [1.0, 3.0, 3.0, 0.0, 0.0, 0.0, 2.0];
        score.add(&logits, &[1], 7);
        score.add(&logits, &[2], 7);
        score.add(&logits, &[5], 7);
        assert_eq!(exbit_engine::likeliest(&logits), 1);
        assert_eq!(score.images(), 3);
        assert!((score.top1() - 100.0 / 3.0).abs() < 1e-12);
        assert!((score.top5() - 200.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let all = top(&[0.0, 1000.0, 1000.0], 5);
        assert_eq!(all, [(1, 0.5), (2, 0.5), (0, 0.0)]);
        assert_eq!(top(&[0.0, 2.0, 1.0], 2).len(), 2);
    }

    #[test]
    fn an_answer_that_is_no_number_is_wrong() {
        let mut score = Score::default();
        score.add(&[0.0, 50.0, f32::NAN, 0.0], &[1, 0], 2);
        assert_eq!(score.top1(), 50.0);
    }
}
