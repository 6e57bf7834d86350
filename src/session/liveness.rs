//! Whether the peer of a transport still lives, and what it needs to know that we do (ruling F24).
//!
//! Both sides announce an interval and send something at least that often. TCP reports a dead peer
//! only after minutes, and an idle one never; so silence is measured here:
//!
//! ```text
//! heard nothing for > 1 interval    one Sequence: it shows a dead line, and wakes a late peer
//! heard nothing for > 2.5 intervals, and > 2 intervals + 100 ms: the line is lost
//! sent nothing for our interval     one Sequence
//! ```
//!
//! Any octet counts in either direction. Client and server run the same rule with the intervals
//! swapped. Nothing here depends on the gate or on the market: an idle session outlives both. While
//! octets of the peer wait unread (a flood, a node that does not read) its silence means nothing,
//! and what we owe it is owed all the same.

use crate::limits::KEEPALIVE_MS_SERVER_MAX;
use crate::vocabulary::units::Nanos;

/// Least time beyond two intervals before a line counts as lost.
const LENIENCY_MIN: Nanos = Nanos(100 * Nanos::MILLI.0);

/// The keep-alive of one established transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Liveness {
    /// The peer's interval.
    theirs: Nanos,
    /// The interval that we announced.
    ours: Nanos,
    last_received: Nanos,
    last_sent: Nanos,
    /// Whether this silence was answered by a Sequence.
    is_probed: bool,
}

/// What the keep-alive wants now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pulse {
    /// Nothing.
    Nothing,
    /// Send a Sequence.
    Probe,
    /// Terminate(KeepaliveLapsed).
    Lapsed,
}

/// The interval in milliseconds that the server announces to a client with `client_ms`.
#[must_use]
pub const fn server_interval_ms(client_ms: u32) -> u32 {
    if client_ms < KEEPALIVE_MS_SERVER_MAX { client_ms } else { KEEPALIVE_MS_SERVER_MAX }
}

impl Liveness {
    /// A transport that was heard and served at `now`. Both intervals are positive.
    #[must_use]
    pub fn new(now: Nanos, theirs: Nanos, ours: Nanos) -> Self {
        assert!(theirs.0 > 0 && ours.0 > 0, "an interval of nothing lapses at once");
        Self { theirs, ours, last_received: now, last_sent: now, is_probed: false }
    }

    /// At least one octet came.
    pub const fn on_received(&mut self, now: Nanos) {
        self.last_received = now;
        self.is_probed = false;
    }

    /// At least one octet was handed to the socket.
    pub const fn on_sent(&mut self, now: Nanos) {
        self.last_sent = now;
    }

    /// What is due at `now`. A probe counts as sent: it is asked for once.
    pub fn on_timer(&mut self, now: Nanos) -> Pulse {
        let silence = now.since(self.last_received);
        if silence > self.lapse_after() {
            return Pulse::Lapsed;
        }
        let wants_answer = silence > self.theirs && !self.is_probed;
        let owes_sign = now.since(self.last_sent) >= self.ours;
        if wants_answer || owes_sign {
            self.is_probed |= wants_answer;
            self.last_sent = now;
            return Pulse::Probe;
        }
        Pulse::Nothing
    }

    /// What is due at `now` while octets of the peer wait to be read: it is not silent, whatever
    /// was heard last.
    pub fn on_timer_unread(&mut self, now: Nanos) -> Pulse {
        if now.since(self.last_sent) < self.ours {
            return Pulse::Nothing;
        }
        self.last_sent = now;
        Pulse::Probe
    }

    /// When [`Self::on_timer`] has something to say if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Nanos {
        let silence = if self.is_probed { self.lapse_after() } else { self.theirs };
        let heard = self.last_received.saturating_add(silence).saturating_add(Nanos(1));
        heard.min(self.last_sent.saturating_add(self.ours))
    }

    /// Whether nothing was heard for more than one interval (ruling F33).
    #[must_use]
    pub fn is_silent(&self, now: Nanos) -> bool {
        now.since(self.last_received) > self.theirs
    }

    /// Silence after which the line is lost, in nanoseconds.
    fn lapse_after(&self) -> Nanos {
        let two = self.theirs.saturating_add(self.theirs);
        two.saturating_add(LENIENCY_MIN.max(Nanos(self.theirs.0 / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step of a script: at a millisecond, something happens, and that is the next deadline in
    /// nanoseconds.
    #[derive(Clone, Copy)]
    enum Step {
        Received,
        Sent,
        Timer(Pulse),
        Unread(Pulse),
    }
    use Pulse::{Lapsed, Nothing, Probe};
    use Step::{Received, Sent, Timer, Unread};

    #[track_caller]
    fn check(theirs: u32, ours: u32, script: &[(u64, Step)]) {
        let ms = |n: u64| Nanos(n * Nanos::MILLI.0);
        let mut liveness =
            Liveness::new(Nanos(0), Nanos::from_millis(theirs), Nanos::from_millis(ours));
        for (row, &(at, step)) in script.iter().enumerate() {
            match step {
                Received => liveness.on_received(ms(at)),
                Sent => liveness.on_sent(ms(at)),
                Unread(pulse) => {
                    assert_eq!(liveness.on_timer_unread(ms(at)), pulse, "row {row}");
                }
                Timer(pulse) => {
                    let is_due = liveness.next_deadline() <= ms(at);
                    assert_eq!(is_due, pulse != Nothing, "deadline at row {row}");
                    assert_eq!(liveness.on_timer(ms(at)), pulse, "row {row}");
                }
            }
        }
    }

    #[test]
    fn silence_is_probed_once_and_lapses() {
        check(
            1000,
            10_000,
            &[
                (1000, Timer(Nothing)), // not more than one interval
                (1001, Timer(Probe)),
                (1002, Timer(Nothing)), // one probe a silence
                (2400, Received),       // one octet is enough
                (3400, Timer(Nothing)),
                (3401, Timer(Probe)),
                (4900, Timer(Nothing)), // 2.5 intervals, not more
                (4901, Timer(Lapsed)),
                (9999, Timer(Lapsed)),
            ],
        );
    }

    #[test]
    fn a_short_interval_has_100_ms_of_leniency() {
        check(100, 10_000, &[(101, Timer(Probe)), (300, Timer(Nothing)), (301, Timer(Lapsed))]);
        check(200, 10_000, &[(201, Timer(Probe)), (500, Timer(Nothing)), (501, Timer(Lapsed))]);
    }

    #[test]
    fn we_send_within_our_own_interval() {
        check(
            60_000,
            1000,
            &[
                (999, Timer(Nothing)),
                (1000, Timer(Probe)),
                (1001, Timer(Nothing)),
                (1500, Sent),
                (2499, Timer(Nothing)),
                (2500, Timer(Probe)),
                (3500, Timer(Probe)), // again, whatever was heard
            ],
        );
    }

    #[test]
    fn what_waits_unread_is_no_silence_and_pays_nothing() {
        check(
            100,
            1000,
            &[
                (999, Unread(Nothing)), // ten intervals of the peer
                (1000, Unread(Probe)),
                (1001, Unread(Nothing)),
                (2000, Unread(Probe)),
                (2001, Timer(Lapsed)), // nothing waits after all
                (2002, Received),
                (2003, Timer(Nothing)),
            ],
        );
    }

    #[test]
    fn the_first_to_be_due_asks_and_serves_for_both() {
        check(
            1000,
            1000,
            &[
                (1000, Timer(Probe)), // ours; the peer is silent for exactly its interval
                (1001, Timer(Probe)), // now the peer is asked too
                (1500, Received),
                (2001, Timer(Probe)),
                (2400, Timer(Nothing)),
            ],
        );
    }

    #[test]
    fn a_clock_that_stands_or_is_huge_is_harmless() {
        let mut liveness = Liveness::new(Nanos(u64::MAX - 5), Nanos(u64::MAX), Nanos(u64::MAX));
        assert_eq!(liveness.on_timer(Nanos(0)), Nothing);
        assert_eq!(liveness.next_deadline(), Nanos(u64::MAX));
        assert!(!liveness.is_silent(Nanos(0)));
        assert_eq!(server_interval_ms(100), 100);
        assert_eq!(server_interval_ms(60_000), 10_000);
    }
}
