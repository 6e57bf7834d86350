//! The ledger: what the journal says, read once.
//!
//! Only requests and sessions matter to the judge. A request is kept decoded and by its index, so
//! that an acknowledgement can be held against it field by field.

use std::collections::HashMap;
use std::path::Path;

use journal::{JournalError, KIND_PAD, ReadStop, Reader};

use crate::vocabulary::message::ClientMessage;
use crate::vocabulary::record::{Record, RecordBody};
use crate::vocabulary::units::{
    ClOrdId, Epoch, Index, Nanos, OwnerIdx, Seq, SessionId, SessionIdx,
};
use crate::wire::decode::decode_client_message;

/// A request as the journal holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Journaled {
    /// The session it came through.
    pub(super) session: SessionIdx,
    /// As received.
    pub(super) message: ClientMessage,
}

/// What a journal says.
#[derive(Debug, Default)]
pub struct Ledger {
    requests: HashMap<Index, Journaled>,
    numbers: HashMap<(SessionIdx, Seq), Index>,
    /// The first order journaled under each key.
    first_orders: HashMap<(OwnerIdx, ClOrdId), Index>,
    sessions: HashMap<SessionId, (SessionIdx, OwnerIdx)>,
    owners: HashMap<SessionIdx, OwnerIdx>,
    last_index: u64,
    /// Why the journal cannot be trusted to its end.
    broken: Option<String>,
}

impl Ledger {
    /// Reads the journal in `dir`, of a live process or a dead one.
    pub fn read(dir: &Path) -> Result<Self, JournalError> {
        let mut reader = Reader::open(dir)?;
        let mut ledger = Self::default();
        while let Some((position, record)) = reader.next()? {
            ledger.last_index = record.index;
            if record.kind != KIND_PAD
                && let Err(what) = ledger.add(&record)
            {
                let index = record.index;
                ledger.break_at(format!("record {index} at {position}: {what}"));
            }
        }
        if let Some(end) = reader.end() {
            match end.stop {
                ReadStop::Zeros | ReadStop::Full | ReadStop::Torn { .. } => {}
                ReadStop::Corrupt { error, at, index } => ledger.break_at(format!(
                    "the chain breaks at byte {}: {error}; record {index} at {at} follows",
                    end.offset
                )),
                ReadStop::LostTail { stop_index } => ledger.break_at(format!(
                    "it ends at index {}, but was stopped at {stop_index}",
                    end.last_index
                )),
            }
        }
        Ok(ledger)
    }

    fn add(&mut self, stored: &journal::Record<'_>) -> Result<(), String> {
        let record = Record::decode(
            Index(stored.index),
            Nanos(stored.time),
            Epoch(stored.epoch),
            stored.kind,
            stored.source,
            stored.payload,
        )
        .map_err(|e| e.to_string())?;
        match record.body {
            RecordBody::ClientMessage { session, message } => {
                let message = decode_client_message(message).map_err(|e| e.to_string())?;
                let journaled = Journaled { session, message };
                self.requests.insert(record.index, journaled);
                if let (ClientMessage::NewOrder(m), Some(owner)) = (message, self.owner(session)) {
                    self.first_orders.entry((owner, m.cl_ord_id)).or_insert(record.index);
                }
                let number = (session, message.msg_seq_num());
                if let Some(earlier) = self.numbers.insert(number, record.index) {
                    return Err(format!(
                        "request {} of session {session} is at index {earlier} already",
                        number.1
                    ));
                }
            }
            RecordBody::SessionOpen { session, id, owner, .. } => {
                self.sessions.insert(id, (session, owner));
                self.owners.insert(session, owner);
            }
            RecordBody::SessionBind { .. }
            | RecordBody::SessionGap { .. }
            | RecordBody::SessionDown { .. }
            | RecordBody::SessionFinishing { .. }
            | RecordBody::SessionFinal { .. }
            | RecordBody::Tick
            | RecordBody::Admin { .. }
            | RecordBody::Config(_)
            | RecordBody::EpochStart { .. }
            | RecordBody::StateHash { .. }
            | RecordBody::Pad => {}
        }
        Ok(())
    }

    fn break_at(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// The request at an index.
    pub(super) fn request(&self, index: Index) -> Option<&Journaled> {
        self.requests.get(&index)
    }

    /// Whether an order was journaled under this key before `index`.
    pub(super) fn is_known_before(&self, owner: OwnerIdx, key: ClOrdId, index: Index) -> bool {
        self.first_orders.get(&(owner, key)).is_some_and(|first| *first < index)
    }

    /// The index of a session's request.
    pub(super) fn index_of(&self, session: SessionIdx, number: Seq) -> Option<Index> {
        self.numbers.get(&(session, number)).copied()
    }

    /// The slot and the owner of a session.
    pub(super) fn session(&self, id: SessionId) -> Option<(SessionIdx, OwnerIdx)> {
        self.sessions.get(&id).copied()
    }

    /// The owner of the session in a slot.
    pub(super) fn owner(&self, session: SessionIdx) -> Option<OwnerIdx> {
        self.owners.get(&session).copied()
    }

    /// Whether a record has this index.
    pub(super) const fn has(&self, index: Index) -> bool {
        index.0 >= 1 && index.0 <= self.last_index
    }

    /// Why the journal cannot be trusted to its end, if so.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Requests in the journal.
    #[must_use]
    pub fn request_count(&self) -> usize {
        self.requests.len()
    }

    /// Index of the last record.
    #[must_use]
    pub const fn last_index(&self) -> Index {
        Index(self.last_index)
    }
}
