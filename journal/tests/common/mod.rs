//! What the tests of this crate share: a small journal on disk, and its bytes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file is a program of its own and uses a part; a failed step fails the test"
)]

use std::path::{Path, PathBuf};

use journal::{Position, RING_BYTES_MIN, RING_FILE, Ring, RingOptions, Uuid};
use tempfile::TempDir;

/// Bytes of the ring file before the first record.
pub const PAGE: usize = 4096;

pub const BOOT: Uuid = Uuid([1; 16]);
pub const OTHER_BOOT: Uuid = Uuid([2; 16]);

/// The smallest ring, with a fixed name and a fixed boot.
pub fn options() -> RingOptions {
    RingOptions {
        boot_id: Some(BOOT),
        journal_uuid: Some(Uuid([0xab; 16])),
        lock_memory: false,
        ..RingOptions::new(RING_BYTES_MIN, 7)
    }
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

/// Appends records `from..to` (counted without pads), as many as fit.
pub fn fill(ring: &mut Ring, from: usize, to: usize) -> usize {
    for n in from..to {
        let time = 1000 + u64::try_from(n).unwrap();
        let source = u32::try_from(n).unwrap();
        if ring.append(time, 3, 1, 0x80, source, &payload(n)).is_err() {
            return n;
        }
    }
    to
}

/// Creates a journal of `count` records in `dir` and leaves it as a killed process would.
pub fn build(dir: &Path, count: usize) -> Image {
    let (mut ring, _) = Ring::create(dir, &options()).unwrap();
    assert_eq!(fill(&mut ring, 0, count), count, "the records fit");
    let places = ring.iter().map(|(position, record)| Place::of(position, record.bytes()));
    let places = places.collect();
    drop(ring);
    let path = dir.join(RING_FILE);
    Image { bytes: std::fs::read(&path).unwrap(), path, places }
}

/// The ring file of a journal, and where its records (pads included) lie in it.
pub struct Image {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub places: Vec<Place>,
}

/// A record's bytes in the ring file.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub start: usize,
    pub end: usize,
}

impl Place {
    fn of(position: Position, bytes: u64) -> Self {
        let start = PAGE + usize::try_from(position.get()).unwrap();
        Self { start, end: start + usize::try_from(bytes).unwrap() }
    }
}

impl Image {
    pub fn end(&self) -> usize {
        self.places.last().map_or(PAGE, |place| place.end)
    }

    /// Puts bytes in place of the ring file's; the inode stays.
    pub fn write(&self, bytes: &[u8]) {
        std::fs::write(&self.path, bytes).unwrap();
    }
}

/// Length of `bytes` without the trailing zeros, rounded up to 8: the extent of a torn tail.
pub fn used(bytes: &[u8]) -> usize {
    let is_used = |word: &[u8]| word != &[0; 8][..word.len()];
    bytes.chunks(8).rposition(is_used).map_or(0, |last| (last + 1) * 8)
}

/// Names of the side files in `dir`.
pub fn side_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_side = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "bin");
    entries.filter(is_side).collect()
}
