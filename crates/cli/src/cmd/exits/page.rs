//! The trade-off of a choice as a page: accuracy against mean BOPs, and against time.

use std::path::Path;

use exbit::cost::{bops_to_exits, expected, work_to_exits};
use exbit::exits::{Calibration, HeldOut, Outcome};
use exbit::report::{Tradeoff, TradeoffPoint};
use exbit_engine::{Policy, Program, Session};

use super::{Images, held_out, is_learned_from};
use crate::exit::Failure;
use crate::network::{self, Network};
use crate::progress::Progress;

/// Runs of one image by which each step is timed.
const REPEATS: usize = 50;

/// What the page shows: `curve`, the choice, and every image at one way out. `pixels` are of one
/// image, on which the steps are timed.
pub(super) fn tradeoff(
    program: &Program,
    session: &mut Session,
    pixels: &[u8],
    held: &HeldOut,
    found: &Calibration,
    curve: &[Outcome],
    data: String,
) -> Result<Tradeoff, Failure> {
    let times = step_times(session, pixels)?;
    let point = |label: Option<String>, outcome: &Outcome| TradeoffPoint {
        label,
        top1: outcome.top1,
        bops_mean: outcome.bops_mean,
        ms_mean: Some(milliseconds(
            program,
            &outcome.policy,
            &outcome.fractions,
            &times,
        )),
    };
    let open = Policy::MaxSoftmax(vec![0.0; program.exits.len()]);
    let work = work_to_exits(program, &open);
    let names = program.exits.iter().map(|e| e.name.clone());
    let exits = names
        .zip(held.alone())
        .enumerate()
        .map(|(k, (name, top1))| {
            let mut fractions = vec![0.0; program.exits.len() + 1];
            fractions[k] = 1.0;
            TradeoffPoint {
                label: Some(name),
                top1,
                bops_mean: expected(&fractions, work.iter().map(|w| w.bops)),
                ms_mean: Some(milliseconds(program, &open, &fractions, &times)),
            }
        });
    let end = point(Some("without exits".into()), &found.full);
    Ok(Tradeoff {
        network: program.name.clone(),
        images: held.images() as u64,
        data,
        curve: curve.iter().map(|o| point(None, o)).collect(),
        chosen: Some(point(Some("this policy".into()), &found.chosen)),
        others: exits.chain([end]).collect(),
        remarks: vec![
            format!("The policy is {}.", found.chosen.policy),
            "Thresholds were chosen on these very images; what they give on others is for \
             `exbit eval` to say."
                .into(),
            "Time is that of the steps that run, each measured alone, on one thread; `exbit eval` \
             measures whole images in turns."
                .into(),
        ],
    })
}

/// What the Program at `path` gives on the same images by its own policy; it reads and answers as
/// the network of `session` does.
pub(super) fn beside(
    path: &Path,
    like: &Session,
    threads: usize,
    pixels: &[u8],
    images: &Images,
    progress: &Progress,
) -> Result<TradeoffPoint, Failure> {
    let place = path.display();
    let Network::Integer(program) = network::open(path)?.network else {
        return Err(Failure::bad_input(format!("{place}: is not a Program")));
    };
    let mut session = Session::new(&program, threads)?;
    let shape = |s: &Session| (s.input_len(), s.answer_len());
    if shape(&session) != shape(like) {
        let message = format!("{place}: reads other images or knows other classes");
        return Err(Failure::bad_input(message));
    }
    if is_learned_from(images.set) && held_out(&program, images.set.len()).is_none() {
        progress.note(&format!(
            "{place}: may have learned from these images, and then is right on them too often"
        ));
    }
    let held = images.held_out(program.exits.len(), &mut session, progress)?;
    let costs = |policy: &Policy| bops_to_exits(&program, policy);
    let outcome = held.outcome(&program.policy, &costs);
    let times = step_times(&mut session, pixels)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let ms = milliseconds(&program, &program.policy, &outcome.fractions, &times);
    Ok(TradeoffPoint {
        label: Some(name.into_owned()),
        top1: outcome.top1,
        bops_mean: outcome.bops_mean,
        ms_mean: Some(ms),
    })
}

/// Milliseconds of the input, then of each step, for one image.
fn step_times(session: &mut Session, pixels: &[u8]) -> Result<Vec<f64>, Failure> {
    let times = session.profile(pixels, REPEATS)?.into_iter();
    Ok(times.map(|t| t.nanoseconds as f64 / 1e6).collect())
}

/// The time of an image on average, of which `fractions` leave at each way out: `times` are those
/// of the input, then of each step.
fn milliseconds(program: &Program, policy: &Policy, fractions: &[f64], times: &[f64]) -> f64 {
    let runs = program.runs(policy);
    let ways = program.depths().into_iter().zip(fractions);
    let to = |depth: usize| -> f64 {
        let steps = (0..depth).filter(|&i| runs[i]);
        times[0] + steps.map(|i| times[i + 1]).sum::<f64>()
    };
    ways.map(|(depth, f)| f * to(depth)).sum()
}
