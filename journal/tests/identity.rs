//! Wiped, copied, cut short, opened twice: whether a directory is the one this node wrote, with
//! real files. What damage does is in `strange_files.rs`.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fs;
use std::path::Path;

use common::{
    BOOT, append, assert_records, files, fill, options, put_back, rebooted, settle, temp_dir,
};
use journal::{
    IncarnationChange, Journal, JournalError, JournalOptions, LOCK_FILE, META_FILE, RING_BYTES_MIN,
    RING_FILE, ReadStop, Reader, Refusal, RefusalKind, Uuid, first_incarnation, ring_file,
    segment_file,
};

fn refusal(result: Result<Journal, JournalError>) -> Refusal {
    match result {
        Err(JournalError::Refused(refusal)) => *refusal,
        other => panic!("a refusal expected: {other:?}"),
    }
}

/// A journal of forty records that was killed; the last ten are in the ring alone.
fn killed(dir: &Path, options: &JournalOptions) {
    let mut journal = Journal::create(dir, options).unwrap();
    fill(&mut journal, dir, 0, 30);
    settle(&mut journal, dir);
    for n in 30..40 {
        assert!(append(&mut journal.ring, n));
    }
}

#[test]
fn creation_and_opening_keep_apart() {
    let dir = temp_dir();
    let path = dir.path().join("data");
    let none = Journal::open(&path, &options()).unwrap_err();
    assert!(matches!(none, JournalError::NoJournal { .. }), "{none}");
    assert!(!path.exists());
    let none = Reader::open(&path).unwrap_err();
    assert!(matches!(none, JournalError::NoJournal { .. }), "{none}");
    drop(Journal::open_or_create(&path, &options()).unwrap());
    let there = Journal::create(&path, &options()).unwrap_err();
    assert!(matches!(there, JournalError::AlreadyExists { .. }), "{there}");
    for ring_bytes in [0, 1000, RING_BYTES_MIN - 1, RING_BYTES_MIN * 3, u64::MAX] {
        let error = Journal::open(&path, &JournalOptions { ring_bytes, ..options() }).unwrap_err();
        assert!(matches!(error, JournalError::RingBytes { found } if found == ring_bytes));
    }
}

/// Until the metadata has its name nothing was written, so all of it is made anew.
#[test]
fn a_creation_cut_short_is_done_again() {
    type Cut = fn(&Path);
    let rows: [(&str, Cut); 4] = [
        ("the metadata has no name yet", |dir| {
            fs::rename(dir.join(META_FILE), dir.join("journal.meta.new")).unwrap();
        }),
        ("nor is there a ring", |dir| {
            fs::rename(dir.join(META_FILE), dir.join("journal.meta.new")).unwrap();
            fs::remove_file(dir.join(RING_FILE)).unwrap();
        }),
        ("nor has the segment", |dir| {
            fs::rename(dir.join(META_FILE), dir.join("journal.meta.new")).unwrap();
            let name = dir.join(segment_file(0));
            fs::rename(&name, dir.join("journal-00000000.seg.new")).unwrap();
        }),
        ("half of the metadata", |dir| {
            fs::remove_file(dir.join(META_FILE)).unwrap();
            fs::write(dir.join("journal.meta.new"), [7; 100]).unwrap();
        }),
    ];
    for (label, cut) in rows {
        let dir = temp_dir();
        drop(Journal::create(dir.path(), &options()).unwrap());
        let whole: Vec<String> = files(dir.path()).into_keys().collect();
        cut(dir.path());
        let none = Journal::open(dir.path(), &options()).unwrap_err();
        assert!(matches!(none, JournalError::NoJournal { .. }), "{label}: {none}");
        let mut journal = Journal::open_or_create(dir.path(), &options()).unwrap();
        assert_eq!(journal.recovery.case, "created", "{label}");
        assert_eq!(files(dir.path()).into_keys().collect::<Vec<_>>(), whole, "{label}");
        fill(&mut journal, dir.path(), 0, 3);
        drop(journal);
        let journal = Journal::open_or_create(dir.path(), &options()).unwrap();
        assert_eq!((journal.recovery.case, journal.recovery.last_index), ("killed", 3));
    }
}

/// The files of a directory as `cp -r` makes them, in place of the originals.
fn copy(dir: &Path) {
    for name in files(dir).into_keys() {
        fs::copy(dir.join(&name), dir.join("copy")).unwrap();
        fs::rename(dir.join("copy"), dir.join(&name)).unwrap();
    }
}

#[test]
fn a_copy_is_refused_or_taken_under_a_new_incarnation() {
    let dir = temp_dir();
    killed(dir.path(), &options());
    copy(dir.path());
    let before = files(dir.path());
    let refused = refusal(Journal::open(dir.path(), &options()));
    assert_eq!(refused.kind, RefusalKind::Copied);
    assert!(refused.to_string().contains("--accept-copy"), "{refused}");
    assert!(files(dir.path()) == before);
    let accepting = JournalOptions { accept_copy: true, ..options() };
    let journal = Journal::open(dir.path(), &accepting).unwrap();
    let recovery = &journal.recovery;
    assert_eq!(recovery.incarnation_changed, Some(IncarnationChange::Copy));
    assert_eq!(recovery.last_index, journal.ring.last_index());
    // Its original may have gone on: what that acknowledged is not here.
    assert_eq!(recovery.suspect.unwrap().after_index, recovery.last_index);
    assert_eq!(journal.ring.label().suspect_incarnation, recovery.incarnation);
    let first = recovery.incarnation;
    assert_eq!(first, first_incarnation(Uuid([0xab; 16])) + 1);
    drop(journal);
    // It is the original now.
    let journal = Journal::open(dir.path(), &options()).unwrap();
    let recovery = &journal.recovery;
    assert_eq!((recovery.incarnation_changed, recovery.incarnation), (None, first));
    drop(journal);
    assert_records(dir.path(), 40);
}

/// A ring in the hot directory carries the journal's name: no other journal finds it.
#[test]
fn two_journals_share_a_hot_directory() {
    let (one, other, hot) = (temp_dir(), temp_dir(), temp_dir());
    let hot_dir = Some(hot.path().to_owned());
    let first = JournalOptions { hot_dir: hot_dir.clone(), ..options() };
    let uuid = Uuid([0xcd; 16]);
    let second = JournalOptions { hot_dir, journal_uuid: Some(uuid), ..options() };
    killed(one.path(), &first);
    killed(other.path(), &second);
    let names: Vec<String> = files(hot.path()).into_keys().collect();
    assert_eq!(names, [ring_file(Uuid([0xab; 16])), ring_file(uuid)]);
    for (dir, options) in [(&one, &first), (&other, &second)] {
        assert_eq!(assert_records(dir.path(), 40), ReadStop::End);
        // Found where the metadata says, whatever the configuration says now.
        let moved = JournalOptions { hot_dir: None, ..options.clone() };
        let journal = Journal::open(dir.path(), &moved).unwrap();
        assert_eq!(journal.recovery.case, "killed");
        journal.close(dir.path()).unwrap();
    }
    assert!(files(hot.path()).is_empty());
}

/// The metadata of before a power cut, beside segments and ring of after it.
#[test]
fn older_metadata_is_refused() {
    let dir = temp_dir();
    killed(dir.path(), &options());
    let meta = fs::read(dir.path().join(META_FILE)).unwrap();
    let mut journal = Journal::open(dir.path(), &rebooted()).unwrap();
    assert_eq!(journal.recovery.incarnation_changed, Some(IncarnationChange::PowerCut));
    fill(&mut journal, dir.path(), 40, 200);
    drop(journal);
    fs::write(dir.path().join(META_FILE), meta).unwrap();
    for is_ring_there in [true, false] {
        if !is_ring_there {
            fs::remove_file(dir.path().join(RING_FILE)).unwrap();
        }
        let before = files(dir.path());
        let refused = refusal(Journal::open(dir.path(), &rebooted()));
        assert_eq!(refused.kind, RefusalKind::MetadataOlder);
        assert!(refused.to_string().contains("incarnation"), "{refused}");
        assert!(files(dir.path()) == before);
    }
}

/// A start of this boot died when it had told the metadata and not yet the ring that it had made:
/// no record was stored, so nothing is missing.
#[test]
fn a_ring_that_was_never_told_is_no_loss() {
    let dir = temp_dir();
    killed(dir.path(), &options());
    Journal::open(dir.path(), &options()).unwrap().close(dir.path()).unwrap();
    let first = Journal::open(dir.path(), &options()).unwrap().recovery.incarnation;
    let mut found = files(dir.path());
    found.get_mut(RING_FILE).unwrap()[2048..2560].fill(0);
    put_back(dir.path(), &found);
    let journal = Journal::open(dir.path(), &options()).unwrap();
    let recovery = &journal.recovery;
    assert_eq!((recovery.case, recovery.incarnation), ("killed", first));
    drop(journal);
    // The machine restarted since: somebody may have appended after all.
    put_back(dir.path(), &found);
    let journal = Journal::open(dir.path(), &rebooted()).unwrap();
    assert_eq!(journal.recovery.case, "power cut");
}

/// A directory reached by hard links has the same inode and another lock: the ring is locked too.
#[test]
fn a_ring_reached_by_another_path_is_locked_too() {
    let (dir, other) = (temp_dir(), temp_dir());
    let mut journal = Journal::create(dir.path(), &options()).unwrap();
    fill(&mut journal, dir.path(), 0, 10);
    for name in files(dir.path()).into_keys() {
        fs::hard_link(dir.path().join(&name), other.path().join(&name)).unwrap();
    }
    let error = Journal::open(other.path(), &options()).unwrap_err();
    assert!(error.to_string().contains("locked by another"), "{error}");
    let second = Journal::open(dir.path(), &options()).unwrap_err();
    let own = Some(std::process::id());
    let JournalError::InUse { path, holder } = &second else { panic!("{second}") };
    assert_eq!((path, *holder), (&dir.path().join(LOCK_FILE), own));
    drop(journal);
    assert!(Journal::open(other.path(), &options()).is_ok());
}

#[test]
fn two_journals_never_share_a_name_or_an_incarnation() {
    let draw = || {
        let dir = temp_dir();
        let fresh = JournalOptions { journal_uuid: None, ..options() };
        let journal = Journal::create(dir.path(), &fresh).unwrap();
        (journal.ring.label().journal_uuid, journal.recovery.incarnation)
    };
    let (first, second) = (draw(), draw());
    assert_ne!(first.0, second.0);
    assert_ne!(first.1 >> 16, second.1 >> 16);
}

#[test]
fn the_machine_has_a_boot_id() {
    let dir = temp_dir();
    let real = JournalOptions { boot_id: None, ..options() };
    let journal = Journal::create(dir.path(), &real).unwrap();
    let boot_id = journal.ring.label().boot_id;
    assert!(boot_id != BOOT && boot_id != Uuid::default());
    drop(journal);
    let journal = Journal::open(dir.path(), &real).unwrap();
    let found = (journal.recovery.incarnation_changed, journal.ring.label().boot_id);
    assert_eq!(found, (None, boot_id));
}
