//! Journal persist: what the hot thread feels of the disk behind it.
//!
//! Records are appended one by one at a steady rate into a ring in memory, while a persister copies
//! them to segments in the directory for temporary files and syncs each group, and a preparer makes
//! the segments ahead, both on threads of their own as in the program. The floor is the same
//! appends without the two. Every append is clocked alone, so the clock is in each figure. Appends
//! that fill a segment, with the pad and the step into the next one, have a row of their own: a
//! roll must be invisible.
//!
//! On a machine with few cores the three threads meet, and the worst figures are the scheduler's.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::{DirStorage, Journal, Persisted, Prepared, Ring, RingFile};
use tidegate::vocabulary::units::SessionIdx;

use crate::flow::{Flow, Shape};
use crate::journal_append::messages;
use crate::measure::{Laps, Meter};
use crate::plan::{Fold, Plan};
use crate::row::Row;
use crate::scratch::Scratch;

const SHAPE: Shape =
    Shape { session_count: 1000, owner_count: 64, instrument_count: 64, working_count: 2000 };
/// Steps of a loop between two appends, about two microseconds: half a million records a second.
const PAUSE_STEPS: u32 = 200;

/// What one round saw.
#[derive(Default)]
struct Seen {
    fold: u64,
    rolls: usize,
    lag_bytes_max: u64,
    waits: u64,
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let Some(hot) = Scratch::in_memory() else { return Vec::new() };
    let ring_bytes = plan.pick(1 << 15, 1 << 22, 1 << 25);
    let record_count = plan.pick(400, 20_000, 200_000);
    let burst = Flow::new(plan.seed, SHAPE).burst(plan.pick(100, 10_000, 10_000));
    let messages = messages(&burst);
    let (mut alone, mut beside) = (Meter::new(record_count), Meter::new(record_count));
    let (mut roll_alone, mut roll) = (Meter::new(record_count), Meter::new(record_count));
    let (mut seen, mut lag, mut waits) = (Seen::default(), 0, 0);
    for _ in 0..plan.round_count {
        // Everything in the ring: it is as large as all records.
        let all = (ring_bytes * 16).max(1 << 17);
        let scratch = Scratch::new();
        let mut ring = scratch.journal_in(&hot, all).ring;
        seen = round(&mut ring, &messages, record_count, (&mut alone, &mut roll_alone), ring_bytes);
        drop(scratch);
        let scratch = Scratch::new();
        let journal = scratch.journal_in(&hot, ring_bytes);
        let found = persisted(journal, &scratch, |ring| {
            round(ring, &messages, record_count, (&mut beside, &mut roll), ring_bytes)
        });
        lag = lag.max(found.lag_bytes_max);
        waits += found.waits;
    }
    let state = format!(
        "{record_count} records of the shared flow at half a million a second, ring of {} KiB in \
         memory",
        ring_bytes / 1024
    );
    let note = format!(
        "segments in the directory for temporary files; most bytes not yet on the disk: {} KiB; \
         waited {waits} times for the persister",
        lag / 1024
    );
    let row = |case: &str, own: &Meter, floor: &Meter| {
        Row::new("journal_persist", case, "record", own, state.clone(), seen.fold)
            .over("the same without a persister", own, floor)
            .with_batches(1, own)
            .noting(note.clone())
    };
    let mut rows = vec![row("store", &beside, &alone)];
    if seen.rolls > 0 {
        rows.push(row("roll", &roll, &roll_alone));
    }
    rows
}

/// Runs `body` on the ring of a journal whose persister and preparer work.
fn persisted(journal: Journal, scratch: &Scratch, body: impl FnOnce(&mut Ring) -> Seen) -> Seen {
    let Journal { mut ring, mut persister, mut preparer, .. } = journal;
    let file = ring.path().and_then(|path| RingFile::open(path).ok());
    let Some(file) = file else { unreachable!("a journal in a directory has a ring file") };
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut storage = DirStorage::new(scratch.path());
            while !is_done.load(Ordering::Acquire) {
                match persister.step(&mut storage, &file) {
                    Persisted::Group(_) => {}
                    Persisted::Nothing | Persisted::WaitsForSegment => pause(),
                    Persisted::Poisoned => panic!("the disk for temporary files failed"),
                }
            }
        });
        threads.spawn(|| {
            let mut storage = DirStorage::new(scratch.path());
            while !is_done.load(Ordering::Acquire) {
                if preparer.step(&mut storage) != Prepared::Piece || !preparer.is_waited_for() {
                    pause();
                }
            }
        });
        let seen = body(&mut ring);
        is_done.store(true, Ordering::Release);
        seen
    })
}

/// Appends all records, each clocked alone; those that cross a segment also by `meters.1`.
fn round(
    ring: &mut Ring,
    messages: &[(SessionIdx, &[u8])],
    record_count: usize,
    meters: (&mut Meter, &mut Meter),
    ring_bytes: u64,
) -> Seen {
    let segment_bytes = ring_bytes / journal::SEGMENTS;
    let (store, roll) = meters;
    store.round(|laps| {
        roll.round_or_none(|roll_laps| {
            fill(ring, messages, record_count, (laps, roll_laps), segment_bytes)
        })
    })
}

fn fill(
    ring: &mut Ring,
    messages: &[(SessionIdx, &[u8])],
    record_count: usize,
    (laps, roll_laps): (&mut Laps<'_>, &mut Laps<'_>),
    segment_bytes: u64,
) -> Seen {
    let mut seen = Seen::default();
    let mut fold = Fold::EMPTY;
    let mut time = 0;
    for (session, message) in messages.iter().cycle().take(record_count) {
        time += 1000;
        for step in 0..PAUSE_STEPS {
            black_box(step);
        }
        while ring.free_bytes() < 2 * journal::RECORD_BYTES_MAX {
            seen.waits += 1;
            std::thread::yield_now();
        }
        let before = ring.head().get() / segment_bytes;
        laps.restart();
        roll_laps.restart();
        let appended = ring.append(time, 1, 1, 0, session.0, message);
        // Whichever row it belongs to: the other one begins anew with the next record.
        if ring.head().get() / segment_bytes == before {
            laps.end_batch(1);
        } else {
            roll_laps.end_batch(1);
            seen.rolls += 1;
        }
        assert!(appended.is_ok(), "there was room: {appended:?}");
        fold.add(u64::from(session.0) ^ time);
        seen.lag_bytes_max = seen.lag_bytes_max.max(ring.lag_bytes());
    }
    seen.fold = fold.0;
    seen
}

/// A look of a side thread that found nothing.
#[expect(clippy::disallowed_methods, reason = "a side thread polls, as in the program")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(1));
}
