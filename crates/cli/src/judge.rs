//! A network before and after, judged on the same images: what a report tells of both.

use std::time::Duration;

use exbit::report::{Accuracy, Report, Timing};
use exbit_engine::Program;
use exbit_model::Model;
use exbit_model::data::{DataSet, Preprocess};

use crate::exit::Failure;
use crate::network::Network;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::score::Score;
use crate::trial::Trial;

/// How long single images are timed, for each network.
const LATENCY_TIME: Duration = Duration::from_millis(500);

/// A float network and what became of it.
pub(crate) struct Pair<'a> {
    pub(crate) model: Model,
    pub(crate) program: &'a Program,
    pub(crate) preprocess: &'a Preprocess,
    pub(crate) threads: usize,
}

impl Pair<'_> {
    /// Runs both networks on the first `images` of `set`, then on one image again and again, and
    /// adds to `report` what that shows.
    pub(crate) fn judge(
        self,
        set: &DataSet,
        images: usize,
        report: &mut Report,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let integer = Network::Integer(self.program.clone());
        let mut trial = Trial::new(integer, self.threads)?;
        trial.compare_with(self.model, "the float network")?;
        let image = trial.judge(set, self.preprocess, images, progress)?;
        progress.set("timing single images", 0, 1);
        let time = |runner: &mut Runner| -> Result<Timing, Failure> {
            Ok(Timing {
                latency_ms_p50: runner.latency(&image, LATENCY_TIME)?.percentile(50),
                batch: 1,
                threads: self.threads as u64,
            })
        };
        report.quantized.timing = Some(time(&mut trial.runner)?);
        let mut agreement = None;
        if let Some(float) = &mut trial.float {
            report.float.timing = Some(time(&mut float.runner)?);
            report.float.accuracy = Some(accuracy(&float.score, None));
            agreement = Some(float.agreement());
        }
        report.quantized.accuracy = Some(accuracy(&trial.score, agreement));
        report.origin.evaluation_data = Some(set.to_string());
        Ok(())
    }
}

fn accuracy(score: &Score, agreement_float: Option<f64>) -> Accuracy {
    Accuracy {
        images: score.images() as u64,
        top1: score.top1(),
        top5: Some(score.top5()),
        cross_entropy: Some(score.mean_cross_entropy()),
        agreement_float,
    }
}
