//! Row: one figure with everything that is needed to believe it.
//!
//! A figure without the state it was measured on, without its floor or without a proof that the
//! work was done says nothing. So a row cannot be made without them: [`Row::new`] takes the meter,
//! the state in words and the hash of the results. The hash is a function of the seed and the sizes
//! alone: two runs that print different hashes did different work, and their times must not be
//! compared.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::Meter;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The bench, which is the concept.
    pub(crate) bench: &'static str,
    /// The flow or variant.
    pub(crate) case: String,
    /// What one operation is.
    pub(crate) operation: &'static str,
    ns: f64,
    ns_least: f64,
    ns_most: f64,
    /// Millions of operations a second, from the median.
    million_per_second: f64,
    rounds: usize,
    operations: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<Floor>,
    /// Means of batches of that many operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<Batches>,
    minor_faults: i64,
    involuntary_switches: i64,
    /// Of the results, in hexadecimal.
    pub(crate) hash: String,
    /// What the figure was measured on.
    pub(crate) state: String,
    /// What it leaves out, or what else was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// What the machine charges for the least that the operation must do.
#[derive(Clone, Debug, Serialize)]
struct Floor {
    what: &'static str,
    ns: f64,
    /// The row over the floor: median of the rounds' ratios.
    ratio: f64,
}

/// Nanoseconds an operation at quantiles of the batches.
#[derive(Clone, Copy, Debug, Serialize)]
struct Batches {
    operations_a_batch: usize,
    p50_ns: f64,
    p90_ns: f64,
    p99_ns: f64,
    p999_ns: f64,
    max_ns: f64,
}

impl Row {
    /// A row of `bench`. `state` says on what; `hash` is of the results.
    pub(crate) fn new(
        bench: &'static str,
        case: impl Into<String>,
        operation: &'static str,
        meter: &Meter,
        state: String,
        hash: u64,
    ) -> Self {
        let spread = meter.spread();
        Self {
            bench,
            case: case.into(),
            operation,
            ns: rounded(spread.median),
            ns_least: rounded(spread.least),
            ns_most: rounded(spread.most),
            million_per_second: rounded(1e3 / spread.median),
            rounds: meter.round_count(),
            operations: meter.operation_count(),
            floor: None,
            batches: None,
            minor_faults: meter.minor_fault_count(),
            involuntary_switches: meter.switch_count(),
            hash: format!("{hash:016x}"),
            state,
            note: None,
        }
    }

    /// With the floor that was measured round for round with it.
    pub(crate) fn over(mut self, what: &'static str, own: &Meter, floor: &Meter) -> Self {
        let (ns, ratio) = (rounded(floor.spread().median), rounded(own.ratio(floor)));
        self.floor = Some(Floor { what, ns, ratio });
        self
    }

    /// With the distribution of its batches.
    pub(crate) fn with_batches(mut self, operations_a_batch: usize, meter: &Meter) -> Self {
        let at = |quantile| rounded(meter.at(quantile));
        self.batches = Some(Batches {
            operations_a_batch,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: at(1.0),
        });
        self
    }

    /// With a sentence beside it.
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// For people: the figures in columns, the rest indented below.
    pub(crate) fn to_text(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let name = format!("{}/{}", self.bench, self.case);
        let _ = writeln!(
            text,
            "{name:<34}{:>9.1}{:>9.1} ..{:>8.1}{:>10.2}  {}",
            self.ns, self.ns_least, self.ns_most, self.million_per_second, self.operation
        );
        if let Some(floor) = &self.floor {
            let _ = writeln!(
                text,
                "    floor    {:.1} ns, {}: {:.2} x",
                floor.ns, floor.what, floor.ratio
            );
        }
        if let Some(b) = &self.batches {
            let of = match b.operations_a_batch {
                1 => "single, clock included".to_owned(),
                count => format!("means of {count}"),
            };
            let _ = writeln!(
                text,
                "    p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0} ns ({of})",
                b.p50_ns, b.p90_ns, b.p99_ns, b.p999_ns, b.max_ns
            );
        }
        let _ = writeln!(text, "    state    {}", self.state);
        if let Some(note) = &self.note {
            let _ = writeln!(text, "    note     {note}");
        }
        let _ = writeln!(
            text,
            "    counted  {} operations in {} rounds, {} minor faults, {} involuntary switches, \
             hash {}",
            self.operations, self.rounds, self.minor_faults, self.involuntary_switches, self.hash
        );
        text
    }
}

/// To three decimals, so that a history line can be read.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
