//! Adam (Kingma and Ba, 2015), for as many parameters as it was made for.

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;

/// The running moments of some parameters' gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    steps: i32,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Adam {
    /// Nothing seen yet of `parameters` parameters.
    pub fn new(parameters: usize) -> Self {
        Self {
            steps: 0,
            mean: vec![0.0; parameters],
            square: vec![0.0; parameters],
        }
    }

    /// One step of `rate` against `gradient`, which gives the derivative for each parameter.
    ///
    /// # Panics
    /// When there are not as many parameters as at first.
    pub fn step(&mut self, parameters: &mut [f32], rate: f32, gradient: impl Fn(usize) -> f32) {
        assert_eq!(parameters.len(), self.mean.len(), "the same parameters");
        self.steps = self.steps.saturating_add(1);
        let (c1, c2) = (1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for (i, (p, (mean, square))) in parameters.iter_mut().zip(moments).enumerate() {
            let g = gradient(i);
            *mean = BETA1 * *mean + (1.0 - BETA1) * g;
            *square = BETA2 * *square + (1.0 - BETA2) * g * g;
            *p -= rate * (*mean / c1) / ((*square / c2).sqrt() + 1e-12);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_rate_whatever_the_gradient() {
        let mut adam = Adam::new(2);
        let mut p = [1.0, -1.0];
        adam.step(&mut p, 0.1, |i| [1e-3, -1e3][i]);
        assert!(
            (p[0] - 0.9).abs() < 1e-6 && (p[1] + 0.9).abs() < 1e-6,
            "{p:?}"
        );
    }

    #[test]
    fn it_finds_the_minimum_of_a_bowl() {
        let mut adam = Adam::new(2);
        let mut p = [3.0, -2.0];
        for t in 0..2000 {
            let rate = 0.05 * (1.0 - t as f32 / 2000.0);
            let gradient = [10.0 * (p[0] - 1.0), 0.1 * (p[1] - 0.5)];
            adam.step(&mut p, rate, |i| gradient[i]);
        }
        assert!(
            (p[0] - 1.0).abs() < 1e-3 && (p[1] - 0.5).abs() < 1e-3,
            "{p:?}"
        );
    }
}
