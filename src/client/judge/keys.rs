//! What was answered for each (owner, ClOrdID).
//!
//! Answers come through several sessions and in any order of reading, so they are ordered by the
//! journal index that caused them (ApplSeqNum). Of each kind of answer only the extreme index is
//! kept: what may not follow what is then a comparison of two indices.

use std::collections::HashMap;

use super::flow::Place;
use crate::vocabulary::fix::OrdStatus;
use crate::vocabulary::units::{ClOrdId, Index, OrderId, SessionId};

/// The owner's place, or a stand-in for a session that the journal does not know.
pub(super) type Owner = u32;

/// Where an answer was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Witness {
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) place: Place,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    /// First sent as an order.
    pub(super) ordered: Option<Witness>,
    /// First sent as a cancel.
    pub(super) canceled: Option<Witness>,
    /// Whether any outcome came.
    pub(super) is_answered: bool,
    /// The acceptance.
    pub(super) accepted: Option<(OrderId, Witness)>,
    /// Named as an order by a status; not an acceptance of its own.
    pub(super) known: Option<OrderId>,
    /// The first refusal for good, and its reason.
    pub(super) refused: Option<(Index, u16)>,
    /// The last refusal for now.
    pub(super) refused_for_now: Option<Index>,
    /// The last answer that no such order is known.
    pub(super) unknown: Option<Index>,
    /// The order's end, at the lowest index that told it.
    ended: Option<(Index, OrdStatus)>,
    /// The order's status at the highest index that told it.
    latest: Option<(Index, OrdStatus)>,
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: HashMap<(Owner, ClOrdId), Key>,
}

impl Keys {
    pub(super) fn entry(&mut self, owner: Owner, cl_ord_id: ClOrdId) -> &mut Key {
        self.keys.entry((owner, cl_ord_id)).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ClOrdId, &Key)> {
        self.keys.iter().map(|((_, id), key)| (*id, key))
    }
}

impl Key {
    /// An acceptance came; what it contradicts, if anything.
    pub(super) fn on_accepted(&mut self, order_id: OrderId, witness: Witness) -> Option<String> {
        let Some((earlier, first)) = self.accepted else {
            self.accepted = Some((order_id, witness));
            let known = self.known.filter(|known| *known != order_id)?;
            return Some(format!("accepted as order {order_id}, but known as order {known}"));
        };
        Some(format!(
            "accepted as order {order_id}, but as order {earlier} before (number {} of session {})",
            first.number, first.session
        ))
    }

    /// A refusal for good came; what it contradicts, if anything.
    pub(super) fn on_refused(&mut self, index: Index, reason: u16) -> Option<String> {
        let (at, first) = self.refused.unwrap_or((index, reason));
        self.refused = Some((at.min(index), first));
        (first != reason)
            .then(|| format!("refused for good with reason {reason}, but with {first} before"))
    }

    pub(super) fn on_refused_for_now(&mut self, index: Index) {
        self.refused_for_now = self.refused_for_now.max(Some(index));
    }

    pub(super) fn on_unknown(&mut self, index: Index) {
        self.unknown = self.unknown.max(Some(index));
    }

    /// A report told the order's status; what it contradicts, if anything. Reports of one record
    /// share an index and come in order.
    pub(super) fn on_status(&mut self, index: Index, status: OrdStatus) -> Option<String> {
        let is_end = match status {
            OrdStatus::Filled | OrdStatus::Canceled | OrdStatus::Expired => true,
            OrdStatus::New
            | OrdStatus::PartiallyFilled
            | OrdStatus::Replaced
            | OrdStatus::PendingCancel
            | OrdStatus::Rejected
            | OrdStatus::PendingNew => false,
        };
        if is_end && self.ended.is_none_or(|(at, _)| index < at) {
            self.ended = Some((index, status));
        }
        if self.latest.is_none_or(|(at, _)| index >= at) {
            self.latest = Some((index, status));
        }
        let ((at, end), (later, other)) = (self.ended?, self.latest?);
        (later > at && other != end)
            .then(|| format!("ended {end:?} at index {at}, but is told {other:?} at index {later}"))
    }

    /// What the answers contradict together, once all are known.
    pub(super) fn contradiction(&self) -> Option<String> {
        let accepted = self.accepted.map(|(id, _)| Index(id.0));
        let (refused, for_now, unknown) = (self.refused, self.refused_for_now, self.unknown);
        // A status is as good a witness that the order exists as its acceptance.
        let exists = accepted.or_else(|| self.known.map(|id| Index(id.0)));
        if let (Some(at), Some((refused, reason))) = (exists, refused) {
            return Some(format!(
                "accepted at index {at} and refused for good (reason {reason}) at {refused}"
            ));
        }
        if let (Some(at), Some(later)) = (accepted, for_now.max(unknown))
            && later > at
        {
            return Some(format!("accepted at index {at}, but denied at index {later}"));
        }
        if let (Some((at, _)), Some(later)) = (refused, for_now)
            && later > at
        {
            return Some(format!(
                "refused for good at index {at}, but only for now at index {later}"
            ));
        }
        None
    }
}
