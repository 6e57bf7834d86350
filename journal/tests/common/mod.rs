//! What the tests of this crate share: a small journal on disk, and its bytes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file is a program of its own and uses a part; a failed step fails the test"
)]

use std::path::{Path, PathBuf};

use journal::{
    DirStorage, Journal, JournalOptions, RING_BYTES_MIN, ReadStop, Reader, Ring, Uuid, record_bytes,
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
    let mut storage = DirStorage::new(dir);
    while journal.step(&mut storage) {}
    assert_eq!(journal.ring.lag_bytes(), 0);
}

/// Appends records `from..to` (counted without pads), with everything on the disk whenever the
/// ring would be full.
pub fn fill(journal: &mut Journal, dir: &Path, from: usize, to: usize) {
    for n in from..to {
        if !append(&mut journal.ring, n) {
            settle(journal, dir);
            assert!(append(&mut journal.ring, n), "there is room again");
        }
    }
}

/// The time, number and payload of every record that is no pad, as a reader finds them, and where
/// and why it ended.
pub fn read(dir: &Path) -> (Vec<(u64, u32, Vec<u8>)>, ReadStop) {
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
