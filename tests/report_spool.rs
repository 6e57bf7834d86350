//! The report log and its spool: every report reaches the disk, once, and can be read back.
//!
//! A history is a seed: session, number, index and frame of each report follow from it, so that a
//! second start makes the same reports as the first.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::mpsc::TryRecvError;

use journal::faulty::{Effect, Fault, Faults, FaultyStorage, OperationKind};
use journal::{
    MemoryStorage, PageFate, PieceRead, Position, Region, Spool, SpoolFound, SpoolIdentity,
    SpoolOptions, SpoolReader, Storage, Uuid,
};
use tidegate::engine::outbox::ReportSink as _;
use tidegate::limits::REPORT_BYTES_MAX;
use tidegate::session::report_log::{ENTRY_HEADER_BYTES, ReportLog};
use tidegate::shell::rebuild::Rebuild;
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::units::{Index, Seq, SessionIdx};

const RING: u64 = 1 << 20;
const SESSIONS: u32 = 5;
const OPTIONS: SpoolOptions = SpoolOptions {
    identity: SpoolIdentity { journal_uuid: Uuid([3; 16]), incarnation: 1 },
    ring_bytes: RING,
    low_water: 0,
};

#[derive(PartialEq, Eq, Debug)]
struct Report {
    session: u32,
    number: u64,
    index: u64,
    frame: Vec<u8>,
}

fn history(seed: u64, count: usize) -> Vec<Report> {
    let mut random = SplitMix(seed);
    let mut numbers = [0; SESSIONS as usize];
    let one = |at: usize| {
        let session = random.below(u64::from(SESSIONS));
        let number = &mut numbers[usize::try_from(session).unwrap()];
        *number += 1;
        let len = 24 + usize::try_from(random.below(REPORT_BYTES_MAX as u64 - 23)).unwrap();
        let frame = (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        let session = u32::try_from(session).unwrap();
        Report { session, number: *number, index: at as u64 / 3 + 1, frame }
    };
    (0..count).map(one).collect()
}

fn log() -> ReportLog {
    ReportLog::new(Region::shared(RING).unwrap(), SESSIONS)
}

fn append(log: &mut ReportLog, report: &Report) {
    let Report { session, number, index, frame } = report;
    let room = log.append(SessionIdx(*session), Seq(*number), Index(*index), frame.len());
    room[..frame.len()].copy_from_slice(frame);
}

/// A start: the reports of a history once more, and all of them to the disk.
fn rebuild(storage: &mut dyn Storage, history: &[Report]) -> (ReportLog, Spool, SpoolFound) {
    let (mut spool, found) = Spool::open(storage, &OPTIONS).unwrap();
    let mut log = log();
    let mut rebuild = Rebuild::new(&mut log);
    rebuild.spool_to(&mut spool, storage);
    for Report { session, number, index, frame } in history {
        let room = rebuild.report(SessionIdx(*session), Seq(*number), Index(*index), frame.len());
        room[..frame.len()].copy_from_slice(frame);
    }
    rebuild.finish();
    (log, spool, found)
}

/// The stream of entries, from its first octet to the last whole piece.
fn stream(storage: &dyn Storage, head: u64) -> Vec<u8> {
    let reader = SpoolReader::new(OPTIONS.identity, RING).unwrap();
    let piece_bytes = usize::try_from(reader.piece_bytes()).unwrap();
    let mut all = Vec::new();
    for piece in 0..head / reader.piece_bytes() {
        let mut bytes = vec![0; piece_bytes];
        let read = reader.read_piece(storage, piece, &mut bytes).unwrap();
        assert_eq!(read, PieceRead::Whole, "piece {piece}");
        all.extend(bytes);
    }
    let next = reader.piece_of(Position::new(head));
    let read = reader.read_piece(storage, next, &mut vec![0; piece_bytes]).unwrap();
    assert_eq!(read, PieceRead::Absent, "a piece is not finished before the log has come so far");
    all
}

/// The reports in a stream that may end inside the last one.
fn reports(stream: &[u8]) -> Vec<Report> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(*stream.get(at..)?.first_chunk()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(*stream.get(at..)?.first_chunk()?));
    let (mut found, mut at) = (Vec::new(), 0);
    while let (Some(session), Some(len)) = (u32_at(at), u32_at(at + 4)) {
        let len = usize::try_from(len).unwrap();
        if session == u32::MAX {
            at += len;
            continue;
        }
        let (Some(number), Some(index)) = (u64_at(at + 8), u64_at(at + 16)) else { break };
        let Some(frame) = stream.get(at + ENTRY_HEADER_BYTES..).and_then(|f| f.get(..len)) else {
            break;
        };
        found.push(Report { session, number, index, frame: frame.to_vec() });
        at += (ENTRY_HEADER_BYTES + len).next_multiple_of(8);
    }
    found
}

/// What can be read from the disk is the history, as far as whole pieces reach.
fn check(storage: &dyn Storage, head: u64, history: &[Report]) {
    let found = reports(&stream(storage, head));
    assert_eq!(found, history[..found.len()]);
    let in_a_piece = (64 << 10) / (ENTRY_HEADER_BYTES + 24);
    assert!(found.len() + in_a_piece >= history.len(), "{} of {}", found.len(), history.len());
}

/// A replay of a journal whose reports go round the ring many times: all of them are on the disk,
/// a second start writes none of them again, and a shorter one takes back what is too much.
#[test]
fn a_replay_brings_every_report_to_the_disk_once() {
    let history = history(1, 60_000);
    let faults = Faults::new();
    let mut storage = FaultyStorage::with_faults(MemoryStorage::new(), faults.clone());
    let (log, spool, found) = rebuild(&mut storage, &history);
    assert_eq!(found, SpoolFound::Nothing);
    assert!(log.head() > 6 * RING, "the ring has come round");
    assert_eq!((log.unpersisted_bytes(), spool.marks().lost_bytes()), (0, 0));
    check(&storage, log.head(), &history);

    let first = faults.operations().len();
    let (again, _, found) = rebuild(&mut storage, &history);
    let SpoolFound::Resumed(to) = found else { panic!("{found:?}") };
    assert!(again.head() == log.head() && to.get() <= log.head());
    let operations = faults.operations().split_off(first);
    let written = operations.iter().filter(|it| it.kind == OperationKind::Write);
    let written: u64 = written.map(|it| it.bytes).sum();
    assert!(written < 256 << 10, "{written} of {} were written again", log.head());
    check(&storage, log.head(), &history);

    let (shorter, ..) = rebuild(&mut storage, &history[..20_000]);
    storage.inner_mut().cut_power(|_, _| PageFate::Old);
    check(&storage, shorter.head(), &history[..20_000]);
    assert!(storage.list().unwrap().len() < 16, "segments were removed");

    // And it grows again, into another history.
    let mut other = self::history(1, 20_000);
    other.extend(
        self::history(1, 40_000)
            .into_iter()
            .skip(20_000)
            .map(|report| Report { index: report.index + 1, ..report }),
    );
    let (log, ..) = rebuild(&mut storage, &other);
    check(&storage, log.head(), &other);
}

/// The disk fails, or is full, in the middle of a replay: the log is the same, and the disk keeps
/// what it has.
#[test]
fn a_replay_is_not_held_up_by_the_disk() {
    let history = history(2, 60_000);
    let (plain, ..) = rebuild(&mut MemoryStorage::new(), &history);
    for effect in [Effect::Eio, Effect::Enospc] {
        let faults = Faults::new();
        let mut storage = FaultyStorage::with_faults(MemoryStorage::new(), faults.clone());
        faults.add(Fault::new(&[OperationKind::Create], effect).nth(4).for_ever());
        let (log, spool, _) = rebuild(&mut storage, &history);
        assert_eq!(log.region().bytes(), plain.region().bytes());
        assert_eq!(spool.marks().is_broken(), effect == Effect::Eio);
        assert_eq!(log.unpersisted_bytes() > 0, effect == Effect::Enospc);
        assert!(faults.count(OperationKind::Create) < 200, "a full disk is not asked each time");
        let found = reports(&stream(&storage, 3 * RING / 4));
        assert!(found.len() > 5_000 && found == history[..found.len()], "{}", found.len());
        // With room again the next start has it all.
        let mut storage = storage.into_inner();
        let (log, ..) = rebuild(&mut storage, &history);
        check(&storage, log.head(), &history);
    }
}

/// A node that lives: a turn of reports, then the spool of another thread, which waits for nobody
/// and is waited for as back-pressure does it.
#[test]
fn a_living_log_is_spooled_by_another_thread() {
    let history = history(3, 60_000);
    let mut storage = MemoryStorage::new();
    let (mut spool, _) = Spool::open(&mut storage, &OPTIONS).unwrap();
    let mut log = log();
    log.attach(spool.marks());
    let ring = log.region().reader().unwrap();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        loop {
            let is_over = is_done.try_recv().is_err_and(|e| e == TryRecvError::Disconnected);
            if !spool.step(&mut storage, &ring).is_more() {
                if is_over {
                    return storage;
                }
                std::thread::yield_now();
            }
        }
    });
    for turn in history.chunks(64) {
        for report in turn {
            append(&mut log, report);
        }
        log.publish();
        while log.unpersisted_bytes() > RING / 2 {
            std::thread::yield_now();
        }
    }
    drop(done);
    let storage = thread.join().unwrap();
    assert_eq!(log.spool().unwrap().lost_bytes(), 0);
    check(&storage, log.head(), &history);
}

/// The same without anybody waiting: what is lost is announced, and what can be read is right.
#[test]
fn a_log_that_runs_away_loses_reports_and_makes_none_up() {
    let history = history(4, 60_000);
    let mut storage = MemoryStorage::new();
    let (mut spool, _) = Spool::open(&mut storage, &OPTIONS).unwrap();
    let mut log = log();
    log.attach(spool.marks());
    let mut random = SplitMix(4);
    let mut octets = log.region().bytes()[..8].to_vec();
    for report in &history {
        append(&mut log, report);
        let size = log.size();
        let ring = log.region().bytes();
        let head = usize::try_from(log.head()).unwrap();
        octets.extend((octets.len()..head).map(|at| ring[at & (size - 1)]));
        if random.below(20_000) == 0 {
            log.publish();
            while spool.step(&mut storage, log.region()).is_more() {}
        }
    }
    assert!(spool.marks().lost_bytes() > RING);
    let reader = SpoolReader::new(OPTIONS.identity, RING).unwrap();
    let (mut whole, mut piece_bytes) = (0, vec![0; 64 << 10]);
    for (number, expected) in octets.chunks(64 << 10).enumerate() {
        let read = reader.read_piece(&storage, number as u64, &mut piece_bytes).unwrap();
        if read == PieceRead::Whole {
            whole += 1;
            assert!(piece_bytes == expected, "piece {number}");
        }
    }
    assert!((1..octets.len() >> 16).contains(&whole), "{whole} pieces");
}
