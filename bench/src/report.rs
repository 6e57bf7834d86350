//! Report: the rows of a run, as a table and as one line of the history.
//!
//! The line stands in `perf/history.jsonl` beside those of `tidegate-perf`: the same date, source
//! and machine, and `kind` "bench" to tell them apart. Lines are appended and never edited.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidegate_perf::machine::{Machine, Source};

use crate::plan::{Plan, Size};
use crate::row::Row;

/// Version of the record's fields.
const FORMAT: u32 = 1;

/// What can go wrong around the figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// No such bench.
    #[error("{came:?} is not a bench; tidegate-bench list names them")]
    UnknownBench {
        /// What was asked for.
        came: String,
    },
    /// A debug build is not what is measured.
    #[error("--record wants a release build: this one is built for debugging")]
    DebugBuild,
    /// The history has no directory.
    #[error(
        "--history {}: its directory does not exist; run from the repository's root",
        .0.display()
    )]
    NoDirectory(PathBuf),
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// One run, as recorded.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    format: u32,
    kind: &'static str,
    date: String,
    source: Source,
    machine: Machine,
    seed: u64,
    size: Size,
    /// Nanoseconds of one reading of the clock.
    clock_ns: f64,
    rows: Vec<Row>,
}

impl Report {
    /// Before the run: what the run changes is read here.
    pub(crate) fn begin(plan: &Plan) -> Self {
        Self {
            format: FORMAT,
            kind: "bench",
            date: tidegate_perf::clock::utc_date(),
            source: Source::read(),
            machine: Machine::read(),
            seed: plan.seed,
            size: plan.size,
            clock_ns: (crate::measure::clock_cost() * 10.0).round() / 10.0,
            rows: Vec::new(),
        }
    }

    /// Adds a bench's rows.
    pub(crate) fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    /// The lines above the rows.
    pub(crate) fn heading(&self) -> String {
        let machine = &self.machine;
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} · {} cores · kernel {} · load before {}",
            machine.cpu, machine.core_count, machine.kernel, machine.load_before
        );
        let _ = writeln!(
            text,
            "seed {} · size {:?} · a reading of the clock takes {:.1} ns",
            self.seed, self.size, self.clock_ns
        );
        if !machine.is_fit_for_tails() {
            let _ = writeln!(
                text,
                "fewer than 8 cores: compare medians and ratios of one run; tails are not \
                 measurable here"
            );
        }
        if cfg!(debug_assertions) {
            let _ = writeln!(text, "a debug build: the figures mean nothing");
        }
        let _ =
            writeln!(text, "\n{:<34}{:>9}{:>9} ..{:>8}{:>10}", "", "ns", "least", "most", "M/s");
        text
    }

    /// One line of JSON, without its newline.
    pub(crate) fn to_json(&self) -> Result<String, BenchError> {
        serde_json::to_string(self).map_err(|error| BenchError::Io {
            what: "writing the record as JSON".to_owned(),
            source: error.into(),
        })
    }

    /// Appends the record as one line.
    pub(crate) fn append_to(&self, history: &Path) -> Result<(), BenchError> {
        let line = self.to_json()? + "\n";
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(history)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(|source| BenchError::Io {
                what: format!("appending to {}", history.display()),
                source,
            })
    }
}

/// Refuses, before a run that would be lost at its end, what cannot be recorded.
pub(crate) fn check_record(history: &Path) -> Result<(), BenchError> {
    if cfg!(debug_assertions) {
        return Err(BenchError::DebugBuild);
    }
    check_directory(history)
}

fn check_directory(history: &Path) -> Result<(), BenchError> {
    // The parent of a bare file name is the empty path: the working directory.
    match history.parent() {
        Some(parent) if parent.as_os_str().is_empty() || parent.is_dir() => Ok(()),
        Some(_) | None => Err(BenchError::NoDirectory(history.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Meter;

    fn report() -> Report {
        let plan = Plan { seed: 7, size: Size::Tiny, is_large: false, round_count: 1 };
        let mut meter = Meter::new(1);
        meter.whole(10, || std::hint::black_box(()));
        let row = Row::new("book", "calm", "message", &meter, "3 orders".to_owned(), 255)
            .over("nothing", &meter, &meter)
            .with_batches(10, &meter);
        let mut report = Report::begin(&plan);
        report.add(vec![row]);
        report
    }

    #[test]
    fn the_record_is_one_line_that_says_everything() {
        let directory = tempfile::tempdir().unwrap();
        let history = directory.path().join("history.jsonl");
        report().append_to(&history).unwrap();
        report().append_to(&history).unwrap();
        let text = std::fs::read_to_string(&history).unwrap();
        assert_eq!(text.lines().count(), 2);
        let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let check = |pointer: &str, expected: serde_json::Value| {
            assert_eq!(record.pointer(pointer), Some(&expected), "{pointer}");
        };
        check("/format", 1.into());
        check("/kind", "bench".into());
        check("/seed", 7.into());
        check("/size", "tiny".into());
        check("/rows/0/bench", "book".into());
        check("/rows/0/state", "3 orders".into());
        check("/rows/0/hash", "00000000000000ff".into());
        check("/rows/0/floor/ratio", 1.0.into());
        check("/rows/0/operations", 10.into());
        assert!(record.pointer("/machine/load_before").is_some());
        assert!(record.pointer("/source/commit").is_some());
    }

    #[test]
    fn a_history_without_its_directory_is_refused() {
        let check = |path: &str, is_fine| {
            assert_eq!(check_directory(Path::new(path)).is_ok(), is_fine, "{path}");
        };
        check("history.jsonl", true);
        check("/nonexistent/history.jsonl", false);
    }
}
