//! The probe: one client, one request in flight, every round trip into an HDR histogram.
//!
//! Window 1 answers one question only: how long does a lone order take from send to
//! acknowledgement? It says nothing about load (a closed loop waits with the server it measures),
//! so no throughput is derived from it. A slice is a fresh connection, a logon, warm-up requests
//! that are not recorded, then the recorded ones. Encoding happens before the clock is read;
//! the send call, both kernels' paths, the server and the receive call are inside.

use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock;
use crate::error::PerfError;
use crate::exchange::Exchange;
use crate::idle::Idle;
use crate::link::Link;

/// Largest latency kept as it is, in ns; above it counts as this (an answer is refused at 5 s).
const LATENCY_NS_MAX: u64 = 10_000_000_000;
/// Significant decimal digits: at 10 us a step is 8 ns, a thousandth.
const DIGITS: u8 = 3;

/// How much one slice does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlicePlan {
    /// Unrecorded requests at its start.
    pub(crate) warm_up_count: u64,
    /// Recorded requests, at least 1.
    pub(crate) order_count: u64,
    /// What the client does while it waits.
    pub(crate) idle: Idle,
}

/// The percentiles of one slice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slice {
    /// Round trips in it.
    pub(crate) count: u64,
    /// Half of them took at most this.
    pub(crate) p50: Duration,
    /// Nine in ten.
    pub(crate) p90: Duration,
    /// 99 in 100.
    pub(crate) p99: Duration,
    /// 999 in 1,000.
    pub(crate) p999: Duration,
    /// All.
    pub(crate) max: Duration,
}

impl Slice {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(histogram.max()),
        }
    }
}

/// A client of one server.
pub(crate) struct Probe {
    exchange: Box<dyn Exchange>,
    index_next: u64,
    slice: Histogram<u64>,
    whole: Histogram<u64>,
}

impl Probe {
    /// A probe that speaks `exchange`.
    pub(crate) fn new(exchange: Box<dyn Exchange>) -> Self {
        Self { exchange, index_next: 1, slice: empty_histogram(), whole: empty_histogram() }
    }

    /// One slice against the server at `address`.
    pub(crate) fn measure(
        &mut self,
        address: SocketAddr,
        plan: SlicePlan,
    ) -> Result<Slice, PerfError> {
        assert!(plan.order_count > 0);
        self.slice.reset();
        let mut link = Link::connect(address, plan.idle)?;
        self.exchange.open(&mut link)?;
        let mut request = Vec::with_capacity(crate::floor::MESSAGE_BYTES_MAX);
        for position in 0..plan.warm_up_count + plan.order_count {
            request.clear();
            self.exchange.settle(&mut link)?;
            self.exchange.encode_request(self.index_next, &mut request);
            self.index_next += 1;
            let sent_at = clock::now();
            link.send(&request)?;
            link.await_answer(|received| self.exchange.try_complete(received))?;
            let latency = clock::now().duration_since(sent_at);
            if position >= plan.warm_up_count {
                let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
                self.slice.saturating_record(nanos.max(1));
            }
        }
        self.exchange.close(&mut link)?;
        assert_eq!(self.slice.len(), plan.order_count);
        let added = self.whole.add(&self.slice);
        assert!(added.is_ok(), "both histograms have the same bounds");
        Ok(Slice::of(&self.slice))
    }

    /// Everything recorded so far, in ns.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.whole
    }
}

fn empty_histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("1 < max, digits <= 5")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Echo;
    use crate::floor::{Floor, FloorKind, Sizes};
    use std::net::TcpListener;

    fn check(kind: FloorKind) {
        let sizes = Sizes::ORDER_PATH;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let floor = Floor { kind, idle: Idle::Yield, sizes };
        let server = std::thread::spawn(move || floor.serve(&listener, 2));
        let mut probe = Probe::new(Box::new(Echo::new(sizes)));
        let plan = SlicePlan { warm_up_count: 5, order_count: 40, idle: Idle::Yield };
        for slice_count in 1..=2 {
            let slice = probe.measure(address, plan).unwrap();
            assert_eq!(slice.count, 40);
            assert!(slice.p50 > Duration::ZERO);
            assert!(slice.p50 <= slice.p90 && slice.p90 <= slice.p99 && slice.p99 <= slice.max);
            assert_eq!(probe.histogram().len(), 40 * slice_count);
        }
        assert_eq!(probe.index_next, 91); // warm-up requests have numbers too
        server.join().unwrap().unwrap();
    }

    #[test]
    fn both_floors_answer_over_loopback_with_the_yielding_idle() {
        check(FloorKind::F0);
        check(FloorKind::F1);
    }

    #[test]
    fn a_server_that_hangs_up_or_answers_wrongly_is_an_error() {
        // A row: how many bytes of reply the server's own sizes produce, against 116 expected.
        for (server_reply_bytes, expected) in [(116 + 8, "echo reply"), (116, "")] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let sizes = Sizes { reply_bytes: server_reply_bytes, ..Sizes::ORDER_PATH };
            let floor = Floor { kind: FloorKind::F0, idle: Idle::Yield, sizes };
            let server = std::thread::spawn(move || floor.serve(&listener, 1));
            let mut probe = Probe::new(Box::new(Echo::new(Sizes::ORDER_PATH)));
            let plan = SlicePlan { warm_up_count: 0, order_count: 3, idle: Idle::Yield };
            let outcome = probe.measure(address, plan);
            server.join().unwrap().unwrap();
            let said = outcome.err().map_or_else(String::new, |error| error.to_string());
            assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
            assert!(said.starts_with(expected), "{said}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || drop(listener.accept()));
        let mut probe = Probe::new(Box::new(Echo::new(Sizes::ORDER_PATH)));
        let plan = SlicePlan { warm_up_count: 0, order_count: 3, idle: Idle::Yield };
        assert!(probe.measure(address, plan).is_err());
        server.join().unwrap();
    }
}
