//! tidegate-bench: what each concept costs, inside one process.
//!
//! `perf/` measures between processes what a client sees; here are the parts. How to read the
//! figures: `bench/README.md`.

mod measure;
mod plan;
mod row;
mod scratch;

mod book_flow;
mod flow;
mod node;

mod book;
mod dedup;
mod journal_append;
mod journal_persist;
mod journal_scan;
mod machine;
mod replay;
mod report_log;
mod session_admit;
mod wire_decode;
mod wire_encode;

mod catalogue;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};

use crate::catalogue::{BENCHES, Bench};
use crate::plan::{Plan, Size};
use crate::report::{BenchError, Report, check_record};

/// Measures what each concept costs inside one process.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Name every bench and what it measures.
    List,
    /// Run benches and print a row for each figure: median of the rounds, fastest and slowest.
    ///
    /// Exits with 0 when the run was completed, whatever the figures are. Each bench checks its own
    /// results; one that is wrong ends the run and nothing is recorded.
    Run(RunArguments),
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct RunArguments {
    /// Benches to run; all of them when none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// A first impression: smaller tables, 5 rounds.
    #[arg(long)]
    quick: bool,
    /// Also the dedup table of 2^24 keys; takes 4 GiB of memory.
    #[arg(long)]
    large: bool,
    /// Rounds of each row [default: 21, with --quick 5].
    #[arg(long, value_name = "N", value_parser = round_count())]
    rounds: Option<usize>,
    /// Seed of everything random; hashes of results are comparable for equal seeds and sizes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the record as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Append the record to the history.
    #[arg(long)]
    record: bool,
    /// The history, for --record.
    #[arg(long, value_name = "FILE", default_value = "perf/history.jsonl")]
    history: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Task::List => list(),
        Task::Run(arguments) => run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tidegate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<(), BenchError> {
    BENCHES.iter().try_for_each(|bench| print(&format!("{:<16}{}\n", bench.name, bench.what)))
}

fn run(arguments: &RunArguments) -> Result<(), BenchError> {
    let benches = chosen(&arguments.names)?;
    if arguments.record {
        check_record(&arguments.history)?;
    }
    let (size, round_count) = if arguments.quick { (Size::Quick, 5) } else { (Size::Full, 21) };
    let plan = Plan {
        seed: arguments.seed,
        size,
        is_large: arguments.large,
        round_count: arguments.rounds.unwrap_or(round_count),
    };
    let mut report = Report::begin(&plan);
    if !arguments.json {
        print(&report.heading())?;
    }
    for bench in benches {
        let rows = (bench.run)(&plan);
        if !arguments.json {
            rows.iter().try_for_each(|row| print(&row.to_text()))?;
        }
        report.add(rows);
    }
    if arguments.json {
        print(&(report.to_json()? + "\n"))?;
    }
    if arguments.record { report.append_to(&arguments.history) } else { Ok(()) }
}

/// The named benches in the catalogue's order; all when none is named.
fn chosen(names: &[String]) -> Result<Vec<&'static Bench>, BenchError> {
    if let Some(came) = names.iter().find(|name| BENCHES.iter().all(|b| b.name != name.as_str())) {
        return Err(BenchError::UnknownBench { came: came.clone() });
    }
    let is_chosen = |bench: &&Bench| names.is_empty() || names.iter().any(|n| n == bench.name);
    Ok(BENCHES.iter().filter(is_chosen).collect())
}

fn round_count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=101)
}

fn print(text: &str) -> Result<(), BenchError> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| BenchError::Io { what: "printing the report".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benches_are_chosen_by_name_in_the_catalogues_order() {
        let check = |names: &[&str], expected: Result<Vec<&str>, &str>| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let came = chosen(&names);
            let came = came.map(|benches| benches.iter().map(|b| b.name).collect::<Vec<_>>());
            assert_eq!(came.map_err(|e| e.to_string()), expected.map_err(str::to_owned));
        };
        check(&["replay", "dedup"], Ok(vec!["dedup", "replay"]));
        check(&["dedup", "dedup"], Ok(vec!["dedup"]));
        check(&["dedup", "x"], Err("\"x\" is not a bench; tidegate-bench list names them"));
        check(&[], Ok(BENCHES.iter().map(|bench| bench.name).collect()));
    }

    #[test]
    fn command_lines() {
        let check = |line: &str, is_accepted: bool| {
            let words = std::iter::once("tidegate-bench").chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(words).is_ok(), is_accepted, "{line:?}");
        };
        check("list", true);
        check("run", true);
        check("run dedup book --quick --large --rounds 3 --seed 9 --json", true);
        check("run --record --history x.jsonl", true);
        check("run --rounds 0", false);
        check("run --rounds 102", false);
        check("run --seed -1", false);
        check("", false);
    }
}
