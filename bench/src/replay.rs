//! Replay: a journal becomes the state again, as at a start or on a standby.
//!
//! The journal is one that `machine` made. Each round takes a new machine and a new report log
//! through every record of it and must arrive at the live machine's digests, of the state and of
//! every report ever sent. Building the empty tables and books is outside the window (a start pays
//! it once, whatever the journal holds), checksums too: `journal_scan` measures them.

use journal::Ring;
use tidegate::engine::outbox::{Outbox, ReportSink};
use tidegate::replay;
use tidegate::session::report_log::ReportLog;
use tidegate::vocabulary::event::Event;
use tidegate::vocabulary::units::{Index, Seq, SessionIdx};

use crate::machine::{fill_messages, filled, ring_bytes};
use crate::measure::Meter;
use crate::node::found_machine;
use crate::plan::Plan;
use crate::row::Row;

const BATCH: usize = 256;
/// A replay takes seconds; more rounds than this tell nothing new.
const ROUND_COUNT_MAX: usize = 7;

struct Rebuild(ReportLog);

impl ReportSink for Rebuild {
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8] {
        self.0.append(session, number, index, len)
    }

    fn logon(&mut self, _: Index, _: &Event) {}
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let Ok(ring) = Ring::heap(ring_bytes(fill_messages(plan))) else {
        unreachable!("the size is a power of two in range")
    };
    let (node, _) = filled(plan, ring);
    let (state_digest, output_digest) = (node.machine.state_digest(), node.machine.output_digest());
    let record_count = usize::try_from(node.ring.last_index()).unwrap_or(0) - node.setting_count;
    let mut meter = Meter::new(record_count.div_ceil(BATCH));
    let mut out = Outbox::new();
    for _ in 0..plan.round_count.min(ROUND_COUNT_MAX) {
        let mut machine = found_machine(&node.ring);
        let session_count = machine.capacities().session_count_max;
        let mut sink = Rebuild(ReportLog::heap(node.log.size(), session_count));
        let mut records = node.ring.iter();
        // The books are built by the records of the settings.
        for (_, stored) in records.by_ref().take(node.setting_count) {
            let applied = replay::apply(&mut machine, &stored, &mut out, &mut sink);
            assert!(applied.is_ok(), "a journal replays: {applied:?}");
        }
        meter.round(|laps| {
            let mut in_batch = 0;
            for (_, stored) in records {
                let applied = replay::apply(&mut machine, &stored, &mut out, &mut sink);
                assert!(applied.is_ok(), "a journal replays: {applied:?}");
                in_batch += 1;
                if in_batch == BATCH {
                    laps.end_batch(BATCH);
                    in_batch = 0;
                }
            }
            if in_batch > 0 {
                laps.end_batch(in_batch);
            }
        });
        assert!(machine.state_digest() == state_digest, "the state is the live one");
        assert!(machine.output_digest() == output_digest, "the reports are the live ones");
        assert!(sink.0.head() == node.log.head(), "the report log is the live one");
    }
    let state = format!("from empty tables to {}", node.state());
    let row = Row::new("replay", "full state", "record", &meter, state, output_digest);
    vec![row.with_batches(BATCH, &meter).noting(
        "journal in memory, checksums not computed again; state and output digests were equal",
    )]
}
