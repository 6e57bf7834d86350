//! `tidegate demo`: the whole promise in one run on one machine, with a verdict.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use tidegate::client::judge::Claim;

use crate::EXIT_USAGE;
use crate::drill::exercise::{CLIENTS, Plan};
use crate::drill::findings::{Findings, QUANTILES};
use crate::drill::patience::{Patience, wall};
use crate::drill::site::Site;
use crate::drill::{ORDERS_MAX, ORDERS_MIN, judged, millis};
use crate::output::{error, print};
use tidegate::vocabulary::units::Nanos;

/// Show that no order is lost or executed twice when the engine is killed
///
/// Starts an engine and four clients as processes of their own. The clients send 200,000 orders,
/// 20 % of them a second time. Half way the engine gets SIGKILL. It is started again on the same
/// journal; the clients log on, recover by number what they missed, send again what never happened,
/// and finish. Then three readers judge what is left: the journal is verified, it is executed again
/// and must give the same digests, and `verify-history` holds every frame that the clients kept
/// against it.
///
///   tidegate demo
///   tidegate demo --orders 1000000
///   tidegate demo --keep /tmp/demo     then look for yourself:
///     tidegate journal verify /tmp/demo/data
///     tidegate journal replay /tmp/demo/data
///     tidegate verify-history --journal /tmp/demo/data /tmp/demo/histories
///
/// Needs about 1 KiB of the temporary directory (TMPDIR) an order and 500 MiB. Nothing
/// is left behind without --keep.
///
/// Exit codes: 0 every claim holds, 1 one is broken or the run failed, 2 the arguments were
/// refused.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Different orders, over four clients
    #[arg(long, default_value_t = 200_000,
          value_parser = clap::value_parser!(u64).range(ORDERS_MIN..=ORDERS_MAX))]
    orders: u64,
    /// Requests in flight a client
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=8192))]
    window: u32,
    /// Draws the orders
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Work in this directory, new or empty, and leave the evidence there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let plan = Plan {
        orders: args.orders,
        duplicates: 20,
        cancels: 5,
        window: args.window,
        seed: args.seed,
        kill_per_mille: 500,
    };
    let start = wall();
    let mut tell = |what: &str| {
        let tenths = wall().since(start).0 / 100_000_000;
        // Nobody may be reading, and that is no fault.
        let _ = writeln!(std::io::stderr(), "{:>3}.{} s  {what}", tenths / 10, tenths % 10);
    };
    // Watched before anything is made: ctrl-c leaves nothing behind.
    let patience = Patience::new();
    let site = match Site::create(args.keep.as_deref()) {
        Ok(site) => site,
        Err(what) => {
            error(&what);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let judged = patience.and_then(|patience| judged(&site, |_| plan, &patience, &mut tell));
    let findings = match judged {
        Ok(findings) => findings,
        Err(what) => {
            error(&what);
            return ExitCode::FAILURE;
        }
    };
    let code = if findings.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        print(&format!("{}\n", findings.as_json()), code)
    } else {
        print(&as_text(&findings, wall().since(start)), code)
    }
}

// Writing into a String cannot fail.
fn as_text(findings: &Findings, took: Nanos) -> String {
    let mut text = String::from("\n");
    for (name, figure) in rows(findings) {
        let _ = writeln!(text, "  {name:<34}{figure:>18}");
    }
    let _ = write!(text, "\n  order to first answer, us  ");
    for (name, _) in QUANTILES {
        let _ = write!(text, "{name:>11}");
    }
    let f = &findings.figures;
    let _ = write!(text, "\n  {:<27}", format!("{} uninterrupted", grouped(f.service_count)));
    for nanos in f.service {
        let _ = write!(text, "{:>11}", format!("{}.{}", nanos / 1000, nanos % 1000 / 100));
    }
    let _ = writeln!(
        text,
        "\n  ({CLIENTS} clients with full windows on this machine's cores: how long the queue is, \
         not how\n  fast the engine; that is measured by perf/)\n"
    );
    for check in &findings.checks {
        let word = if check.holds { "holds " } else { "BROKEN" };
        let _ = writeln!(text, "  {word}  {:<21} {}", check.name, check.sentence);
        let is_judges = Claim::ALL.iter().any(|claim| claim.name() == check.name);
        if !(is_judges && check.holds) {
            let _ = writeln!(text, "  {:>29} {}", "", check.figures);
        }
    }
    for violation in &findings.violations {
        let _ = writeln!(text, "  {violation}");
    }
    let word = if findings.holds() {
        "every claim holds"
    } else if findings.is_missed() {
        "the kill missed a serving engine, so this shows nothing; try more --orders"
    } else {
        "A CLAIM IS BROKEN"
    };
    let _ = writeln!(text, "\nverdict: {word} ({} s)", took.0 / 1_000_000_000);
    text
}

fn rows(findings: &Findings) -> Vec<(&'static str, String)> {
    let f = &findings.figures;
    let [silent, asked, answered] = f.duplicates;
    let span = |span: Option<Nanos>| span.map_or_else(|| "never".to_owned(), millis);
    vec![
        ("orders, each with its own ClOrdID", grouped(findings.plan.orders)),
        ("accepted (= unique)", grouped(f.accepted[1])),
        ("  of them before the kill", grouped(f.accepted_before)),
        ("acknowledged and lost", grouped(f.lost)),
        ("executed twice", grouped(f.twice)),
        ("duplicates sent", grouped(silent + asked)),
        ("  under the old number: silence", grouped(silent)),
        ("  under a new number", grouped(asked)),
        ("  and answered with the state", grouped(answered)),
        ("requests that died with the engine", grouped(f.resent)),
        ("reports missed, recovered by number", grouped(f.recovered)),
        ("reports seen, compared again", grouped(f.compared)),
        ("killed -> listening again, ms", millis(f.listening_after)),
        ("killed -> first answer after, ms", span(f.served_after)),
        ("killed -> every client served, ms", span(f.all_served_after)),
        ("journal records", grouped(f.records)),
        ("trades", grouped(f.trades)),
        ("output digest, live", f.output[0].clone()),
        ("output digest, replayed", f.output[1].clone()),
        ("state digest, live", f.state[0].clone()),
        ("state digest, replayed", f.state[1].clone()),
    ]
}

/// Digits in groups of three.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped() {
        for (count, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(count), expected);
        }
    }
}
