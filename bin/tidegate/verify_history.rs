//! `tidegate verify-history`: six claims about an engine, judged from its customers' files.

use crate::output::{error, print};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidegate::client::judge::{Claim, Figures, Ledger, Options, Verdict, Violation, judge};

/// The evidence cannot be read, so that there is no verdict.
const EXIT_NO_VERDICT: u8 = 2;
/// Violations shown as text; `--json` shows all that were kept.
const VIOLATIONS_SHOWN_MAX: usize = 20;
/// What the files of a directory must be called to be taken.
const HISTORY_EXTENSION: &str = "history";

/// Judge an engine by its clients' histories and its journal alone
///
/// Reads every frame that the clients sent and received, and every record of the journal, with none
/// of the engine's code, and holds them against each other. Six claims are judged:
///
///   accepted-once     per owner and ClOrdID one order at most, and it is the one journaled
///   nothing-missing   what was acknowledged is in the journal, at its index, as it was sent
///   contiguous        each session's reports are numbered 1 to n, over all reconnects
///   replay-identical  a report that came twice came with the same bytes
///   final-stays       a final answer never became another
///   resolved          every ClOrdID has an outcome; a duplicate's is that of its original
///
/// The journal may be that of a running engine. Exit codes: 0 every claim holds, 1 one is broken,
/// 2 the evidence cannot be read.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The engine's journal directory
    #[arg(long, value_name = "DIR")]
    journal: PathBuf,
    /// Client histories, or directories of them (*.history); of one session in the order made
    #[arg(required = true, value_name = "HISTORY")]
    histories: Vec<PathBuf>,
    /// Requests without an outcome break no claim: the client was killed, or is still at work
    #[arg(long)]
    allow_unresolved: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let verdict = match verdict_of(args) {
        Ok(verdict) => verdict,
        Err(what) => {
            error(&what);
            return ExitCode::from(EXIT_NO_VERDICT);
        }
    };
    let code = if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        print(&format!("{}\n", as_json(&verdict)), code)
    } else {
        print(&as_text(&verdict), code)
    }
}

fn verdict_of(args: &Args) -> Result<Verdict, String> {
    let histories = expand(&args.histories)?;
    let ledger = Ledger::read(&args.journal).map_err(|e| e.to_string())?;
    let options = Options { allow_unresolved: args.allow_unresolved };
    let verdict = judge(&ledger, &histories, options).map_err(|e| e.to_string())?;
    if verdict.figures.frames == 0 {
        return Err("the histories hold no frame: there is nothing to judge".to_owned());
    }
    Ok(verdict)
}

/// Files as they are; of a directory its histories by name, and at least one.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = histories_in(path).map_err(|e| format!("{}: {e}", path.display()))?;
        if found.is_empty() {
            let path = path.display();
            return Err(format!("{path}: no file *.{HISTORY_EXTENSION} in it"));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn histories_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == HISTORY_EXTENSION) {
            found.push(path);
        }
    }
    Ok(found)
}

/// What the figures are called, in the order they are shown.
const fn rows(f: &Figures) -> [(&'static str, u64); 14] {
    [
        ("sessions", f.sessions),
        ("frames read", f.frames),
        ("orders sent, unique", f.orders_unique),
        ("accepted, unique", f.accepted_unique),
        ("refused for good, unique", f.refused_unique),
        ("refused for now, unique", f.refused_for_now_unique),
        ("known from another run", f.known_unique),
        ("duplicates answered", f.duplicates_answered),
        ("without an outcome", f.unresolved),
        ("reports compared again", f.replays_compared),
        ("requests not applied", f.not_applied),
        ("histories torn", f.torn),
        ("requests journaled", f.journal_requests),
        ("journal's last index", f.journal_last_index),
    ]
}

// Writing into a String cannot fail.
fn as_text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for (name, figure) in rows(&verdict.figures) {
        let _ = writeln!(text, "  {name:<26}{figure:>14}");
    }
    text.push('\n');
    for claim in Claim::ALL {
        let count = verdict.count(claim);
        let word = if count == 0 { "holds " } else { "BROKEN" };
        let _ = writeln!(text, "  {word}  {:<17} {}", claim.name(), claim.sentence());
        if count > 0 {
            let _ = writeln!(text, "          {count} times");
        }
    }
    if !verdict.holds() {
        text.push('\n');
    }
    for v in verdict.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        let _ = writeln!(text, "  {}: {}", v.claim, v.what);
        let _ = writeln!(text, "      {}", place_of(verdict, v));
    }
    let total: u64 = Claim::ALL.iter().map(|&claim| verdict.count(claim)).sum();
    let shown = verdict.violations.len().min(VIOLATIONS_SHOWN_MAX);
    let hidden = total.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if hidden > 0 {
        let _ = writeln!(text, "  and {hidden} more (--json shows up to 1000)");
    }
    let word = if verdict.holds() { "every claim holds" } else { "a claim is broken" };
    let _ = writeln!(text, "\nverdict: {word}");
    text
}

fn place_of(verdict: &Verdict, v: &Violation) -> String {
    let Some(session) = v.session else {
        return "the journal".to_owned();
    };
    let file = verdict.files.get(v.file);
    let file = file.map_or_else(|| "?".to_owned(), |file| file.display().to_string());
    format!("session {session}, number {}, {file} at offset {}", v.number, v.offset)
}

fn as_json(verdict: &Verdict) -> Value {
    let claims: Vec<Value> = Claim::ALL
        .iter()
        .map(|&claim| {
            json!({
                "claim": claim.name(),
                "sentence": claim.sentence(),
                "holds": verdict.count(claim) == 0,
                "violations": verdict.count(claim),
            })
        })
        .collect();
    let violations: Vec<Value> = verdict
        .violations
        .iter()
        .map(|v| {
            json!({
                "claim": v.claim.name(),
                "session": v.session.map(|id| id.to_string()),
                "number": v.number,
                "file": verdict.files.get(v.file),
                "offset": v.offset,
                "what": v.what,
            })
        })
        .collect();
    let figures: serde_json::Map<String, Value> = rows(&verdict.figures)
        .into_iter()
        .map(|(name, figure)| (name.replace([',', '\''], "").replace(' ', "_"), figure.into()))
        .collect();
    json!({
        "holds": verdict.holds(),
        "figures": figures,
        "claims": claims,
        "violations": violations,
    })
}
