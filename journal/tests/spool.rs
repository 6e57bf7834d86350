//! The spool: whatever the disk, the ring and the power do, a piece that is read is what was
//! appended.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use journal::faulty::{Effect, Fault, Faults, FaultyStorage, OperationKind};
use journal::{
    MemoryStorage, PageFate, PieceRead, Position, Region, RingBytes, Spool, SpoolFound,
    SpoolIdentity, SpoolMarks, SpoolOptions, SpoolProgress, SpoolReader, SpoolUseless, Storage,
    Uuid, report_file,
};

/// The smallest ring: segments of 8 KiB, a piece each.
const SMALL: u64 = 32 << 10;
/// Segments of 256 KiB, four pieces each.
const LARGE: u64 = 1 << 20;
const IDENTITY: SpoolIdentity = SpoolIdentity { journal_uuid: Uuid([7; 16]), incarnation: 3 };

fn options(ring_bytes: u64) -> SpoolOptions {
    SpoolOptions { identity: IDENTITY, ring_bytes, low_water: 0 }
}

/// SplitMix64: any seed is good.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % bound
    }

    fn fate(&mut self) -> PageFate {
        match self.below(3) {
            0 => PageFate::Old,
            1 => PageFate::New,
            _ => PageFate::Torn(u16::try_from(self.below(4097)).unwrap()),
        }
    }
}

/// The stream's bytes from `from` to `to`, both multiples of 8; no two places are alike, and from
/// `turned_at` on they are others.
fn content(from: u64, to: u64, turned_at: u64) -> Vec<u8> {
    let word = |position: u64| {
        let turn = if position >= turned_at { 0x0101_0101_0101_0101 } else { 0 };
        (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ turn).to_le_bytes()
    };
    (from / 8..to / 8).flat_map(|at| word(at * 8)).collect()
}

/// The writer of a ring, as a report log is one.
struct Writer {
    region: Region,
    marks: Arc<SpoolMarks>,
    head: u64,
    turned_at: u64,
}

impl Writer {
    fn new(spool: &Spool, ring_bytes: u64) -> Self {
        Self::over(Region::heap(ring_bytes), spool)
    }

    fn over(region: Region, spool: &Spool) -> Self {
        Self { region, marks: Arc::clone(spool.marks()), head: 0, turned_at: u64::MAX }
    }

    fn unpersisted(&self) -> u64 {
        self.head.saturating_sub(self.marks.persisted().get())
    }

    /// At most to the end of the ring, in steps that a report could be.
    fn append(&mut self, bytes: u64) {
        let end = self.head + bytes;
        while self.head < end {
            let ring = self.region.len();
            let step = (end - self.head).min(128).min(ring - self.head % ring);
            let overwritten = (self.head + step).saturating_sub(ring);
            if overwritten > self.marks.persisted().get() {
                self.marks.lose(Position::new(overwritten));
            }
            let at = usize::try_from(self.head % ring).unwrap();
            let bytes = content(self.head, self.head + step, self.turned_at);
            self.region.bytes_mut()[at..][..bytes.len()].copy_from_slice(&bytes);
            self.head += step;
        }
        self.marks.publish(Position::new(self.head));
    }

    /// Appends without losing anything.
    fn append_spooled(&mut self, bytes: u64, spool: &mut Spool, storage: &mut dyn Storage) {
        for _ in 0..bytes / 1024 {
            self.append(1024);
            if self.unpersisted() > self.region.len() / 2 {
                while spool.step(storage, &self.region).is_more() {}
            }
        }
        while spool.step(storage, &self.region).is_more() {}
    }
}

/// Which pieces up to `head` can be read; each that can is checked.
fn whole_pieces(storage: &dyn Storage, ring_bytes: u64, head: u64, turned_at: u64) -> Vec<u64> {
    let reader = SpoolReader::new(IDENTITY, ring_bytes).unwrap();
    let piece_bytes = reader.piece_bytes();
    let mut bytes = vec![0; usize::try_from(piece_bytes).unwrap()];
    let mut whole = Vec::new();
    for piece in 0..=head / piece_bytes + 8 {
        if reader.read_piece(storage, piece, &mut bytes).unwrap() == PieceRead::Whole {
            let (from, to) = (piece * piece_bytes, (piece + 1) * piece_bytes);
            assert!(bytes == content(from, to, turned_at), "piece {piece} is what was appended");
            whole.push(piece);
        }
    }
    whole
}

fn open(storage: &mut dyn Storage, ring_bytes: u64) -> (Spool, SpoolFound) {
    Spool::open(storage, &options(ring_bytes)).unwrap()
}

/// The stream up to `head` once more, as a start makes it; returns what was written again.
fn rebuild(storage: &mut dyn Storage, ring_bytes: u64, head: u64, turned_at: u64) -> u64 {
    let (mut spool, found) = open(storage, ring_bytes);
    assert!(!matches!(found, SpoolFound::BegunAnew { .. }), "{found:?}");
    let mut writer = Writer { turned_at, ..Writer::new(&spool, ring_bytes) };
    let mut written = 0;
    while writer.head < head {
        writer.append((ring_bytes / 4).min(head - writer.head));
        loop {
            match spool.step(storage, &writer.region) {
                SpoolProgress::Group(bytes) => written += bytes,
                SpoolProgress::Known(_) | SpoolProgress::Differed(_) => {}
                SpoolProgress::Nothing => break,
                it @ (SpoolProgress::Lost(_) | SpoolProgress::NoRoom | SpoolProgress::Broken) => {
                    panic!("{it:?}")
                }
            }
        }
    }
    spool.truncate_to(storage, Position::new(head));
    while spool.step(storage, &writer.region).is_more() {}
    written
}

#[test]
fn what_is_appended_can_be_read_in_whole_pieces() {
    for ring_bytes in [SMALL, LARGE] {
        let mut storage = MemoryStorage::new();
        let (mut spool, found) = open(&mut storage, ring_bytes);
        assert_eq!(found, SpoolFound::Nothing);
        let mut writer = Writer::new(&spool, ring_bytes);
        writer.append_spooled(3 * ring_bytes + 4096, &mut spool, &mut storage);
        let piece = SpoolReader::new(IDENTITY, ring_bytes).unwrap().piece_bytes();
        let finished: Vec<u64> = (0..writer.head / piece).collect();
        assert_eq!(whole_pieces(&storage, ring_bytes, writer.head, u64::MAX), finished);
        assert_eq!((writer.unpersisted(), writer.marks.lost_bytes()), (0, 0));
        assert_eq!(storage.list().unwrap().len(), 13);
        assert_eq!(spool.step(&mut storage, &writer.region), SpoolProgress::Nothing);

        // A start that makes the same stream writes none of it but the unfinished piece.
        let written = rebuild(&mut storage, ring_bytes, writer.head, u64::MAX);
        assert_eq!(written, 4096);
        assert_eq!(whole_pieces(&storage, ring_bytes, writer.head, u64::MAX), finished);
    }
}

/// Appends and steps at random, with and without losses; at some operation the machine stops, and
/// each page that waits for the disk is then, by itself, old, new or torn. What can be read is
/// right; a start gets all of it back.
#[test]
fn a_power_cut_leaves_right_pieces_or_none() {
    let (mut taken, mut lost) = (0, 0);
    for seed in 0..240 {
        let mut random = Random(seed);
        let ring_bytes = if seed % 8 == 7 { LARGE } else { SMALL };
        let mut disk = MemoryStorage::new();
        for life in 0..3 {
            let context = format!("seed {seed} life {life}");
            let faults = Faults::new();
            let mut storage = FaultyStorage::with_faults(disk, faults.clone());
            let (mut spool, found) = open(&mut storage, ring_bytes);
            assert!(!matches!(found, SpoolFound::BegunAnew { .. }), "{context}: {found:?}");
            let effects = [Effect::Eio, Effect::DoneThenEio];
            let effect = effects[usize::try_from(random.below(2)).unwrap()];
            let nth = 1 + random.below(100);
            faults.add(Fault::new(&OperationKind::ALL, effect).nth(nth).for_ever());
            let mut writer = Writer::new(&spool, ring_bytes);
            let is_hasty = random.below(3) == 0;
            for _ in 0..random.below(60) {
                let bytes = 8 * (1 + random.below(ring_bytes / 20));
                if is_hasty || writer.unpersisted() + bytes <= ring_bytes {
                    writer.append(bytes);
                }
                if random.below(4) > 0 {
                    spool.step(&mut storage, &writer.region);
                }
            }
            lost += writer.marks.lost_bytes();
            disk = storage.into_inner();
            let before = whole_pieces(&disk, ring_bytes, writer.head, u64::MAX);
            if random.below(2) == 0 {
                disk.sync_names().unwrap();
            }
            disk.cut_power(|_, _| random.fate());
            let after = whole_pieces(&disk, ring_bytes, writer.head, u64::MAX);
            taken += before.len().saturating_sub(after.len());

            let head = writer.head - random.below(3) * (writer.head / 4) / 8 * 8;
            rebuild(&mut disk, ring_bytes, head, u64::MAX);
            let piece = SpoolReader::new(IDENTITY, ring_bytes).unwrap().piece_bytes();
            let all: Vec<u64> = (0..head / piece).collect();
            let found = whole_pieces(&disk, ring_bytes, writer.head, u64::MAX);
            assert_eq!(found, all, "{context}");
        }
    }
    assert!(taken > 20 && lost > LARGE, "the cuts took {taken} pieces, the rings {lost} bytes");
}

/// The disk fails for good at every operation in turn, and then the power goes: the spool ends, its
/// reason is told, it touches the disk no more, and what can be read is right.
#[test]
fn a_failing_disk_ends_the_spool_and_nothing_else() {
    let run = |nth: u64, effect: Effect, kinds: &[OperationKind]| {
        let faults = Faults::new();
        let mut storage = FaultyStorage::with_faults(MemoryStorage::new(), faults.clone());
        let (mut spool, _) = open(&mut storage, SMALL);
        let mut writer = Writer::new(&spool, SMALL);
        faults.add(Fault::new(kinds, effect).nth(nth).for_ever());
        for _ in 0..30 {
            writer.append(3000);
            spool.step(&mut storage, &writer.region);
        }
        (storage, writer, spool, faults)
    };
    let mut count = 0;
    for nth in 1.. {
        let (storage, writer, mut spool, faults) = run(nth, Effect::Eio, &OperationKind::ALL);
        if faults.fired().is_empty() {
            break;
        }
        count += 1;
        let marks = spool.marks();
        assert!(marks.is_broken(), "operation {nth}");
        assert!(marks.broken().unwrap().to_string().contains("report"), "operation {nth}");
        assert_eq!(writer.head, 90_000, "the writer goes on");
        assert!(faults.operations_after_fault().is_empty(), "operation {nth}");
        let mut storage = storage;
        assert_eq!(spool.step(&mut storage, &writer.region), SpoolProgress::Broken);
        assert_eq!(spool.truncate_to(&mut storage, Position::ZERO), SpoolProgress::Broken);
        assert_eq!(spool.remove_all(&mut storage), SpoolProgress::Broken);
        let mut disk = storage.into_inner();
        let mut random = Random(nth);
        disk.cut_power(|_, _| random.fate());
        whole_pieces(&disk, SMALL, writer.head, u64::MAX);
        let head = writer.head - writer.head % 8192;
        rebuild(&mut disk, SMALL, head, u64::MAX);
        let all: Vec<u64> = (0..head / 8192).collect();
        assert_eq!(whole_pieces(&disk, SMALL, head, u64::MAX), all, "operation {nth}");
    }
    assert!(count > 100, "{count} operations failed");
}

/// The sync that fails and lies: the next process sees pages that the disk never got.
#[test]
fn a_lost_sync_is_not_believed_by_the_next_start() {
    for nth in 1..12 {
        let faults = Faults::new();
        let mut storage = FaultyStorage::with_faults(MemoryStorage::new(), faults.clone());
        let (mut spool, _) = open(&mut storage, SMALL);
        let mut writer = Writer::new(&spool, SMALL);
        faults.add(Fault::new(&[OperationKind::SyncData], Effect::LostSync).nth(nth));
        writer.append_spooled(100 << 10, &mut spool, &mut storage);
        assert!(spool.marks().is_broken());
        let mut disk = storage.into_inner();
        rebuild(&mut disk, SMALL, 96 << 10, u64::MAX);
        disk.cut_power(|_, _| PageFate::Old);
        let all: Vec<u64> = (0..12).collect();
        assert_eq!(whole_pieces(&disk, SMALL, 96 << 10, u64::MAX), all, "sync {nth}");
    }
}

/// What an operator, another program or an older disk may leave: everything begins anew, and the
/// enum says why. Files of other names stay.
#[test]
fn segments_of_no_use_are_begun_anew() {
    type Change = fn(&mut MemoryStorage);
    let third = report_file(2);
    let other = SpoolIdentity { journal_uuid: Uuid([8; 16]), ..IDENTITY };
    let older = SpoolIdentity { incarnation: 2, ..IDENTITY };
    let patch = |storage: &mut MemoryStorage, at: u64, bytes: &[u8]| {
        storage.write_at(&report_file(2), at, bytes).unwrap();
    };
    let none: Change = |_| ();
    #[rustfmt::skip]
    let rows: [(&str, SpoolIdentity, u64, Change, SpoolUseless); 9] = [
        ("another journal", other, SMALL, none,
         SpoolUseless::OtherJournal { expected: Uuid([8; 16]), found: Uuid([7; 16]) }),
        ("a later incarnation", SpoolIdentity { incarnation: 4, ..IDENTITY }, SMALL, none,
         SpoolUseless::OtherIncarnation { expected: 4, found: 3 }),
        ("an earlier incarnation", older, SMALL, none,
         SpoolUseless::OtherIncarnation { expected: 2, found: 3 }),
        ("another ring", IDENTITY, LARGE, none,
         SpoolUseless::OtherSize { expected: LARGE / 4, found: SMALL / 4 }),
        ("another number", IDENTITY, SMALL,
         |s| { s.remove(&report_file(2)).unwrap(); s.rename(&report_file(1), &report_file(2)).unwrap(); },
         SpoolUseless::OtherNumber { found: 1 }),
        ("truncated", IDENTITY, SMALL, |s| resize(s, 12_288),
         SpoolUseless::Length { expected: 16_384, found: 12_288 }),
        ("longer", IDENTITY, SMALL, |s| resize(s, 16_392),
         SpoolUseless::Length { expected: 16_384, found: 16_392 }),
        ("nearly nothing", IDENTITY, SMALL, |s| resize(s, 40), SpoolUseless::Damaged),
        ("empty", IDENTITY, SMALL, |s| resize(s, 0), SpoolUseless::Damaged),
    ];
    for (what, identity, ring_bytes, change, why) in rows {
        let mut storage = filled();
        storage.create("notes.txt", 3).unwrap();
        change(&mut storage);
        let options = SpoolOptions { identity, ..options(ring_bytes) };
        let (spool, found) = Spool::open(&mut storage, &options).unwrap();
        let SpoolFound::BegunAnew { file, why: found } = found else { panic!("{what}: {found:?}") };
        assert_eq!(found, why, "{what}");
        assert!(file == third || file == report_file(0), "{what}: {file}");
        assert_eq!(storage.list().unwrap(), ["notes.txt"], "{what}");
        assert_eq!(spool.known_to(), Position::ZERO, "{what}");
    }
    // Every bit of the label, and every octet of the version.
    for bit in 0..64 * 8 {
        let mut storage = filled();
        let mut byte = [0];
        storage.read_at(&third, bit / 8, &mut byte).unwrap();
        patch(&mut storage, bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
        let (_, found) = open(&mut storage, SMALL);
        let is_anew = matches!(found, SpoolFound::BegunAnew { why: SpoolUseless::Damaged, .. });
        assert!(is_anew, "bit {bit}: {found:?}");
        assert!(storage.list().unwrap().is_empty());
    }
}

/// Gives the third segment another length.
fn resize(storage: &mut MemoryStorage, len: u64) {
    let mut bytes = vec![0; usize::try_from(len.min(16_384)).unwrap()];
    storage.read_at(&report_file(2), 0, &mut bytes).unwrap();
    storage.remove(&report_file(2)).unwrap();
    storage.create(&report_file(2), len).unwrap();
    storage.write_at(&report_file(2), 0, &bytes).unwrap();
}

/// Five segments of 8 KiB, and a piece of the sixth.
fn filled() -> MemoryStorage {
    let mut storage = MemoryStorage::new();
    let (mut spool, _) = open(&mut storage, SMALL);
    let mut writer = Writer::new(&spool, SMALL);
    writer.append_spooled(5 * 8192 + 1024, &mut spool, &mut storage);
    assert_eq!(storage.list().unwrap().len(), 6);
    storage
}

/// A later version keeps magic, version and checksum in their places.
#[test]
fn another_version_is_told_by_its_number() {
    let mut storage = filled();
    let mut label = [0; 64];
    storage.read_at(&report_file(0), 0, &mut label).unwrap();
    label[8] += 1;
    let version = u32::from_le_bytes(label[8..12].try_into().unwrap());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&label[..12]), &label[16..]);
    label[12..16].copy_from_slice(&crc.to_le_bytes());
    storage.write_at(&report_file(0), 0, &label).unwrap();
    let (_, found) = open(&mut storage, SMALL);
    let why = SpoolUseless::OtherVersion { found: version };
    assert_eq!(found, SpoolFound::BegunAnew { file: report_file(0), why });
}

/// Every bit of every kind of byte behind the label: the reader gives the right bytes or none.
#[test]
fn a_changed_bit_is_noticed_by_the_reader_and_mended_by_a_start() {
    let whole = filled();
    let mut random = Random(5);
    let places = (4096..4100).chain((0..200).map(|_| 8192 + random.below(8192)));
    for place in places {
        for bit in 0..8 {
            let mut storage = whole.clone();
            let mut byte = [0];
            storage.read_at(&report_file(2), place, &mut byte).unwrap();
            storage.write_at(&report_file(2), place, &[byte[0] ^ 1 << bit]).unwrap();
            let found = whole_pieces(&storage, SMALL, 6 * 8192, u64::MAX);
            assert_eq!(found, [0, 1, 3, 4], "{place} {bit}");
        }
    }
    let mut storage = whole;
    let crc_at = 4096;
    storage.write_at(&report_file(2), crc_at, &[1, 2, 3, 4]).unwrap();
    rebuild(&mut storage, SMALL, 5 * 8192 + 1024, u64::MAX);
    assert_eq!(whole_pieces(&storage, SMALL, 6 * 8192, u64::MAX), [0, 1, 2, 3, 4]);
}

/// The ring comes round to bytes that nobody copied: the disk has a hole there, and the pieces
/// beside it. A start fills the hole.
#[test]
fn a_lapped_ring_leaves_a_hole_that_a_start_fills() {
    let mut storage = MemoryStorage::new();
    let (mut spool, _) = open(&mut storage, SMALL);
    let mut writer = Writer::new(&spool, SMALL);
    writer.append_spooled(10 << 10, &mut spool, &mut storage);
    // 10 KiB are persisted, of 60 KiB written; the ring holds [28, 60).
    writer.append(50 << 10);
    assert_eq!(spool.step(&mut storage, &writer.region), SpoolProgress::Lost(22 << 10));
    writer.append_spooled(8 << 10, &mut spool, &mut storage);
    assert_eq!(writer.marks.lost_bytes(), 18 << 10);
    assert_eq!(writer.unpersisted(), 0);
    let names = |numbers: &[u64]| numbers.iter().map(|n| report_file(*n)).collect::<Vec<_>>();
    assert_eq!(storage.list().unwrap(), names(&[0, 1, 4, 5, 6, 7, 8]));
    assert_eq!(whole_pieces(&storage, SMALL, 68 << 10, u64::MAX), [0, 4, 5, 6, 7]);
    // The hole and the unfinished piece are written, nothing else.
    let written = rebuild(&mut storage, SMALL, 68 << 10, u64::MAX);
    assert_eq!(written, (3 * 8 + 4) << 10);
    assert_eq!(whole_pieces(&storage, SMALL, 68 << 10, u64::MAX), [0, 1, 2, 3, 4, 5, 6, 7]);
}

/// The ring comes round while a piece is being copied: half of the copy is of the next lap.
#[test]
fn a_ring_that_is_lapped_during_a_copy_is_noticed() {
    struct Lapping {
        writer: RefCell<Writer>,
        laps: RefCell<Vec<u64>>,
    }
    impl RingBytes for Lapping {
        fn read_ring(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
            let (first, rest) = into.split_at_mut(into.len() / 2);
            self.writer.borrow().region.read_ring(at, first)?;
            if let Some(bytes) = self.laps.borrow_mut().pop() {
                self.writer.borrow_mut().append(bytes);
            }
            let at = at + u64::try_from(first.len()).unwrap();
            self.writer.borrow().region.read_ring(at, rest)
        }
    }
    // How much is appended during the copies, the last one first.
    for (laps, is_lost) in [
        (&[][..], false),
        (&[8 << 10], false),
        (&[24 << 10], false),
        (&[(24 << 10) + 8], true),
        (&[32 << 10], true),
        (&[64 << 10, 0, 32 << 10], true),
        (&[31 << 10, 30 << 10, 29 << 10, 28 << 10], true),
    ] {
        let mut storage = MemoryStorage::new();
        let (mut spool, _) = open(&mut storage, SMALL);
        let mut writer = Writer::new(&spool, SMALL);
        writer.append(8 << 10);
        let ring = Lapping { writer: RefCell::new(writer), laps: RefCell::new(laps.to_vec()) };
        let mut progress = Vec::new();
        loop {
            progress.push(spool.step(&mut storage, &ring));
            if progress.last() == Some(&SpoolProgress::Nothing) {
                break;
            }
        }
        let lost = progress.iter().any(|it| matches!(it, SpoolProgress::Lost(_)));
        assert_eq!(lost, is_lost, "{laps:?}");
        let head = ring.writer.borrow().head;
        let whole = whole_pieces(&storage, SMALL, head, u64::MAX);
        assert_eq!(whole.contains(&0), !is_lost, "{laps:?}: {whole:?}");
    }
}

/// Rows: where the stream of the earlier run turns into another, and where the new one ends.
#[test]
fn what_an_earlier_run_had_and_this_one_has_not_is_removed() {
    let spooled = 5 * 8192 + 1024;
    for (turned_at, head) in [
        (u64::MAX, spooled),
        (u64::MAX, 5 * 8192),
        (u64::MAX, 5 * 8192 - 1024),
        (u64::MAX, 1024),
        (u64::MAX, 0),
        (0, 1024),
        (0, 6 * 8192),
        (3 * 8192, 6 * 8192),
        (3 * 8192 + 1024, 6 * 8192),
        (4 * 8192 + 1024, 4 * 8192 + 2048),
        (5 * 8192, 9 * 8192),
    ] {
        let mut storage = filled();
        rebuild(&mut storage, SMALL, head, turned_at);
        storage.cut_power(|_, _| PageFate::Old);
        let all: Vec<u64> = (0..head / 8192).collect();
        let context = format!("turned at {turned_at}, head {head}");
        assert_eq!(whole_pieces(&storage, SMALL, spooled, turned_at), all, "{context}");
        // Nothing is left that a later start could take for known.
        let (spool, found) = open(&mut storage, SMALL);
        assert!(matches!(found, SpoolFound::Resumed(to) if to.get() <= head), "{context}");
        assert!(spool.known_to().get() <= head, "{context}");
    }
}

/// The same within a segment of many pieces, and without a byte behind the cut: the slots too no
/// longer speak of what was removed.
#[test]
fn a_cut_segment_does_not_tell_of_what_was_cut_off() {
    let piece = 64 << 10;
    for head in [LARGE / 2, LARGE / 2 + piece, LARGE / 2 + 2 * piece] {
        let mut storage = MemoryStorage::new();
        let (mut spool, _) = open(&mut storage, LARGE);
        let mut writer = Writer::new(&spool, LARGE);
        for _ in 0..(LARGE / 2 + 3 * piece) / 1024 {
            writer.append(1024);
            spool.step(&mut storage, &writer.region);
        }
        rebuild(&mut storage, LARGE, head, u64::MAX);
        storage.cut_power(|_, _| PageFate::Old);
        assert_eq!(open(&mut storage, LARGE).0.known_to(), Position::new(head));
        let all: Vec<u64> = (0..head / piece).collect();
        assert_eq!(whole_pieces(&storage, LARGE, writer.head, u64::MAX), all);
    }
}

/// A start that fills a hole is stopped at every operation in turn, and the power goes: a checksum
/// that a later start believes never stands over bytes that the disk did not get.
#[test]
fn a_hole_that_was_half_filled_is_filled_by_the_next_start() {
    let mut holed = MemoryStorage::new();
    let (mut spool, _) = open(&mut holed, LARGE);
    let mut writer = Writer::new(&spool, LARGE);
    writer.append_spooled(300 << 10, &mut spool, &mut holed);
    writer.append(LARGE + (500 << 10));
    while spool.step(&mut holed, &writer.region).is_more() {}
    let (head, all) = (writer.head, (0..writer.head >> 16).collect::<Vec<_>>());
    assert!(whole_pieces(&holed, LARGE, head, u64::MAX).len() + 4 < all.len());
    let mut stops = 0;
    for nth in 1.. {
        let faults = Faults::new();
        let mut storage = FaultyStorage::with_faults(holed.clone(), faults.clone());
        let (mut spool, _) = open(&mut storage, LARGE);
        faults.add(Fault::new(&OperationKind::ALL, Effect::Eio).nth(nth).for_ever());
        let mut writer = Writer::new(&spool, LARGE);
        while writer.head < head {
            writer.append((head - writer.head).min(LARGE / 4));
            while spool.step(&mut storage, &writer.region).is_more() {}
        }
        let disk = storage.into_inner();
        for seed in 0..3 {
            let (mut disk, mut random) = (disk.clone(), Random(nth << 8 | seed));
            disk.cut_power(|_, _| random.fate());
            rebuild(&mut disk, LARGE, head, u64::MAX);
            assert_eq!(whole_pieces(&disk, LARGE, head, u64::MAX), all, "operation {nth}");
        }
        if faults.fired().is_empty() {
            break;
        }
        stops = nth;
    }
    assert!(stops > 30, "{stops} operations");
}

/// A removal that a power cut undoes in part, in any order, leaves segments that speak of another
/// history; the next start finds them out.
#[test]
fn a_truncation_cut_in_two_is_done_again() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let faults = Faults::new();
        let mut storage = FaultyStorage::with_faults(filled(), faults.clone());
        let turned_at = 8 * random.below(5 * 1024);
        let head = turned_at + 8 * random.below(1024);
        let (mut spool, _) = open(&mut storage, SMALL);
        faults
            .add(Fault::new(&OperationKind::ALL, Effect::Eio).nth(1 + random.below(60)).for_ever());
        let mut writer = Writer { turned_at, ..Writer::new(&spool, SMALL) };
        while writer.head < head {
            writer.append((head - writer.head).min(4096));
            while spool.step(&mut storage, &writer.region).is_more() {}
        }
        spool.truncate_to(&mut storage, Position::new(head));
        let mut disk = storage.into_inner();
        if random.below(2) == 0 {
            disk.sync_names().unwrap();
        }
        disk.cut_power(|_, _| random.fate());
        rebuild(&mut disk, SMALL, head, turned_at);
        let all: Vec<u64> = (0..head / 8192).collect();
        assert_eq!(whole_pieces(&disk, SMALL, 6 * 8192, turned_at), all, "seed {seed}");
    }
}

#[test]
fn a_full_disk_is_tried_again() {
    let file_bytes = 16_384;
    for (capacity, low_water) in [(2 * file_bytes, 0), (100 * file_bytes, 98 * file_bytes)] {
        let mut storage = MemoryStorage::new();
        storage.set_capacity(capacity);
        let options = SpoolOptions { low_water, ..options(SMALL) };
        let (mut spool, _) = Spool::open(&mut storage, &options).unwrap();
        let mut writer = Writer::new(&spool, SMALL);
        writer.append_spooled(20 << 10, &mut spool, &mut storage);
        assert_eq!(spool.step(&mut storage, &writer.region), SpoolProgress::NoRoom);
        assert!(writer.marks.is_space_short() && !writer.marks.is_broken());
        assert_eq!(writer.unpersisted(), 4 << 10);
        assert_eq!(storage.list().unwrap().len(), 2, "nothing is left of the third");

        storage.set_capacity(capacity + file_bytes);
        assert_eq!(spool.step(&mut storage, &writer.region), SpoolProgress::Group(4 << 10));
        assert!(!writer.marks.is_space_short());

        // And again, until the ring has come round: a hole.
        writer.append(8 << 10);
        while spool.step(&mut storage, &writer.region).is_more() {}
        assert!(writer.marks.is_space_short());
        writer.append(40 << 10);
        storage.set_capacity(200 * file_bytes);
        while spool.step(&mut storage, &writer.region).is_more() {}
        assert!(!writer.marks.is_space_short() && writer.marks.lost_bytes() > 0);
        let whole = whole_pieces(&storage, SMALL, writer.head, u64::MAX);
        assert_eq!(whole, [0, 1, 2, 5, 6, 7]);
    }
}

#[test]
fn a_day_that_is_over_leaves_no_segment() {
    let mut storage = MemoryStorage::new();
    let (mut spool, _) = open(&mut storage, SMALL);
    let mut writer = Writer::new(&spool, SMALL);
    writer.append_spooled(20 << 10, &mut spool, &mut storage);
    assert_eq!(spool.remove_all(&mut storage), SpoolProgress::Nothing);
    storage.cut_power(|_, _| PageFate::New);
    assert!(storage.list().unwrap().is_empty());
    writer.append_spooled(20 << 10, &mut spool, &mut storage);
    assert_eq!(whole_pieces(&storage, SMALL, 40 << 10, u64::MAX), [3, 4]);
    // Its front was removed with the day, so it never counts as finished.
    let reader = SpoolReader::new(IDENTITY, SMALL).unwrap();
    let third = reader.read_piece(&storage, 2, &mut [0; 8192]).unwrap();
    assert_eq!(third, PieceRead::Absent);
}

#[test]
fn a_creation_that_was_cut_off_is_removed() {
    let mut storage = filled();
    let name = format!("{}.new", report_file(6));
    storage.create(&name, 16_384).unwrap();
    let (_, found) = open(&mut storage, SMALL);
    assert_eq!(found, SpoolFound::Resumed(Position::new(5 * 8192)));
    assert!(!storage.list().unwrap().contains(&name));
}

#[test]
fn a_ring_of_no_size_is_refused() {
    let mut storage = MemoryStorage::new();
    for ring_bytes in [0, 1024, SMALL + 8, 3 * SMALL, u64::MAX] {
        let refused = Spool::open(&mut storage, &options(ring_bytes)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{ring_bytes}");
        assert!(SpoolReader::new(IDENTITY, ring_bytes).is_none());
    }
}

/// A thread steps the spool through a handle of the ring while another appends: first one that
/// waits for the disk, then one that does not.
#[test]
fn a_thread_spools_while_another_appends() {
    for is_waiting in [true, false] {
        let mut storage = MemoryStorage::new();
        let (mut spool, _) = open(&mut storage, LARGE);
        let mut writer = Writer::over(Region::shared(LARGE).unwrap(), &spool);
        let ring = writer.region.reader().unwrap();
        let total: u64 = 24 << 20;
        let thread = std::thread::spawn(move || {
            while spool.marks().persisted().get() < total {
                if !spool.step(&mut storage, &ring).is_more() {
                    std::thread::yield_now();
                }
            }
            storage
        });
        while writer.head < total {
            while is_waiting && writer.unpersisted() > LARGE / 2 {
                std::thread::yield_now();
            }
            writer.append(1024);
        }
        let storage = thread.join().unwrap();
        let whole = whole_pieces(&storage, LARGE, total, u64::MAX);
        if is_waiting {
            assert_eq!(writer.marks.lost_bytes(), 0);
            assert_eq!(whole, (0..total / (64 << 10)).collect::<Vec<_>>());
        }
        // The end is in the ring, whatever was lost before.
        let unique: BTreeSet<_> = whole.iter().collect();
        assert!(unique.len() == whole.len() && !whole.is_empty());
    }
}
