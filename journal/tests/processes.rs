//! Processes: one is killed and the other recovers; one writes and the other reads along; one holds
//! the journal and the other is refused.
//!
//! The child is this test program again, told by an environment variable to play the node: the hot
//! thread appends, persister and preparer run on threads of their own, each with its own view of
//! the directory, and the ring is read through its file.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use common::temp_dir;
use journal::{
    DirStorage, Journal, JournalError, JournalOptions, LOCK_FILE, Persisted, Persister, Prepared,
    Preparer, ReadStop, Reader, Ring, RingFile, Uuid, Watermarks,
};

const CHILD_DIR: &str = "JOURNAL_TEST_CHILD_DIR";
/// Four segments of 64 KiB: goes round after a thousand records.
const RING_BYTES: u64 = 1 << 18;

fn options() -> JournalOptions {
    JournalOptions { lock_memory: false, ..JournalOptions::new(RING_BYTES, 1) }
}

/// Payload of the record with that number: whoever recovers it can compute it.
fn payload(number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 37 % 300).unwrap();
    (0..len).map(|at| number.to_le_bytes()[at % 8] ^ u8::try_from(at % 251).unwrap()).collect()
}

/// A node's threads around the hot one.
struct Node {
    ring: Ring,
    marks: Arc<Watermarks>,
    is_stopping: Arc<AtomicBool>,
    persister: JoinHandle<Persister>,
    preparer: JoinHandle<Preparer>,
    /// Of the record to be appended next.
    number: u64,
}

impl Node {
    fn start(dir: &Path) -> Self {
        let journal = Journal::open_or_create(dir, &options()).unwrap();
        let Journal { ring, mut persister, mut preparer, .. } = journal;
        let marks = Arc::clone(ring.marks());
        let is_stopping = Arc::new(AtomicBool::new(false));
        let number = ring.last_time() + 1;
        let (ring_path, data) = (ring.path().unwrap().clone(), dir.to_owned());
        let stopping = Arc::clone(&is_stopping);
        let persister = thread::spawn(move || {
            let file = RingFile::open(&ring_path).unwrap();
            let mut storage = DirStorage::new(&data);
            while !stopping.load(Ordering::Acquire) {
                if !matches!(persister.step(&mut storage, &file), Persisted::Group(_)) {
                    thread::yield_now();
                }
            }
            persister
        });
        let (data, stopping) = (dir.to_owned(), Arc::clone(&is_stopping));
        let preparer = thread::spawn(move || {
            let mut storage = DirStorage::new(&data);
            while !stopping.load(Ordering::Acquire) {
                if preparer.step(&mut storage) != Prepared::Piece {
                    thread::yield_now();
                }
            }
            preparer
        });
        Self { ring, marks, is_stopping, persister, preparer, number }
    }

    /// Appends the next record, when there is room; its number is its time.
    fn append(&mut self) -> bool {
        let bytes = payload(self.number);
        let is_done = self.ring.append(self.number, 1, 1, 0, 0, &bytes).is_ok();
        self.number += u64::from(is_done);
        assert_eq!(self.marks.poison(), None);
        is_done
    }

    fn stop(self, dir: &Path) {
        self.is_stopping.store(true, Ordering::Release);
        let (persister, preparer) = (self.persister.join().unwrap(), self.preparer.join().unwrap());
        journal::close(&mut DirStorage::new(dir), dir, self.ring, persister, preparer).unwrap();
    }
}

/// In the parent's run this only checks that it is not meant; as the child it appends until it is
/// killed, and tells each number once the append has returned, and how far the disk is.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let mut node = Node::start(Path::new(&dir));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nready {}", std::process::id()).unwrap();
    loop {
        if node.append() {
            let durable = node.marks.durable_index();
            writeln!(out, "told {} {durable}", node.number - 1).unwrap();
        } else {
            thread::yield_now();
        }
    }
}

struct Appender {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// What a child told before it was killed.
#[derive(Clone, Copy, Default)]
struct Told {
    number: u64,
    durable_index: u64,
}

impl Appender {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ready") {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child says it is ready");
        }
        Self { child, lines }
    }

    /// What the child tells next; `None` when it has died.
    fn next(&mut self) -> Option<Told> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        // A line that the kill cut short was not told.
        let (number, durable) = line.strip_suffix('\n')?.strip_prefix("told ")?.split_once(' ')?;
        Some(Told { number: number.parse().ok()?, durable_index: durable.parse().ok()? })
    }

    /// Kills it after `count` more records and returns the last it told.
    fn kill_after(mut self, count: u64) -> Told {
        let mut last = Told::default();
        for _ in 0..count {
            last = self.next().unwrap();
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Some(told) = self.next() {
            last = told;
        }
        last
    }
}

/// All records up to `number` are there, as they were written.
fn assert_all(dir: &Path, number: u64) -> u64 {
    let mut reader = Reader::open(dir).unwrap();
    let (mut index, mut last) = (0, 0);
    while let Some((_, record)) = reader.next().unwrap() {
        index += 1;
        assert_eq!(record.index, index);
        if !record.is_pad() {
            last += 1;
            assert_eq!((record.time, record.payload), (last, &payload(last)[..]));
        }
    }
    let stop = reader.end().unwrap().stop;
    assert!(matches!(stop, ReadStop::End | ReadStop::Torn { .. }), "{stop:?}");
    assert!(last >= number, "{last} of {number}");
    last
}

#[test]
fn a_killed_node_loses_no_record_it_told() {
    let dir = temp_dir();
    let mut before = 0;
    for count in [1, 10, 2000, 300, 7, 3000] {
        let told = Appender::start(dir.path()).kill_after(count);
        assert!(told.number >= before + count, "it went on where it was");
        before = assert_all(dir.path(), told.number);
        // As after a power cut of this moment: the segments alone, and another boot. A copy that is
        // accepted takes the original's ring, so that is out of its way.
        let cut = temp_dir();
        let mut files = common::files(dir.path());
        let ring = files.remove(journal::RING_FILE).unwrap();
        common::put_back(cut.path(), &files);
        std::fs::remove_file(dir.path().join(journal::RING_FILE)).unwrap();
        let boot_id = Some(Uuid([9; 16]));
        let after = JournalOptions { boot_id, accept_copy: true, ..options() };
        let journal = Journal::open(cut.path(), &after).unwrap();
        assert!(journal.recovery.last_index >= told.durable_index, "{:?}", journal.recovery);

        std::fs::write(dir.path().join(journal::RING_FILE), ring).unwrap();
        let journal = Journal::open(dir.path(), &options()).unwrap();
        let recovery = &journal.recovery;
        assert!(recovery.case.starts_with("killed"), "{recovery:?}");
        assert_eq!((recovery.suspect, recovery.incarnation_changed), (None, None));
        journal.ring.assert_chain();
    }
    assert!(before * 200 > 2 * RING_BYTES, "it went round the ring");
}

#[test]
fn a_second_writer_is_refused_with_the_holders_id() {
    let dir = temp_dir();
    let holder = Appender::start(dir.path());
    let pid = holder.child.id();
    let error = Journal::open(dir.path(), &options()).unwrap_err();
    let JournalError::InUse { path, holder: found } = &error else { panic!("{error}") };
    assert_eq!((path, *found), (&dir.path().join(LOCK_FILE), Some(pid)));
    assert!(error.to_string().contains(&format!("in use by process {pid}")), "{error}");
    holder.kill_after(1);
    // The kernel has dropped the lock.
    drop(Journal::open(dir.path(), &options()).unwrap());
}

/// Reads all there is, and returns how many records so far; the reader goes on where it was.
fn catch_up(reader: &mut Reader, index: &mut u64) -> ReadStop {
    while let Some((_, record)) = reader.next().unwrap() {
        *index += 1;
        assert_eq!(record.index, *index);
    }
    reader.end().unwrap().stop
}

#[test]
fn a_reader_follows_a_living_node_also_when_it_is_overtaken() {
    let dir = temp_dir();
    let path: PathBuf = dir.path().to_owned();
    let mut node = Node::start(dir.path());
    let is_done = Arc::new(AtomicBool::new(false));
    let readers = [0, 1, 64].map(|pause| {
        let (path, is_done) = (path.clone(), Arc::clone(&is_done));
        thread::spawn(move || {
            let mut reader = Reader::open(&path).unwrap();
            let mut index = 0;
            loop {
                let was_done = is_done.load(Ordering::Acquire);
                let stop = catch_up(&mut reader, &mut index);
                assert!(matches!(stop, ReadStop::End | ReadStop::Torn { .. }), "{stop:?}");
                if was_done {
                    return (index, reader.position(), stop);
                }
                // The slow one is overtaken by the ring's next round.
                (0..pause * 200).for_each(|_| thread::yield_now());
            }
        })
    });
    let mut appended = 0;
    while appended < 12_000 {
        if node.append() {
            appended += 1;
        } else {
            thread::yield_now();
        }
    }
    assert!(node.ring.head().get() > 4 * RING_BYTES, "it went round several times");
    is_done.store(true, Ordering::Release);
    let expected = (node.ring.last_index(), node.ring.head(), ReadStop::End);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), expected);
    }
    node.stop(dir.path());
    assert_eq!(assert_all(dir.path(), 12_000), 12_000);
    common::assert_sums(dir.path());
    let journal = Journal::open(dir.path(), &options()).unwrap();
    assert!(journal.recovery.clean);
}
