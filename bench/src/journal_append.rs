//! Journal append: what the hot thread pays so that a record outlives the process.
//!
//! Each round fills a new ring of four segments to its end, three rolls and their pads included,
//! with the messages of the shared flow. The floor does the least that is possible: it copies the
//! same bytes, header and payload, to memory that was faulted in before, and computes one CRC-32C
//! over them. Both walk through memory much larger than the last-level cache's share of a core.
//! Minor faults of the thread are counted: a mapped ring that was pre-faulted has none.

use std::hint::black_box;

use journal::{HEADER_BYTES, Ring, record_bytes};
use tidegate::vocabulary::units::SessionIdx;

use crate::flow::{Burst, Flow, Shape};
use crate::measure::{Laps, Meter, count};
use crate::plan::{Fold, Plan};
use crate::row::Row;
use crate::scratch::Scratch;

const BATCH: usize = 64;
const SHAPE: Shape =
    Shape { session_count: 1000, owner_count: 64, instrument_count: 64, working_count: 2000 };

/// Where the ring is made.
type Place = fn() -> Option<Scratch>;
const CASES: [(&str, &str, Place); 2] = [
    ("mapped file", "in the directory for temporary files", || Some(Scratch::new())),
    ("mapped memory", "in /dev/shm: nothing is written back", Scratch::in_memory),
];

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let ring_bytes = plan.pick(1 << 15, 1 << 23, 1 << 26);
    let burst = Flow::new(plan.seed, SHAPE).burst(plan.pick(100, 10_000, 10_000));
    let messages = messages(&burst);
    let batch_count_max = usize::try_from(ring_bytes / (HEADER_BYTES * 64)).unwrap_or(0) + 1;
    let mut store = Store::new(ring_bytes);
    let mut rows = Vec::new();
    for (case, note, scratch) in CASES {
        let (mut append, mut floor) = (Meter::new(batch_count_max), Meter::new(batch_count_max));
        let (mut fold, mut record_count) = (Fold::EMPTY, 0);
        for _ in 0..plan.round_count {
            let Some(scratch) = scratch() else { continue };
            let mut ring = scratch.journal(ring_bytes).ring;
            let appended = append.round(|laps| fill(&mut ring, &messages, laps));
            record_count = ring.last_index();
            fold.add(u64::from(ring.last_crc()) ^ record_count << 32);
            fold.add(floor.round(|laps| store.fill(&messages, appended, laps)));
        }
        if append.round_count() == 0 {
            continue;
        }
        let state = format!(
            "{record_count} records of the shared flow fill a new ring of {} KiB: 3 segment rolls \
             a round",
            ring_bytes / 1024
        );
        let what = "plain store and one CRC-32C pass of the same bytes";
        let row = Row::new("journal_append", case, "record", &append, state, fold.0);
        rows.push(row.over(what, &append, &floor).with_batches(BATCH, &append).noting(note));
    }
    rows
}

/// What is journaled of each frame: all but its SOFH.
pub(crate) fn messages(burst: &Burst) -> Vec<(SessionIdx, &[u8])> {
    let mut octets = &burst.frames[..];
    let one = |&session: &SessionIdx| {
        let Ok(Some((frame, length))) = tidegate::wire::frame::split(octets, 2048) else {
            unreachable!("the flow makes whole frames")
        };
        octets = octets.split_at(length).1;
        (session, frame.sbe())
    };
    burst.sessions.iter().map(one).collect()
}

/// Appends messages until the ring is full. Returns how many.
fn fill(ring: &mut Ring, messages: &[(SessionIdx, &[u8])], laps: &mut Laps<'_>) -> usize {
    let (mut time, mut in_batch, mut appended) = (0, 0, 0);
    for (session, message) in messages.iter().cycle() {
        time += 1000;
        if ring.append(time, 1, 1, 0, session.0, message).is_err() {
            break;
        }
        appended += 1;
        in_batch += 1;
        if in_batch == BATCH {
            laps.end_batch(BATCH);
            in_batch = 0;
        }
    }
    if in_batch > 0 {
        laps.end_batch(in_batch);
    }
    appended
}

/// The floor.
struct Store {
    bytes: Vec<u8>,
}

impl Store {
    fn new(len: u64) -> Self {
        let mut bytes = vec![0xff; usize::try_from(len).unwrap_or(0)];
        // Hidden, or the compiler joins both fills into one of zeros and leaves that to the
        // allocator, which leaves it to the first store.
        black_box(&mut bytes).fill(0);
        Self { bytes }
    }

    /// Stores as many records as the ring took, one CRC each. Returns the CRCs, folded.
    fn fill(
        &mut self,
        messages: &[(SessionIdx, &[u8])],
        record_count: usize,
        laps: &mut Laps<'_>,
    ) -> u64 {
        let (mut at, mut in_batch) = (0, 0);
        let (mut crc, mut fold) = (0_u32, Fold::EMPTY);
        let header = usize::try_from(HEADER_BYTES).unwrap_or(0);
        let messages = messages.iter().cycle().zip(1_u64..).take(record_count);
        for ((session, message), index) in messages {
            let size = usize::try_from(record_bytes(count(message.len()))).unwrap_or(0);
            let record = &mut self.bytes[at..at + size];
            let (head, payload) = record.split_at_mut(header);
            head[4..8].copy_from_slice(&crc.to_le_bytes());
            head[8..16].copy_from_slice(&index.to_le_bytes());
            head[16..24].copy_from_slice(&(index * 1000).to_le_bytes());
            head[32..36].copy_from_slice(&session.0.to_le_bytes());
            payload[..message.len()].copy_from_slice(message);
            payload[message.len()..].fill(0);
            crc = crc32c::crc32c(&record[4..]);
            record[..4].copy_from_slice(&crc.to_le_bytes());
            fold.add(u64::from(crc));
            at += size;
            in_batch += 1;
            if in_batch == BATCH {
                laps.end_batch(BATCH);
                in_batch = 0;
            }
        }
        if in_batch > 0 {
            laps.end_batch(in_batch);
        }
        fold.0
    }
}
