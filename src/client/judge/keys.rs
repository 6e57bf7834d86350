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
    /// The order's last status that was no end, at the highest index that told it.
    open: Option<(Index, OrdStatus)>,
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
    /// share an index and come in order. All ends that were told must be the same.
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
        if !is_end {
            self.open = self.open.filter(|(at, _)| *at > index).or(Some((index, status)));
        } else if let Some((at, end)) = self.ended.filter(|(_, end)| *end != status) {
            return Some(format!("ended {end:?} at index {at} and {status:?} at index {index}"));
        } else {
            self.ended = self.ended.filter(|(at, _)| *at <= index).or(Some((index, status)));
        }
        let ((at, end), (later, other)) = (self.ended?, self.open?);
        (later > at)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Histories are read one session after the other, so that reports come in any order of index.
    #[test]
    fn an_end_that_did_not_stay_is_seen_in_whatever_order_it_is_read() {
        use OrdStatus::{Canceled, Filled, New, PartiallyFilled};
        let check = |told: [(u64, OrdStatus); 3], is_honest: bool| {
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut key = Key::default();
                let found = order.map(|i| key.on_status(Index(told[i].0), told[i].1));
                let is_silent = found.iter().all(Option::is_none);
                assert_eq!(is_silent, is_honest, "{told:?} read as {order:?}");
            }
        };
        check([(5, New), (5, PartiallyFilled), (5, Filled)], true);
        check([(5, New), (7, Filled), (9, Filled)], true);
        check([(5, Filled), (7, New), (9, Filled)], false);
        check([(5, Filled), (7, Canceled), (9, Filled)], false);
        check([(5, Canceled), (7, Filled), (9, Filled)], false);
    }
}
