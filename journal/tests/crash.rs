//! A process dies at every byte of an append, and between the steps of everything else; what is
//! opened then holds all that was whole before, and goes on.
//!
//! Sixty-four records of mixed sizes, over several segments and their pads: once in a ring that is
//! new, once in one that has gone round and holds older records wherever nothing newer stands. The
//! ring is cut at each byte: up to there as it was at the end, from there on as before. The disk
//! has nothing of them, half of those that are whole, or all of them. Whether a record survives is
//! computed from the bytes alone. `JOURNAL_TESTS_ALL=1` plays all places of the disk at each byte.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{
    Files, PAGE, append, as_directory, files_on, fill_on, is_exhaustive, kill, open_on, options,
    settle_on,
};
use journal::{Journal, MemoryStorage, ReadStop, RingBytes as _, Torn};

const RECORDS: usize = 64;
/// Bytes of the ring behind its header page.
const RING: usize = 32_768;

/// One record: its first byte and the one behind it, in positions.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
}

/// Sixty-four records, and everything around them.
struct Stage {
    /// Records in front of them, pads not counted.
    before: usize,
    ring_before: Vec<u8>,
    ring: Vec<u8>,
    /// Of the sixty-four and their pads.
    places: Vec<Place>,
    /// Index of the last record in front of them.
    index_before: u64,
    /// The disk when it had the first n of `places`.
    disks: Vec<MemoryStorage>,
}

/// The ring of a living journal, behind a header page that is not shown.
fn body(journal: &Journal) -> Vec<u8> {
    let mut bytes = vec![0; PAGE + RING];
    journal.ring.read_ring(0, &mut bytes[PAGE..]).unwrap();
    bytes
}

impl Stage {
    fn new(before: usize) -> Self {
        let mut storage = MemoryStorage::new();
        let mut journal = open_on(&mut storage, None, &options()).unwrap();
        fill_on(&mut journal, &mut storage, 0, before);
        settle_on(&mut journal, &mut storage);
        let (ring_before, index_before) = (body(&journal), journal.ring.last_index());
        let mut stage = Self {
            before,
            ring_before,
            ring: Vec::new(),
            places: Vec::new(),
            index_before,
            disks: Vec::new(),
        };
        for n in before..before + RECORDS {
            let from = journal.ring.head();
            assert!(append(&mut journal.ring, n));
            for (position, record) in journal.ring.records_from(from) {
                let start = usize::try_from(position.get()).unwrap();
                let end = start + usize::try_from(record.bytes()).unwrap();
                stage.places.push(Place { start, end });
                stage.disks.push(storage.clone());
            }
            settle_on(&mut journal, &mut storage);
        }
        stage.ring = kill(journal);
        assert!(stage.places.len() > RECORDS, "there are pads among them");
        assert!(stage.head() - stage.places[0].start < RING, "they fit at once");
        stage
    }

    fn head(&self) -> usize {
        self.places[self.places.len() - 1].end
    }

    /// The ring of a process that died when it had written up to `cut`.
    fn cut(&self, cut: usize) -> Vec<u8> {
        let mut bytes = self.ring.clone();
        for position in cut..self.head() {
            bytes[PAGE + position % RING] = self.ring_before[PAGE + position % RING];
        }
        bytes
    }

    fn is_whole(&self, ring: &[u8], place: Place) -> bool {
        (place.start..place.end).all(|at| ring[PAGE + at % RING] == self.ring[PAGE + at % RING])
    }

    /// How far a store came behind the last whole record: bytes that are neither zeros nor what was
    /// there before.
    fn torn(&self, ring: &[u8], head: usize) -> Vec<u8> {
        let end = (head + 4096).min((head / 8192 + 1) * 8192);
        let is_new = |at: &usize| {
            let byte = ring[PAGE + at % RING];
            byte != 0 && byte != self.ring_before[PAGE + at % RING]
        };
        let last = (head..end).rev().find(is_new);
        let end = last.map_or(head, |last| head + (last + 1 - head).next_multiple_of(8));
        (head..end).map(|at| ring[PAGE + at % RING]).collect()
    }

    /// Opens the ring beside a disk that has the first `persisted` of the records.
    fn check(&self, ring: &[u8], persisted: usize, is_read: bool) {
        let kept = self.places.iter().take_while(|place| self.is_whole(ring, **place)).count();
        assert!(persisted <= kept, "no disk is ahead of its ring");
        let head = if kept == 0 { self.places[0].start } else { self.places[kept - 1].end };
        let torn = self.torn(ring, head);
        let mut storage = self.disks[persisted].clone();
        if is_read {
            let dir = as_directory(&storage, Some(ring));
            let (found, stop) = common::read(dir.path());
            assert!(found.len() >= self.before && found.len() <= self.before + kept);
            match stop {
                ReadStop::End => assert!(torn.is_empty()),
                ReadStop::Torn { bytes, .. } => assert_eq!(bytes, torn.len() as u64),
                ReadStop::Corrupt { .. } | ReadStop::LostTail { .. } => panic!("{stop:?}"),
            }
        }
        let before = files_on(&storage);
        let mut journal = open_on(&mut storage, Some(ring), &options()).unwrap();
        let recovery = journal.recovery.clone();
        let case = if torn.is_empty() { "killed" } else { "killed while appending" };
        assert_eq!(recovery.case, case, "head {head}, {} torn bytes", torn.len());
        assert_eq!(recovery.last_index, self.index_before + kept as u64);
        assert_eq!(journal.ring.head().get(), head as u64);
        assert_eq!((recovery.incarnation_changed, recovery.suspect), (None, None));
        check_side_files(&storage, &before, recovery.torn, &torn);

        // What comes next continues the chain over the place of the torn tail, and then nothing
        // was ever wrong.
        journal.ring.append(9000, 3, 1, 0, 0, b"next").unwrap();
        if is_read {
            journal.ring.assert_chain();
            settle_on(&mut journal, &mut storage);
        }
        let index = journal.ring.last_index();
        let ring = kill(journal);
        let journal = open_on(&mut storage, Some(&ring), &options()).unwrap();
        assert_eq!((journal.recovery.case, journal.recovery.last_index), ("killed", index));
    }
}

/// The side files are those that were told, and hold the torn bytes.
fn check_side_files(storage: &MemoryStorage, before: &Files, told: Option<Torn>, torn: &[u8]) {
    let mut now = files_on(storage);
    now.retain(|name, _| !before.contains_key(name));
    assert_eq!(now.len(), usize::from(!torn.is_empty()), "{:?}", now.keys());
    assert_eq!(told.is_some(), !torn.is_empty());
    let Some(told) = told else { return };
    let (name, bytes) = now.pop_first().unwrap();
    assert_eq!(told.side_files, [std::path::PathBuf::from(&name)]);
    assert_eq!(told.bytes, torn.len() as u64);
    assert_eq!(bytes, torn);
    assert_eq!(name, format!("torn-{}-0.bin", told.index));
}

/// In the first round of the ring and in the third.
const ROUNDS: [usize; 2] = [0, 250];

#[test]
fn a_cut_at_every_byte_loses_nothing_before_it() {
    for before in ROUNDS {
        let stage = Stage::new(before);
        assert_eq!(stage.places[0].start > 2 * RING, before > 0);
        for (turn, cut) in (stage.places[0].start..=stage.head()).enumerate() {
            let whole = stage.places.iter().take_while(|place| place.end <= cut).count();
            let ring = stage.cut(cut);
            let disks = [0, whole / 2, whole];
            for (place, persisted) in disks.into_iter().enumerate() {
                if is_exhaustive() || turn % disks.len() == place {
                    let last = stage.disks.len() - 1;
                    stage.check(&ring, persisted.min(last), turn % 251 == 0);
                }
            }
        }
    }
}

#[test]
fn a_record_without_its_checksum_is_torn() {
    for before in ROUNDS {
        let stage = Stage::new(before);
        for (n, place) in stage.places.iter().enumerate() {
            // All but the checksum, which is stored last; and the payload alone.
            for missing in [4, 40] {
                let mut ring = stage.cut(place.end);
                for at in place.start..place.start + missing {
                    ring[PAGE + at % RING] = stage.ring_before[PAGE + at % RING];
                }
                for persisted in [0, n / 2, n] {
                    stage.check(&ring, persisted, persisted == n / 2);
                }
            }
        }
    }
}
