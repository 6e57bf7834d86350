//! A process dies between any two operations on its disk: while it creates a journal, while it
//! runs, and while it recovers from a death before. The next start finds what the first would have.
//!
//! A kill at the n-th operation is a storage that does nothing from there on. Before a start wrote
//! the ring and after: both are tried, because its stores are no operations of the storage.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{
    PAGE, SEGMENT, append, as_directory, assert_records, files_on, fill_on, kill, open_on, options,
    rebooted, settle_on,
};
use journal::faulty::{Effect, Fault, Faults, FaultyStorage, OperationKind};
use journal::{
    Journal, JournalOptions, MemoryStorage, PageFate, Persisted, ReadStop, Storage, segment_file,
};

const CHANGES: [OperationKind; 7] = [
    OperationKind::Create,
    OperationKind::Write,
    OperationKind::Rename,
    OperationKind::Remove,
    OperationKind::Sync,
    OperationKind::SyncData,
    OperationKind::SyncNames,
];

/// A disk that stops at its n-th change.
#[derive(Clone, Copy, Debug)]
struct Stop {
    n: u64,
    /// What becomes of that one: done, or not, or half.
    last: Effect,
    /// Of a write: which of the writes it is.
    write: u64,
}

impl Stop {
    /// All stops among the changes that a whole run asked for, behind the first `skipped`.
    fn all(faults: &Faults, skipped: u64) -> Vec<Self> {
        let mut operations = faults.operations();
        operations.retain(|operation| CHANGES.contains(&operation.kind));
        let (mut n, mut write, mut stops) = (0, 0, Vec::new());
        for operation in operations {
            n += 1;
            let is_write = operation.kind == OperationKind::Write;
            write += u64::from(is_write);
            let half = is_write.then_some(Effect::ShortWrite(operation.bytes / 2));
            let lasts = [Some(Effect::Eio), Some(Effect::DoneThenEio), half];
            stops.extend(lasts.into_iter().flatten().map(|last| Self { n, last, write }));
        }
        stops.retain(|stop| stop.n > skipped);
        stops
    }

    fn storage(self, disk: &MemoryStorage) -> FaultyStorage<MemoryStorage> {
        let storage = FaultyStorage::new(disk.clone());
        let fault = if matches!(self.last, Effect::ShortWrite(_)) {
            Fault::new(&[OperationKind::Write], self.last).nth(self.write)
        } else {
            Fault::new(&CHANGES, self.last).nth(self.n)
        };
        storage.faults().add(fault);
        storage.faults().add(Fault::new(&CHANGES, Effect::Eio).nth(self.n + 1).for_ever());
        storage
    }
}

/// Changes that were asked for until now.
fn changes(faults: &Faults) -> u64 {
    CHANGES.iter().map(|kind| faults.count(*kind)).sum()
}

#[test]
fn a_kill_at_every_step_of_a_creation_leaves_nothing_or_a_journal() {
    let whole = FaultyStorage::new(MemoryStorage::new());
    let faults = whole.faults().clone();
    let mut whole = whole;
    drop(open_on(&mut whole, None, &options()).unwrap());
    let expected: Vec<String> = files_on(whole.inner()).into_keys().collect();
    for stop in Stop::all(&faults, 0) {
        let mut storage = stop.storage(&MemoryStorage::new());
        let error = open_on(&mut storage, None, &options()).unwrap_err();
        assert!(error.to_string().contains("annot"), "{error}");
        let mut storage = storage.into_inner();
        let mut journal = open_on(&mut storage, None, &options()).unwrap();
        // Once the metadata has its name the ring is missing: the process died before it could
        // write any record, but nobody can know that.
        let case = journal.recovery.case;
        assert!(matches!(case, "created" | "ring gone"), "{stop:?}: {case}");
        assert_eq!(files_on(&storage).into_keys().collect::<Vec<_>>(), expected, "{stop:?}");
        // The preparer is late: the persister has what was made before.
        fill_on(&mut journal, &mut storage, 0, 3);
        persist_alone(&mut journal, &mut storage);
        storage.cut_power(|_, _| PageFate::Old);
        let journal = open_on(&mut storage, None, &rebooted()).unwrap();
        assert_eq!(journal.recovery.last_index, 3, "{stop:?}");
    }
}

/// The persister goes as far as it can without the preparer.
fn persist_alone(journal: &mut Journal, storage: &mut dyn Storage) {
    while let Persisted::Group(_) = journal.persister.step(storage, &journal.ring) {}
}

/// Appends, with the disk at it in between, until the disk stops.
fn work(journal: &mut Journal, storage: &mut dyn Storage, from: usize) -> usize {
    let mut count = from;
    while count < from + 90 && append(&mut journal.ring, count) {
        count += 1;
        if count.is_multiple_of(4) {
            journal.step(storage);
        }
    }
    while journal.step(storage) {}
    count
}

#[test]
fn a_kill_at_every_step_of_the_disk_loses_nothing() {
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    fill_on(&mut journal, &mut disk, 0, 60);
    let before = kill(journal);
    let mut whole = FaultyStorage::new(disk.clone());
    let mut journal = open_on(&mut whole, Some(&before), &options()).unwrap();
    let opening = changes(whole.faults());
    work(&mut journal, &mut whole, 60);
    assert!(whole.faults().count(OperationKind::Rename) >= 3, "segments are made on the way");
    for stop in Stop::all(whole.faults(), opening) {
        let mut storage = stop.storage(&disk);
        let mut journal = open_on(&mut storage, Some(&before), &options()).unwrap();
        let count = work(&mut journal, &mut storage, 60);
        assert!(journal.ring.marks().is_poisoned(), "{stop:?}");
        let (index, durable) = (journal.ring.last_index(), journal.ring.marks().durable());
        let ring = kill(journal);
        let mut storage = storage.into_inner();
        let dir = as_directory(&storage, Some(&ring));
        assert_eq!(assert_records(dir.path(), count), ReadStop::End, "{stop:?}");
        let mut journal = open_on(&mut storage, Some(&ring), &options()).unwrap();
        let recovery = &journal.recovery;
        assert_eq!((recovery.case, recovery.last_index), ("killed", index), "{stop:?}");
        assert!(journal.ring.marks().durable() >= durable, "{stop:?}");
        // The preparer is late: the persister has what was made before.
        let mut more = 0;
        while more < 90 && append(&mut journal.ring, count + more) {
            more += 1;
        }
        persist_alone(&mut journal, &mut storage);
        let mut cut = storage.clone();
        cut.cut_power(|_, _| PageFate::Old);
        let index = journal.ring.marks().durable_index();
        let after = open_on(&mut cut, None, &rebooted()).unwrap();
        assert!(after.recovery.last_index >= index, "{stop:?}: {:?}", after.recovery);
        settle_on(&mut journal, &mut storage);
        let count = count + more;
        fill_on(&mut journal, &mut storage, count, count + 20);
        settle_on(&mut journal, &mut storage);
        // And everything is on the medium, names included.
        storage.cut_power(|_, _| PageFate::Old);
        let dir = as_directory(&storage, None);
        assert_eq!(assert_records(dir.path(), count + 20), ReadStop::End, "{stop:?}");
        common::assert_sums(dir.path());
    }
}

/// A disk and a ring to open, and what a whole open makes of them.
struct Start {
    label: &'static str,
    disk: MemoryStorage,
    ring: Option<Vec<u8>>,
    options: JournalOptions,
    case: &'static str,
    /// Records that are kept.
    count: usize,
}

/// A journal of 80 records, and 90 with those that the ring alone has.
fn living() -> (MemoryStorage, Journal) {
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    fill_on(&mut journal, &mut disk, 0, 80);
    settle_on(&mut journal, &mut disk);
    for n in 80..90 {
        assert!(append(&mut journal.ring, n));
    }
    (disk, journal)
}

/// The last `bytes` of the journal's stored records overwritten by `with`.
fn damage_end(disk: &mut MemoryStorage, journal: &Journal, back: u64, len: usize) {
    let at = journal.ring.marks().durable().get() - back;
    let name = segment_file(at / SEGMENT as u64);
    let offset = PAGE as u64 + at % SEGMENT as u64;
    disk.write_at(&name, offset, &vec![0; len]).unwrap();
    disk.sync(&name).unwrap();
}

fn starts() -> Vec<Start> {
    let accepting = |options| JournalOptions { accept_loss: true, ..options };
    let mut starts = Vec::new();
    let (disk, journal) = living();
    let mut torn = kill(journal);
    let start = |label, disk: &MemoryStorage, ring: Option<&Vec<u8>>, options, case, count| Start {
        label,
        disk: disk.clone(),
        ring: ring.cloned(),
        options,
        case,
        count,
    };
    starts.push(start("killed", &disk, Some(&torn), options(), "killed", 90));
    starts.push(start("cut", &disk, None, rebooted(), "power cut", 80));
    let (torn_disk, journal) = living();
    let at = PAGE + usize::try_from(journal.ring.head().get()).unwrap() % (4 * SEGMENT);
    torn[at + 4..at + 50].fill(7);
    starts.push(start("torn", &disk, Some(&torn), options(), "killed while appending", 90));
    let mut torn_disk = torn_disk;
    damage_end(&mut torn_disk, &journal, 8, 8);
    starts.push(start("cut and torn", &torn_disk, None, rebooted(), "power cut, torn tail", 79));
    // A hole in what the disk has: the operator gives up what is behind.
    let (disk, journal) = living();
    let mut holed = disk;
    damage_end(&mut holed, &journal, 1810, 8);
    starts.push(start("hole", &holed, None, accepting(rebooted()), "loss accepted", 77));
    let durable = |options| JournalOptions { acks_durable: true, ..options };
    let mut holed = MemoryStorage::new();
    let mut journal = open_on(&mut holed, None, &durable(options())).unwrap();
    fill_on(&mut journal, &mut holed, 0, 80);
    settle_on(&mut journal, &mut holed);
    damage_end(&mut holed, &journal, 1810, 8);
    starts.push(start(
        "hole, acknowledged was on disk",
        &holed,
        None,
        durable(accepting(rebooted())),
        "loss accepted",
        77,
    ));
    starts
}

/// What is left of a start that stopped.
fn stopped(start: &Start, stop: Stop) -> MemoryStorage {
    let mut storage = stop.storage(&start.disk);
    let opened = open_on(&mut storage, start.ring.as_deref(), &start.options);
    assert!(opened.is_err(), "{} at {stop:?}", start.label);
    storage.into_inner()
}

#[test]
fn a_kill_at_every_step_of_a_start_is_harmless() {
    for start in starts() {
        let mut whole = FaultyStorage::new(start.disk.clone());
        let journal = open_on(&mut whole, start.ring.as_deref(), &start.options).unwrap();
        assert_eq!(journal.recovery.case, start.case, "{}", start.label);
        let (index, incarnation) = (journal.recovery.last_index, journal.recovery.incarnation);
        let mended = kill(journal);
        let rings = [start.ring.clone(), start.ring.as_ref().map(|_| mended)];
        for stop in Stop::all(whole.faults(), 0) {
            for ring in &rings {
                let mut disk = stopped(&start, stop);
                let mut journal = open_on(&mut disk, ring.as_deref(), &start.options).unwrap();
                let recovery = &journal.recovery;
                let at = format!("{} at {stop:?}: {}", start.label, recovery.case);
                assert_eq!(recovery.last_index, index, "{at}");
                let risen = recovery.incarnation - incarnation;
                assert!(risen <= u64::from(start.ring.is_none()), "{at}: {risen}");
                let is_suspect = journal.ring.label().suspect_incarnation != 0;
                assert_eq!(is_suspect, start.ring.is_none(), "{at}");
                fill_on(&mut journal, &mut disk, start.count, start.count + 9);
                settle_on(&mut journal, &mut disk);
                let dir = as_directory(&disk, None);
                assert_eq!(assert_records(dir.path(), start.count + 9), ReadStop::End);
                common::assert_sums(dir.path());
            }
        }
    }
}
