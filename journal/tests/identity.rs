//! Wiped, cut, foreign, older, copied: each directory that is not what was written is refused by
//! name, with the file and both ids in the message, and nothing in it is changed.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{BOOT, OTHER_BOOT, build, fill, options, temp_dir};
use journal::{
    IncarnationChange, JournalError, META_FILE, RING_BYTES_MIN, RING_FILE, Reader, RefusalKind,
    Ring, RingOptions, Uuid, first_incarnation,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn kind(result: Result<(Ring, journal::Recovery), JournalError>) -> RefusalKind {
    match result {
        Err(JournalError::Refused(refusal)) => refusal.kind,
        other => panic!("a refusal expected: {other:?}"),
    }
}

/// All files of a directory but the lock.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let entries = entries.filter(|entry| entry.file_name() != journal::LOCK_FILE);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// A row: what happens to a directory of ten records, and the words its refusal must hold.
struct Row {
    label: &'static str,
    kind: RefusalKind,
    words: &'static [&'static str],
    damage: fn(&Path, &mut RingOptions),
}

fn flip(path: &Path, offsets: &[usize]) {
    let mut bytes = fs::read(path).unwrap();
    for offset in offsets {
        bytes[*offset] ^= 1;
    }
    fs::write(path, bytes).unwrap();
}

/// Gives a slot another format version, with a checksum that matches.
fn other_version(path: &Path, slot: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[slot + 8] = 2;
    let crc = crc32c::crc32c(&bytes[slot..slot + 12]);
    let crc = crc32c::crc32c_append(crc, &bytes[slot + 16..slot + 128]);
    bytes[slot + 12..slot + 16].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

fn set_len(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// The ring file of another journal, copied over the bytes of ours.
fn foreign_ring(dir: &Path) {
    let other = temp_dir();
    let options = RingOptions { journal_uuid: Some(Uuid([0xcd; 16])), ..options() };
    drop(Ring::create(other.path(), &options).unwrap());
    fs::write(dir.join(RING_FILE), fs::read(other.path().join(RING_FILE)).unwrap()).unwrap();
}

/// The metadata of before a power cut, beside the ring of after it.
fn older_metadata(dir: &Path, options: &RingOptions) {
    let meta = fs::read(dir.join(META_FILE)).unwrap();
    let options = RingOptions { boot_id: Some(OTHER_BOOT), ..*options };
    let (_, recovery) = Ring::open(dir, &options).unwrap();
    assert_eq!(recovery.incarnation_changed, Some(IncarnationChange::PowerCut));
    fs::write(dir.join(META_FILE), meta).unwrap();
}

/// The files of a directory as `cp -r` makes them, in place of the originals.
fn copy(dir: &Path) {
    for name in [RING_FILE, META_FILE] {
        fs::copy(dir.join(name), dir.join("copy")).unwrap();
        fs::rename(dir.join("copy"), dir.join(name)).unwrap();
    }
}

const ROWS: [Row; 14] = [
    Row {
        label: "metadata gone",
        kind: RefusalKind::MetadataMissing,
        words: &["journal.meta"],
        damage: |dir, _| fs::remove_file(dir.join(META_FILE)).unwrap(),
    },
    Row {
        label: "both slots of the metadata",
        kind: RefusalKind::MetadataDamaged,
        words: &["journal.meta"],
        damage: |dir, _| flip(&dir.join(META_FILE), &[30, 4096 + 30]),
    },
    Row {
        label: "metadata cut to nothing",
        kind: RefusalKind::MetadataDamaged,
        words: &["journal.meta"],
        damage: |dir, _| set_len(&dir.join(META_FILE), 0),
    },
    Row {
        label: "metadata of version 2",
        kind: RefusalKind::MetadataVersion,
        words: &["version 1", "version 2"],
        damage: |dir, _| other_version(&dir.join(META_FILE), 0),
    },
    Row {
        label: "ring gone",
        kind: RefusalKind::RingMissing,
        words: &["journal.ring", "abababab"],
        damage: |dir, _| fs::remove_file(dir.join(RING_FILE)).unwrap(),
    },
    Row {
        label: "both slots of the ring",
        kind: RefusalKind::RingDamaged,
        words: &["journal.ring"],
        damage: |dir, _| flip(&dir.join(RING_FILE), &[0, 2048]),
    },
    Row {
        label: "ring cut to nothing",
        kind: RefusalKind::RingDamaged,
        words: &["journal.ring"],
        damage: |dir, _| set_len(&dir.join(RING_FILE), 0),
    },
    Row {
        label: "ring of version 2",
        kind: RefusalKind::RingVersion,
        words: &["version 1", "version 2"],
        damage: |dir, _| other_version(&dir.join(RING_FILE), 0),
    },
    Row {
        label: "ring cut",
        kind: RefusalKind::RingLength,
        words: &["36864 bytes", "36000 bytes"],
        damage: |dir, _| set_len(&dir.join(RING_FILE), 36_000),
    },
    Row {
        label: "ring grown",
        kind: RefusalKind::RingLength,
        words: &["36864 bytes", "40960 bytes"],
        damage: |dir, _| set_len(&dir.join(RING_FILE), 40_960),
    },
    Row {
        label: "another journal's ring",
        kind: RefusalKind::ForeignRing,
        words: &["abababab", "cdcdcdcd"],
        damage: |dir, _| foreign_ring(dir),
    },
    Row {
        label: "another node",
        kind: RefusalKind::ForeignNode,
        words: &["node 8", "node 7"],
        damage: |_, options| options.node_id = 8,
    },
    Row {
        label: "older metadata",
        kind: RefusalKind::MetadataOlder,
        words: &["journal.meta", "incarnation"],
        damage: |dir, options| older_metadata(dir, options),
    },
    Row {
        label: "another size",
        kind: RefusalKind::RingBytesChanged,
        words: &["65536 bytes", "32768 bytes"],
        damage: |_, options| options.ring_bytes = 2 * RING_BYTES_MIN,
    },
];

#[test]
fn each_strange_directory_is_refused_by_name() {
    for row in &ROWS {
        let dir = temp_dir();
        build(dir.path(), 10);
        let mut options = options();
        (row.damage)(dir.path(), &mut options);
        let before = content(dir.path());
        let error = Ring::open_or_create(dir.path(), &options).unwrap_err();
        let JournalError::Refused(refusal) = &error else { panic!("{}: {error}", row.label) };
        assert_eq!(refusal.kind, row.kind, "{}", row.label);
        let text = error.to_string();
        for word in row.words.iter().chain(&[" expected, ", " found. "]) {
            assert!(text.contains(word), "{}: {word} in {text}", row.label);
        }
        assert!(text.contains(row.kind.way_out()), "{}: {text}", row.label);
        assert_eq!(content(dir.path()), before, "{}: nothing changes", row.label);
    }
}

#[test]
fn a_copy_is_refused_or_taken_under_a_new_incarnation() {
    let dir = temp_dir();
    build(dir.path(), 10);
    copy(dir.path());
    assert_eq!(kind(Ring::open(dir.path(), &options())), RefusalKind::Copied);
    let accepting = RingOptions { accept_copy: true, ..options() };
    let (ring, recovery) = Ring::open(dir.path(), &accepting).unwrap();
    assert_eq!(recovery.incarnation_changed, Some(IncarnationChange::Copy));
    assert_eq!((recovery.records, ring.label().incarnation), (10, recovery.incarnation));
    let first = recovery.incarnation;
    assert_eq!(first, first_incarnation(Uuid([0xab; 16])) + 1);
    drop(ring);
    // It is the original now.
    let (_, recovery) = Ring::open(dir.path(), &options()).unwrap();
    assert_eq!((recovery.incarnation_changed, recovery.incarnation), (None, first));
}

#[test]
fn one_damaged_slot_is_no_loss() {
    let dir = temp_dir();
    build(dir.path(), 10);
    // The journal was created only: slot 0 is the newest of both files, and slot 1 was never used.
    // One more open fills slot 1; then either may be damaged.
    drop(Ring::open(dir.path(), &options()).unwrap());
    for (name, offset) in [(META_FILE, 30), (META_FILE, 4126), (RING_FILE, 30), (RING_FILE, 2078)] {
        flip(&dir.path().join(name), &[offset]);
        let (_, recovery) = Ring::open(dir.path(), &options()).unwrap();
        assert_eq!((recovery.case, recovery.records), ("killed", 10), "{name} {offset}");
    }
}

/// The mark of a stop before the last open, in the slot that is left when the newest is damaged,
/// says nothing of the writer that came after.
#[test]
fn an_older_mark_of_a_stop_is_not_believed() {
    for (boot, case, change) in
        [(BOOT, "killed", None), (OTHER_BOOT, "power cut", Some(IncarnationChange::PowerCut))]
    {
        let dir = temp_dir();
        build(dir.path(), 10);
        Ring::open(dir.path(), &options()).unwrap().0.close().unwrap();
        let before = fs::read(dir.path().join(META_FILE)).unwrap();
        drop(Ring::open(dir.path(), &options()).unwrap());
        let after = fs::read(dir.path().join(META_FILE)).unwrap();
        let written = before.iter().zip(&after).position(|(old, new)| old != new).unwrap();
        flip(&dir.path().join(META_FILE), &[written / 4096 * 4096 + 30]);
        let options = RingOptions { boot_id: Some(boot), ..options() };
        let (_, recovery) = Ring::open(dir.path(), &options).unwrap();
        assert_eq!((recovery.case, recovery.clean), (case, false));
        assert_eq!(recovery.incarnation_changed, change, "{case}");
    }
}

#[test]
fn creation_and_opening_keep_apart() {
    let dir = temp_dir();
    let path = dir.path().join("data");
    let none = Ring::open(&path, &options()).unwrap_err();
    assert!(matches!(none, JournalError::NoJournal { .. }), "{none}");
    assert!(!path.exists());
    let none = Reader::open(&path).unwrap_err();
    assert!(matches!(none, JournalError::NoJournal { .. }), "{none}");
    let (ring, _) = Ring::open_or_create(&path, &options()).unwrap();
    drop(ring);
    let there = Ring::create(&path, &options()).unwrap_err();
    assert!(matches!(there, JournalError::AlreadyExists { .. }), "{there}");
    for ring_bytes in [0, 1000, RING_BYTES_MIN - 1, RING_BYTES_MIN * 3, u64::MAX] {
        let error = Ring::open(&path, &RingOptions { ring_bytes, ..options() }).unwrap_err();
        assert!(matches!(error, JournalError::RingBytes { found } if found == ring_bytes));
    }
}

#[test]
fn a_creation_cut_short_is_done_again() {
    for (label, cut) in [
        (
            "no name yet",
            (|dir| {
                fs::rename(dir.join(RING_FILE), dir.join("journal.ring.new")).unwrap();
                fs::remove_file(dir.join(META_FILE)).unwrap();
            }) as fn(&Path),
        ),
        ("no metadata yet", |dir| {
            fs::remove_file(dir.join(META_FILE)).unwrap();
        }),
        ("metadata has no name yet", |dir| {
            fs::rename(dir.join(META_FILE), dir.join("journal.meta.new")).unwrap();
        }),
    ] {
        let dir = temp_dir();
        drop(Ring::create(dir.path(), &options()).unwrap());
        cut(dir.path());
        let none = Ring::open(dir.path(), &options()).unwrap_err();
        assert!(matches!(none, JournalError::NoJournal { .. }), "{label}: {none}");
        let (mut ring, recovery) = Ring::open_or_create(dir.path(), &options()).unwrap();
        assert_eq!(recovery.case, "created", "{label}");
        fill(&mut ring, 0, 3);
        drop(ring);
        let (_, recovery) = Ring::open_or_create(dir.path(), &options()).unwrap();
        assert_eq!(recovery.records, 3, "{label}");
    }
}

#[test]
fn two_journals_never_share_a_name_or_an_incarnation() {
    let draw = || {
        let dir = temp_dir();
        let fresh = RingOptions { journal_uuid: None, ..options() };
        let (ring, recovery) = Ring::create(dir.path(), &fresh).unwrap();
        (ring.label().journal_uuid, recovery.incarnation)
    };
    let (first, second) = (draw(), draw());
    assert_ne!(first.0, second.0);
    assert_ne!(first.1 >> 16, second.1 >> 16);
}

#[test]
fn the_machine_has_a_boot_id() {
    let dir = temp_dir();
    let real = RingOptions { boot_id: None, ..options() };
    let (ring, _) = Ring::create(dir.path(), &real).unwrap();
    let boot_id = ring.label().boot_id;
    assert!(boot_id != BOOT && boot_id != Uuid::default());
    drop(ring);
    let (ring, recovery) = Ring::open(dir.path(), &real).unwrap();
    assert_eq!((recovery.incarnation_changed, ring.label().boot_id), (None, boot_id));
}
