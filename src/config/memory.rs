//! What a configuration costs in memory, which is all taken at start-up.
//!
//! Each table tells its own size, by the function that stands beside its constructor, so that
//! `config check` can tell the sum before anything is built. A full table never grows: it refuses.
//! Left out is what no setting moves and nobody would miss: lists of a few octets a connection, the
//! threads' stacks.

use super::load::Config;
use crate::engine::book::{Book, BookArena, band_ticks};
use crate::engine::dedup::Dedup;
use crate::engine::orders::Orders;
use crate::engine::session_orders::SessionOrders;
use crate::limits;
use crate::session::logical::Sessions;
use crate::session::outgoing::Outgoing;
use crate::session::report_log::ReportLog;
use crate::session::transport::Transport;
use crate::vocabulary::event::Event;

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    /// What it is for.
    pub what: &'static str,
    /// The keys that change it.
    pub from: String,
    /// Bytes.
    pub bytes: u64,
}

impl Config {
    /// What is allocated at start-up, line by line.
    #[must_use]
    pub fn memory(&self) -> Vec<MemoryLine> {
        let (local, c) = (&self.local, &self.logical.capacities);
        let instruments = &self.logical.instruments;
        let report_ring = usize::try_from(local.report_ring_bytes).unwrap_or(usize::MAX);
        let reports = wide(ReportLog::bytes(report_ring, c.session_count_max));
        let connection =
            wide(limits::RECV_BUFFER_BYTES + size_of::<Outgoing>() + size_of::<Transport>());
        let events = wide(limits::OUTBOX_EVENTS_MAX * size_of::<Event>());
        let line = |what, from: String, bytes| MemoryLine { what, from, bytes };
        vec![
            line("journal ring", "journal_ring_bytes".to_owned(), local.journal_ring_bytes),
            line("report ring", "report_ring_bytes, and its index".to_owned(), reports),
            line(
                "keys",
                format!("key_count_max {}", c.key_count_max),
                Dedup::bytes(c.key_count_max),
            ),
            line(
                "sessions",
                format!(
                    "session_count_max {} x resend_window {}",
                    c.session_count_max, c.resend_window
                ),
                Sessions::bytes(c.session_count_max, c.resend_window)
                    + SessionOrders::bytes(c.session_count_max, 0),
            ),
            line(
                "orders",
                format!("order_count_max {}, and their places in books", c.order_count_max),
                Orders::bytes(c.order_count_max)
                    + SessionOrders::bytes(0, c.order_count_max)
                    + BookArena::bytes(c.order_count_max),
            ),
            line(
                "connections",
                format!("connection_count_max {} x {connection} B", local.connection_count_max),
                u64::from(local.connection_count_max) * connection,
            ),
            line(
                "books",
                format!("instruments {}, by the width of their limits", instruments.len()),
                instruments.iter().map(|i| Book::bytes(band_ticks(i))).sum(),
            ),
            line("outbox", format!("{} events", limits::OUTBOX_EVENTS_MAX), events),
        ]
    }

    /// The sum of [`Config::memory`]. No checked configuration comes near 2^64.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory().iter().map(|line| line.bytes).sum()
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::units::Px;

    #[test]
    fn the_default_run_stays_below_one_gibibyte() {
        let config = Config::demo();
        assert!(config.memory_bytes() <= 1 << 30, "{:#?}", config.memory());
        assert_eq!(config.memory().len(), 8);
    }

    /// Each setting doubles its line, give or take what the line holds besides, and no other. The
    /// report ring's index has a place a session.
    #[test]
    fn each_setting_moves_its_line() {
        let check = |what: &[&str], change: fn(&mut Config)| {
            let mut config = Config::demo();
            let before = config.memory();
            change(&mut config);
            for (old, new) in before.iter().zip(config.memory()) {
                let is_moved = what.contains(&new.what);
                assert_eq!(new.bytes > old.bytes, is_moved, "{what:?}: {}", new.what);
                let is_doubled = new.bytes * 100 / old.bytes >= 199;
                assert_eq!(is_doubled, what.first() == Some(&new.what), "{what:?}: {}", new.what);
            }
        };
        check(&["journal ring"], |c| c.local.journal_ring_bytes *= 2);
        check(&["report ring"], |c| c.local.report_ring_bytes *= 2);
        check(&["keys"], |c| c.logical.capacities.key_count_max *= 2);
        check(&["sessions"], |c| c.logical.capacities.resend_window *= 2);
        check(&["sessions", "report ring"], |c| c.logical.capacities.session_count_max *= 2);
        check(&["orders"], |c| c.logical.capacities.order_count_max *= 2);
        check(&["connections"], |c| c.local.connection_count_max *= 2);
        check(&["books"], |c| c.logical.instruments.extend_from_within(..));
    }

    /// The most instruments, with limits a factor of ten apart: 9,000 prices each.
    #[test]
    fn a_thousand_instruments_do_not_cost_gibibytes() {
        let mut config = Config::demo();
        let mut one = config.logical.instruments[0];
        one.tick = Px::try_new(Px::ONE.raw() / 100).unwrap();
        one.low_limit = Px::try_new(Px::ONE.raw() * 10).unwrap();
        one.high_limit = Px::try_new(Px::ONE.raw() * 100).unwrap();
        config.logical.instruments = vec![one; limits::INSTRUMENT_COUNT_MAX];
        let books = config.memory().into_iter().find(|line| line.what == "books").unwrap();
        assert!(books.bytes < 512 << 20, "{} bytes", books.bytes);
    }
}
