//! A run: start everything once, then take turns.
//!
//! A round measures every contender once, one short slice each; odd rounds go through them
//! backwards, so that nobody profits from always coming first and slow drift cancels out. A
//! round gives one pair to every comparison. All loops are counted, all waits have bounds, and
//! an error anywhere drops the contenders and with them their processes.

use indicatif::ProgressBar;
use nix::sys::resource::{UsageWho, getrusage};

use crate::contenders::{COMPARISONS, CONTENDERS, Comparison, Entry, F0, F0_TWIN, Settings, Start};
use crate::error::PerfError;
use crate::probe::Slice;
use crate::verdict::{self, Gate, Verdict};

/// Cores in the kernel's affinity mask; a higher number has no bit to set.
const CORE_COUNT_MAX: usize = 1024;

/// One contender and what became of it.
pub(crate) struct Lane {
    /// Its row in the table of contenders.
    pub(crate) entry: &'static Entry,
    /// The running server, or why there is none.
    pub(crate) start: Start,
    /// One slice a round.
    pub(crate) slices: Vec<Slice>,
}

/// One comparison's result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Median ratio over the pairs.
    pub(crate) ratio: f64,
    /// Lower quartile of the pairs' ratios.
    pub(crate) lower: f64,
    /// Upper quartile.
    pub(crate) upper: f64,
    /// What it means.
    pub(crate) verdict: Verdict,
}

/// Everything a run found.
pub(crate) struct Findings {
    /// In the order of the contenders' table.
    pub(crate) lanes: Vec<Lane>,
    /// The rows of the comparisons' table whose contenders were both there.
    pub(crate) outcomes: Vec<(&'static Comparison, Outcome)>,
    /// How fine a difference this run could see, as a share of one.
    pub(crate) resolution: f64,
    /// How often the measuring thread lost its core to another in the run.
    pub(crate) preempted_count: u64,
}

/// Runs to the end or to the first error.
pub(crate) fn run(settings: &Settings) -> Result<Findings, PerfError> {
    assert!(settings.pair_count > 0);
    let mut lanes = Vec::with_capacity(CONTENDERS.len());
    for entry in CONTENDERS {
        let mut start = (entry.start)(settings)?;
        if let Start::Ready(contender) = &mut start {
            contender.pause()?;
        }
        lanes.push(Lane { entry, start, slices: Vec::with_capacity(settings.pair_count) });
    }
    // After the servers were started: a child inherits its parent's cores.
    if let Some(cores) = settings.cores {
        pin(cores.client)?;
    }
    let preempted_before = preempted_count()?;
    let progress = ProgressBar::new(u64::try_from(settings.pair_count).unwrap_or(u64::MAX));
    for round in 0..settings.pair_count {
        for turn in 0..lanes.len() {
            let index = if round % 2 == 0 { turn } else { lanes.len() - 1 - turn };
            let lane = &mut lanes[index];
            if let Start::Ready(contender) = &mut lane.start {
                let slice = contender.measure(settings)?;
                lane.slices.push(slice);
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let (outcomes, resolution) = compare(&lanes)?;
    let preempted_count = preempted_count()?.saturating_sub(preempted_before);
    Ok(Findings { lanes, outcomes, resolution, preempted_count })
}

/// Pins the calling thread to a core of this machine.
pub(crate) fn pin(core: usize) -> Result<(), PerfError> {
    let id = core_affinity::CoreId { id: core };
    if core < CORE_COUNT_MAX && core_affinity::set_for_current(id) {
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Err(PerfError::Settings(format!("cannot pin to core {core}; this machine has {cores} cores")))
}

/// Involuntary context switches of the calling thread since its start.
fn preempted_count() -> Result<u64, PerfError> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)
        .map_err(|errno| PerfError::io("reading the thread's resource usage")(errno.into()))?;
    Ok(u64::try_from(usage.involuntary_context_switches()).unwrap_or(0))
}

type Outcomes = Vec<(&'static Comparison, Outcome)>;

fn compare(lanes: &[Lane]) -> Result<(Outcomes, f64), PerfError> {
    let slices_of = |name: &str| {
        let lane = lanes.iter().find(|lane| lane.entry.name == name);
        lane.map_or(&[][..], |lane| lane.slices.as_slice())
    };
    let floor_ratios = pair_ratios(slices_of(F0_TWIN), slices_of(F0));
    let resolution = verdict::resolution(&floor_ratios)
        .ok_or_else(|| PerfError::Settings("a run without its floors has no figure".to_owned()))?;
    let outcomes = COMPARISONS.iter().filter_map(|comparison| {
        let ratios = pair_ratios(slices_of(comparison.of), slices_of(comparison.over));
        Some((comparison, judge(&ratios, resolution, comparison.gate)?))
    });
    Ok((outcomes.collect(), resolution))
}

/// The ratio of p50s of each round; empty if either side is absent.
fn pair_ratios(of: &[Slice], over: &[Slice]) -> Vec<f64> {
    assert!(of.len() == over.len() || of.is_empty() || over.is_empty());
    let ratio = |(of, over): (&Slice, &Slice)| of.p50.as_secs_f64() / over.p50.as_secs_f64();
    of.iter().zip(over).map(ratio).collect()
}

fn judge(ratios: &[f64], resolution: f64, gate: Option<Gate>) -> Option<Outcome> {
    let ratio = verdict::median(ratios)?;
    Some(Outcome {
        ratio,
        lower: verdict::quantile(ratios, 0.25)?,
        upper: verdict::quantile(ratios, 0.75)?,
        verdict: verdict::judge(ratio, resolution, gate, ratios.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn lanes(rows: &[(&str, &[u64])]) -> Vec<Lane> {
        let lane = |entry: &'static Entry| {
            let nanos = rows.iter().find(|row| row.0 == entry.name).map_or(&[][..], |row| row.1);
            let slice = |nanos: &u64| {
                let p50 = Duration::from_nanos(*nanos);
                Slice { count: 1, p50, p90: p50, p99: p50, p999: p50, max: p50 }
            };
            let slices = nanos.iter().map(slice).collect();
            Lane { entry, start: Start::Absent("test".to_owned()), slices }
        };
        CONTENDERS.iter().map(lane).collect()
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        // The machine halves its speed in round 2; the ratios do not notice.
        let rows: &[(&str, &[u64])] =
            &[("F0", &[100, 200, 100]), ("F0-twin", &[100, 210, 90]), ("F1", &[110, 220, 110])];
        let (outcomes, resolution) = compare(&lanes(rows)).unwrap();
        assert!((resolution - 0.05).abs() < 1e-9, "{resolution}");
        let names: Vec<_> = outcomes.iter().map(|(row, _)| (row.of, row.over)).collect();
        assert_eq!(names, [("F0-twin", "F0"), ("F1", "F0")]); // sockperf is absent
        let (_, f1) = outcomes[1];
        assert!((f1.ratio - 1.1).abs() < 1e-9 && (f1.lower - 1.1).abs() < 1e-9);
        assert_eq!(f1.verdict, Verdict::None);
    }

    #[test]
    fn a_gated_row_is_judged_once_there_are_enough_pairs() {
        let check = |pair_count: usize, sockperf_ns: u64, expected| {
            let same = vec![1_000; pair_count];
            let sockperf = vec![sockperf_ns; pair_count];
            let rows: &[(&str, &[u64])] =
                &[("sockperf", &sockperf), ("F0", &same), ("F0-twin", &same), ("F1", &same)];
            let (outcomes, _) = compare(&lanes(rows)).unwrap();
            assert_eq!((outcomes[0].0.of, outcomes[0].0.over), ("F0", "sockperf"));
            assert_eq!(outcomes[0].1.verdict, expected, "{pair_count} {sockperf_ns}");
        };
        check(21, 1_000, Verdict::Green);
        check(21, 1_040, Verdict::Green);
        check(21, 1_200, Verdict::Red);
        check(20, 1_000, Verdict::Grey);
    }

    #[test]
    fn without_floors_there_is_no_figure() {
        assert!(compare(&lanes(&[("F1", &[1, 2, 3])])).is_err());
    }
}
