//! The disk fails: once, for ever, with a lie, or for want of room.
//!
//! After the first failure nothing is written or synced any more, `durable` stays where the disk
//! had said so, and the ring keeps the rest: on a repaired disk everything is there. A sync that
//! fails and then lies (the pages count as written, and are not) is the worst: what a later start
//! publishes as durable must be on the medium all the same. A full disk is no failure: it is told,
//! waited for, and over when there is room.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{
    Files, PAGE, SEGMENT, append, as_directory, assert_records, files, files_on, fill, fill_on,
    kill, open_on, options, rebooted, settle_on, side_files, temp_dir,
};
use journal::faulty::{Effect, Fault, FaultyStorage, Operation, OperationKind};
use journal::{
    Journal, JournalError, JournalOptions, MemoryStorage, PageFate, Persisted, Prepared, RING_FILE,
    ReadStop, SEGMENTS_AHEAD, Storage, Watermarks,
};

/// A disk with 60 records and the ring beside it.
fn living() -> (MemoryStorage, Vec<u8>) {
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    fill_on(&mut journal, &mut disk, 0, 60);
    (disk, kill(journal))
}

/// Ninety more records, with the disk at it in between, and all that is then left to do. Returns
/// the count of all records.
fn work(journal: &mut Journal, disk: &mut dyn Storage) -> usize {
    let mut count = 60;
    while count < 150 && append(&mut journal.ring, count) {
        count += 1;
        if count % 4 == 0 {
            journal.step(disk);
        }
    }
    for _ in 0..200 {
        journal.step(disk);
    }
    count
}

fn is_change(operation: &Operation) -> bool {
    OperationKind::CHANGES.contains(&operation.kind)
        || OperationKind::SYNCS.contains(&operation.kind)
}

/// The disk is repaired and the node started again; then the power goes.
fn comes_back(label: &str, mut disk: MemoryStorage, ring: &[u8], count: usize, durable: u64) {
    // What was published is on the medium already.
    let mut cut = disk.clone();
    cut.cut_power(|_, _| PageFate::Old);
    let journal = open_on(&mut cut, None, &rebooted()).unwrap();
    assert!(journal.recovery.last_index >= durable, "{label}: {:?}", journal.recovery);

    let mut journal = open_on(&mut disk, Some(ring), &options()).unwrap();
    assert_eq!(journal.recovery.case, "killed", "{label}");
    let again = journal.ring.marks().durable_index();
    assert_eq!(journal.recovery.durable_index, again, "{label}");
    // Published by the start alone, from what the cache showed.
    let mut cut = disk.clone();
    cut.cut_power(|_, _| PageFate::Old);
    let after = open_on(&mut cut, None, &rebooted()).unwrap();
    assert!(after.recovery.last_index >= again, "{label}: {again}, {:?}", after.recovery);

    fill_on(&mut journal, &mut disk, count, count + 20);
    settle_on(&mut journal, &mut disk);
    disk.cut_power(|_, _| PageFate::Old);
    let dir = as_directory(&disk, None);
    assert_eq!(assert_records(dir.path(), count + 20), ReadStop::End, "{label}");
    common::assert_sums(dir.path());
}

#[test]
fn the_first_failure_is_the_last_thing_that_is_done() {
    let (disk, ring) = living();
    let mut whole = FaultyStorage::new(disk.clone());
    let mut journal = open_on(&mut whole, Some(&ring), &options()).unwrap();
    let opening = whole.faults().operations().len();
    work(&mut journal, &mut whole);
    let operations = whole.faults().operations();
    for (number, operation) in operations.iter().enumerate().skip(opening) {
        let is_sync = matches!(operation.kind, OperationKind::Sync | OperationKind::SyncData);
        let mut effects = vec![Effect::Eio, Effect::DoneThenEio];
        effects.extend(is_sync.then_some(Effect::LostSync));
        effects.extend((operation.kind == OperationKind::Write).then_some(Effect::ShortWrite(9)));
        for effect in effects {
            for is_for_ever in [false, true] {
                let label = format!("{number} {operation:?}: {effect:?} {is_for_ever}");
                let mut storage = FaultyStorage::new(disk.clone());
                let mut journal = open_on(&mut storage, Some(&ring), &options()).unwrap();
                // Of its kind, the one at this place of the script.
                let kind = |o: &&Operation| o.kind == operation.kind;
                let nth = operations[opening..=number].iter().filter(kind).count() as u64;
                let fault = Fault::new(&[operation.kind], effect).nth(nth);
                let fault = if is_for_ever { fault.for_ever() } else { fault };
                storage.faults().add(fault);
                let count = work(&mut journal, &mut storage);
                let marks = Arc::clone(journal.ring.marks());
                if operation.kind == OperationKind::Remove && !marks.is_poisoned() {
                    // There was nothing to remove.
                    continue;
                }
                assert!(marks.is_poisoned(), "{label}");
                let after = storage.faults().operations_after_fault();
                assert!(!after.iter().any(is_change), "{label}: {after:?}");
                if is_for_ever {
                    let left = journal.close_on(&mut storage, Path::new("")).unwrap_err();
                    assert!(matches!(left, JournalError::Poisoned(_)), "{label}: {left}");
                    let after = storage.faults().operations_after_fault();
                    assert!(!after.iter().any(is_change), "{label}: {after:?}");
                    continue;
                }
                let (ring, durable) = (kill(journal), marks.durable_index());
                let mut disk = storage.into_inner();
                if number % 2 == 0 {
                    // The kernel wanted the memory: what it thinks is clean is read anew.
                    disk.drop_clean_pages();
                }
                comes_back(&label, disk, &ring, count, durable);
            }
        }
    }
}

/// The disk is full at each size it can have while the first segment is made.
#[test]
fn a_creation_without_room_leaves_nothing() {
    let mut disk = MemoryStorage::new();
    drop(open_on(&mut disk, None, &options()).unwrap());
    let needed: usize =
        files_on(&disk).values().map(|bytes| bytes.len().next_multiple_of(PAGE)).sum();
    for room in (0..needed).step_by(PAGE) {
        let mut disk = MemoryStorage::new();
        disk.set_capacity(room as u64);
        let error = open_on(&mut disk, None, &options()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("No space") || text.contains("no storage space"), "{room}: {text}");
        assert!(files_on(&disk).is_empty(), "{room}: {:?}", files_on(&disk).keys());
        disk.set_capacity(needed as u64);
        let journal = open_on(&mut disk, None, &options()).unwrap();
        assert_eq!(journal.recovery.case, "created", "{room}");
    }
}

/// In a real directory the ring goes too, wherever it is.
#[test]
fn a_creation_that_fails_leaves_no_ring() {
    let (dir, hot) = (temp_dir(), temp_dir());
    for hot_dir in [None, Some(hot.path().to_owned())] {
        let options = JournalOptions { hot_dir, journal_uuid: None, ..options() };
        let obstacle = dir.path().join("journal-00000000.sha256");
        std::fs::create_dir(&obstacle).unwrap();
        let error = Journal::create(dir.path(), &options).unwrap_err();
        assert!(error.to_string().contains("journal-00000000.sha256"), "{error}");
        std::fs::remove_dir(&obstacle).unwrap();
        assert_eq!(files(dir.path()), Files::new());
        assert_eq!(files(hot.path()), Files::new());
    }
}

/// A ring that a killed creation left in the hot directory is found again.
#[test]
fn a_creation_that_was_killed_leaves_no_ring_for_ever() {
    let (dir, hot) = (temp_dir(), temp_dir());
    let hot_dir = Some(hot.path().to_owned());
    let options = JournalOptions { hot_dir, journal_uuid: None, ..options() };
    drop(Journal::create(dir.path(), &options).unwrap());
    let [name, new] = ["journal.meta", "journal.meta.new"].map(|name| dir.path().join(name));
    std::fs::rename(&name, &new).unwrap();
    drop(Journal::open_or_create(dir.path(), &options).unwrap());
    assert_eq!(files(hot.path()).len(), 1);
    // Nor does a clean stop leave one, nor a kill between its mark and the end of the ring.
    let ring = files(hot.path());
    let journal = Journal::open(dir.path(), &options).unwrap();
    journal.close(dir.path()).unwrap();
    assert_eq!(files(hot.path()), Files::new());
    common::put_back(hot.path(), &ring);
    let elsewhere = JournalOptions { hot_dir: None, ..options };
    let journal = Journal::open(dir.path(), &elsewhere).unwrap();
    assert!(journal.recovery.clean);
    assert_eq!(files(hot.path()), Files::new());
}

/// Bytes that the files take.
fn taken(disk: &MemoryStorage) -> u64 {
    files_on(disk).values().map(|bytes| bytes.len().next_multiple_of(PAGE) as u64).sum()
}

/// Appends until the ring is full, and steps until nothing happens any more.
fn until_full(journal: &mut Journal, disk: &mut dyn Storage, mut count: usize) -> usize {
    loop {
        while append(&mut journal.ring, count) {
            count += 1;
        }
        let before = journal.ring.marks().durable();
        while journal.step(disk) {}
        if journal.ring.marks().durable() == before {
            return count;
        }
    }
}

#[test]
fn a_full_disk_is_told_and_waited_for() {
    let (mut disk, ring) = living();
    let mut journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
    settle_on(&mut journal, &mut disk);
    let marks = Arc::clone(journal.ring.marks());
    let room = taken(&disk);
    for more in 0..4 {
        // Not enough for another segment and its sums.
        disk.set_capacity(room + more * PAGE as u64);
        let count = until_full(&mut journal, &mut disk, 60);
        assert!(marks.is_space_short() && !marks.is_poisoned());
        assert_eq!(journal.preparer.step(&mut disk), Prepared::NoRoom);
        assert_eq!(journal.persister.step(&mut disk, &journal.ring), Persisted::WaitsForSegment);
        assert_eq!(marks.durable().get() % SEGMENT as u64, 0, "all segments are full");
        assert!(journal.ring.append(0, 3, 1, 0, 0, &[0; 4056]).is_err(), "the ring is full");
        assert!(taken(&disk) <= room + more * PAGE as u64, "no unfinished file is left");
        if more < 3 {
            continue;
        }
        // There is room again, and all goes on.
        disk.set_capacity(u64::MAX);
        settle_on(&mut journal, &mut disk);
        assert!(!marks.is_space_short());
        fill_on(&mut journal, &mut disk, count, count + 100);
        let error = {
            let bytes = taken(&disk);
            disk.set_capacity(bytes);
            until_full(&mut journal, &mut disk, count + 100);
            journal.close_on(&mut disk, Path::new("/data")).unwrap_err()
        };
        assert!(matches!(error, JournalError::NoRoom { .. }), "{error}");
        assert!(error.to_string().contains("/data: no room for the next segment"), "{error}");
        return;
    }
}

/// The disk says that it has room, and refuses it: at each step of a new segment.
#[test]
fn room_that_is_refused_is_missed_until_it_is_given() {
    let (disk, ring) = living();
    let steps: [(&[OperationKind], &str); 5] = [
        (&[OperationKind::Create], ".seg.new"),
        (&[OperationKind::Create], ".sha256"),
        (&[OperationKind::Write], ".seg.new"),
        (&[OperationKind::Sync], ".seg.new"),
        (&[OperationKind::Rename], ".seg.new"),
    ];
    for (kinds, name) in steps {
        let mut disk = FaultyStorage::new(disk.clone());
        let mut journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
        let marks = Arc::clone(journal.ring.marks());
        disk.faults().add(Fault::new(kinds, Effect::Enospc).on(name).for_ever());
        let count = until_full(&mut journal, &mut disk, 60);
        // It is short all the time, not between two tries only.
        let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
        let (told, looked) = (Arc::clone(&seen), Arc::clone(&marks));
        disk.faults().on_operation(move |_| told.lock().unwrap().push(looked.is_space_short()));
        for _ in 0..10 {
            let _ = journal.preparer.step(&mut disk);
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.len() > 20 && seen.iter().all(|short| *short), "{kinds:?} {name}");
        assert!(!marks.is_poisoned(), "{kinds:?} {name}: {:?}", marks.poison());
        disk.faults().remove_all();
        settle_on(&mut journal, &mut disk);
        assert!(!marks.is_space_short());
        fill_on(&mut journal, &mut disk, count, count + 50);
        settle_on(&mut journal, &mut disk);
        let ring = kill(journal);
        comes_back(name, disk.into_inner(), &ring, count + 50, 0);
    }
}

/// Below the mark the disk counts as full, above twice the mark as not; in between nothing changes.
#[test]
fn the_low_water_mark_has_two_sides() {
    let (mut disk, ring) = living();
    let mark = 100_000;
    let options = JournalOptions { space_low_water: mark, ..options() };
    let mut journal = open_on(&mut disk, Some(&ring), &options).unwrap();
    settle_on(&mut journal, &mut disk);
    let taken = taken(&disk);
    for (free, is_short) in [
        (mark + 5000, false),
        (mark, false),
        (mark - 1, true),
        (mark, true),
        (2 * mark - 1, true),
        (2 * mark, false),
        (mark, false),
        (0, true),
        (u64::MAX / 2, false),
    ] {
        disk.set_capacity(taken + free);
        assert_eq!(journal.preparer.step(&mut disk), Prepared::Nothing);
        assert_eq!(journal.ring.marks().is_space_short(), is_short, "{free}");
    }
}

/// A torn tail cannot be kept aside: the start is refused, and nothing is lost.
#[test]
fn a_start_that_cannot_keep_a_side_file_changes_nothing() {
    let dir = temp_dir();
    let mut journal = Journal::create(dir.path(), &options()).unwrap();
    fill(&mut journal, dir.path(), 0, 20);
    let head = PAGE + usize::try_from(journal.ring.head().get()).unwrap();
    drop(journal);
    let mut torn = files(dir.path());
    torn.get_mut(RING_FILE).unwrap()[head + 8..head + 99].fill(7);
    for count in 0..1000 {
        torn.insert(format!("torn-21-{count}.bin"), Vec::new());
    }
    common::put_back(dir.path(), &torn);
    let error = Journal::open(dir.path(), &options()).unwrap_err();
    assert!(error.to_string().contains("torn-21"), "{error}");
    assert!(files(dir.path()) == torn, "nothing was changed");
    std::fs::remove_file(dir.path().join("torn-21-7.bin")).unwrap();
    let journal = Journal::open(dir.path(), &options()).unwrap();
    let recovery = &journal.recovery;
    assert_eq!((recovery.case, recovery.last_index), ("killed while appending", 20));
    let kept = std::fs::read(dir.path().join("torn-21-7.bin")).unwrap();
    assert_eq!(kept, torn[RING_FILE][head..head + 104]);
    assert_eq!(side_files(dir.path()).len(), 1000);
}

/// The same where the disk is full.
#[test]
fn a_start_on_a_full_disk_is_refused_until_there_is_room() {
    let (mut disk, ring) = living();
    let mut journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
    settle_on(&mut journal, &mut disk);
    let head = PAGE + usize::try_from(journal.ring.head().get()).unwrap() % (4 * SEGMENT);
    let mut ring = kill(journal);
    ring[head + 8..head + 99].fill(7);
    let room = taken(&disk);
    disk.set_capacity(room);
    let before = files_on(&disk);
    let error = open_on(&mut disk, Some(&ring), &options()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cannot keep the torn tail") && text.contains("space"), "{text}");
    assert!(files_on(&disk) == before, "nothing was changed");
    disk.set_capacity(room + PAGE as u64);
    let journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
    assert_eq!(journal.recovery.case, "killed while appending");
    assert_eq!(journal.recovery.torn.as_ref().unwrap().bytes, 104);
}

/// Watermarks are shared by whoever waits: a slow sync is a step that has not returned.
#[test]
fn a_slow_sync_holds_nothing_but_durable() {
    let (disk, ring) = living();
    let mut disk = FaultyStorage::new(disk);
    let mut journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
    settle_on(&mut journal, &mut disk);
    let marks: Arc<Watermarks> = Arc::clone(journal.ring.marks());
    let durable = marks.durable();
    assert!(append(&mut journal.ring, 60));
    let seen = Arc::new(Mutex::new(None));
    let (told, looked) = (Arc::clone(&seen), Arc::clone(&marks));
    disk.faults().on_operation(move |operation| {
        if operation.kind == OperationKind::SyncData {
            *told.lock().unwrap() = Some((looked.durable(), looked.appended()));
        }
    });
    assert!(matches!(journal.persister.step(&mut disk, &journal.ring), Persisted::Group(_)));
    assert_eq!(*seen.lock().unwrap(), Some((durable, journal.ring.head())));
    assert_eq!(marks.durable(), journal.ring.head());
    assert!(marks.prepared() > SEGMENTS_AHEAD);
}

/// The ring is full to its last byte, and there is no segment for the next one.
#[test]
fn a_ring_that_is_full_to_the_last_byte_is_opened() {
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    let room = taken(&disk);
    disk.set_capacity(room);
    let record = [5; 4056];
    let mut index = 0;
    loop {
        while journal.ring.append(1, 3, 1, 0, 0, &record).is_ok() {
            index += 1;
        }
        if !matches!(journal.persister.step(&mut disk, &journal.ring), Persisted::Group(_)) {
            break;
        }
    }
    let marks = Arc::clone(journal.ring.marks());
    assert_eq!(marks.appended().since(marks.durable()), journal.ring.ring_bytes());
    assert_eq!(marks.durable().get(), SEGMENT as u64, "the only segment is full");
    let ring = kill(journal);
    let dir = as_directory(&disk, Some(&ring));
    assert_eq!(common::read(dir.path()).1, ReadStop::End);
    let mut journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
    let recovery = &journal.recovery;
    assert_eq!((recovery.case, recovery.last_index), ("killed", index));
    assert!(journal.ring.append(1, 3, 1, 0, 0, &record).is_err());
    disk.set_capacity(u64::MAX);
    settle_on(&mut journal, &mut disk);
    assert!(journal.ring.append(1, 3, 1, 0, 0, &record).is_ok());
}
