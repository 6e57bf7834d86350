//! Storage: the few things the journal asks of a directory, so that a test can play the disk.
//!
//! ```text
//! dir      DirStorage: a directory of the file system
//! memory   MemoryStorage: a disk in memory that can lose its power
//! faulty   FaultyStorage: either of them, and a script of what fails
//! ```
//!
//! A file has the length it was made with, and all its blocks: a full disk is seen when a file is
//! made and never when it is written. Bytes and names wait in a cache until they are synced, each
//! apart. What the answers mean is the same for all implementations, the kinds of their errors
//! included; the tests at the end of this file hold them to it.
//!
//! Not for the hot thread: every call may block.

mod dir;
pub mod faulty;
mod memory;

pub use dir::DirStorage;
pub use memory::{MemoryStorage, PageFate};

use std::io;

use nix::errno::Errno;

/// Files of one directory, by name. A name is one component of a path.
pub trait Storage: Send {
    /// Makes a file of `len` zero bytes whose blocks are allocated, so that a full disk is an
    /// error (`StorageFull`) here and not later. Fails when the name is taken; leaves no file
    /// behind when it fails.
    fn create(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Writes inside the file's length, all or an error; beyond it is `InvalidInput`.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `into`; fails with `UnexpectedEof` when the file ends before.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Waits until the file's bytes and length are on the medium. After a failure nobody knows
    /// what is, and a second call that succeeds says nothing about what the first one lost.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// As [`Storage::sync`], for bytes of a file whose length was synced before.
    fn sync_data(&mut self, name: &str) -> io::Result<()>;
    /// Waits until names made, changed or removed are on the medium.
    fn sync_names(&mut self) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Bytes in the file; `None` when there is none of that name.
    fn len(&self, name: &str) -> io::Result<Option<u64>>;
    /// A number that stays with the file and that a copy of it would not have; `None` when there
    /// is no file of that name.
    fn id(&self, name: &str) -> io::Result<Option<u64>>;
    /// Bytes that may still be taken by someone without privileges.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Longest name, as file systems have it.
const NAME_BYTES_MAX: usize = 255;

fn check_name(name: &str) -> io::Result<()> {
    let is_special = matches!(name, "" | "." | "..") || name.contains(['/', '\0']);
    if is_special || name.len() > NAME_BYTES_MAX {
        let text = format!("expected a plain name of a file, found {name:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

/// Whether the kernel can count to this length.
fn check_len(len: u64) -> io::Result<i64> {
    i64::try_from(len).map_err(|_| Errno::EFBIG.into())
}

fn check_write(name: &str, offset: u64, count: usize, len: u64) -> io::Result<()> {
    if is_inside(offset, count, len) {
        return Ok(());
    }
    let text = format!("expected a write inside {name} of {len} bytes, found {count} at {offset}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

fn check_read(name: &str, offset: u64, count: usize, len: u64) -> io::Result<()> {
    if is_inside(offset, count, len) {
        return Ok(());
    }
    let text = format!("expected {count} bytes at {offset} of {name}, found an end at {len}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
}

fn is_inside(offset: u64, count: usize, len: u64) -> bool {
    offset.checked_add(crate::bytes::to_u64(count)).is_some_and(|end| end <= len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bytes::to_usize;

    fn read(storage: &dyn Storage, name: &str) -> Vec<u8> {
        let len = storage.len(name).unwrap().unwrap();
        let mut bytes = vec![0; to_usize(len)];
        storage.read_at(name, 0, &mut bytes).unwrap();
        bytes
    }

    fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
        result.err().map(|error| error.kind())
    }

    /// One script for both implementations: they must answer alike.
    fn check(storage: &mut dyn Storage) {
        use io::ErrorKind::{AlreadyExists, InvalidInput, NotFound, UnexpectedEof};
        assert_eq!(storage.len("a").unwrap(), None);
        assert_eq!(storage.id("a").unwrap(), None);
        storage.create("a", 8).unwrap();
        assert_eq!(kind(storage.create("a", 8)), Some(AlreadyExists));
        assert_eq!(read(storage, "a"), [0; 8]);
        storage.write_at("a", 2, b"xyz").unwrap();
        assert_eq!(read(storage, "a"), b"\0\0xyz\0\0\0");

        // Only inside the length, and nothing of what is not inside.
        for (offset, bytes) in [(6, 3), (8, 1), (9, 0), (u64::MAX, 1)] {
            let piece = &[b'#'; 3][..bytes];
            assert_eq!(kind(storage.write_at("a", offset, piece)), Some(InvalidInput), "{offset}");
            let into = &mut [0; 3][..bytes];
            assert_eq!(kind(storage.read_at("a", offset, into)), Some(UnexpectedEof), "{offset}");
        }
        storage.write_at("a", 8, b"").unwrap();
        storage.read_at("a", 8, &mut []).unwrap();
        assert_eq!(read(storage, "a"), b"\0\0xyz\0\0\0");

        // A number stays with its file, whatever the name, and is another for each file.
        storage.sync("a").unwrap();
        storage.sync_data("a").unwrap();
        storage.create("b", 1).unwrap();
        let id = storage.id("a").unwrap().unwrap();
        assert_ne!(storage.id("b").unwrap(), Some(id));
        storage.rename("a", "b").unwrap();
        storage.rename("b", "b").unwrap();
        storage.sync_names().unwrap();
        assert_eq!(storage.id("b").unwrap(), Some(id));
        assert_eq!(storage.list().unwrap(), ["b"]);
        assert_eq!(read(storage, "b"), b"\0\0xyz\0\0\0");

        storage.remove("b").unwrap();
        for result in [
            storage.remove("b"),
            storage.rename("b", "c"),
            storage.rename("b", "b"),
            storage.sync("b"),
            storage.sync_data("b"),
            storage.write_at("b", 0, b"x"),
            storage.read_at("b", 0, &mut [0]),
        ] {
            assert_eq!(kind(result), Some(NotFound));
        }
        assert!(storage.list().unwrap().is_empty());

        let long = "n".repeat(NAME_BYTES_MAX);
        storage.create(&long, 0).unwrap();
        assert_eq!(storage.len(&long).unwrap(), Some(0));
        assert_eq!(storage.list().unwrap(), [long.as_str()]);
        for name in ["", ".", "..", "a/b", "/a", "a\0", &"n".repeat(NAME_BYTES_MAX + 1)] {
            for result in [
                storage.create(name, 1),
                storage.write_at(name, 0, b"x"),
                storage.read_at(name, 0, &mut [0]),
                storage.sync(name),
                storage.sync_data(name),
                storage.rename(name, "b"),
                storage.rename(&long, name),
                storage.remove(name),
                storage.len(name).map(drop),
                storage.id(name).map(drop),
            ] {
                assert_eq!(kind(result), Some(InvalidInput), "{name:?}");
            }
        }
        assert_eq!(storage.create("b", 1 << 63).unwrap_err().raw_os_error(), Some(27), "EFBIG");
        assert_eq!(storage.list().unwrap(), [long]);
        assert!(storage.free_bytes().unwrap() > 0);
    }

    #[test]
    fn directory_and_memory_answer_alike() {
        let dir = tempfile::tempdir().unwrap();
        check(&mut DirStorage::new(dir.path()));
        check(&mut MemoryStorage::new());
        check(&mut faulty::FaultyStorage::new(MemoryStorage::new()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Create(u8, u64),
        Write(u8, u64, usize),
        Read(u8, u64, usize),
        Sync(u8),
        SyncData(u8),
        Rename(u8, u8),
        Remove(u8),
    }

    /// More names than a directory keeps handles of.
    fn step() -> impl Strategy<Value = Step> {
        let name = || 0_u8..24;
        let place = || prop_oneof![0_u64..13_000, Just(4096), Just(8192)];
        let count = || prop_oneof![0_usize..9000, Just(4096)];
        prop_oneof![
            6 => (name(), place()).prop_map(|(name, len)| Step::Create(name, len)),
            12 => (name(), place(), count()).prop_map(|(n, at, count)| Step::Write(n, at, count)),
            6 => (name(), place(), count()).prop_map(|(n, at, count)| Step::Read(n, at, count)),
            1 => name().prop_map(Step::Sync),
            1 => name().prop_map(Step::SyncData),
            2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
            2 => name().prop_map(Step::Remove),
        ]
    }

    /// What can be seen of a step: what was read, or the kind of the error. `turn` makes the
    /// bytes of each write others.
    fn act(storage: &mut dyn Storage, step: &Step, turn: usize) -> Result<Vec<u8>, io::ErrorKind> {
        let name = |number: &u8| format!("file-{number}");
        let done = match step {
            Step::Create(file, len) => storage.create(&name(file), *len),
            Step::Write(file, at, count) => {
                let numbers = (0..=u8::MAX).cycle().skip(turn);
                let bytes: Vec<u8> = numbers.take(*count).collect();
                storage.write_at(&name(file), *at, &bytes)
            }
            Step::Read(file, at, count) => {
                let mut bytes = vec![0; *count];
                let done = storage.read_at(&name(file), *at, &mut bytes);
                return done.map(|()| bytes).map_err(|error| error.kind());
            }
            Step::Sync(file) => storage.sync(&name(file)),
            Step::SyncData(file) => storage.sync_data(&name(file)),
            Step::Rename(from, to) => storage.rename(&name(from), &name(to)),
            Step::Remove(file) => storage.remove(&name(file)),
        };
        done.map(|()| Vec::new()).map_err(|error| error.kind())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// The slow twin of the disk in memory is a directory.
        #[test]
        fn random_steps_show_the_same_bytes(steps in prop::collection::vec(step(), 1..160)) {
            let dir = tempfile::tempdir().unwrap();
            let mut directory = DirStorage::new(dir.path());
            let mut memory = MemoryStorage::new();
            for (turn, step) in steps.iter().enumerate() {
                let expected = act(&mut directory, step, turn);
                prop_assert_eq!(act(&mut memory, step, turn), expected, "{:?}", step);
            }
            let names = directory.list().unwrap();
            prop_assert_eq!(memory.list().unwrap(), names.clone());
            for name in names {
                let expected = std::fs::read(dir.path().join(&name)).unwrap();
                prop_assert_eq!(read(&memory, &name), expected.clone());
                prop_assert_eq!(read(&directory, &name), expected);
            }
        }
    }
}
