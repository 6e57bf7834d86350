//! Two processes: one is killed and the other recovers; one holds the journal and the other is
//! refused; one writes and the other reads along.
//!
//! The child is this test program again, told by an environment variable to play it.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::temp_dir;
use journal::{JournalError, LOCK_FILE, ReadStop, Reader, Ring, RingOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

const CHILD_DIR: &str = "JOURNAL_TEST_CHILD_DIR";

/// The pipe lets the child be some 5,000 records ahead of its parent: room for all the runs.
fn options() -> RingOptions {
    RingOptions { lock_memory: false, ..RingOptions::new(16 << 20, 1) }
}

/// Payload of the record with `index`: recomputable by who recovers it.
fn payload(index: u64) -> Vec<u8> {
    let len = usize::try_from(index * 37 % 300).unwrap();
    (0..len).map(|at| index.to_le_bytes()[at % 8] ^ u8::try_from(at % 251).unwrap()).collect()
}

/// In the parent's run this only checks that it is not meant; as the child it appends until it is
/// killed, and tells each index once the append has returned.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let (mut ring, _) = Ring::open_or_create(Path::new(&dir), &options()).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nready {}", std::process::id()).unwrap();
    loop {
        let index = ring.last_index() + 1;
        let Ok(appended) = ring.append(index * 10, 1, 1, 0, 0, &payload(index)) else {
            break;
        };
        if appended.index == index {
            writeln!(out, "index {index}").unwrap();
        }
    }
}

struct Appender {
    child: Child,
    lines: BufReader<ChildStdout>,
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

    /// The next index the child tells; `None` when it has died, or ended on a full ring.
    fn next_index(&mut self) -> Option<u64> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        // A line that the kill cut short was not told.
        line.strip_suffix('\n')?.strip_prefix("index ")?.parse().ok()
    }

    /// Kills it after `count` more indices and returns the last index it told.
    fn kill_after(mut self, count: u64) -> u64 {
        let mut last = 0;
        for _ in 0..count {
            last = self.next_index().unwrap();
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Some(index) = self.next_index() {
            last = index;
        }
        last
    }
}

#[test]
fn a_killed_process_loses_no_record_it_told() {
    let dir = temp_dir();
    let mut told_before = 0;
    for count in [1, 10, 100, 300, 7, 50] {
        let told = Appender::start(dir.path()).kill_after(count);
        assert!(told >= told_before + count, "it went on where it was");
        let (ring, recovery) = Ring::open(dir.path(), &options()).unwrap();
        assert!(recovery.last_index >= told, "{} after {told}", recovery.last_index);
        assert!(!recovery.clean && recovery.incarnation_changed.is_none());
        ring.assert_chain();
        let mut expected_index = 0;
        for (_, record) in &ring {
            expected_index += 1;
            assert_eq!(record.index, expected_index);
            if !record.is_pad() {
                // The index the writer expected; a pad before the record takes that one.
                let expected = record.time / 10;
                assert!(record.index == expected || record.index == expected + 1);
                assert_eq!(record.payload, payload(expected));
            }
        }
        assert_eq!(expected_index, recovery.last_index);
        told_before = recovery.last_index;
    }
}

#[test]
fn a_second_writer_is_refused_with_the_holders_id() {
    let dir = temp_dir();
    let holder = Appender::start(dir.path());
    let pid = holder.child.id();
    let error = Ring::open(dir.path(), &options()).unwrap_err();
    let JournalError::InUse { path, holder: found } = &error else { panic!("{error}") };
    assert_eq!((path, *found), (&dir.path().join(LOCK_FILE), Some(pid)));
    assert!(error.to_string().contains(&format!("in use by process {pid}")), "{error}");
    holder.kill_after(1);
    // The kernel has dropped the lock.
    let (ring, _) = Ring::open(dir.path(), &options()).unwrap();
    let second = Ring::open(dir.path(), &options()).unwrap_err();
    let own = Some(std::process::id());
    assert!(matches!(second, JournalError::InUse { holder, .. } if holder == own), "{second}");
    drop(ring);
}

#[test]
fn a_ring_reached_by_another_path_is_locked_too() {
    let (dir, other) = (temp_dir(), temp_dir());
    let (ring, _) = Ring::create(dir.path(), &options()).unwrap();
    for name in [journal::RING_FILE, journal::META_FILE] {
        std::fs::hard_link(dir.path().join(name), other.path().join(name)).unwrap();
    }
    let error = Ring::open(other.path(), &options()).unwrap_err();
    assert!(error.to_string().contains("locked by another"), "{error}");
    drop(ring);
    assert!(Ring::open(other.path(), &options()).is_ok());
}

#[test]
fn a_reader_follows_a_living_writer() {
    let dir = temp_dir();
    let (mut ring, _) = Ring::create(dir.path(), &options()).unwrap();
    let (progress, seen) = mpsc::sync_channel(1);
    let dir_path = dir.path().to_owned();
    let writer = std::thread::spawn(move || {
        for n in 0..3000 {
            let index = ring.last_index() + 1;
            ring.append(index, 1, 1, 0, 0, &payload(index)).unwrap();
            if n % 100 == 99 {
                progress.send(()).unwrap();
            }
        }
        (ring.last_index(), ring)
    });
    let mut reader = Reader::open(&dir_path).unwrap();
    let mut count = 0;
    // Reads into appends that are going on; each end is passed once more was written.
    loop {
        let more = seen.recv().is_ok();
        while let Some((_, record)) = reader.next().unwrap() {
            count += 1;
            assert_eq!(record.index, count);
        }
        let stop = reader.end().unwrap().stop;
        assert!(matches!(stop, ReadStop::Zeros | ReadStop::Torn { .. }), "{stop:?}");
        if !more {
            break;
        }
    }
    let (last_index, ring) = writer.join().unwrap();
    assert_eq!(count, last_index);
    assert_eq!(reader.position(), ring.head());
    assert_eq!(reader.end().unwrap().stop, ReadStop::Zeros);
}
