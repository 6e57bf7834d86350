//! What a configuration costs in memory, which is all taken at start-up.
//!
//! The tables are built in other folders; what stands here is their size an entry, so that
//! `config check` can tell the sum before anything is built. A full table never grows: it refuses.

use super::load::Config;
use crate::limits;
use crate::vocabulary::event::Event;

/// A key with its share of the map: 96 B of ring, two slots of 8 B at load 1/2 (engine/dedup.rs).
const KEY_BYTES: u64 = 96 + 2 * 8;
/// A logical session without its window (session/logical.rs).
const SESSION_BYTES: u64 = 200;
/// A remembered request: ClOrdID and what became of it (session/logical.rs).
const RESEND_ENTRY_BYTES: u64 = 9;
/// An open order (engine/orders.rs).
const ORDER_BYTES: u64 = 160;
/// Its place in a queue of the book (engine/book.rs).
const NODE_BYTES: u64 = 32;
/// Price levels of a side that are found by index, and the bytes of each (engine/book.rs).
const BAND_LEVELS: u64 = 1 << 18;
const LEVEL_BYTES: u64 = 8;
const SIDES: u64 = 2;

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    /// What it is for.
    pub what: &'static str,
    /// How it is computed, with the keys that change it.
    pub from: String,
    /// Bytes.
    pub bytes: u64,
}

impl Config {
    /// What is allocated at start-up, line by line.
    #[must_use]
    pub fn memory(&self) -> Vec<MemoryLine> {
        let (local, c) = (&self.local, &self.logical.capacities);
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let session = u64::from(c.resend_window) * RESEND_ENTRY_BYTES + SESSION_BYTES;
        let order = ORDER_BYTES + NODE_BYTES;
        let (event, buffer) = (wide(size_of::<Event>()), wide(limits::RECV_BUFFER_BYTES));
        let (events, instruments) = (
            wide(limits::OUTBOX_EVENTS_MAX),
            wide(self.logical.instruments.len()),
        );
        let line = |what, from: String, bytes| MemoryLine { what, from, bytes };
        vec![
            line(
                "journal ring",
                "journal_ring_bytes".to_owned(),
                local.journal_ring_bytes,
            ),
            line(
                "report ring",
                "report_ring_bytes".to_owned(),
                local.report_ring_bytes,
            ),
            line(
                "keys",
                format!("key_count_max {} x {KEY_BYTES} B", c.key_count_max),
                u64::from(c.key_count_max) * KEY_BYTES,
            ),
            line(
                "sessions",
                format!(
                    "session_count_max {} x (resend_window {} x {RESEND_ENTRY_BYTES} B + \
                     {SESSION_BYTES} B)",
                    c.session_count_max, c.resend_window
                ),
                u64::from(c.session_count_max) * session,
            ),
            line(
                "orders",
                format!("order_count_max {} x {order} B", c.order_count_max),
                u64::from(c.order_count_max) * order,
            ),
            line(
                "receive buffers",
                format!(
                    "connection_count_max {} x {buffer} B",
                    local.connection_count_max
                ),
                u64::from(local.connection_count_max) * buffer,
            ),
            line(
                "book bands",
                format!(
                    "instruments {instruments} x {SIDES} sides x {BAND_LEVELS} levels x \
                     {LEVEL_BYTES} B"
                ),
                instruments * SIDES * BAND_LEVELS * LEVEL_BYTES,
            ),
            line(
                "outbox",
                format!("{events} events x {event} B"),
                events * event,
            ),
        ]
    }

    /// The sum of [`Config::memory`]. No checked configuration comes near 2^64.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory().iter().map(|line| line.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_run_stays_below_one_gibibyte() {
        let config = Config::demo();
        assert!(config.memory_bytes() <= 1 << 30, "{:#?}", config.memory());
        assert_eq!(config.memory().len(), 8);
    }

    #[test]
    fn each_setting_moves_its_line() {
        let check = |what: &str, change: fn(&mut Config)| {
            let mut config = Config::demo();
            let before = config.memory();
            change(&mut config);
            for (old, new) in before.iter().zip(config.memory()) {
                let factor = if old.what == what { 2 } else { 1 };
                assert_eq!(new.bytes, factor * old.bytes, "{what}: {}", new.what);
            }
        };
        check("journal ring", |c| c.local.journal_ring_bytes *= 2);
        check("report ring", |c| c.local.report_ring_bytes *= 2);
        check("keys", |c| c.logical.capacities.key_count_max *= 2);
        check("sessions", |c| c.logical.capacities.session_count_max *= 2);
        check("orders", |c| c.logical.capacities.order_count_max *= 2);
        check("receive buffers", |c| c.local.connection_count_max *= 2);
        check("book bands", |c| {
            c.logical.instruments.extend_from_within(..);
        });
    }
}
