//! The power goes, at any moment, and each page that was not synced is old, new or torn.
//!
//! Two claims. A writer that acknowledges what is on the disk loses nothing it acknowledged: every
//! record at or below the published durable index is there after the start. One that acknowledges
//! what is in memory loses nothing at or below it either, and the start tells the exact range that
//! may be missing. Where pages behind a hole arrived the start refuses, as it says; what the
//! operator then accepts never reaches what was acknowledged.
//!
//! Runs are random, from a seed that a failure prints (`JOURNAL_TESTS_SEED` plays one), and once
//! small and exhaustive: a cut after every operation on the disk.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{append, as_directory, is_exhaustive, open_on, options};
use journal::faulty::{Effect, Fault, FaultyStorage, OperationKind};
use journal::{
    Journal, JournalError, JournalOptions, MemoryStorage, PageFate, ReadStop, RefusalKind, Uuid,
};

/// Xorshift: a run is its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

/// How a power cut treats the pages that were not synced.
#[derive(Clone, Copy, Debug)]
enum Fates {
    Nothing,
    All,
    LaterHalf,
    Random(u64),
}

fn cut(disk: &mut MemoryStorage, fates: Fates) {
    let pages = disk.unsynced_pages();
    let middle = pages.get(pages.len() / 2).cloned();
    let mut random = Random::new(match fates {
        Fates::Random(seed) => seed,
        Fates::Nothing | Fates::All | Fates::LaterHalf => 0,
    });
    disk.cut_power(|name, page| match fates {
        Fates::Nothing => PageFate::Old,
        Fates::All => PageFate::New,
        Fates::LaterHalf => {
            let is_later =
                middle.as_ref().is_some_and(|middle| (name, page) >= (&middle.0, middle.1));
            if is_later { PageFate::New } else { PageFate::Old }
        }
        Fates::Random(_) => match random.below(3) {
            0 => PageFate::Old,
            1 => PageFate::New,
            _ => PageFate::Torn(u16::try_from(random.below(4097)).unwrap()),
        },
    });
}

const CHANGES: [OperationKind; 6] = [
    OperationKind::Create,
    OperationKind::Write,
    OperationKind::Rename,
    OperationKind::Sync,
    OperationKind::SyncData,
    OperationKind::SyncNames,
];

/// What was appended and not taken back by a cut, by index.
#[derive(Clone, Default)]
struct Told {
    /// Checksum of the record with index `n + 1`.
    crcs: Vec<u32>,
    durable: u64,
}

impl Told {
    fn look(&mut self, journal: &Journal) {
        self.durable = self.durable.max(journal.ring.marks().durable_index());
    }

    fn append(&mut self, journal: &mut Journal) -> bool {
        let from = journal.ring.head();
        let n = self.crcs.len();
        let is_done = append(&mut journal.ring, n);
        self.crcs.extend(journal.ring.records_from(from).map(|(_, record)| record.crc));
        is_done
    }
}

struct World {
    label: String,
    options: JournalOptions,
    boots: u8,
}

impl World {
    fn boot(&mut self) -> JournalOptions {
        self.boots += 1;
        JournalOptions { boot_id: Some(Uuid([self.boots; 16])), ..self.options.clone() }
    }

    /// Starts after a power cut: nothing that was on the disk is missing, and what may be is told.
    /// Returns none where the first group was lost in disorder, which leaves no journal.
    fn start(&mut self, disk: &mut MemoryStorage, told: &mut Told) -> Option<Journal> {
        let label = self.label.clone();
        let options = self.boot();
        let before = as_directory(disk, None);
        let (read, stop) = common::read(before.path());
        let journal = match open_on(disk, None, &options) {
            Ok(journal) => journal,
            Err(JournalError::Refused(refusal)) => {
                assert_eq!(refusal.kind, RefusalKind::Corrupt, "{label}: {refusal}");
                assert!(refusal.found.contains("a power cut"), "{label}: {refusal}");
                assert!(matches!(stop, ReadStop::Corrupt { .. }), "{label}: {stop:?}");
                if !refusal.has_front {
                    assert_eq!(told.durable, 0, "{label}: {refusal}");
                    return None;
                }
                let accepting = JournalOptions { accept_loss: true, ..options };
                open_on(disk, None, &accepting).unwrap()
            }
            Err(error) => panic!("{label}: {error}"),
        };
        let recovery = &journal.recovery;
        match stop {
            ReadStop::End => assert!(recovery.torn.is_none(), "{label}"),
            ReadStop::Torn { bytes, .. } => {
                assert_eq!(recovery.torn.as_ref().unwrap().bytes, bytes, "{label}");
            }
            ReadStop::Corrupt { .. } => assert!(recovery.accepted.is_some(), "{label}"),
            ReadStop::LostTail { .. } => panic!("{label}: {stop:?}"),
        }
        let last = recovery.last_index;
        assert!(last >= told.durable, "{label}: {last}, and {} was on the disk", told.durable);
        assert!(last <= told.crcs.len() as u64, "{label}");
        let read = read.len();
        told.crcs.truncate(usize::try_from(last).unwrap());
        assert_eq!(journal.ring.last_crc(), told.crcs.last().copied().unwrap_or(0), "{label}");
        let is_told = !self.options.acks_durable || recovery.accepted.is_some();
        assert_eq!(recovery.suspect.is_some(), is_told, "{label}: {recovery:?}");
        assert!(recovery.suspect.is_none_or(|suspect| suspect.after_index == last), "{label}");
        // A reader found the same records, and the sums beside them are right.
        let after = as_directory(disk, None);
        let (found, _) = common::read(after.path());
        assert_eq!(found.len(), read, "{label}");
        common::assert_sums(after.path());
        told.durable = last;
        Some(journal)
    }
}

/// Appends and steps at random; the cut falls between two of them.
fn run(seed: u64, ring_bytes: u64, turns: u64) {
    let mut random = Random::new(seed);
    let acks_durable = random.below(2) == 0;
    let label = format!("JOURNAL_TESTS_SEED={seed}");
    let options = JournalOptions { acks_durable, ring_bytes, ..options() };
    let mut world = World { label, options, boots: 0 };
    let mut disk = MemoryStorage::new();
    let mut told = Told::default();
    let mut journal = open_on(&mut disk, None, &world.boot()).unwrap();
    for cuts in 0..4 {
        for _ in 0..random.below(turns) {
            match random.below(8) {
                0 => {
                    let _ = journal.preparer.step(&mut disk);
                }
                1 | 2 => {
                    let _ = journal.persister.step(&mut disk, &journal.ring);
                }
                _ => {
                    let _ = told.append(&mut journal);
                }
            }
            told.look(&journal);
        }
        // In the middle of a group, of a roll or of a new segment.
        let mut dying = FaultyStorage::new(disk);
        let change = 1 + random.below(12);
        dying.faults().add(Fault::new(&CHANGES, Effect::Eio).nth(change).for_ever());
        while random.below(6) > 0 {
            let _ = journal.persister.step(&mut dying, &journal.ring);
            told.look(&journal);
            let _ = journal.preparer.step(&mut dying);
            for _ in 0..=random.below(60) {
                let _ = told.append(&mut journal);
            }
        }
        told.look(&journal);
        disk = dying.into_inner();
        world.label = format!("JOURNAL_TESTS_SEED={seed}, cut {cuts}, durable {acks_durable}");
        let fates = match random.below(5) {
            0 => Fates::Nothing,
            1 => Fates::All,
            2 => Fates::LaterHalf,
            _ => Fates::Random(random.next()),
        };
        cut(&mut disk, fates);
        if random.below(3) == 0 {
            // And once more while it starts.
            let options = JournalOptions { accept_loss: true, ..world.boot() };
            let mut dying = FaultyStorage::new(disk);
            let fault = Fault::new(&CHANGES, Effect::Eio).nth(1 + random.below(15)).for_ever();
            dying.faults().add(fault);
            let _ = open_on(&mut dying, None, &options);
            disk = dying.into_inner();
            cut(&mut disk, fates);
        }
        match world.start(&mut disk, &mut told) {
            Some(started) => journal = started,
            None => return,
        }
    }
}

#[test]
fn a_cut_at_random_takes_nothing_that_was_on_the_disk() {
    let seeds = match std::env::var("JOURNAL_TESTS_SEED") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..if is_exhaustive() { 20_000 } else { 700 },
    };
    for seed in seeds {
        run(seed, 32_768, 300);
    }
}

/// Segments with several sums each.
#[test]
fn the_sums_of_large_segments_survive_too() {
    for seed in 0..if is_exhaustive() { 200 } else { 6 } {
        run(1_000_000 + seed, 8 << 20, 40_000);
    }
}

/// Ninety records, with the disk at it in between.
fn work(journal: &mut Journal, disk: &mut FaultyStorage<MemoryStorage>, told: &mut Told) {
    for n in 0..90 {
        told.append(journal);
        if n % 4 == 3 {
            journal.step(disk);
        }
        told.look(journal);
    }
    while journal.step(disk) {
        told.look(journal);
    }
    told.look(journal);
}

#[test]
fn a_cut_after_every_operation_takes_nothing_that_was_on_the_disk() {
    let seeds = if is_exhaustive() { 200 } else { 4 };
    for acks_durable in [false, true] {
        let options = JournalOptions { acks_durable, ..options() };
        let mut world = World { label: String::new(), options, boots: 0 };
        let first = world.boot();
        let mut whole = FaultyStorage::new(MemoryStorage::new());
        let mut journal = open_on(&mut whole, None, &first).unwrap();
        let creation: u64 = CHANGES.iter().map(|kind| whole.faults().count(*kind)).sum();
        work(&mut journal, &mut whole, &mut Told::default());
        let all: u64 = CHANGES.iter().map(|kind| whole.faults().count(*kind)).sum();
        assert!(all > creation + 100);
        for n in creation + 1..=all {
            let mut disk = FaultyStorage::new(MemoryStorage::new());
            let mut journal = open_on(&mut disk, None, &first).unwrap();
            let fault = Fault::new(&CHANGES, Effect::Eio).nth(n - creation).for_ever();
            disk.faults().add(fault);
            let mut told = Told::default();
            work(&mut journal, &mut disk, &mut told);
            let disk = disk.into_inner();
            let fates = [Fates::Nothing, Fates::All, Fates::LaterHalf].into_iter();
            for fates in fates.chain((0..seeds).map(|seed| Fates::Random(n * 1000 + seed))) {
                world.label = format!("operation {n}, {fates:?}, durable {acks_durable}");
                let (mut disk, mut told) = (disk.clone(), told.clone());
                cut(&mut disk, fates);
                world.boots = 1;
                world.start(&mut disk, &mut told);
            }
        }
    }
}
