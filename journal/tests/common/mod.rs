//! What the tests of this crate share: a small journal on disk, and its bytes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file is a program of its own and uses a part; a failed step fails the test"
)]

pub mod model;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use journal::{
    DirStorage, Journal, JournalError, JournalOptions, LOCK_FILE, MemoryStorage, RING_BYTES_MIN,
    RING_FILE, ReadStop, Reader, Region, Ring, Storage, Uuid, record_bytes,
};
use tempfile::TempDir;

/// Bytes of a segment file, and of the ring file, before the first record.
pub const PAGE: usize = 4096;
/// Bytes of a segment of the smallest ring.
pub const SEGMENT: usize = 8192;

pub const BOOT: Uuid = Uuid([1; 16]);
pub const OTHER_BOOT: Uuid = Uuid([2; 16]);

/// The smallest ring, beside the segments, with a fixed name and a fixed boot.
pub fn options() -> JournalOptions {
    JournalOptions {
        boot_id: Some(BOOT),
        journal_uuid: Some(Uuid([0xab; 16])),
        lock_memory: false,
        ..JournalOptions::new(RING_BYTES_MIN, 7)
    }
}

/// The same after the machine was restarted.
pub fn rebooted() -> JournalOptions {
    JournalOptions { boot_id: Some(OTHER_BOOT), ..options() }
}

/// A directory in memory where there is one: these tests open journals by the thousand.
pub fn temp_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Payload of the `n`-th record: a length that wanders over the sizes, and no zero byte.
pub fn payload(n: usize) -> Vec<u8> {
    let sizes = [96, 0, 1, 7, 8, 9, 40, 333, 60, 500, 3, 1030, 24, 96, 96, 1500];
    (0..sizes[n % sizes.len()]).map(|at| u8::try_from((n * 31 + at) % 255 + 1).unwrap()).collect()
}

/// Appends the `n`-th record.
pub fn append(ring: &mut Ring, n: usize) -> bool {
    let time = 1000 + u64::try_from(n).unwrap();
    let source = u32::try_from(n).unwrap();
    ring.append(time, 3, 1, 0x80, source, &payload(n)).is_ok()
}

/// Steps until everything appended is on the disk and the segments ahead are there.
pub fn settle(journal: &mut Journal, dir: &Path) {
    settle_on(journal, &mut DirStorage::new(dir));
}

/// As [`settle`], on any storage.
pub fn settle_on(journal: &mut Journal, storage: &mut dyn Storage) {
    while journal.step(storage) {}
    assert_eq!(journal.ring.lag_bytes(), 0, "{:?}", journal.ring.marks().poison());
}

/// Appends records `from..to` (counted without pads), with everything on the disk whenever the
/// ring would be full.
pub fn fill(journal: &mut Journal, dir: &Path, from: usize, to: usize) {
    fill_on(journal, &mut DirStorage::new(dir), from, to);
}

/// As [`fill`], on any storage.
pub fn fill_on(journal: &mut Journal, storage: &mut dyn Storage, from: usize, to: usize) {
    for n in from..to {
        if !append(&mut journal.ring, n) {
            settle_on(journal, storage);
            assert!(append(&mut journal.ring, n), "there is room again");
        }
    }
}

/// All of them, and not a sample: for a nightly run.
pub fn is_exhaustive() -> bool {
    std::env::var_os("JOURNAL_TESTS_ALL").is_some()
}

/// The files of a directory by name, the lock apart.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a directory holds.
pub fn files(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let entries = entries.filter(|entry| entry.file_name() != LOCK_FILE);
    entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Makes a directory hold these files and no others. A file that is there keeps its inode.
pub fn put_back(dir: &Path, wanted: &Files) {
    for name in files(dir).keys().filter(|name| !wanted.contains_key(*name)) {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in wanted {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

/// The same for a disk in memory, as it shows itself.
pub fn files_on(storage: &dyn Storage) -> Files {
    let read = |name: String| {
        let mut bytes = vec![0; usize::try_from(storage.len(&name).unwrap().unwrap()).unwrap()];
        storage.read_at(&name, 0, &mut bytes).unwrap();
        (name, bytes)
    };
    storage.list().unwrap().into_iter().map(read).collect()
}

/// A disk in memory as a directory, for who reads directories.
pub fn as_directory(storage: &MemoryStorage, ring: Option<&[u8]>) -> TempDir {
    let dir = temp_dir();
    put_back(dir.path(), &files_on(storage));
    if let Some(ring) = ring {
        std::fs::write(dir.path().join(RING_FILE), ring).unwrap();
    }
    dir
}

/// What a process left of its ring.
pub fn region(bytes: &[u8]) -> Region {
    let mut region = Region::heap(bytes.len() as u64);
    region.bytes_mut().copy_from_slice(bytes);
    region
}

/// What a process that is killed now leaves of its ring.
pub fn kill(journal: Journal) -> Vec<u8> {
    journal.ring.into_region().bytes().to_vec()
}

/// Opens or creates a journal on a disk in memory, beside what is left of a ring.
pub fn open_on(
    storage: &mut dyn Storage,
    ring: Option<&[u8]>,
    options: &JournalOptions,
) -> Result<Journal, JournalError> {
    Journal::on_storage(storage, ring.map(region), options)
}

/// A payload and what goes with it, as a reader finds them.
pub type Found = Vec<(u64, u32, Vec<u8>)>;

/// The time, number and payload of every record that is no pad, as a reader finds them, and where
/// and why it ended.
pub fn read(dir: &Path) -> (Found, ReadStop) {
    let mut reader = Reader::open(dir).unwrap();
    let mut found = Vec::new();
    let mut index = 0;
    while let Some((_, record)) = reader.next().unwrap() {
        index += 1;
        assert_eq!(record.index, index, "indexes have no gaps");
        if !record.is_pad() {
            found.push((record.time, record.source, record.payload.to_vec()));
        }
    }
    let end = reader.end().unwrap();
    assert_eq!(end.last_index, index);
    (found, end.stop)
}

/// Asserts that a reader finds the first `count` records of `fill` and nothing else.
pub fn assert_records(dir: &Path, count: usize) -> ReadStop {
    let (found, stop) = read(dir);
    assert_eq!(found.len(), count);
    for (n, (time, source, bytes)) in found.into_iter().enumerate() {
        assert_eq!((time, source), (1000 + n as u64, u32::try_from(n).unwrap()));
        assert_eq!(bytes, payload(n));
    }
    stop
}

/// Asserts that all that is stored and complete has its sum, and that no sum differs.
pub fn assert_sums(dir: &Path) {
    let mut reader = Reader::open(dir).unwrap();
    while reader.next().unwrap().is_some() {}
    let piece = reader.segment_bytes().min(1 << 20);
    for segment in 0..reader.segment_count() {
        let found = reader.check_sums(segment).unwrap();
        let start = journal::Position::new(segment * reader.segment_bytes());
        let complete = reader.position().since(start).min(reader.segment_bytes()) / piece;
        assert!(found.differing == 0 && !found.is_missing, "segment {segment}: {found:?}");
        assert_eq!(found.matching, complete, "segment {segment}: {found:?}");
    }
}

/// Bytes of the first `count` records without their pads.
pub fn bytes_of(count: usize) -> u64 {
    (0..count).map(|n| record_bytes(payload(n).len() as u64)).sum()
}

/// Names of the side files in `dir`.
pub fn side_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_side = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("torn-") || name.starts_with("lost-")
    };
    let mut files: Vec<_> = entries.filter(is_side).collect();
    files.sort_unstable();
    files
}

/// Length of `bytes` without the trailing zeros, rounded up to 8: the extent of a torn tail.
pub fn used(bytes: &[u8]) -> usize {
    let is_used = |word: &[u8]| word != &[0; 8][..word.len()];
    bytes.chunks(8).rposition(is_used).map_or(0, |last| (last + 1) * 8)
}
