//! Wire, outbound: reports become frames.
//!
//! The reports are what the machine really answers to the shared flow: acceptances, trades of both
//! sides, cancels, late cancels, states of repeated orders, in the order in which they came. They
//! are written one behind the other into a buffer that fits the second-level cache.

use std::hint::black_box;

use journal::Ring;
use tidegate::engine::apply::Progress;
use tidegate::engine::outbox::{NoReports, Outbox};
use tidegate::limits::REPORT_BYTES_MAX;
use tidegate::replay;
use tidegate::vocabulary::event::{Event, Report};
use tidegate::wire::encode::encode_report;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::machine::{fill_messages, filled, ring_bytes};
use crate::measure::Meter;
use crate::node::found_machine;
use crate::plan::{Plan, Size};
use crate::row::Row;

const BATCH: usize = 64;

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let report_count = plan.pick(256, 4096, 4096);
    let pass_count = plan.pick(1, 5, 20);
    let reports = reports(plan, report_count);
    let mut out = vec![0; report_count * REPORT_BYTES_MAX];
    let mut meter = Meter::new(pass_count * report_count.div_ceil(BATCH));
    let mut hash = 0;
    for _ in 0..plan.round_count {
        let written = meter.round(|laps| {
            let mut written = 0;
            for _ in 0..pass_count {
                written = 0;
                for batch in black_box(&reports).chunks(BATCH) {
                    for report in batch {
                        written += encode_report(report, &mut out[written..]);
                    }
                    laps.end_batch(batch.len());
                }
                black_box(&mut out);
            }
            written
        });
        hash = xxh3_64_with_seed(&out[..written], hash);
    }
    let state = format!("{report_count} reports of the shared flow, as the machine made them");
    let row = Row::new("wire_encode", "mixed", "report", &meter, state, hash);
    vec![row.with_batches(BATCH, &meter)]
}

/// The last `count` reports of a small machine that has run for a while.
pub(crate) fn reports(plan: &Plan, count: usize) -> Vec<Report> {
    let small = Plan { size: plan.pick(Size::Tiny, Size::Quick, Size::Quick), ..*plan };
    let Ok(ring) = Ring::heap(ring_bytes(fill_messages(&small))) else {
        unreachable!("the size is a power of two in range")
    };
    let (node, _) = filled(&small, ring);
    let mut machine = found_machine(&node.ring);
    let (mut out, mut nowhere) = (Outbox::new(), NoReports::default());
    let mut reports = Vec::new();
    for (_, stored) in &node.ring {
        let Ok(record) = replay::read(&stored) else { unreachable!("a journal can be read") };
        let mut progress = machine.apply(&record, &mut out);
        loop {
            reports.extend(out.events().iter().filter_map(|event| match event {
                Event::Report { report, .. } => Some(*report),
                Event::Opened { .. }
                | Event::Bound { .. }
                | Event::Down { .. }
                | Event::Finishing { .. }
                | Event::Forgotten { .. } => None,
            }));
            machine.drain(&mut out, &mut nowhere);
            match progress {
                Ok(Progress::Done) => break,
                Ok(Progress::More) => progress = Ok(machine.resume(&mut out)),
                Err(error) => unreachable!("a journal replays: {error}"),
            }
        }
    }
    assert!(reports.len() >= count, "enough reports: {}", reports.len());
    reports.split_off(reports.len() - count)
}
