//! Where images leave a Program with exits: what each exit answers, and what leaving saves in time.
//!
//! Times are measured in turns on the same images, by the policy and to the end without any head,
//! so that their ratio holds whatever else the machine does.

use std::time::{Duration, Instant};

use exbit::cost::{Work, expected, work_to_exits};
use exbit_engine::{Policy, Program, Session, likeliest};
use exbit_model::data::Batch;
use serde::Serialize;

use crate::exit::Failure;
use crate::score::percent;
use crate::timing::Times;

/// What the exits have done so far.
#[derive(Debug)]
pub(crate) struct Leaving {
    names: Vec<String>,
    work: Vec<Work>,
    policy: Policy,
    /// For each way out: images that left there, those of them that were answered rightly, and
    /// right answers if all images had left there.
    left: Vec<usize>,
    right: Vec<usize>,
    alone: Vec<usize>,
    batches: usize,
    /// Time of all images in batches to the end.
    pub(crate) seconds_full: f64,
}

/// A way out: an exit, or the end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WayOut {
    pub(crate) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Of 1, how many images leave here.
    pub(crate) fraction: f64,
    /// Percent of these that are answered rightly, where there are any.
    pub(crate) top1: Option<f64>,
    /// Percent of all images that this way out answers rightly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top1_alone: Option<f64>,
    #[serde(flatten)]
    pub(crate) work: Option<Cumulative>,
}

/// What an image costs that leaves there, with all heads on the way.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cumulative {
    pub(crate) macs: u64,
    pub(crate) bops: u64,
    pub(crate) bops_edges_at_8: u64,
}

impl From<Work> for Cumulative {
    fn from(work: Work) -> Self {
        Self {
            macs: work.macs,
            bops: work.bops,
            bops_edges_at_8: work.bops_edges_at_8,
        }
    }
}

impl Leaving {
    /// No image yet; `None` for a Program without exits.
    pub(crate) fn new(program: &Program) -> Option<Self> {
        let ways = program.exits.len() + 1;
        (ways > 1).then(|| Self {
            names: program.exits.iter().map(|e| e.name.clone()).collect(),
            work: work_to_exits(program, &program.policy),
            policy: program.policy.clone(),
            left: vec![0; ways],
            right: vec![0; ways],
            alone: vec![0; ways],
            batches: 0,
            seconds_full: 0.0,
        })
    }

    /// Runs `batch` by the policy and to the end, in turns, and through every exit; gives the
    /// answers by the policy and their time in seconds.
    pub(crate) fn run(
        &mut self,
        session: &mut Session,
        batch: &Batch,
        labels: &[usize],
    ) -> Result<(Vec<f32>, f64), Failure> {
        let images = batch.indices.len();
        let timed = |session: &mut Session, policy: &Policy| -> Result<f64, Failure> {
            session.set_policy(policy)?;
            let start = Instant::now();
            session.run_batch(&batch.pixels, images)?;
            Ok(start.elapsed().as_secs_f64())
        };
        // Whoever is second finds the batch in the cache.
        let second = self.batches % 2 == 1;
        if second {
            self.seconds_full += timed(session, &Policy::Never)?;
        }
        session.set_policy(&self.policy)?;
        let start = Instant::now();
        let logits = session.run_batch(&batch.pixels, images)?.to_vec();
        let seconds = start.elapsed().as_secs_f64();
        let exits = session.exits().to_vec();
        if !second {
            self.seconds_full += timed(session, &Policy::Never)?;
        }
        self.batches += 1;
        session.set_policy(&self.policy)?;
        let classes = session.answer_len();
        for ((logits, &label), &exit) in logits.chunks_exact(classes).zip(labels).zip(&exits) {
            self.left[exit] += 1;
            self.right[exit] += usize::from(likeliest(logits) == label);
        }
        let every = session.run_every_exit(&batch.pixels, images)?;
        for (image, &label) in every.chunks_exact(self.left.len() * classes).zip(labels) {
            for (logits, right) in image.chunks_exact(classes).zip(&mut self.alone) {
                *right += usize::from(likeliest(logits) == label);
            }
        }
        Ok((logits, seconds))
    }

    /// The policy by which images left.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The exits, then the end.
    pub(crate) fn ways(&self) -> Vec<WayOut> {
        let images: usize = self.left.iter().sum();
        let way = |index: usize| WayOut {
            index,
            name: Some(self.names.get(index).map_or("end".into(), Clone::clone)),
            fraction: self.left[index] as f64 / images.max(1) as f64,
            top1: (self.left[index] > 0).then(|| percent(self.right[index], self.left[index])),
            top1_alone: Some(percent(self.alone[index], images)),
            work: Some(self.work[index].into()),
        };
        (0..self.left.len()).map(way).collect()
    }

    /// BOPs of an image on average: as they are, and with first and last layers at 8x8.
    pub(crate) fn bops_mean(&self) -> [f64; 2] {
        let fractions: Vec<f64> = self.ways().iter().map(|w| w.fraction).collect();
        let mean = |of: fn(&Work) -> u64| expected(&fractions, self.work.iter().map(of));
        [mean(|w| w.bops), mean(|w| w.bops_edges_at_8)]
    }
}

/// Time by the policy beside time to the end without exits, measured in turns.
#[derive(Debug, Serialize)]
pub(crate) struct BesideFull {
    /// Of one call, over images from all over the set.
    pub(crate) latency_ms_mean: f64,
    pub(crate) latency_ms_mean_full: f64,
    pub(crate) latency_ratio: f64,
    /// Of batches to the end.
    pub(crate) images_per_second_full: f64,
}

impl BesideFull {
    pub(crate) fn new(early: &Times, full: &Times, images_per_second_full: f64) -> Self {
        Self {
            latency_ms_mean: early.mean(),
            latency_ms_mean_full: full.mean(),
            latency_ratio: early.mean() / full.mean(),
            images_per_second_full,
        }
    }
}

/// The time of each of `calls`, by the Session's policy and to the end without any head: the
/// median of rounds over all of them.
pub(crate) fn side_by_side(
    session: &mut Session,
    calls: &[Batch],
    time: Duration,
) -> Result<[Times; 2], Failure> {
    let policies = [session.policy().clone(), Policy::Never];
    let mut times = [vec![Vec::new(); calls.len()], vec![Vec::new(); calls.len()]];
    let start = Instant::now();
    // The first round warms up.
    let mut round = 0;
    while round < 2 || start.elapsed() < time {
        for (i, batch) in calls.iter().enumerate() {
            for turn in 0..2 {
                let side = (i + round + turn) % 2;
                session.set_policy(&policies[side])?;
                let call = Instant::now();
                session.run_batch(&batch.pixels, batch.indices.len())?;
                let took = call.elapsed().as_secs_f64() * 1e3;
                if round > 0 {
                    times[side][i].push(took);
                }
            }
        }
        round += 1;
    }
    session.set_policy(&policies[0])?;
    let median = |times: Vec<f64>| Times::of(times).percentile(50);
    Ok(times.map(|calls| Times::of(calls.into_iter().map(median).collect())))
}
