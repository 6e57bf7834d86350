//! tidegate-perf: what a client sees, beside what the machine allows.
//!
//! Between processes and over real sockets, in alternation with the floors; `bench/` measures
//! the parts inside a process. How to read the figures: `perf/README.md`.

mod contenders;
mod engine;
mod error;
mod exchange;
mod floor;
mod idle;
mod link;
mod orders;
mod probe;
mod process;
mod report;
mod runner;
mod sockperf;
mod verdict;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, builder::RangedU64ValueParser};

use tidegate_perf::{clock, machine};

use crate::contenders::{Cores, READY_PREFIX, Settings};
use crate::error::PerfError;
use crate::floor::{Floor, FloorKind, MESSAGE_BYTES_MAX, Sizes};
use crate::idle::Idle;
use crate::machine::{Machine, Source};
use crate::report::Report;

/// Measures the order path beside the floors, in alternation.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure everything once and print a table: round trips, ratios, resolution, verdicts.
    ///
    /// All servers are started once and take turns, a short slice each. Exits with 0 when the
    /// run was completed, whatever the verdicts; a run that broke prints why and records nothing.
    Run(RunArguments),
    /// Serve one floor: read requests of one size, answer with replies of another.
    ///
    /// Prints "listening ADDRESS" and serves one connection at a time until it is killed.
    Echo(EchoArguments),
    /// Become PROGRAM, to be killed when the starting process dies.
    #[command(hide = true)]
    Guard(GuardArguments),
}

#[derive(Args)]
struct RunArguments {
    /// A first impression: 5 pairs of 2,000 orders unless given.
    #[arg(long)]
    quick: bool,
    /// Pairs of slices; a verdict needs 21 [default: 21, with --quick 5].
    #[arg(long, value_name = "N", value_parser = pair_count())]
    pairs: Option<usize>,
    /// Recorded orders in a slice [default: 10000, with --quick 2000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    orders_per_slice: Option<u64>,
    /// How client and servers wait. Spin needs two free cores; yield shares them.
    #[arg(long, value_enum, default_value_t = Idle::Yield)]
    idle: Idle,
    /// Pin the client and the measured server to these cores, or "none".
    #[arg(long, value_name = "CLIENT,SERVER", default_value = "0,1", value_parser = parse_pinning)]
    cores: Pinning,
    /// The engine's program [default: tidegate beside this program, if it is there].
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// Another build of the engine, measured in the same rounds: what a change is worth.
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
    /// The engine's journal gets a new directory in this one [default: the system's temporary].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print the record as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Append the record to the history.
    #[arg(long)]
    record: bool,
    /// The history, for --record.
    #[arg(long, value_name = "FILE", default_value = "perf/history.jsonl")]
    history: PathBuf,
    /// Write every contender's histogram here, as NAME.hdr and NAME.hgrm.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct EchoArguments {
    /// F0 receives until something comes; F1 asks a poll first.
    #[arg(long, value_enum)]
    kind: FloorKind,
    /// What it does between two looks.
    #[arg(long, value_enum, default_value_t = Idle::Yield)]
    idle: Idle,
    /// Bytes of a request.
    #[arg(long, default_value_t = Sizes::ORDER_PATH.request_bytes, value_parser = message_bytes())]
    bytes: usize,
    /// Bytes of a reply.
    #[arg(long, default_value_t = Sizes::ORDER_PATH.reply_bytes, value_parser = message_bytes())]
    reply: usize,
    /// Pin to this core.
    #[arg(long, value_name = "N")]
    core: Option<usize>,
}

#[derive(Args)]
struct GuardArguments {
    /// Process id of the starter.
    #[arg(long)]
    parent: u32,
    /// What to become.
    program: OsString,
    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// `--cores`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pinning(Option<Cores>);

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Task::Run(arguments) => run(&arguments),
        Task::Echo(arguments) => echo(&arguments),
        Task::Guard(it) => Err(process::become_guarded(it.parent, &it.program, &it.arguments)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tidegate-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<(), PerfError> {
    let (pair_count, order_count) = if arguments.quick { (5, 2_000) } else { (21, 10_000) };
    let order_count = arguments.orders_per_slice.unwrap_or(order_count);
    let settings = Settings {
        pair_count: arguments.pairs.unwrap_or(pair_count),
        idle: arguments.idle,
        order_count,
        warm_up_count: order_count / 10,
        cores: arguments.cores.0,
        engine: program(arguments.engine.as_ref())?.or_else(engine::default_program),
        baseline: program(arguments.baseline.as_ref())?,
        data_dir: arguments.data_dir.clone().unwrap_or_else(std::env::temp_dir),
    };
    if arguments.record {
        report::check_history(&arguments.history)?;
    }
    // Before the run, which changes the load, the allowed cores and perhaps the history.
    let (date, source, machine) = (clock::utc_date(), Source::read(), Machine::read());
    let findings = runner::run(&settings)?;
    let report = Report::new(&settings, date, source, machine, &findings);
    // Printed first: a full disk must not take the figures with it.
    let text = if arguments.json { report.to_json()? + "\n" } else { report.to_table() };
    io::stdout().write_all(text.as_bytes()).map_err(PerfError::io("printing the report"))?;
    if let Some(directory) = &arguments.out {
        report::write_histograms(&findings.lanes, directory)?;
    }
    if arguments.record { report.append_to(&arguments.history) } else { Ok(()) }
}

fn program(asked: Option<&PathBuf>) -> Result<Option<PathBuf>, PerfError> {
    match asked {
        Some(program) if !program.is_file() => {
            Err(PerfError::Settings(format!("{}: no such program", program.display())))
        }
        Some(_) | None => Ok(asked.cloned()),
    }
}

fn echo(arguments: &EchoArguments) -> Result<(), PerfError> {
    if let Some(core) = arguments.core {
        runner::pin(core)?;
    }
    let failed = |source| PerfError::Io { what: "serving a floor".to_owned(), source };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    writeln!(io::stdout(), "{READY_PREFIX}{address}").map_err(failed)?;
    let sizes = Sizes { request_bytes: arguments.bytes, reply_bytes: arguments.reply };
    let floor = Floor { kind: arguments.kind, idle: arguments.idle, sizes };
    floor.serve(&listener, u64::MAX).map_err(failed)
}

fn pair_count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1001)
}

fn message_bytes() -> RangedU64ValueParser<usize> {
    let largest = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    RangedU64ValueParser::new().range(8..=largest)
}

fn parse_pinning(text: &str) -> Result<Pinning, String> {
    if text == "none" {
        return Ok(Pinning(None));
    }
    let refused = || format!("expected two different core numbers such as 0,1, or none: {text:?}");
    let (client, server) = text.split_once(',').ok_or_else(refused)?;
    let core = |text: &str| text.parse::<usize>().map_err(|_| refused());
    let (client, server) = (core(client)?, core(server)?);
    if client == server { Err(refused()) } else { Ok(Pinning(Some(Cores { client, server }))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinnings() {
        let check = |text: &str, expected: Option<Option<(usize, usize)>>| {
            let found = parse_pinning(text).ok();
            let found = found.map(|it| it.0.map(|cores| (cores.client, cores.server)));
            assert_eq!(found, expected, "{text:?}");
        };
        check("none", Some(None));
        check("0,1", Some(Some((0, 1))));
        check("5,2", Some(Some((5, 2))));
        check("1,1", None); // both spin: one core cannot serve two
        check("1", None);
        check("a,b", None);
        check("-1,0", None);
        check("", None);
    }

    #[test]
    fn command_lines() {
        let check = |line: &str, is_accepted: bool| {
            let words = std::iter::once("tidegate-perf").chain(line.split_whitespace());
            assert_eq!(Cli::try_parse_from(words).is_ok(), is_accepted, "{line:?}");
        };
        check("run", true);
        check("run --quick --pairs 21 --orders-per-slice 500 --idle spin --cores none", true);
        check("run --pairs 0", false);
        check("run --pairs 1002", false);
        check("run --orders-per-slice 9", false);
        check("run --idle park", false);
        check("echo --kind f0", true);
        check("echo --kind f1 --idle yield --bytes 68 --reply 116 --core 1", true);
        check("echo --kind f2", false);
        check("echo --kind f0 --bytes 7", false);
        check("echo --kind f0 --bytes 4097", false);
        check("guard --parent 1 -- echo --kind f0", true);
        check("", false);
    }
}
