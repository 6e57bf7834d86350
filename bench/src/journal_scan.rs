//! Journal scan: how fast a journal is checked, without being understood.
//!
//! `verify` reads the file in pieces and checks checksum, chain, index and bounds of every record;
//! `open` is what a start does before it replays: look, map, fault in and lock the ring, and scan
//! it. The file is in the page cache. The floor is one CRC-32C pass, a record's length at a time,
//! over as many bytes in memory.

use std::hint::black_box;

use journal::{Journal, JournalOptions, Reader};

use crate::flow::{Flow, Shape};
use crate::journal_append::messages;
use crate::measure::Meter;
use crate::plan::{Fold, Plan};
use crate::row::Row;
use crate::scratch::Scratch;

const SHAPE: Shape =
    Shape { session_count: 1000, owner_count: 64, instrument_count: 64, working_count: 2000 };

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let ring_bytes = plan.pick(1 << 15, 1 << 24, 1 << 27);
    let scratch = Scratch::new();
    let mut journal = scratch.journal(ring_bytes);
    let burst = Flow::new(plan.seed, SHAPE).burst(plan.pick(100, 10_000, 100_000));
    let mut time = 0;
    for (session, message) in messages(&burst).iter().cycle() {
        time += 1000;
        if journal.ring.append(time, 1, 1, 0, session.0, message).is_err() {
            break;
        }
    }
    let (index, byte_count) = (journal.ring.last_index(), journal.ring.head().get());
    let record_count = usize::try_from(index).unwrap_or(0);
    let closed = journal.close(scratch.path());
    assert!(closed.is_ok(), "a temporary journal can be closed: {closed:?}");

    let bytes = vec![0x5a_u8; usize::try_from(byte_count).unwrap_or(0)];
    let record_bytes = bytes.len() / record_count;
    let (mut verify, mut open, mut floor) = (Meter::new(1), Meter::new(1), Meter::new(1));
    let mut fold = Fold::EMPTY;
    for _ in 0..plan.round_count {
        let (records, times) = verify.whole(record_count, || read(&scratch));
        assert!(records == index, "every record was read: {records} of {index}");
        fold.add(times);
        let options = JournalOptions::new(ring_bytes, 1);
        let journal = open.whole(record_count, || match Journal::open(scratch.path(), &options) {
            Ok(journal) => journal,
            Err(error) => panic!("a closed journal opens: {error}"),
        });
        assert!(journal.ring.last_index() == index, "every record was found");
        fold.add(u64::from(journal.ring.last_crc()));
        let closed = journal.close(scratch.path());
        assert!(closed.is_ok(), "an opened journal can be closed: {closed:?}");
        floor.whole(record_count, || {
            for record in bytes.chunks(record_bytes) {
                black_box(crc32c::crc32c(record));
            }
        });
    }
    let state = format!(
        "{index} records of the shared flow, {} MiB, {record_bytes} bytes each on average",
        byte_count >> 20
    );
    let what = "one CRC-32C pass over the same bytes";
    let row = |case: &str, meter| {
        Row::new("journal_scan", case, "record", meter, state.clone(), fold.0)
            .over(what, meter, &floor)
    };
    vec![
        row("verify", &verify).noting("plain reads of a file in the page cache"),
        row("open", &open).noting("mapping and faulting in included: its minor faults"),
    ]
}

/// Reads to the end. Returns how many records there are, and a sum that needs each of them.
fn read(scratch: &Scratch) -> (u64, u64) {
    let mut reader = match Reader::open(scratch.path()) {
        Ok(reader) => reader,
        Err(error) => panic!("a closed journal can be read: {error}"),
    };
    let (mut records, mut times) = (0, Fold::EMPTY);
    while let Ok(Some((_, record))) = reader.next() {
        records += 1;
        times.add(record.time ^ u64::from(record.crc));
    }
    (records, times.0)
}
