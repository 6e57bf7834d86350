//! Catalogue: every bench, in the order in which an order meets the concepts.
//!
//! One bench a concept, one concept a file. The tests here run all of them at their tiny size: the
//! result of a bench is a function of its seed, so the same seed must give the same hashes and
//! another seed others; a bench whose hash does not change with the seed measures nothing.

use crate::plan::Plan;
use crate::row::Row;
use crate::{
    book, dedup, journal_append, journal_persist, journal_scan, machine, replay, report_log,
    session_admit, wire_decode, wire_encode,
};

/// One bench.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Plan) -> Vec<Row>,
}

#[rustfmt::skip]
pub(crate) const BENCHES: [Bench; 11] = [
    bench("wire_decode",    "octets of a receive buffer become requests",  wire_decode::run),
    bench("session_admit",  "the number of a message, judged and applied", session_admit::run),
    bench("journal_append", "a record into the mapped ring (goal 10)",     journal_append::run),
    bench("journal_persist", "an append while the disk works",             journal_persist::run),
    bench("dedup",          "a key through its table (goal 7)",            dedup::run),
    bench("book",           "matching in six kinds of market (goal 9)",    book::run),
    bench("wire_encode",    "reports become frames",                       wire_encode::run),
    bench("report_log",     "reports appended, and read by cursors",       report_log::run),
    bench("machine",        "the whole path without sockets (goals 3, 4)", machine::run),
    bench("replay",         "a journal becomes the state again (goal 17)", replay::run),
    bench("journal_scan",   "a journal is checked (goal 18)",              journal_scan::run),
];

const fn bench(name: &'static str, what: &'static str, run: fn(&Plan) -> Vec<Row>) -> Bench {
    Bench { name, what, run }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Size;

    #[test]
    fn every_bench_gives_the_same_results_for_a_seed_and_others_for_another() {
        for bench in &BENCHES {
            let run = |seed| {
                let plan = Plan { seed, size: Size::Tiny, is_large: false, round_count: 2 };
                let rows = (bench.run)(&plan);
                assert!(!rows.is_empty(), "{} measures something", bench.name);
                assert!(rows.iter().all(|row| row.bench == bench.name), "{}", bench.name);
                rows.iter().map(|row| (row.case.clone(), row.hash.clone())).collect::<Vec<_>>()
            };
            let (first, again, other) = (run(1), run(1), run(2));
            assert_eq!(first, again, "{}", bench.name);
            for (one, other) in first.iter().zip(&other) {
                assert_eq!(one.0, other.0, "{}", bench.name);
                assert_ne!(one.1, other.1, "{} / {}: the seed changes nothing", bench.name, one.0);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        for (at, bench) in BENCHES.iter().enumerate() {
            assert!(BENCHES[..at].iter().all(|other| other.name != bench.name), "{}", bench.name);
        }
    }
}
