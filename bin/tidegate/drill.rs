//! `tidegate drill`: the crash, again and again, at random moments.
//!
//! ```text
//! patience   bounded waits that ctrl-c ends
//! child      another command of this program, never left behind
//! site       the directory of a run, and a configuration large enough for it
//! exercise   orders, SIGKILL, restart, recovery, clean stop
//! evidence   what the run left behind, read by four readers
//! findings   figures, and the claims that must hold
//! machine    where it ran
//! ```
//!
//! Each run has a fresh directory. A run whose kill missed shows nothing; it is counted, and made
//! again with another moment, a few times at most.

pub(crate) mod child;
pub(crate) mod evidence;
pub(crate) mod exercise;
pub(crate) mod findings;
mod machine;
pub(crate) mod patience;
pub(crate) mod site;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tidegate::vocabulary::units::Nanos;

use self::exercise::{Plan, exercise};
use self::findings::{Findings, per_mille};
use self::machine::Machine;
use self::patience::Patience;
use self::site::Site;
use crate::EXIT_USAGE;
use crate::output::{error, print};

/// The kill falls between these shares of the orders answered, in thousandths.
const KILL_PER_MILLE: (u64, u64) = (50, 950);
/// Requests in flight a client, run by run: the more, the more the kill finds half done.
const WINDOWS: [u32; 4] = [16, 64, 256, 1024];
/// Times a run whose kill missed is made again.
const RETRIES: u32 = 3;
const MISSED: &str = "the kill missed: a client was done before it; the run shows nothing";
/// Fewer orders are over before they can be interrupted.
pub(crate) const ORDERS_MIN: u64 = 20_000;
pub(crate) const ORDERS_MAX: u64 = 5_000_000;

/// Crash an engine at random moments and judge what it lost
///
/// A run: an engine and four clients, each a process of its own; the clients send orders, a share
/// of them twice, and keep every frame; at a random moment the engine gets SIGKILL; it is started
/// again on the same journal, the clients recover by number and finish; then the journal is
/// verified and executed again, and the clients' histories are judged against it.
///
///   tidegate drill --runs 3
///   tidegate drill --runs 20 --orders 1000000 --record drill.md
///
/// A kill that hit no serving engine counts as missed, not as passed, and the run is made again.
/// The seed decides orders and moments; the operating system decides the rest.
///
/// Exit codes: 0 every claim held in every run, 1 one was broken or a run failed, 2 the arguments
/// were refused.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Runs, each with a kill
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    runs: u64,
    /// Different orders a run, over four clients
    #[arg(long, default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(ORDERS_MIN..=ORDERS_MAX))]
    orders: u64,
    /// Resends in a hundred orders
    #[arg(long, default_value_t = 20, value_name = "PERCENT",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    duplicates: u32,
    /// Draws the orders and the moments of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the table to this file, with date, commit and machine
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let machine = Machine::read();
    // To learn after an hour that the file cannot be written would be late.
    if let Err(what) = record(args, &machine, &[], 0) {
        error(&what);
        return ExitCode::from(EXIT_USAGE);
    }
    match drill(args, &machine) {
        Ok(code) => code,
        Err(what) => {
            error(&what);
            ExitCode::FAILURE
        }
    }
}

fn drill(args: &Args, machine: &Machine) -> Result<ExitCode, String> {
    let patience = Patience::new()?;
    // Each row as it comes; with --json standard output is for one object alone.
    let tell = |text: &str| {
        if args.json {
            // Nobody may be reading, and that is no fault.
            let _ = std::io::stderr().write_all(text.as_bytes());
        } else {
            let _ = print(text, ExitCode::SUCCESS);
        }
    };
    tell(&line(&HEADINGS));
    let (mut all, mut missed_count) = (Vec::new(), 0);
    for number in 1..=args.runs {
        let findings = one(args, number, &patience, &mut missed_count)?;
        let mut told = row(number, &findings);
        for violation in &findings.violations {
            let _ = writeln!(told, "      {violation}");
        }
        tell(&told);
        all.push(findings);
        record(args, machine, &all, missed_count)?;
    }
    let holds = all.iter().all(Findings::holds);
    let code = if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(if args.json {
        print(&format!("{}\n", as_json(args, machine, &all, missed_count)), code)
    } else {
        print(&format!("\nverdict: {}\n", summary(args, &all, missed_count)), code)
    })
}

/// The run with this number.
fn one(
    args: &Args,
    number: u64,
    patience: &Patience,
    missed_count: &mut u32,
) -> Result<Findings, String> {
    let plan_of = |retry: u32| {
        let seed = args.seed.wrapping_add(number << 40).wrapping_add(u64::from(retry) << 56);
        Plan {
            orders: args.orders,
            duplicates: args.duplicates,
            cancels: 5,
            window: WINDOWS[usize::try_from(number).unwrap_or(0) % WINDOWS.len()],
            seed,
            kill_per_mille: draw(seed, KILL_PER_MILLE),
        }
    };
    let mut tell = |what: &str| {
        if what == MISSED {
            *missed_count += 1;
            error(&format!("run {number}: {what}"));
        }
    };
    Site::create(None)
        .and_then(|site| judged(&site, plan_of, patience, &mut tell))
        .map_err(|e| format!("run {number}: {e}"))
}

/// Makes a run and judges it. While its kill misses, it is made again, a few times at most; a miss
/// that stays is a broken claim. `plan_of` is asked with the number of misses before.
pub(crate) fn judged(
    site: &Site,
    plan_of: impl Fn(u32) -> Plan,
    patience: &Patience,
    tell: &mut dyn FnMut(&str),
) -> Result<Findings, String> {
    let mut misses = 0;
    loop {
        let plan = plan_of(misses);
        let ran = exercise(site, plan, patience, tell)?;
        tell(
            "judgement: the journal is verified and executed again; every frame of every client \
             is held against it",
        );
        let evidence = evidence::gather(site, plan.orders, patience)?;
        let findings = Findings::of(plan, &ran, &evidence);
        if !findings.is_missed() {
            return Ok(findings);
        }
        tell(MISSED);
        if misses == RETRIES {
            return Ok(findings);
        }
        misses += 1;
        site.renew()?;
    }
}

/// In `[from, to)`, from a seed (the finisher of splitmix64).
fn draw(seed: u64, (from, to): (u64, u64)) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    from + (z ^ (z >> 31)) % (to - from)
}

const LEGEND: &str = "
| column | |
|---|---|
| window | requests in flight a client |
| kill at | share of the orders answered at which the kill was due, drawn; it came earlier if a \
client was about to finish |
| before it | orders accepted before the kill, by the journal index of their reports |
| resent | requests that died with the engine before they were journaled, and were sent again |
| recovered | reports that were missed and came by number |
| compared | reports that had been seen and came again with the same bytes |
| up ms | from SIGKILL to the restarted engine listening, its journal replayed |
| down ms | from SIGKILL to the first answer of the restarted engine to something new |
| reconnects | of each client |
";

const HEADINGS: [&str; 14] = [
    "run",
    "window",
    "kill at",
    "before it",
    "accepted",
    "lost",
    "twice",
    "resent",
    "recovered",
    "compared",
    "up ms",
    "down ms",
    "reconnects",
    "verdict",
];

fn cells(number: u64, findings: &Findings) -> [String; 14] {
    let f = &findings.figures;
    let reconnects: Vec<String> = f.reconnects.iter().map(u64::to_string).collect();
    let broken: Vec<&str> =
        findings.checks.iter().filter(|check| !check.holds).map(|check| check.name).collect();
    let verdict = match broken[..] {
        [] => "holds".to_owned(),
        _ if findings.is_missed() => "missed".to_owned(),
        _ => format!("BROKEN: {}", broken.join(", ")),
    };
    [
        number.to_string(),
        findings.plan.window.to_string(),
        per_mille(findings.plan.kill_per_mille),
        f.accepted_before.to_string(),
        f.accepted[1].to_string(),
        f.lost.to_string(),
        f.twice.to_string(),
        f.resent.to_string(),
        f.recovered.to_string(),
        f.compared.to_string(),
        millis(f.listening_after),
        f.served_after.map_or_else(|| "-".to_owned(), millis),
        reconnects.join(" "),
        verdict,
    ]
}

/// Milliseconds, rounded up, so that nothing shows as nothing.
pub(crate) fn millis(span: Nanos) -> String {
    span.0.div_ceil(1_000_000).to_string()
}

fn line<T: AsRef<str>>(cells: &[T; 14]) -> String {
    let widths = [3, 8, 8, 10, 10, 5, 6, 7, 10, 9, 7, 8, 11, 0];
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        // Writing into a String cannot fail.
        let _ = match width {
            0 => write!(text, "  {}", cell.as_ref()),
            _ => write!(text, "{:>width$}", cell.as_ref()),
        };
    }
    text.push('\n');
    text
}

fn row(number: u64, findings: &Findings) -> String {
    line(&cells(number, findings))
}

fn summary(args: &Args, all: &[Findings], missed_count: u32) -> String {
    let held = all.iter().filter(|findings| findings.holds()).count();
    let orders: u64 = all.iter().map(|findings| findings.figures.accepted[1]).sum();
    let lost: u64 = all.iter().map(|findings| findings.figures.lost).sum();
    let twice: u64 = all.iter().map(|findings| findings.figures.twice).sum();
    format!(
        "every claim held in {held} of {} runs: {orders} orders accepted, {lost} acknowledged and \
         lost, {twice} executed twice; {missed_count} kills missed",
        args.runs
    )
}

fn as_json(args: &Args, machine: &Machine, all: &[Findings], missed_count: u32) -> Value {
    json!({
        "holds": all.iter().all(Findings::holds),
        "runs": all.iter().map(Findings::as_json).collect::<Vec<_>>(),
        "orders": args.orders,
        "duplicates_percent": args.duplicates,
        "seed": args.seed,
        "missed": missed_count,
        "machine": machine.as_json(),
    })
}

/// Writes the table as it stands; a drill that broke off leaves its finished runs.
fn record(
    args: &Args,
    machine: &Machine,
    all: &[Findings],
    missed_count: u32,
) -> Result<(), String> {
    let Some(path) = &args.record else { return Ok(()) };
    let Args { runs, orders, duplicates, seed, .. } = args;
    let mut text = format!(
        "# Crash drill\n\nGenerated by `tidegate drill --runs {runs} --orders {orders} \
         --duplicates {duplicates} --seed {seed} --record FILE`; `drill --help` says what a run \
         is.\n\n{}\n",
        machine.as_markdown()
    );
    let cell_row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&cell_row(&HEADINGS.map(str::to_owned)));
    text.push_str(&cell_row(&HEADINGS.map(|_| "---:".to_owned())));
    for (number, findings) in (1..).zip(all) {
        text.push_str(&cell_row(&cells(number, findings)));
    }
    let end = if u64::try_from(all.len()) == Ok(*runs) { "" } else { " (not finished)" };
    let _ = write!(
        text,
        "\nVerdict{end}: {}.\n\nA run holds if all of this does:\n\n",
        summary(args, all, missed_count)
    );
    for check in all.first().map(|findings| &findings.checks).into_iter().flatten() {
        let _ = writeln!(text, "- {}: {}", check.name, check.sentence);
    }
    text.push_str(LEGEND);
    std::fs::write(path, text).map_err(|e| format!("--record {}: {e}", path.display()))
}
