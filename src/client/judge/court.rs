//! The court: reads the histories against the ledger and writes the verdict.
//!
//! Each check belongs to exactly one claim, so that one fault is one violation and its claim says
//! what kind it is. Histories are read in the order given; those of one session must be given in
//! the order they were made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::flow::{Arrival, Flow, Place};
use super::keys::{Keys, Owner, Witness};
use super::ledger::Ledger;
use super::verdict::{Claim, Verdict, Violation};
use crate::client::history::{End, Entry, EntryKind, HistoryError, HistoryReader};
use crate::limits::FRAME_BYTES_MAX;
use crate::vocabulary::event::{Report, ReportBody};
use crate::vocabulary::message::{ClientMessage, SessionMessage};
use crate::vocabulary::units::{ClOrdId, Seq, SessionId, SessionIdx};
use crate::wire::decode::{Inbound, Outbound, decode_inbound, decode_outbound};
use crate::wire::frame::{Frame, split};

/// How to judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Requests without an outcome break no claim: the client died, or is still at work.
    pub allow_unresolved: bool,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A history cannot be read.
    #[error("{}: {source}", path.display())]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HistoryError,
    },
    /// A frame in a history is none of the protocol's.
    #[error("{}: the frame at offset {offset} cannot be read: {what}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// The entry.
        offset: u64,
        /// Why.
        what: String,
    },
}

/// One session, over all its histories.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) owner: Owner,
    /// Its slot in the journal; none when the journal does not know it.
    pub(super) slot: Option<SessionIdx>,
    pub(super) flow: Flow,
}

/// The proceedings so far.
pub(super) struct Court<'l> {
    pub(super) ledger: &'l Ledger,
    pub(super) verdict: Verdict,
    sessions: BTreeMap<SessionId, Session>,
    pub(super) keys: Keys,
}

/// Judges `histories` against `ledger`.
pub fn judge(
    ledger: &Ledger,
    histories: &[PathBuf],
    options: Options,
) -> Result<Verdict, JudgeError> {
    let mut court = Court {
        ledger,
        verdict: Verdict::of(histories),
        sessions: BTreeMap::new(),
        keys: Keys::default(),
    };
    if let Some(what) = ledger.broken() {
        let what = format!("the journal cannot be trusted: {what}");
        court.add(Claim::NothingMissing, None, what);
    }
    for (file, path) in histories.iter().enumerate() {
        let of_file = |source| JudgeError::History { path: path.clone(), source };
        let mut reader = HistoryReader::open(path).map_err(of_file)?;
        let (id, key_id) = (reader.header().session_id, reader.header().key_id);
        let mut session = court.sessions.remove(&id).unwrap_or_else(|| {
            let known = ledger.session(id);
            // A session that never came to be has no owner; its key's name keeps it apart, above
            // every owner's place.
            let stranger = || (1 << 31) | (checksum(key_id.octets()) >> 1);
            Session {
                id,
                owner: known.map_or_else(stranger, |(_, owner)| u32::from(owner.0)),
                slot: known.map(|(slot, _)| slot),
                flow: Flow::default(),
            }
        });
        while let Some(entry) = reader.read_next().map_err(of_file)? {
            court.on_entry(&mut session, file, &entry).map_err(|what| JudgeError::Frame {
                path: path.clone(),
                offset: entry.offset,
                what,
            })?;
        }
        if let Some(End::Torn { .. }) = reader.end() {
            court.verdict.figures.torn += 1;
        }
        court.sessions.insert(id, session);
    }
    court.close(options);
    Ok(court.verdict)
}

impl Court<'_> {
    pub(super) fn add(&mut self, claim: Claim, witness: Option<Witness>, what: String) {
        self.verdict.add(Violation {
            claim,
            session: witness.map(|w| w.session),
            number: witness.map_or(0, |w| w.number),
            file: witness.map_or(0, |w| w.place.file),
            offset: witness.map_or(0, |w| w.place.offset),
            what,
        });
    }

    fn on_entry(
        &mut self,
        session: &mut Session,
        file: usize,
        entry: &Entry<'_>,
    ) -> Result<(), String> {
        let place = Place { file, offset: entry.offset };
        match entry.kind {
            EntryKind::Connected | EntryKind::Disconnected => session.flow.on_line_change(),
            EntryKind::Note => {}
            EntryKind::Sent => {
                let frame = whole(entry.bytes)?;
                match decode_inbound(&frame).map_err(|e| e.to_string())? {
                    Inbound::Application(message) => self.on_sent(session, message, place),
                    Inbound::Session(_) => {}
                }
                self.verdict.figures.frames += 1;
            }
            EntryKind::Received => {
                let frame = whole(entry.bytes)?;
                match decode_outbound(&frame).map_err(|e| e.to_string())? {
                    Outbound::Report(report) => {
                        self.on_numbered(session, &report, entry.bytes, place);
                    }
                    Outbound::Session(message) => self.on_session(session, &message, place),
                }
                self.verdict.figures.frames += 1;
            }
        }
        Ok(())
    }

    fn on_sent(&mut self, session: &mut Session, message: ClientMessage, place: Place) {
        session.flow.on_sent(message, place);
        let witness = Witness { session: session.id, number: message.msg_seq_num().0, place };
        match message {
            ClientMessage::NewOrder(m) => {
                let key = self.keys.entry(session.owner, m.cl_ord_id);
                key.ordered.get_or_insert(witness);
            }
            ClientMessage::Cancel(m) => {
                let key = self.keys.entry(session.owner, m.cl_ord_id);
                key.canceled.get_or_insert(witness);
            }
            ClientMessage::Status(_) => {}
        }
    }

    fn on_session(&mut self, session: &mut Session, message: &SessionMessage<'_>, place: Place) {
        match *message {
            SessionMessage::EstablishmentAck { next_seq_no, .. } => {
                let seen = session.flow.highest();
                if next_seq_no.0 <= seen {
                    let witness = Witness { session: session.id, number: next_seq_no.0, place };
                    let what = format!("the next number is {next_seq_no}, but {seen} was seen");
                    self.add(Claim::Contiguous, Some(witness), what);
                }
                session.flow.on_position(next_seq_no);
            }
            SessionMessage::Sequence { next_seq_no }
            | SessionMessage::Retransmission { next_seq_no, .. } => {
                session.flow.on_position(next_seq_no);
            }
            SessionMessage::Negotiate { .. }
            | SessionMessage::NegotiationResponse { .. }
            | SessionMessage::NegotiationReject { .. }
            | SessionMessage::Establish { .. }
            | SessionMessage::EstablishmentReject { .. }
            | SessionMessage::RetransmitRequest { .. }
            | SessionMessage::RetransmitReject { .. }
            | SessionMessage::Terminate { .. }
            | SessionMessage::FinishedSending { .. }
            | SessionMessage::FinishedReceiving { .. }
            | SessionMessage::NotAccepting { .. }
            | SessionMessage::ReplicationStatus { .. } => {}
        }
    }

    fn on_numbered(&mut self, session: &mut Session, report: &Report, octets: &[u8], place: Place) {
        let explicit = match report.body {
            ReportBody::NotApplied { .. } => None,
            ReportBody::New(_)
            | ReportBody::Canceled(_)
            | ReportBody::Trade(_)
            | ReportBody::Reject(_)
            | ReportBody::Status(_)
            | ReportBody::CancelReject(_)
            | ReportBody::BusinessReject(_) => Some(report.msg_seq_num),
        };
        let counted = session.flow.on_message(explicit);
        let number = counted.unwrap_or_else(|(number, _)| number);
        let witness = Witness { session: session.id, number, place };
        if let Err((_, counted)) = counted {
            let counted = counted.map_or_else(|| "none".to_owned(), |n| n.to_string());
            let what = format!("number {counted} was due by the count");
            self.add(Claim::Contiguous, Some(witness), what);
        }
        match session.flow.on_frame(number, octets, place) {
            Arrival::First => self.on_report(session, report, witness),
            Arrival::Same => self.verdict.figures.replays_compared += 1,
            Arrival::Other(first) => {
                self.verdict.figures.replays_compared += 1;
                let path = self.verdict.files.get(first.file);
                let path = path.map_or_else(String::new, |p| p.display().to_string());
                let what = format!("other bytes than at offset {} of {path}", first.offset);
                self.add(Claim::ReplayIdentical, Some(witness), what);
            }
        }
    }

    pub(super) fn note(&mut self, claim: Claim, at: Witness, what: Option<String>) {
        if let Some(what) = what {
            self.add(claim, Some(at), what);
        }
    }

    /// What can only be said once everything was read.
    fn close(&mut self, options: Options) {
        let sessions = std::mem::take(&mut self.sessions);
        for session in sessions.values() {
            if let Some((first, count, place)) = session.flow.missing() {
                let highest = session.flow.highest();
                let what = format!("{count} of 1 to {highest} never came, the first is {first}");
                let witness = Witness { session: session.id, number: first, place };
                self.add(Claim::Contiguous, Some(witness), what);
            }
        }
        let keys = std::mem::take(&mut self.keys);
        let mut open: Vec<(Witness, ClOrdId)> = Vec::new();
        let figures = &mut self.verdict.figures;
        let mut contradictions = Vec::new();
        for (cl_ord_id, key) in keys.iter() {
            figures.orders_unique += u64::from(key.ordered.is_some());
            figures.accepted_unique += u64::from(key.accepted.is_some());
            figures.refused_unique += u64::from(key.refused.is_some());
            let is_known = key.accepted.is_none() && key.known.is_some();
            figures.known_unique += u64::from(is_known);
            let is_refused = key.refused.is_none() && key.refused_for_now.is_some();
            figures.refused_for_now_unique +=
                u64::from(is_refused && key.accepted.is_none() && key.known.is_none());
            if let Some(sent) = key.ordered.or(key.canceled).filter(|_| !key.is_answered) {
                open.push((sent, cl_ord_id));
            }
            if let Some(what) = key.contradiction() {
                let at = key.accepted.map(|(_, at)| at).or(key.ordered);
                contradictions.push((at, format!("ClOrdID {cl_ord_id}: {what}")));
            }
        }
        figures.unresolved = u64::try_from(open.len()).unwrap_or(u64::MAX);
        figures.sessions = u64::try_from(sessions.len()).unwrap_or(u64::MAX);
        figures.journal_requests = u64::try_from(self.ledger.request_count()).unwrap_or(u64::MAX);
        figures.journal_last_index = self.ledger.last_index().0;
        for (at, what) in contradictions {
            self.add(Claim::FinalStays, at, what);
        }
        if options.allow_unresolved {
            return;
        }
        open.sort_by_key(|(sent, _)| (sent.place.file, sent.place.offset));
        for (sent, cl_ord_id) in open {
            let slot = sessions.get(&sent.session).and_then(|s| s.slot);
            let index = slot.and_then(|slot| self.ledger.index_of(slot, Seq(sent.number)));
            let journaled =
                index.map_or_else(|| "not journaled".to_owned(), |i| format!("journaled at {i}"));
            let what = format!("ClOrdID {cl_ord_id} has no outcome ({journaled})");
            self.add(Claim::Resolved, Some(sent), what);
        }
    }
}

fn checksum(octets: &[u8]) -> u32 {
    octets
        .iter()
        .fold(0x811c_9dc5, |sum: u32, octet| (sum ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}

/// The one frame that an entry holds.
fn whole(bytes: &[u8]) -> Result<Frame<'_>, String> {
    match split(bytes, FRAME_BYTES_MAX) {
        Ok(Some((frame, len))) if len == bytes.len() => Ok(frame),
        Ok(_) => Err("it is not exactly one frame".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}
