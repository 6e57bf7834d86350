//! A file is not the one that was written: a start says which file, what was expected and what
//! came, and changes nothing. Accepted, the loss is told exactly, kept aside, and no start after it
//! is troubled by it again.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::model::{Loss, Model, Place, RING, Start, flip, get, put, seg};
use common::{
    PAGE, SEGMENT, append, as_directory, files_on, fill_on, kill, open_on, options, rebooted,
    settle_on,
};
use journal::{
    IncarnationChange, JournalOptions, META_FILE, MemoryStorage, ReadStop, RefusalKind, Storage,
    Uuid,
};

type Damage = fn(&mut Start, &Model);

/// A row: what is done to the files, what the start says of it, and what an accepted loss costs.
struct Row {
    label: &'static str,
    damage: Damage,
    kind: RefusalKind,
    words: &'static [&'static str],
    /// After a power cut: the segment at which the journal is cut when the loss is accepted. None:
    /// it cannot be.
    cut: Option<usize>,
    /// The ring of the same boot, which has the last four segments, makes it good.
    is_healed: bool,
}

fn set_len(disk: &mut MemoryStorage, name: &str, len: usize) {
    let mut bytes = get(disk, name);
    bytes.resize(len, 0);
    put(disk, name, &bytes);
}

fn remove(disk: &mut MemoryStorage, name: &str) {
    disk.remove(name).unwrap();
    disk.sync_names().unwrap();
}

fn swap(disk: &mut MemoryStorage, one: usize, other: usize) {
    let [first, second] = [get(disk, &seg(one)), get(disk, &seg(other))];
    put(disk, &seg(one), &second);
    put(disk, &seg(other), &first);
}

fn copy(disk: &mut MemoryStorage, from: usize, to: usize) {
    let bytes = get(disk, &seg(from));
    put(disk, &seg(to), &bytes);
}

/// The segment of another journal.
fn foreign(number: usize) -> Vec<u8> {
    let other = JournalOptions { journal_uuid: Some(Uuid([0xcd; 16])), ..options() };
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &other).unwrap();
    fill_on(&mut journal, &mut disk, 1000, 1125);
    settle_on(&mut journal, &mut disk);
    get(&disk, &seg(number))
}

/// The segment as a backup made it after that many records.
fn stale(number: usize, records: usize) -> Vec<u8> {
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    fill_on(&mut journal, &mut disk, 0, records);
    settle_on(&mut journal, &mut disk);
    get(&disk, &seg(number))
}

/// Segment 4 of 0..=4 is the newest that holds records; 5 and 6 are made ahead.
#[rustfmt::skip]
const ROWS: [Row; 20] = [
    Row { label: "the first missing", damage: |s, _| remove(&mut s.disk, &seg(0)),
          kind: RefusalKind::SegmentMissing, words: &["journal-00000000.seg", "abababab", "journal-00000001.seg"], cut: None, is_healed: false },
    Row { label: "one missing", damage: |s, _| remove(&mut s.disk, &seg(2)),
          kind: RefusalKind::SegmentMissing, words: &["journal-00000002.seg", "segment 2", "journal-00000003.seg"], cut: Some(2), is_healed: false },
    Row { label: "the newest missing", damage: |s, _| remove(&mut s.disk, &seg(4)),
          kind: RefusalKind::SegmentMissing, words: &["journal-00000004.seg", "segment 4"], cut: Some(4), is_healed: false },
    Row { label: "all missing", damage: |s, _| (0..7).for_each(|n| remove(&mut s.disk, &seg(n))),
          kind: RefusalKind::SegmentMissing, words: &["journal-00000000.seg", "no segment at all"], cut: None, is_healed: false },
    Row { label: "two swapped", damage: |s, _| swap(&mut s.disk, 1, 3),
          kind: RefusalKind::SegmentMisplaced, words: &["journal-00000001.seg", "segment 1 expected", "segment 3 found"], cut: Some(1), is_healed: false },
    Row { label: "one copied onto another", damage: |s, _| copy(&mut s.disk, 1, 3),
          kind: RefusalKind::SegmentMisplaced, words: &["journal-00000003.seg", "segment 1 found"], cut: Some(3), is_healed: false },
    Row { label: "one copied behind the last", damage: |s, _| copy(&mut s.disk, 1, 7),
          kind: RefusalKind::SegmentMisplaced, words: &["journal-00000007.seg", "segment 1 found"], cut: Some(5), is_healed: false },
    Row { label: "another journal's", damage: |s, _| put(&mut s.disk, &seg(3), &foreign(3)),
          kind: RefusalKind::ForeignSegment, words: &["journal-00000003.seg", "abababab", "cdcdcdcd"], cut: Some(3), is_healed: false },
    Row { label: "cut in its records", damage: |s, _| set_len(&mut s.disk, &seg(2), 9000),
          kind: RefusalKind::SegmentLength, words: &["journal-00000002.seg", "12288 bytes", "9000 bytes"], cut: Some(2), is_healed: false },
    Row { label: "cut in its header", damage: |s, _| set_len(&mut s.disk, &seg(2), 100),
          kind: RefusalKind::SegmentDamaged, words: &["journal-00000002.seg", "100 bytes"], cut: Some(2), is_healed: false },
    Row { label: "cut to nothing", damage: |s, _| set_len(&mut s.disk, &seg(4), 0),
          kind: RefusalKind::SegmentDamaged, words: &["journal-00000004.seg", "0 bytes"], cut: Some(4), is_healed: false },
    Row { label: "grown", damage: |s, _| set_len(&mut s.disk, &seg(1), 12_296),
          kind: RefusalKind::SegmentLength, words: &["journal-00000001.seg", "12288 bytes", "12296 bytes"], cut: Some(1), is_healed: false },
    Row { label: "the newest grown", damage: |s, _| set_len(&mut s.disk, &seg(4), 12_296),
          kind: RefusalKind::SegmentLength, words: &["journal-00000004.seg", "12296 bytes"], cut: Some(4), is_healed: false },
    Row { label: "an older copy", damage: |s, _| put(&mut s.disk, &seg(3), &stale(3, 100)),
          kind: RefusalKind::Corrupt, words: &["journal-00000003.seg", "zeros found", "journal-00000004.seg"], cut: Some(3), is_healed: true },
    Row { label: "an older copy without records", damage: |s, _| put(&mut s.disk, &seg(3), &stale(3, 40)),
          kind: RefusalKind::Corrupt, words: &["journal-00000003.seg", "journal-00000004.seg"], cut: Some(3), is_healed: true },
    Row { label: "metadata gone", damage: |s, _| remove(&mut s.disk, META_FILE),
          kind: RefusalKind::MetadataMissing, words: &["journal.meta", "metadata file"], cut: None, is_healed: false },
    Row { label: "metadata cut to nothing", damage: |s, _| { s.disk.write_at(META_FILE, 0, &[0; 8192]).unwrap(); },
          kind: RefusalKind::MetadataDamaged, words: &["journal.meta"], cut: None, is_healed: false },
    Row { label: "another node", damage: |s, _| s.options.node_id = 8,
          kind: RefusalKind::ForeignNode, words: &["journal.meta", "node 8 expected", "node 7 found"], cut: None, is_healed: false },
    Row { label: "another size", damage: |s, _| s.options.ring_bytes = 65_536,
          kind: RefusalKind::RingBytesChanged, words: &["65536 bytes expected", "32768 bytes found"], cut: None, is_healed: false },
    Row { label: "a copy", damage: |s, _| { let meta = get(&s.disk, META_FILE); put(&mut s.disk, META_FILE, &meta); },
          kind: RefusalKind::Copied, words: &["journal.meta", "inode"], cut: None, is_healed: false },
];

/// What the files must cost, by the model: records of whole files and what is in front of a cut.
fn expected_loss(model: &Model, start: &Start, kept: usize) -> Loss {
    let files = files_on(&start.disk);
    let whole = model.places[kept..].iter().filter(|place| {
        let is_in = |bytes: &Vec<u8>| bytes.windows(place.bytes.len()).any(|at| at == place.bytes);
        files.iter().any(|(name, bytes)| name.contains(".seg") && is_in(bytes))
    });
    let whole: Vec<usize> = whole.map(|place| place.position).collect();
    let last = whole.last().map_or(kept, |last| {
        model.places.iter().position(|place| place.position == *last).unwrap() + 1
    });
    Loss { first: kept as u64 + 1, last_known: last as u64, whole: whole.len() as u64 }
}

#[test]
fn each_strange_file_is_refused_by_name() {
    let model = Model::new(125, 12);
    assert_eq!(model.places[model.places.len() - 1].segment(), 4, "as the rows have it");
    for row in &ROWS {
        let mut start = model.cut(row.label);
        (row.damage)(&mut start, &model);
        start.refused(row.kind, row.words);
        let Some(segment) = row.cut else {
            start.options.accept_loss = true;
            let refusal = start.refused(row.kind, row.words);
            assert!(!refusal.way_out().contains("--accept-loss"), "{}", row.label);
            continue;
        };
        // The chain ends in front of the segment, or inside an older copy of it.
        let older = (row.kind == RefusalKind::Corrupt).then(|| get(&start.disk, &seg(segment)));
        let is_kept = |place: &&Place| {
            let is_there = |bytes: &Vec<u8>| bytes[place.offset()..].starts_with(&place.bytes);
            place.segment() < segment
                || place.segment() == segment && older.as_ref().is_some_and(is_there)
        };
        let kept = model.places[..model.in_ring_alone].iter().take_while(is_kept).count();
        start.accepts(&model, kept, expected_loss(&model, &start, kept));
        // With the ring all that was in it is there, and nothing is lost.
        let ring = Some(model.ring.clone());
        let mut with_ring = Start { ring, options: options(), ..start };
        if !row.is_healed {
            with_ring.refused(row.kind, row.words);
            with_ring.options.accept_loss = true;
        }
        let in_ring = model.places[model.oldest_in_ring()].segment();
        if row.is_healed || segment > in_ring {
            with_ring.opens(&model, "killed", model.places.len());
        }
    }
}

/// The ring is gone, or what is there is not the one that the node wrote to.
#[test]
fn a_ring_that_is_not_the_one() {
    let model = Model::new(125, 12);
    let stored = model.in_ring_alone;
    let damaged = {
        let mut ring = model.ring.clone();
        (ring[30], ring[2048 + 30]) = (ring[30] ^ 1, ring[2048 + 30] ^ 1);
        ring
    };
    let cut = model.ring[..20_000].to_vec();
    let foreign = {
        let other = JournalOptions { journal_uuid: Some(Uuid([0xcd; 16])), ..options() };
        let mut journal = open_on(&mut MemoryStorage::new(), None, &other).unwrap();
        assert!(append(&mut journal.ring, 0));
        kill(journal)
    };
    let newest = model.places.len() as u64;
    let all = Loss { first: stored as u64 + 1, last_known: newest, whole: newest - stored as u64 };
    let none = Loss { last_known: stored as u64, whole: 0, ..all };
    #[rustfmt::skip]
    let rows = [
        ("damaged", &damaged, RefusalKind::RingDamaged, ["journal.ring", "matching checksum"], all),
        ("cut",     &cut,     RefusalKind::RingLength,  ["36864 bytes expected", "20000 bytes found"], none),
        ("foreign", &foreign, RefusalKind::ForeignRing, ["abababab", "cdcdcdcd"], none),
    ];
    for (label, ring, kind, words, loss) in rows {
        let start = Start { ring: Some(ring.clone()), ..model.start(label) };
        start.refused(kind, &words);
        start.accepts(&model, stored, loss);
        // After a restart of the machine nobody counts on what is there, but it must be ours.
        let cut = Start { options: rebooted(), ..start };
        if kind == RefusalKind::ForeignRing {
            cut.refused(kind, &words);
        } else {
            cut.opens(&model, "power cut", stored);
        }
    }
    let gone = Start { ring: None, ..model.start("gone") };
    gone.opens(&model, "ring gone", stored);
    // A ring of an earlier boot, on a disk: what its pages have goes on where the segments end.
    let other_boot = Start { options: rebooted(), ..model.start("of another boot") };
    other_boot.opens(&model, "power cut", model.places.len());
    let mut thinned = other_boot;
    let place = &model.places[stored + 5];
    let at = PAGE + place.position % RING;
    thinned.ring.as_mut().unwrap()[at..at + place.bytes.len()].fill(0);
    thinned.opens(&model, "power cut", stored + 5);
}

/// The same for a writer that acknowledged only what is on the disk: nothing it told is missing,
/// unless something that was on the disk is given up.
#[test]
fn a_loss_is_one_also_where_acknowledged_was_on_disk() {
    let durable = |options| JournalOptions { acks_durable: true, ..options };
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &durable(options())).unwrap();
    fill_on(&mut journal, &mut disk, 0, 125);
    settle_on(&mut journal, &mut disk);
    let last = journal.ring.last_index();
    let ring = kill(journal);
    let segment = 33_000 / SEGMENT;
    for (ring, options, case) in [
        (None, durable(options()), "ring gone, acknowledged was on disk"),
        (None, durable(rebooted()), "power cut, acknowledged was on disk"),
        (Some(&ring), durable(options()), "killed"),
    ] {
        let mut disk = disk.clone();
        let journal = open_on(&mut disk.clone(), ring.map(|r| &r[..]), &options).unwrap();
        assert_eq!((journal.recovery.case, journal.recovery.suspect), (case, None));
        // The header of the newest segment is damaged, and the operator accepts that.
        flip(&mut disk, &seg(segment), &[100]);
        let accepting = JournalOptions { accept_loss: true, ..options };
        let journal = open_on(&mut disk, ring.map(|r| &r[..]), &accepting).unwrap();
        let recovery = &journal.recovery;
        assert_eq!(recovery.set_aside.len(), 3, "with the two behind it");
        if ring.is_some() {
            assert_eq!((recovery.case, recovery.last_index), ("killed", last));
            assert_eq!((&recovery.accepted, recovery.suspect), (&None, None));
        } else {
            assert_eq!(recovery.case, "loss accepted");
            assert_eq!(recovery.accepted.as_ref().unwrap().last_known_index, last);
            assert!(recovery.suspect.is_some() && recovery.incarnation_changed.is_some());
        }
    }
}

/// What writeback out of order leaves after a power cut.
#[test]
fn holes_are_refused_whatever_their_size() {
    let model = Model::new(125, 0);
    let last = model.places.len() - 1;
    let rows = [(0, 0), (0, last - 1), (3, 3), (3, 60), (60, 61), (last - 9, last - 1), (0, last)];
    for (from, to) in rows {
        let mut start = model.cut("a hole");
        for place in &model.places[from..=to] {
            let zeros = vec![0; place.bytes.len()];
            start.disk.write_at(&seg(place.segment()), place.offset() as u64, &zeros).unwrap();
        }
        let whole = (last - to) as u64;
        let (kind, word) = match whole {
            0 => (RefusalKind::LostTail, "on the disk"),
            _ => (RefusalKind::Corrupt, "zeros found"),
        };
        let refusal = start.refused(kind, &[word, &seg(model.places[from].segment())]);
        assert_eq!(refusal.offset, Some(model.places[from].offset() as u64));
        if from == 0 {
            start.options.accept_loss = true;
            let refusal = start.refused(kind, &["nothing whole in front"]);
            assert!(!refusal.has_front);
            continue;
        }
        let (first, last_known) = (from as u64 + 1, model.len());
        start.accepts(&model, from, Loss { first, last_known, whole });
    }
}

/// After a clean stop the last record is vouched for, and for ever after.
#[test]
fn a_record_that_was_on_the_disk_is_missed() {
    let mut disk = MemoryStorage::new();
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    fill_on(&mut journal, &mut disk, 0, 10);
    journal.close_on(&mut disk, std::path::Path::new("")).unwrap();
    let model = {
        let mut model = Model::new(10, 0);
        model.disk = disk;
        model
    };
    let place = &model.places[9];
    let at = place.offset() as u64;
    let flipped = {
        let mut bytes = place.bytes.clone();
        bytes[41] ^= 4;
        bytes
    };
    // Valid, but another record than was there at the stop.
    let replaced = {
        let mut bytes = flipped.clone();
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    let zeros = vec![0; place.bytes.len()];
    #[rustfmt::skip]
    let rows = [
        ("zeroed",   &zeros,    "all records up to 10", 9,  Loss { first: 10, last_known: 10, whole: 0 }),
        ("flipped",  &flipped,  "an end behind record 9", 9, Loss { first: 10, last_known: 10, whole: 0 }),
        ("replaced", &replaced, "another record 10", 10, Loss { first: 11, last_known: 10, whole: 0 }),
    ];
    for (label, bytes, words, kept, loss) in rows {
        let mut start = Start { ring: None, ..model.start(label) };
        start.disk.write_at(&seg(0), at, bytes).unwrap();
        start.refused(RefusalKind::LostTail, &[words, &seg(0)]);
        let dir = as_directory(&start.disk, None);
        let (_, stop) = common::read(dir.path());
        assert_eq!(stop, ReadStop::LostTail { floor_index: 10 }, "{label}");
        if kept == 9 {
            start.accepts(&model, kept, loss);
        }
        // Not even the copy's flag hides a loss.
        let both = JournalOptions { accept_copy: true, accept_loss: true, ..options() };
        let meta = get(&start.disk, META_FILE);
        put(&mut start.disk, META_FILE, &meta);
        let mut journal = open_on(&mut start.disk, None, &both).unwrap();
        let recovery = &journal.recovery;
        assert_eq!(recovery.incarnation_changed, Some(IncarnationChange::Copy), "{label}");
        assert_eq!(recovery.case, "loss accepted", "{label}");
        assert_eq!(recovery.accepted.as_ref().unwrap().first_index, loss.first, "{label}");
        assert!(append(&mut journal.ring, 10));
        settle_on(&mut journal, &mut start.disk);
        let ring = kill(journal);
        let journal = open_on(&mut start.disk, Some(&ring), &options()).unwrap();
        assert_eq!(journal.recovery.case, "killed", "{label}");
    }
}
