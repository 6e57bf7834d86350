//! What a transport sees of its node: borrowed for one input, owned by nobody here.

use super::auth::Keys;
use super::bindings::Bindings;
use super::logical::Sessions;
use super::outgoing::Outgoing;
use super::report_log::ReportLog;
use crate::vocabulary::fix::{AckLevel, GateCause};
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::network::Address;
use crate::vocabulary::units::{Epoch, Index, Seq, Text};

/// What a transport borrows of its node for one input.
pub struct NodeView<'a> {
    /// The machine's sessions.
    pub sessions: &'a mut Sessions,
    /// All keys.
    pub keys: &'a Keys,
    /// Which connection carries which session.
    pub bindings: &'a mut Bindings,
    /// This connection's out-stream.
    pub out: &'a mut Outgoing,
    /// All reports.
    pub log: &'a ReportLog,
    /// The last record whose reports may be sent.
    pub released: Index,
    /// The gate, while it is shut.
    pub gate: Option<Closing>,
    /// Whether this node leads.
    pub is_primary: bool,
    /// Credentials that may still be checked in this turn.
    pub credential_checks_left: &'a mut u32,
    /// Where the peer is.
    pub peer: Address,
    /// A logon that is refused in this input, for the audit.
    pub failed: &'a mut Option<FailedLogon>,
}

/// A refused logon, as the audit is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailedLogon {
    /// The key it named, if that was well formed.
    pub key_id: Option<Text<32>>,
    /// Why, in our words.
    pub cause: &'static str,
}

/// A gate that is shut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// Why.
    pub cause: GateCause,
    /// Which closing of this node it is, from 1.
    pub count: u64,
}

/// What ReplicationStatus tells of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Leadership term.
    pub epoch: Epoch,
    /// Last committed record.
    pub commit: Index,
    /// Last record on disk.
    pub durable: Index,
    /// Members in sync, the leader included.
    pub isr_count: u8,
    /// What an acknowledgement promises.
    pub level: AckLevel,
}

impl NodeStatus {
    /// Whether more than positions moved since `earlier`: that is told at once.
    #[must_use]
    pub fn differs(&self, earlier: &Self) -> bool {
        (self.epoch, self.isr_count, self.level)
            != (earlier.epoch, earlier.isr_count, earlier.level)
    }

    /// The ReplicationStatus of a session that was sent reports up to `released_seq_no`.
    pub(super) fn message(&self, released_seq_no: Seq) -> SessionMessage<'static> {
        SessionMessage::ReplicationStatus {
            epoch: u64::from(self.epoch.0),
            released_seq_no,
            commit_index: self.commit.0,
            durable_index: self.durable.0,
            isr_count: self.isr_count,
            level: self.level.wire(),
        }
    }
}
