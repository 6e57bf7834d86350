//! Counters of the hot thread: fixed ids and labels, one writer, any reader.
//!
//! The hot thread adds without a lock or a fence; a reader on another thread sees each counter as
//! of some moment, and counters of one event may differ by it. Nothing may read them to decide.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $label:literal),+ $(,)?) => {
        /// What is counted.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[repr(usize)]
        pub enum Counter {
            $($(#[$doc])* $name),+
        }

        impl Counter {
            /// All, in the order of their ids.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The label a reader shows.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label),+
                }
            }
        }
    };
}

counters! {
    /// Turns of the loop.
    Turns => "turns",
    /// Turns that found nothing to do.
    IdleTurns => "turns_idle",
    /// Records appended to the journal.
    Records => "records",
    /// Application messages journaled.
    Messages => "messages",
    /// Reports written to the report log.
    Reports => "reports",
    /// Repeated session numbers dropped.
    Repeats => "repeats_dropped",
    /// Application frames dropped behind a shut gate.
    GateDrops => "frames_dropped_by_gate",
    /// Connections accepted.
    Accepts => "connections_accepted",
    /// Connections refused because no slot was free.
    AcceptRefusals => "connections_refused",
    /// Connections without a session that were dropped for a new one.
    LogonDrops => "connections_dropped_before_logon",
    /// Connections ended by us or by a Terminate before they had a session.
    LogonRefusals => "logons_refused",
    /// Sessions established.
    Logons => "sessions_established",
    /// Transports that ended.
    Ends => "transports_ended",
    /// Sessions that were finished by both sides.
    Finals => "sessions_finished",
    /// Established sessions ended for a breach of the protocol.
    Breaches => "protocol_breaches",
    /// Connections closed because they read too slowly.
    SlowReaders => "slow_readers_closed",
    /// Octets received.
    BytesIn => "bytes_in",
    /// Octets sent.
    BytesOut => "bytes_out",
    /// Requests for reports to be sent again, refused ones included.
    Retransmissions => "retransmit_requests",
    /// Notices that the side thread had no room for.
    NoticesLost => "notices_lost",
    /// Connections now.
    Connections => "connections",
    /// Keys in the dedup table now.
    Keys => "keys",
    /// Open orders now.
    OpenOrders => "open_orders",
    /// Free octets of the journal ring now.
    JournalFree => "journal_bytes_free",
}

/// The counters, shared between the hot thread and its readers.
#[derive(Clone, Debug)]
pub struct Counters(Arc<[AtomicU64]>);

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// All at 0.
    #[must_use]
    pub fn new() -> Self {
        Self(Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds; for the hot thread alone.
    pub fn add(&self, counter: Counter, amount: u64) {
        let cell = &self.0[counter as usize];
        // One writer: a plain load and store is enough and costs no locked instruction.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Sets a level; for the hot thread alone.
    pub fn set(&self, counter: Counter, value: u64) {
        self.0[counter as usize].store(value, Ordering::Relaxed);
    }

    /// The value as of some moment.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_labels_are_unique() {
        let counters = Counters::new();
        for (id, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, id);
            counters.add(*counter, id as u64);
        }
        for (id, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(counters.get(*counter), id as u64);
            let same = Counter::ALL.iter().filter(|c| c.label() == counter.label()).count();
            assert_eq!(same, 1, "{}", counter.label());
        }
    }
}
