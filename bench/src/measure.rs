//! Measure: rounds of batches, by one clock, with what the kernel did to the thread meanwhile.
//!
//! One operation here takes 5 to 500 ns and a clock reading 20 to 40, so single operations are not
//! clocked: a round is many batches, the clock is read once after each batch, and the round's
//! figure is its whole time over its operations. The machine is shared and one round may meet a
//! build, so the figure of a row is the median over the rounds, beside the fastest and the slowest.
//! A floor is measured round for round with its row; the ratio is the median of the rounds' ratios,
//! which noise that lasts longer than a round does not move.
//!
//! The times of the batches give a distribution of *means of a batch*. Where a batch is one
//! operation (those long enough for the clock) they are latencies, clock included.
//!
//! Nothing is allocated or faulted in inside a timed window by the meter itself; minor faults and
//! involuntary switches of the thread are counted around every window.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};

/// Longest time of a batch, per operation, that the distribution tells apart, in ps: 10 s.
const BATCH_PS_MAX: u64 = 10_000_000_000_000;

/// What one row of the table measures, over its rounds.
pub(crate) struct Meter {
    /// Nanoseconds an operation, one figure a round.
    rounds: Vec<f64>,
    /// Picoseconds an operation, one figure a batch.
    batches: Histogram<u64>,
    laps: Vec<Lap>,
    operation_count: u64,
    minor_fault_count: i64,
    switch_count: i64,
}

/// A batch that was timed.
#[derive(Clone, Copy)]
struct Lap {
    ns: u64,
    operation_count: u64,
}

/// The clock of a round in progress.
pub(crate) struct Laps<'a> {
    last: Instant,
    laps: &'a mut Vec<Lap>,
}

/// Median, fastest and slowest round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Laps<'_> {
    /// The next batch begins now: what happened since the last one is not counted.
    #[inline]
    pub(crate) fn restart(&mut self) {
        self.last = now();
    }

    /// Ends a batch of `operation_count` operations, at least 1; the next begins.
    #[inline]
    pub(crate) fn end_batch(&mut self, operation_count: usize) {
        let now = now();
        let ns = nanos(now.duration_since(self.last));
        debug_assert!(operation_count > 0 && self.laps.len() < self.laps.capacity());
        self.laps.push(Lap { ns, operation_count: count(operation_count) });
        self.last = now;
    }
}

impl Meter {
    /// For rounds of at most `batch_count_max` batches.
    pub(crate) fn new(batch_count_max: usize) -> Self {
        // Written once, so that a lap never faults a page in.
        let mut laps = vec![Lap { ns: 1, operation_count: 1 }; batch_count_max + 1];
        laps.clear();
        let batches = Histogram::new_with_bounds(1, BATCH_PS_MAX, 3);
        let Ok(batches) = batches else { unreachable!("the bounds are constants in range") };
        Self {
            rounds: Vec::new(),
            batches,
            laps,
            operation_count: 0,
            minor_fault_count: 0,
            switch_count: 0,
        }
    }

    /// One round: `body` does the work and ends each of its batches. Returns what it returned.
    pub(crate) fn round<T>(&mut self, body: impl FnOnce(&mut Laps<'_>) -> T) -> T {
        let result = self.round_or_none(body);
        assert!(!self.laps.is_empty(), "a round does something");
        result
    }

    /// Adds the laps of a round up.
    fn end_round(&mut self, (faults, switches): (i64, i64)) {
        if self.laps.is_empty() {
            return;
        }
        let (faults_after, switches_after) = usage();
        self.minor_fault_count += faults_after - faults;
        self.switch_count += switches_after - switches;
        let (mut ns, mut operation_count) = (0, 0);
        for lap in &self.laps {
            ns += lap.ns;
            operation_count += lap.operation_count;
            let ps = (lap.ns * 1000 / lap.operation_count).clamp(1, BATCH_PS_MAX);
            self.batches.saturating_record(ps);
        }
        assert!(operation_count > 0, "a batch has operations");
        self.rounds.push(float(ns) / float(operation_count));
        self.operation_count += operation_count;
    }

    /// As [`Meter::round`], for a round that may turn out to have no operation; it does not count
    /// then.
    pub(crate) fn round_or_none<T>(&mut self, body: impl FnOnce(&mut Laps<'_>) -> T) -> T {
        self.laps.clear();
        let (faults, switches) = usage();
        let result = body(&mut Laps { last: now(), laps: &mut self.laps });
        self.end_round((faults, switches));
        result
    }

    /// One round that is one batch.
    pub(crate) fn whole<T>(&mut self, operation_count: usize, body: impl FnOnce() -> T) -> T {
        self.round(|laps| {
            let result = body();
            laps.end_batch(operation_count);
            result
        })
    }

    /// Nanoseconds an operation.
    pub(crate) fn spread(&self) -> Spread {
        spread(&self.rounds)
    }

    /// This over `floor`, round by round.
    pub(crate) fn ratio(&self, floor: &Self) -> f64 {
        assert_eq!(self.rounds.len(), floor.rounds.len(), "a floor has the rounds of its row");
        let ratios: Vec<f64> =
            self.rounds.iter().zip(&floor.rounds).map(|(own, floor)| own / floor).collect();
        spread(&ratios).median
    }

    /// Nanoseconds an operation at `quantile` of the batches.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        float(self.batches.value_at_quantile(quantile)) / 1e3
    }

    /// Rounds so far.
    pub(crate) fn round_count(&self) -> usize {
        self.rounds.len()
    }

    /// Operations of all rounds.
    pub(crate) const fn operation_count(&self) -> u64 {
        self.operation_count
    }

    /// Minor faults of the thread inside the windows.
    pub(crate) const fn minor_fault_count(&self) -> i64 {
        self.minor_fault_count
    }

    /// Times the thread lost its core inside the windows.
    pub(crate) const fn switch_count(&self) -> i64 {
        self.switch_count
    }
}

/// What one reading of the clock costs here, in nanoseconds.
pub(crate) fn clock_cost() -> f64 {
    const READINGS: usize = 10_000;
    let mut meter = Meter::new(1);
    for _ in 0..5 {
        meter.whole(READINGS, || {
            for _ in 0..READINGS {
                std::hint::black_box(now());
            }
        });
    }
    meter.spread().median
}

/// A number for arithmetic on figures; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "figures have three digits that matter")]
pub(crate) const fn float(value: u64) -> f64 {
    value as f64
}

/// A length as a count.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let (low, high) = (at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2));
    Spread {
        median: f64::midpoint(low, high),
        least: at(0),
        most: at(sorted.len().saturating_sub(1)),
    }
}

#[inline]
#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock, here only")]
fn now() -> Instant {
    Instant::now()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Minor faults and involuntary switches of this thread so far.
fn usage() -> (i64, i64) {
    match getrusage(UsageWho::RUSAGE_THREAD) {
        Ok(usage) => (usage.minor_page_faults(), usage.involuntary_context_switches()),
        Err(errno) => unreachable!("a thread may ask for its own usage: {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_bounds() {
        let check = |values: &[f64], median, least, most| {
            assert_eq!(spread(values), Spread { median, least, most }, "{values:?}");
        };
        check(&[3.0], 3.0, 3.0, 3.0);
        check(&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0);
        check(&[4.0, 1.0, 2.0, 100.0], 3.0, 1.0, 100.0);
    }

    #[test]
    fn a_round_counts_the_operations_of_all_its_batches() {
        let mut meter = Meter::new(2);
        for _ in 0..3 {
            meter.round(|laps| {
                laps.end_batch(10);
                laps.end_batch(5);
            });
        }
        assert_eq!((meter.round_count(), meter.operation_count()), (3, 45));
        assert_eq!(meter.batches.len(), 6);
        let one = meter.ratio(&meter);
        assert!((one - 1.0).abs() < 1e-9, "{one}");
    }
}
