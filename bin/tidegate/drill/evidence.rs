//! The evidence: what a run left behind, read by everyone who can read it.
//!
//! Four readers that share no state with the engine that ran: `journal verify` and `journal replay`
//! in processes of their own, the judge over histories and journal, and this file, which splits
//! each client's frames at the kill. The border is exact: a report carries the journal index of
//! what it answers, and the second EpochStart is where the restarted engine began.

use std::fs;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use journal::Reader;
use serde_json::Value;
use tidegate::client::history::{EntryKind, HistoryReader};
use tidegate::client::judge::{Ledger, Options, Verdict, judge};
use tidegate::limits::FRAME_BYTES_MAX;
use tidegate::vocabulary::event::{Report, ReportBody};
use tidegate::vocabulary::record::RecordKind;
use tidegate::vocabulary::units::Nanos;
use tidegate::wire::decode::{Outbound, decode_outbound};
use tidegate::wire::frame::split;

use super::child::{Child, Errors};
use super::exercise::{CLIENTS, long};
use super::patience::Patience;
use super::site::Site;

/// Everything that was found.
pub(crate) struct Evidence {
    /// `journal verify`.
    pub(crate) verified: Value,
    /// `journal replay`.
    pub(crate) replayed: Value,
    /// The judge's.
    pub(crate) verdict: Verdict,
    /// Index of the EpochStart that the restart journaled; none if there is no second one.
    pub(crate) restart_index: Option<u64>,
    /// Each client's frames, split at the kill.
    pub(crate) lines: Vec<Split>,
    /// Service times of all clients, ns.
    pub(crate) service: Histogram<u64>,
}

/// One client's reports on both sides of the kill.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Split {
    /// Lines that were up.
    pub(crate) connects: u64,
    /// Orders whose acceptance belongs before the kill, and those after it.
    pub(crate) accepted_before: u64,
    pub(crate) accepted_after: u64,
    /// Reports from before the kill that first came after it: missed, and recovered by number.
    pub(crate) recovered: u64,
    /// When the first report of something that happened after the restart came.
    pub(crate) served_again: Option<Nanos>,
    /// The highest number seen, to tell first from again.
    pub(super) highest: u64,
}

/// Reads everything.
pub(crate) fn gather(site: &Site, orders: u64, patience: &Patience) -> Result<Evidence, String> {
    let ask = |command: &str, key: &str| {
        let data = site.data().display().to_string();
        let arguments = ["journal", command, "--json", &data].map(str::to_owned);
        let name = format!("journal {command}");
        Child::start(&name, &arguments, Errors::Lines)?.await_key(patience, key, long(orders))
    };
    let verified = ask("verify", "sound")?;
    let replayed = ask("replay", "output_digest")?;
    let histories = histories(&site.histories())?;
    let data = site.data();
    let ledger = Ledger::read(&data).map_err(|e| format!("{}: {e}", data.display()))?;
    patience.check()?;
    let verdict = judge(&ledger, &histories, Options::default()).map_err(|e| e.to_string())?;
    drop(ledger);
    let restart_index = restart_index(&data)?;
    let mut lines = Vec::new();
    for path in &histories {
        patience.check()?;
        lines.push(split_at(path, restart_index).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let service = service(site)?;
    Ok(Evidence { verified, replayed, verdict, restart_index, lines, service })
}

fn histories(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "history") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Where the second engine began: the one EpochStart behind the first request.
fn restart_index(data: &Path) -> Result<Option<u64>, String> {
    let mut reader = Reader::open(data).map_err(|e| e.to_string())?;
    let (mut has_requests, mut starts) = (false, Vec::new());
    while let Some((_, record)) = reader.next().map_err(|e| e.to_string())? {
        match RecordKind::from_stored(record.kind) {
            Some(RecordKind::ClientMessage) => has_requests = true,
            Some(RecordKind::EpochStart) if has_requests => starts.push(record.index),
            _ => {}
        }
    }
    Ok(match starts[..] {
        [restart] => Some(restart),
        _ => None,
    })
}

fn split_at(path: &Path, restart_index: Option<u64>) -> Result<Split, String> {
    let mut reader = HistoryReader::open(path).map_err(|e| e.to_string())?;
    let mut found = Split::default();
    while let Some(entry) = reader.read_next().map_err(|e| e.to_string())? {
        match entry.kind {
            EntryKind::Connected => found.connects += 1,
            EntryKind::Received => {
                let frame = split(entry.bytes, FRAME_BYTES_MAX).map_err(|e| e.to_string())?;
                if let Some((frame, _)) = frame
                    && let Outbound::Report(report) =
                        decode_outbound(&frame).map_err(|e| e.to_string())?
                {
                    found.on_report(entry.time, &report, restart_index);
                }
            }
            EntryKind::Disconnected | EntryKind::Sent | EntryKind::Note => {}
        }
    }
    Ok(found)
}

impl Split {
    fn on_report(&mut self, time: Nanos, report: &Report, restart_index: Option<u64>) {
        let is_accepted = match report.body {
            // It carries neither number nor index; the next report's number counts it.
            ReportBody::NotApplied { .. } => return,
            ReportBody::New(_) => true,
            ReportBody::Canceled(_)
            | ReportBody::Trade(_)
            | ReportBody::Reject(_)
            | ReportBody::Status(_)
            | ReportBody::CancelReject(_)
            | ReportBody::BusinessReject(_) => false,
        };
        let is_after = restart_index.is_some_and(|restart| report.appl_seq_num.0 > restart);
        if is_after {
            self.served_again.get_or_insert(time);
        }
        if report.msg_seq_num.0 <= self.highest {
            return;
        }
        self.highest = report.msg_seq_num.0;
        self.recovered += u64::from(!is_after && self.connects > 1);
        let accepted = if is_after { &mut self.accepted_after } else { &mut self.accepted_before };
        *accepted += u64::from(is_accepted);
    }
}

/// The clients' service times, added up.
fn service(site: &Site) -> Result<Histogram<u64>, String> {
    let mut sum: Option<Histogram<u64>> = None;
    for client in 0..CLIENTS {
        let path = site.hdr(client);
        let failed = |what: String| format!("{}: {what}", path.display());
        let bytes = fs::read(&path).map_err(|e| failed(e.to_string()))?;
        let one: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|e| failed(e.to_string()))?;
        match &mut sum {
            None => sum = Some(one),
            Some(sum) => sum.add(&one).map_err(|e| failed(e.to_string()))?,
        }
    }
    sum.ok_or_else(|| "no client wrote its service times".to_owned())
}
