//! The ways out of a network with exits, for people.

use super::{Json, line};
use crate::leaving::Cumulative;
use crate::table::{Side, Table, count, width};

/// Where images left, and what that saved in time.
pub(super) fn lines(json: &Json) -> Vec<String> {
    let (Some(policy), Some(beside)) = (&json.policy, &json.beside_full) else {
        return Vec::new();
    };
    let mut table = Table::new(&[
        ("exit", Side::Right),
        ("name", Side::Name),
        ("leave", Side::Right),
        ("top-1 there", Side::Right),
        ("top-1 of all", Side::Right),
        ("BOPs", Side::Right),
        ("first, last 8x8", Side::Right),
    ])
    .spare(&["first, last 8x8"]);
    let share = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.2} %"));
    for way in &json.exits {
        let bops = |of: fn(&Cumulative) -> u64| way.work.as_ref().map_or(0, of);
        table.row([
            (way.index + 1).to_string(),
            way.name.clone().unwrap_or_default(),
            share(Some(100.0 * way.fraction)),
            share(way.top1),
            share(way.top1_alone),
            count(bops(|w| w.bops)),
            count(bops(|w| w.bops_edges_at_8)),
        ]);
    }
    let costs_more = json.bops_mean > json.totals.bops_full as f64;
    let remark = "leaving by this policy costs more than running to the end: heads are paid for that \
        few leave by; raise thresholds, or choose them with `exbit exits`";
    let remark = costs_more.then(|| line("remark", remark.to_owned()));
    let mut lines = vec![
        line(
            "beside the end",
            format!(
                "mean {:.3} ms for {:.3} ms an image ({:.2}x), {:.0} for {:.0} images/s",
                beside.latency_ms_mean,
                beside.latency_ms_mean_full,
                beside.latency_ratio,
                json.images_per_second,
                beside.images_per_second_full
            ),
        ),
        line("policy", policy.clone()),
    ];
    lines.extend(remark);
    lines.push(format!("\n{}", table.render(width()).trim_end()));
    lines
}
