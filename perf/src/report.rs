//! What a run leaves behind: a table, a JSON record, histograms.
//!
//! The record is the table's content with nothing rounded away that matters, one JSON object a
//! line, appended to the history and never edited. Percentiles of a contender are the medians
//! over its slices (a disturbed slice does not move them), its maximum is the run's; the
//! histograms hold every round trip of all slices.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde::Serialize;

use crate::contenders::{Settings, Start};
use crate::error::PerfError;
use crate::floor::Sizes;
use crate::machine::{Machine, Source};
use crate::probe::Slice;
use crate::runner::{Findings, Lane};
use crate::verdict::{self, Gate, PAIR_COUNT_MIN, Verdict};

/// Version of the record's fields.
const FORMAT: u32 = 1;
const TAILS_MEASURED: &str = "printed, not gated";
const TAILS_NOT_MEASURABLE: &str = "not measurable here";

/// One run, as recorded.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    format: u32,
    date: String,
    source: Source,
    machine: Machine,
    idle: crate::idle::Idle,
    /// `[client, server]`, or null when left to the scheduler.
    cores: Option<[usize; 2]>,
    pair_count: usize,
    orders_per_slice: u64,
    warm_up_per_slice: u64,
    request_bytes: usize,
    reply_bytes: usize,
    contenders: Vec<Row>,
    resolution: f64,
    /// Times the measuring thread lost its core to another.
    preempted_count: u64,
    comparisons: Vec<Ratio>,
    /// What p99 and beyond are worth.
    tails: &'static str,
}

/// One contender.
#[derive(Clone, Debug, Serialize)]
struct Row {
    name: &'static str,
    what: &'static str,
    /// Why there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<String>,
    /// What else its reader has to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip: Option<RoundTrip>,
}

/// Medians over the slices; the maximum over the run.
#[derive(Clone, Copy, Debug, Serialize)]
struct RoundTrip {
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    of: &'static str,
    over: &'static str,
    median: f64,
    quartiles: [f64; 2],
    gate: Option<Gate>,
    verdict: Verdict,
}

impl Report {
    /// Puts together what was asked for, where, and what was found.
    pub(crate) fn new(
        settings: &Settings,
        date: String,
        source: Source,
        machine: Machine,
        findings: &Findings,
    ) -> Self {
        let tails = if machine.is_fit_for_tails() { TAILS_MEASURED } else { TAILS_NOT_MEASURABLE };
        let ratio =
            |(row, outcome): &(&crate::contenders::Comparison, crate::runner::Outcome)| Ratio {
                of: row.of,
                over: row.over,
                median: rounded(outcome.ratio),
                quartiles: [rounded(outcome.lower), rounded(outcome.upper)],
                gate: row.gate,
                verdict: outcome.verdict,
            };
        Self {
            format: FORMAT,
            date,
            source,
            machine,
            idle: settings.idle,
            cores: settings.cores.map(|cores| [cores.client, cores.server]),
            pair_count: settings.pair_count,
            orders_per_slice: settings.order_count,
            warm_up_per_slice: settings.warm_up_count,
            request_bytes: Sizes::ORDER_PATH.request_bytes,
            reply_bytes: Sizes::ORDER_PATH.reply_bytes,
            contenders: findings.lanes.iter().map(row_of).collect(),
            resolution: rounded(findings.resolution),
            preempted_count: findings.preempted_count,
            comparisons: findings.outcomes.iter().map(ratio).collect(),
            tails,
        }
    }

    /// One line of JSON, without its newline.
    pub(crate) fn to_json(&self) -> Result<String, PerfError> {
        serde_json::to_string(self)
            .map_err(|error| PerfError::io("writing the record as JSON")(error.into()))
    }

    /// The table for people.
    pub(crate) fn to_table(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let machine = &self.machine;
        let _ = writeln!(
            text,
            "{} · {} cores · kernel {} · load before {}",
            machine.cpu, machine.core_count, machine.kernel, machine.load_before
        );
        let _ = writeln!(
            text,
            "{} pairs of {} orders (+ {} warm-up), window 1, {} bytes in, {} out, idle {}\n",
            self.pair_count,
            self.orders_per_slice,
            self.warm_up_per_slice,
            self.request_bytes,
            self.reply_bytes,
            self.idle.name()
        );
        let _ = writeln!(
            text,
            "{:<10}{:>9}{:>9}{:>9}{:>9}{:>10}  round trip, us",
            "", "p50", "p90", "p99", "p99.9", "max"
        );
        for row in &self.contenders {
            let _ = write!(text, "{:<10}", row.name);
            let _ = match (&row.round_trip, &row.absent) {
                (Some(figures), _) => {
                    let note = row.note.as_ref().map(|note| format!(", {note}"));
                    let note = note.unwrap_or_default();
                    writeln!(text, "{}  {}{note}", figures.to_columns(), row.what)
                }
                (None, reason) => {
                    writeln!(text, "  absent: {}", reason.as_deref().unwrap_or("no slice"))
                }
            };
        }
        let _ = writeln!(
            text,
            "p99 and beyond: {}; the client lost its core {} times\n",
            self.tails, self.preempted_count
        );
        let _ = writeln!(
            text,
            "{:<20}{:>7}{:>17}  {:<14}verdict   resolution {:.4}",
            "ratio of p50s", "median", "quartiles", "gate", self.resolution
        );
        for row in &self.comparisons {
            let _ = writeln!(
                text,
                "{:<20}{:>7.3}{:>17}  {:<14}{}",
                format!("{} / {}", row.of, row.over),
                row.median,
                format!("{:.3} .. {:.3}", row.quartiles[0], row.quartiles[1]),
                gate_text(row.gate),
                row.verdict.name()
            );
        }
        if self.pair_count < PAIR_COUNT_MIN {
            let _ = writeln!(text, "fewer than {PAIR_COUNT_MIN} pairs: no verdict but grey");
        }
        text
    }

    /// Appends the record as one line. The file's directory must exist.
    pub(crate) fn append_to(&self, history: &Path) -> Result<(), PerfError> {
        let line = self.to_json()? + "\n";
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(history)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(PerfError::io(format!("appending to {}", history.display())))
    }
}

impl RoundTrip {
    fn of(slices: &[Slice]) -> Option<Self> {
        let middle = |part: fn(&Slice) -> Duration| {
            let values: Vec<f64> = slices.iter().map(|slice| part(slice).as_secs_f64()).collect();
            let median = Duration::try_from_secs_f64(verdict::median(&values)?).ok()?;
            Some(nanos(median))
        };
        Some(Self {
            count: slices.iter().map(|slice| slice.count).sum(),
            p50_ns: middle(|slice| slice.p50)?,
            p90_ns: middle(|slice| slice.p90)?,
            p99_ns: middle(|slice| slice.p99)?,
            p999_ns: middle(|slice| slice.p999)?,
            max_ns: slices.iter().map(|slice| nanos(slice.max)).max()?,
        })
    }

    fn to_columns(self) -> String {
        let us = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
        format!(
            "{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>10.2}",
            us(self.p50_ns),
            us(self.p90_ns),
            us(self.p99_ns),
            us(self.p999_ns),
            us(self.max_ns)
        )
    }
}

/// Refuses a history that has no directory, before a run that would be lost at its end.
pub(crate) fn check_history(history: &Path) -> Result<(), PerfError> {
    // The parent of a bare file name is the empty path: the working directory.
    match history.parent() {
        Some(parent) if parent.as_os_str().is_empty() || parent.is_dir() => Ok(()),
        Some(_) | None => Err(PerfError::Settings(format!(
            "--history {}: its directory does not exist; run from the repository's root",
            history.display()
        ))),
    }
}

/// Writes each contender's histogram to `directory`, which is created: `NAME.hdr` (HDR V2, as
/// every HDR tool reads) and `NAME.hgrm` (percentile table in us, as HDR plotters read).
pub(crate) fn write_histograms(lanes: &[Lane], directory: &Path) -> Result<(), PerfError> {
    let failed =
        |source| PerfError::Io { what: format!("writing {}", directory.display()), source };
    fs::create_dir_all(directory).map_err(failed)?;
    for lane in lanes {
        let Start::Ready(contender) = &lane.start else {
            continue;
        };
        let Some(histogram) = contender.histogram() else {
            continue;
        };
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut bytes)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let file = |extension: &str| directory.join(format!("{}.{extension}", lane.entry.name));
        fs::write(file("hdr"), bytes).map_err(failed)?;
        fs::write(file("hgrm"), percentile_table(histogram)).map_err(failed)?;
    }
    Ok(())
}

fn percentile_table(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let us = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
    let mut count = 0;
    for step in histogram.iter_quantiles(5) {
        count += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let value = us(step.value_iterated_to());
        let _ = write!(text, "{value:>12.3} {quantile:>14.12} {count:>10}");
        let _ = if quantile < 1.0 {
            writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text)
        };
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n\
         #[Max     = {:>12.3}, Total count    = {:>12}]",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3,
        us(histogram.max()),
        histogram.len()
    );
    text
}

fn row_of(lane: &Lane) -> Row {
    let (absent, note) = match &lane.start {
        Start::Ready(contender) => (None, contender.note().map(str::to_owned)),
        Start::Absent(reason) => (Some(reason.clone()), None),
    };
    let Lane { entry, slices, .. } = lane;
    Row { name: entry.name, what: entry.what, absent, note, round_trip: RoundTrip::of(slices) }
}

fn gate_text(gate: Option<Gate>) -> String {
    match gate {
        None => "-".to_owned(),
        Some(Gate { least: 0.0, most }) => format!("<= {most:.2}"),
        Some(Gate { least, most }) => format!("{least:.2} .. {most:.2}"),
    }
}

/// To four decimals, so that a history line can be read.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::CONTENDERS;
    use crate::idle::Idle;
    use crate::runner::Outcome;

    fn report() -> Report {
        let slice = |us: u64| {
            let at = |factor: u64| Duration::from_micros(us * factor);
            Slice { count: 10, p50: at(1), p90: at(2), p99: at(3), p999: at(4), max: at(5) }
        };
        let lane = |entry| Lane {
            entry,
            start: Start::Absent("left out".to_owned()),
            slices: vec![slice(9), slice(7), slice(100)],
        };
        let mut lanes: Vec<Lane> = CONTENDERS.iter().map(lane).collect();
        lanes[0].slices.clear();
        let outcome = Outcome { ratio: 1.234_567, lower: 1.2, upper: 1.3, verdict: Verdict::Red };
        let outcomes = vec![(&crate::contenders::COMPARISONS[0], outcome)];
        let findings = Findings { lanes, outcomes, resolution: 0.012_345, preempted_count: 7 };
        let settings = Settings {
            pair_count: 3,
            idle: Idle::Yield,
            order_count: 10,
            warm_up_count: 1,
            cores: None,
            engine: None,
            baseline: None,
            data_dir: std::env::temp_dir(),
        };
        let source = Source { commit: "abc".to_owned(), is_changed: false };
        let machine = Machine { core_count: 2, ..Machine::read() };
        Report::new(&settings, "2025-01-01T00:00:00Z".to_owned(), source, machine, &findings)
    }

    #[test]
    fn the_record_is_one_line_that_says_everything() {
        let directory = tempfile::tempdir().unwrap();
        let history = directory.path().join("history.jsonl");
        report().append_to(&history).unwrap();
        report().append_to(&history).unwrap();
        let text = fs::read_to_string(&history).unwrap();
        assert_eq!(text.lines().count(), 2);
        let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let check = |pointer: &str, expected: serde_json::Value| {
            assert_eq!(record.pointer(pointer), Some(&expected), "{pointer}");
        };
        check("/format", 1.into());
        check("/date", "2025-01-01T00:00:00Z".into());
        check("/source/commit", "abc".into());
        check("/idle", "yield".into());
        check("/pair_count", 3.into());
        check("/contenders/0/absent", "left out".into());
        check("/contenders/1/round_trip/p50_ns", 9_000.into()); // the median slice
        check("/contenders/1/round_trip/max_ns", 500_000.into()); // the worst one
        check("/contenders/1/round_trip/count", 30.into());
        check("/comparisons/0/median", 1.2346.into());
        check("/comparisons/0/gate/least", 0.95.into());
        check("/comparisons/0/verdict", "red".into());
        check("/resolution", 0.0123.into());
        check("/preempted_count", 7.into());
        check("/tails", "not measurable here".into());
        assert!(record.pointer("/contenders/0/round_trip").is_none());
    }

    #[test]
    fn the_table_says_what_is_missing() {
        let table = report().to_table();
        for expected in [
            "sockperf    absent: left out",
            "F0             9.00    18.00    27.00    36.00    500.00",
            "p99 and beyond: not measurable here; the client lost its core 7 times",
            "F0 / sockperf         1.235   1.200 .. 1.300  0.95 .. 1.05  red",
            "fewer than 21 pairs",
        ] {
            assert!(table.contains(expected), "{expected:?} is not in\n{table}");
        }
    }

    #[test]
    fn a_history_without_its_directory_is_refused() {
        let said = report().append_to(Path::new("/nonexistent/history.jsonl")).unwrap_err();
        assert!(said.to_string().starts_with("appending to /nonexistent"), "{said}");
    }

    #[test]
    fn percentile_tables_end_with_everything() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).unwrap();
        for nanos in [1_000, 2_000, 3_000, 4_000] {
            histogram.record(nanos).unwrap();
        }
        let table = percentile_table(&histogram);
        assert!(table.contains("1.000000000000          4\n"), "{table}");
        assert!(table.contains("Total count    =            4]"), "{table}");
    }
}
