//! Losses of a batch: one number for each image, and the gradient of their *sum*. Divide both by
//! the number of images for the mean.

/// `log(sum exp z)` of each entry less the maximum, in `f64`: the log-probabilities of one image.
fn log_probabilities(logits: &[f32]) -> impl Iterator<Item = f64> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&z| (f64::from(z) - max).exp()).sum();
    let log_sum = sum.ln() + max;
    logits.iter().map(move |&z| f64::from(z) - log_sum)
}

/// Cross-entropy of `logits (N, classes)` against one true class an image: the losses `(N)`, and
/// the gradient of their sum, `(N, classes)`.
///
/// # Panics
/// When a label is not below `classes`, or the lengths do not fit.
pub fn cross_entropy(logits: &[f32], labels: &[usize], classes: usize) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(
        logits.len(),
        labels.len() * classes,
        "logits of every image"
    );
    let mut gradient = Vec::with_capacity(logits.len());
    let mut losses = Vec::with_capacity(labels.len());
    for (logits, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
        assert!(label < classes, "label {label} of {classes} classes");
        for (class, log_p) in log_probabilities(logits).enumerate() {
            gradient.push((log_p.exp() - f64::from(u8::from(class == label))) as f32);
            if class == label {
                losses.push(-log_p as f32);
            }
        }
    }
    (losses, gradient)
}

/// The softmax of each of the rows `(N, classes)` of `logits`.
pub fn probabilities(logits: &[f32], classes: usize) -> Vec<f32> {
    let rows = logits.chunks_exact(classes.max(1));
    rows.flat_map(|row| log_probabilities(row).map(|log_p| log_p.exp() as f32))
        .collect()
}

/// Cross-entropy of `logits (N, classes)` against a teacher's `probabilities (N, classes)`: the
/// losses `(N)`, and the gradient of their sum, `(N, classes)`.
///
/// # Panics
/// When the lengths do not fit.
pub fn soft_cross_entropy(
    logits: &[f32],
    probabilities: &[f32],
    classes: usize,
) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(
        logits.len(),
        probabilities.len(),
        "a probability for every logit"
    );
    assert_eq!(logits.len() % classes.max(1), 0, "logits of whole images");
    let mut gradient = Vec::with_capacity(logits.len());
    let images = logits
        .chunks_exact(classes.max(1))
        .zip(probabilities.chunks_exact(classes.max(1)));
    let losses = images.map(|(logits, teacher)| {
        let mass: f64 = teacher.iter().map(|&p| f64::from(p)).sum();
        let mut loss = 0.0;
        for (log_p, &p) in log_probabilities(logits).zip(teacher) {
            let p = f64::from(p);
            loss -= if p > 0.0 { p * log_p } else { 0.0 };
            gradient.push((mass * log_p.exp() - p) as f32);
        }
        loss as f32
    });
    let losses = losses.collect();
    (losses, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Loss = fn(&[f32]) -> (Vec<f32>, Vec<f32>);

    #[test]
    fn gradients_are_slopes_of_the_sum() {
        let losses: [Loss; 2] = [
            |z| cross_entropy(z, &[1, 0], 3),
            |z| soft_cross_entropy(z, &[0.2, 0.5, 0.3, 0.0, 1.0, 0.0], 3),
        ];
        let z = [0.3f32, -1.2, 2.0, 0.5, 0.25, -0.75];
        for loss in losses {
            let (_, gradient) = loss(&z);
            for i in 0..z.len() {
                // h = 2^-6: h^2 / 6 of third derivatives below 1 is 4e-5, and sums of losses
                // near 10 rounded at 2^-23 leave 1e-6 / 2^-5 = 4e-5.
                let h = 1.0 / 64.0;
                let at = |step: f32| {
                    let mut z = z;
                    z[i] += step;
                    loss(&z).0.iter().map(|&l| f64::from(l)).sum::<f64>()
                };
                let slope = (at(h) - at(-h)) / f64::from(2.0 * h);
                assert!(
                    (slope - f64::from(gradient[i])).abs() < 1e-4,
                    "{slope} {gradient:?}"
                );
            }
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let (losses, gradient) = cross_entropy(&[1e30, 0.0], &[0], 2);
        assert_eq!((losses, gradient), (vec![0.0], vec![0.0, 0.0]));
    }
}
