//! `tidegate journal`: what a journal holds, read without an engine that runs.

mod diff;
mod dump;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use journal::{ReadStop, Reader, SumsFound};
use serde_json::{Map, Value, json};
use tidegate::engine::outbox::{NoReports, Outbox};
use tidegate::machine::Machine;
use tidegate::replay;
use tidegate::vocabulary::record::RecordKind;

use crate::output;

/// Arguments of `tidegate journal`.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check every record's checksum and the chain between them
    ///
    /// Works on the directory of a node that runs, was killed, or was stopped; changes nothing. An
    /// unfinished record at the very end is what a kill leaves and no fault. Exit code 1 when a
    /// record is damaged, missing, or has valid records behind it.
    Verify {
        /// The data directory of a node
        dir: PathBuf,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Execute every record again and print the digests of the result
    ///
    /// Equal journals give equal digests, on any machine: compare with those that `tidegate run`
    /// prints when it stops. Needs no configuration. StateHash records are checked on the way.
    Replay {
        /// The data directory of a node
        dir: PathBuf,
        /// Stop after the record with this index
        #[arg(long, value_name = "INDEX")]
        to: Option<u64>,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Show records in the words of the protocol, one a line
    ///
    /// index, time in ns, epoch, checksum, kind, then what it says. A record that this build cannot
    /// read is shown as octets. Example, the life of one order:
    ///   tidegate journal dump tidegate-data | grep 'ClOrdID=17 '
    #[command(verbatim_doc_comment)]
    Dump {
        /// The data directory of a node
        dir: PathBuf,
        /// Begin with the record with this index
        #[arg(long, value_name = "INDEX", default_value_t = 1)]
        from: u64,
        /// End with the record with this index
        #[arg(long, value_name = "INDEX", default_value_t = u64::MAX, hide_default_value = true)]
        to: u64,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Compare two journals record by record
    ///
    /// Nothing in a record depends on the node that wrote it: the journals of one history are equal
    /// up to the end of the shorter one. Exit code 1 where they part, with both records.
    Diff {
        /// The data directory of one node
        first: PathBuf,
        /// That of another
        second: PathBuf,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (outcome, is_json) = match &args.command {
        Command::Verify { dir, json } => (verify(dir), *json),
        Command::Replay { dir, to, json } => (replay(dir, *to), *json),
        Command::Diff { first, second, json } => (diff::diff(first, second), *json),
        Command::Dump { dir, from, to, json } => {
            let asked = dump::Dump { from: *from, to: *to, is_json: *json };
            return match dump::dump(dir, &asked) {
                Ok(()) => ExitCode::SUCCESS,
                Err(message) => refused(&message),
            };
        }
    };
    match outcome {
        Ok(report) => {
            let code = if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            output::print(&text(&report, is_json), code)
        }
        Err(message) => refused(&message),
    }
}

fn refused(message: &str) -> ExitCode {
    output::error(message);
    ExitCode::FAILURE
}

/// What a command found.
struct Report {
    is_good: bool,
    fields: Map<String, Value>,
}

fn verify(dir: &Path) -> Result<Report, String> {
    let mut reader = Reader::open(dir).map_err(|e| e.to_string())?;
    let mut counts: Map<String, Value> = Map::new();
    let mut records = 0_u64;
    let (mut first_time, mut last) = (None, (0, 0, 0));
    while let Some((_, record)) = reader.next().map_err(|e| e.to_string())? {
        records += 1;
        let name = kind_name(record.kind);
        let count = counts.get(&name).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(name, (count + 1).into());
        first_time.get_or_insert(record.time);
        last = (record.index, record.epoch, record.time);
    }
    let mut fields = end_of(&reader);
    let sums = check_sums(&reader)?;
    let is_good =
        fields.get("sound").and_then(Value::as_bool).unwrap_or(false) && sums.differing == 0;
    fields.insert("sums_matching".to_owned(), sums.matching.into());
    fields.insert("sums_differing".to_owned(), sums.differing.into());
    fields.insert("records".to_owned(), records.into());
    fields.insert("last_index".to_owned(), last.0.into());
    fields.insert("last_epoch".to_owned(), last.1.into());
    fields.insert("first_time_ns".to_owned(), first_time.into());
    fields.insert("last_time_ns".to_owned(), last.2.into());
    fields.insert("kinds".to_owned(), counts.into());
    Ok(Report { is_good, fields })
}

/// The SHA-256 sums beside all segments, added up.
fn check_sums(reader: &Reader) -> Result<SumsFound, String> {
    let mut all = SumsFound::default();
    for segment in 0..reader.segment_count() {
        let found = reader.check_sums(segment).map_err(|e| e.to_string())?;
        all.matching += found.matching;
        all.differing += found.differing;
        all.first_differing = all.first_differing.or(found.first_differing);
        all.open += found.open;
        all.is_missing |= found.is_missing;
    }
    Ok(all)
}

fn replay(dir: &Path, to: Option<u64>) -> Result<Report, String> {
    let mut reader = Reader::open(dir).map_err(|e| e.to_string())?;
    let mut machine: Option<Machine> = None;
    let (mut out, mut sink) = (Outbox::new(), NoReports::default());
    while let Some((position, stored)) = reader.next().map_err(|e| e.to_string())? {
        if to.is_some_and(|to| stored.index > to) {
            break;
        }
        let machine = match &mut machine {
            Some(machine) => machine,
            empty => {
                let first = replay::read(&stored).map_err(|e| e.to_string())?;
                empty.insert(Machine::found(&first).map_err(|e| e.to_string())?)
            }
        };
        replay::apply(machine, &stored, &mut out, &mut sink)
            .map_err(|e| format!("{e} (position {} of the journal)", position.get()))?;
    }
    let machine = machine.ok_or_else(|| format!("{}: the journal is empty", dir.display()))?;
    let is_whole = to.is_none_or(|to| machine.index().0 == to);
    let mut fields = if to.is_some() { Map::new() } else { end_of(&reader) };
    let is_sound = fields.get("sound").and_then(Value::as_bool).unwrap_or(true);
    let digest = |value: u64| Value::from(format!("{value:016x}"));
    fields.insert("index".to_owned(), machine.index().0.into());
    fields.insert("epoch".to_owned(), machine.epoch().0.into());
    fields.insert("time_ns".to_owned(), machine.time().0.into());
    fields.insert("sessions".to_owned(), machine.sessions().len().into());
    fields.insert("keys".to_owned(), machine.engine().key_count().into());
    fields.insert("open_orders".to_owned(), machine.engine().open_order_count().into());
    fields.insert("reports_with_exec_id".to_owned(), machine.exec_count().into());
    fields.insert("trades".to_owned(), machine.trade_count().into());
    fields.insert("output_digest".to_owned(), digest(machine.output_digest()));
    fields.insert("state_digest".to_owned(), digest(machine.state_digest()));
    Ok(Report { is_good: is_sound && is_whole, fields })
}

/// Where reading ended, and whether that is an end a journal may have.
fn end_of(reader: &Reader) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("segments", reader.segment_count().into());
    put("ring", reader.ring_path().map(|path| path.display().to_string()).into());
    let Some(end) = reader.end() else { return fields };
    put("file", end.file.display().to_string().into());
    let (is_sound, text) = match end.stop {
        ReadStop::End => (true, "nothing follows".to_owned()),
        ReadStop::Torn { error, bytes } => (
            true,
            format!("an unfinished record of {bytes} bytes follows, as a kill leaves it: {error}"),
        ),
        ReadStop::Corrupt { error, at, index } => (
            false,
            format!(
                "damaged: {error}; valid records follow from index {index}, position {}: restore \
                 this file from a copy, and keep it as it is",
                at.get()
            ),
        ),
        ReadStop::LostTail { floor_index } => {
            (false, format!("record {floor_index} was on the disk and is missing or changed"))
        }
    };
    put("sound", is_sound.into());
    put("end", text.into());
    put("end_position", end.position.get().into());
    put("end_offset", end.offset.into());
    fields
}

fn kind_name(kind: u8) -> String {
    RecordKind::from_stored(kind).map_or_else(|| format!("Unknown({kind})"), |k| format!("{k:?}"))
}

/// A report as one JSON object, or as a line a field.
fn text(report: &Report, is_json: bool) -> String {
    if is_json {
        return format!("{}\n", json!(report.fields));
    }
    let width = report.fields.keys().map(String::len).max().unwrap_or(0);
    let line = |(key, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{key:width$}  {text}\n")
    };
    report.fields.iter().map(line).collect()
}
