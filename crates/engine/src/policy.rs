//! When an image leaves: the rule of a Program with exits, as data.

use std::fmt;

use crate::confidence::{entropy, likeliest, max_softmax};
use crate::error::{Error, ErrorKind, Result};

/// When an image leaves. Thresholds are one for each exit, in order; any number but NaN is one,
/// and one that no softmax reaches keeps its exit shut: its head does not run then.
///
/// As text: `never`, `max-softmax=0.9` (for every exit) or `max-softmax=0.9,0.8,inf`,
/// `entropy=0.2` and the like, `patience=2`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Policy {
    /// Nobody leaves before the end.
    #[default]
    Never,
    /// At the first exit whose largest softmax probability is at least its threshold (MSDNet,
    /// McQueen); above 1 nobody leaves there.
    MaxSoftmax(Vec<f32>),
    /// At the first exit whose entropy, as a share of `ln(classes)`, is at most its threshold
    /// (BranchyNet, there in nats); below 0 nobody leaves there.
    Entropy(Vec<f32>),
    /// At the exit that is the so many-th in a row to name one class (PABEE); from 1 to the number
    /// of exits.
    Patience(usize),
}

/// The class that the exits so far named last, and how many of them in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streak {
    class: usize,
    length: usize,
}

impl Policy {
    /// Whether anybody can leave at exit `exit`; nobody where there is no threshold for it.
    pub fn asks(&self, exit: usize) -> bool {
        match self {
            Policy::Never => false,
            Policy::MaxSoftmax(thresholds) => thresholds.get(exit).is_some_and(|&t| t <= 1.0),
            Policy::Entropy(thresholds) => thresholds.get(exit).is_some_and(|&t| t >= 0.0),
            Policy::Patience(_) => true,
        }
    }

    /// Whether an image leaves at exit `exit`, which gives `logits`; `streak` goes with the image.
    pub(crate) fn leaves(&self, exit: usize, logits: &[f32], streak: &mut Streak) -> bool {
        match self {
            Policy::Never => false,
            Policy::MaxSoftmax(thresholds) => {
                self.asks(exit) && max_softmax(logits) >= thresholds[exit]
            }
            Policy::Entropy(thresholds) => self.asks(exit) && entropy(logits) <= thresholds[exit],
            Policy::Patience(patience) => {
                let class = likeliest(logits);
                let goes_on = streak.length > 0 && streak.class == class;
                let length = if goes_on { streak.length + 1 } else { 1 };
                *streak = Streak { class, length };
                length >= *patience
            }
        }
    }

    /// Whether this is a policy for `exits` exits.
    ///
    /// # Errors
    /// `Mismatch` where it is not.
    pub fn check(&self, exits: usize) -> Result<()> {
        let wrong = |message| Err(Error::new(ErrorKind::Mismatch, "policy", message));
        match self {
            Policy::Never => Ok(()),
            Policy::MaxSoftmax(thresholds) | Policy::Entropy(thresholds) => {
                if thresholds.len() != exits || exits == 0 {
                    let found = thresholds.len();
                    return wrong(format!("{found} thresholds for {exits} exits"));
                }
                match thresholds.iter().any(|t| t.is_nan()) {
                    true => wrong("a threshold is not a number".into()),
                    false => Ok(()),
                }
            }
            Policy::Patience(patience) => match (1..=exits).contains(patience) {
                true => Ok(()),
                false => wrong(format!(
                    "patience {patience}; expected 1 to {exits}, the number of exits"
                )),
            },
        }
    }

    /// The policy for `exits` exits that `text` says; one threshold is for every exit.
    ///
    /// # Errors
    /// `Malformed` for another text, or as [`Policy::check`].
    pub fn parse(text: &str, exits: usize) -> Result<Self> {
        let malformed = || {
            let expected = "expected never, max-softmax=0.9, entropy=0.2 or patience=2; \
                            thresholds one for all exits, or one for each with commas between";
            Error::new(ErrorKind::Malformed, format!("policy {text}"), expected)
        };
        let thresholds = |numbers: &str| -> Result<Vec<f32>> {
            let numbers = numbers.split(',').map(|n| n.trim().parse().ok());
            match &numbers
                .collect::<Option<Vec<f32>>>()
                .ok_or_else(malformed)?[..]
            {
                &[shared] => Ok(vec![shared; exits]),
                own => Ok(own.to_vec()),
            }
        };
        let policy = match text.split_once('=') {
            None if text == "never" => Policy::Never,
            Some(("max-softmax", numbers)) => Policy::MaxSoftmax(thresholds(numbers)?),
            Some(("entropy", numbers)) => Policy::Entropy(thresholds(numbers)?),
            Some(("patience", n)) => Policy::Patience(n.parse().map_err(|_| malformed())?),
            Some(_) | None => return Err(malformed()),
        };
        policy.check(exits).map(|()| policy)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |thresholds: &[f32]| match thresholds {
            [first, rest @ ..] if rest.iter().all(|t| t == first) => first.to_string(),
            own => own.iter().map(f32::to_string).collect::<Vec<_>>().join(","),
        };
        match self {
            Policy::Never => f.write_str("never"),
            Policy::MaxSoftmax(thresholds) => write!(f, "max-softmax={}", list(thresholds)),
            Policy::Entropy(thresholds) => write!(f, "entropy={}", list(thresholds)),
            Policy::Patience(patience) => write!(f, "patience={patience}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(policy: &Policy, answers: &[[f32; 2]]) -> Option<usize> {
        let mut streak = Streak::default();
        (0..answers.len()).find(|&k| policy.leaves(k, &answers[k], &mut streak))
    }

    #[test]
    fn each_rule_leaves_where_it_says() {
        // Odds of 1:1, e:1, e^2:1: probabilities of 0.5, 0.731, 0.881.
        let surer = [[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]];
        assert_eq!(first(&Policy::MaxSoftmax(vec![0.7; 3]), &surer), Some(1));
        assert_eq!(first(&Policy::MaxSoftmax(vec![0.5; 3]), &surer), Some(0));
        assert_eq!(
            first(&Policy::MaxSoftmax(vec![0.7, 2.0, 0.7]), &surer),
            Some(2)
        );
        assert_eq!(first(&Policy::MaxSoftmax(vec![0.9; 3]), &surer), None);
        assert_eq!(first(&Policy::Entropy(vec![0.6; 3]), &surer), Some(2));
        assert_eq!(first(&Policy::Entropy(vec![-1.0; 3]), &surer), None);
        assert_eq!(first(&Policy::Patience(1), &surer), Some(0));
        assert_eq!(first(&Policy::Patience(2), &surer), Some(2));
        assert_eq!(first(&Policy::Patience(3), &surer), None);
        assert_eq!(first(&Policy::Never, &surer), None);
    }

    #[test]
    fn policies_are_their_texts() {
        let (own, shared) = (vec![0.1, f32::INFINITY, 0.75], vec![0.3; 3]);
        for policy in [
            Policy::Never,
            Policy::MaxSoftmax(own.clone()),
            Policy::MaxSoftmax(shared.clone()),
            Policy::Entropy(shared),
            Policy::Patience(3),
        ] {
            assert_eq!(Policy::parse(&policy.to_string(), 3), Ok(policy));
        }
        assert_eq!(
            Policy::MaxSoftmax(own).to_string(),
            "max-softmax=0.1,inf,0.75"
        );
    }

    #[test]
    fn policies_that_do_not_fit_are_errors() {
        let error = |text: &str, exits| Policy::parse(text, exits).unwrap_err().to_string();
        assert_eq!(
            error("max-softmax=0.5,0.6", 3),
            "policy: 2 thresholds for 3 exits"
        );
        assert_eq!(
            error("max-softmax=0.5", 0),
            "policy: 0 thresholds for 0 exits"
        );
        assert_eq!(
            error("entropy=nan", 1),
            "policy: a threshold is not a number"
        );
        assert_eq!(
            error("patience=0", 1),
            "policy: patience 0; expected 1 to 1, the number of exits"
        );
        assert_eq!(
            error("patience=2", 1),
            "policy: patience 2; expected 1 to 1, the number of exits"
        );
        for text in [
            "",
            "0.5",
            "entropy",
            "entropy=",
            "entropy=a",
            "patience=-1",
            "never=1",
        ] {
            assert!(
                error(text, 2).starts_with(&format!("policy {text}: expected")),
                "{text}"
            );
        }
    }
}
