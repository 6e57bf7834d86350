//! A journal's ordinary life: it goes round its ring and over its segments, is killed, loses its
//! power, stops, and is opened again each time with what the table says.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{append, assert_records, fill, options, rebooted, settle, side_files, temp_dir};
use journal::{DirStorage, IncarnationChange, Journal, JournalOptions, ReadStop, segment_file};

/// Several rounds of the smallest ring.
const MANY: usize = 700;

#[test]
fn it_goes_round_the_ring_and_is_read_whole() {
    let dir = temp_dir();
    let mut journal = Journal::create(dir.path(), &options()).unwrap();
    fill(&mut journal, dir.path(), 0, MANY);
    assert!(journal.ring.head().get() > 4 * journal.ring.ring_bytes());
    journal.ring.assert_chain();
    // Beside the living writer, with a tail that only the ring has.
    assert!(journal.ring.lag_bytes() > 0);
    assert_eq!(assert_records(dir.path(), MANY), ReadStop::End);
    settle(&mut journal, dir.path());
    assert_eq!(assert_records(dir.path(), MANY), ReadStop::End);
}

#[test]
fn a_kill_loses_nothing_wherever_the_disk_was() {
    for persisted in [0, 1, 100, MANY] {
        let dir = temp_dir();
        let mut journal = Journal::create(dir.path(), &options()).unwrap();
        fill(&mut journal, dir.path(), 0, persisted);
        settle(&mut journal, dir.path());
        let mut count = persisted;
        while append(&mut journal.ring, count) {
            count += 1;
        }
        let (head, index) = (journal.ring.head(), journal.ring.last_index());
        drop(journal);
        assert_eq!(assert_records(dir.path(), count), ReadStop::End);
        let mut journal = Journal::open(dir.path(), &options()).unwrap();
        assert_eq!(journal.recovery.case, "killed");
        assert_eq!(journal.recovery.incarnation_changed, None);
        assert_eq!((journal.ring.head(), journal.ring.last_index()), (head, index));
        journal.ring.assert_chain();
        settle(&mut journal, dir.path());
        fill(&mut journal, dir.path(), count, count + 50);
        journal.close(dir.path()).unwrap();
        assert_eq!(assert_records(dir.path(), count + 50), ReadStop::End);
        assert!(side_files(dir.path()).is_empty());
    }
}

#[test]
fn a_clean_stop_needs_no_ring_and_no_boot() {
    let dir = temp_dir();
    let journal = Journal::create(dir.path(), &options()).unwrap();
    let first = journal.recovery.incarnation;
    journal.close(dir.path()).unwrap();
    assert!(!dir.path().join(journal::RING_FILE).exists(), "the ring is not needed");
    let mut done = 0;
    for (round, options) in [options(), rebooted(), options(), rebooted()].iter().enumerate() {
        let mut journal = Journal::open(dir.path(), options).unwrap();
        let recovery = &journal.recovery;
        assert_eq!((recovery.case, recovery.clean), ("clean stop", true), "round {round}");
        assert_eq!((recovery.incarnation, recovery.suspect), (first, None));
        fill(&mut journal, dir.path(), done, done + 150);
        done += 150;
        journal.close(dir.path()).unwrap();
        assert_eq!(assert_records(dir.path(), done), ReadStop::End);
    }
}

#[test]
fn a_power_cut_keeps_what_was_on_the_disk() {
    let dir = temp_dir();
    let mut journal = Journal::create(dir.path(), &options()).unwrap();
    let first = journal.recovery.incarnation;
    fill(&mut journal, dir.path(), 0, 200);
    settle(&mut journal, dir.path());
    let durable = journal.ring.last_index();
    for n in 200..210 {
        assert!(append(&mut journal.ring, n));
    }
    drop(journal);
    std::fs::remove_file(dir.path().join(journal::RING_FILE)).unwrap();
    let journal = Journal::open(dir.path(), &rebooted()).unwrap();
    let recovery = &journal.recovery;
    assert_eq!(recovery.case, "power cut");
    assert_eq!(recovery.incarnation_changed, Some(IncarnationChange::PowerCut));
    assert_eq!(recovery.incarnation, first + 1);
    assert_eq!((recovery.last_index, recovery.durable_index), (durable, durable));
    let suspect = recovery.suspect.unwrap();
    assert_eq!((suspect.after_index, suspect.to_index), (durable, durable + 32_768 / 40));
    assert_eq!(journal.ring.label().suspect_incarnation, first + 1);
    drop(journal);
    assert_records(dir.path(), 200);
    // The next open is an ordinary one, and still knows that somebody has to be told.
    let journal = Journal::open(dir.path(), &rebooted()).unwrap();
    assert_eq!((journal.recovery.case, journal.recovery.suspect), ("killed", None));
    assert_eq!(journal.ring.label().suspect_incarnation, first + 1);
}

#[test]
fn a_writer_that_acknowledged_only_what_was_on_the_disk_lost_nothing() {
    let dir = temp_dir();
    let durable = JournalOptions { acks_durable: true, ..options() };
    let mut journal = Journal::create(dir.path(), &durable).unwrap();
    fill(&mut journal, dir.path(), 0, 200);
    settle(&mut journal, dir.path());
    assert!(append(&mut journal.ring, 200));
    drop(journal);
    std::fs::remove_file(dir.path().join(journal::RING_FILE)).unwrap();
    let options = JournalOptions { acks_durable: true, ..rebooted() };
    let journal = Journal::open(dir.path(), &options).unwrap();
    assert_eq!(journal.recovery.case, "power cut, acknowledged was on disk");
    assert_eq!((journal.recovery.incarnation_changed, journal.recovery.suspect), (None, None));
    drop(journal);
    assert_records(dir.path(), 200);
}

#[test]
fn segments_are_made_two_ahead_and_the_persister_waits_for_one() {
    let dir = temp_dir();
    let mut storage = DirStorage::new(dir.path());
    let mut journal = Journal::create(dir.path(), &options()).unwrap();
    assert_eq!(journal.ring.marks().prepared(), 1);
    let mut count = 0;
    while append(&mut journal.ring, count) {
        count += 1;
    }
    while matches!(
        journal.persister.step(&mut storage, &journal.ring),
        journal::Persisted::Group(_)
    ) {}
    assert_eq!(journal.ring.marks().durable().get(), 8192, "the first segment is full");
    let waits = journal.persister.step(&mut storage, &journal.ring);
    assert_eq!(waits, journal::Persisted::WaitsForSegment);
    while journal.preparer.step(&mut storage) == journal::Prepared::Piece {}
    assert_eq!(journal.ring.marks().prepared(), 6);
    settle(&mut journal, dir.path());
    assert!(dir.path().join(segment_file(5)).is_file());
    assert_records(dir.path(), count);
}
