//! Storage: the few things the journal asks of a directory, so that a test can play the disk.
//!
//! [`DirStorage`] is a directory of the file system. [`MemoryStorage`] is a disk in memory at page
//! level: a write goes to a cache, only `sync` moves it to the medium, and at a power cut each page
//! that was not synced is, independently, old, new or torn. Names are simpler: those made, changed
//! or removed since the last `sync_names` go back to what they were.
//!
//! Not for the hot thread: every call may block.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::bytes::{to_u64, to_usize};

/// Files of one directory, by name.
pub trait Storage {
    /// Makes a file of `len` zero bytes; fails when the name is taken.
    fn create(&mut self, name: &str, len: u64) -> io::Result<()>;
    /// Writes inside the file's length.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `into`; fails with `UnexpectedEof` when the file ends before.
    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Waits until the file's bytes and length are on the medium.
    fn sync(&mut self, name: &str) -> io::Result<()>;
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
}

/// A directory of the file system.
#[derive(Debug)]
pub struct DirStorage {
    dir: PathBuf,
}

impl DirStorage {
    /// The directory must exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.dir.join(name))
    }
}

impl Storage for DirStorage {
    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        let path = self.dir.join(name);
        OpenOptions::new().write(true).create_new(true).open(path)?.set_len(len)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.open(name)?.write_all_at(bytes, offset)
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        File::open(self.dir.join(name))?.read_exact_at(into, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.open(name)?.sync_all()
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        match std::fs::metadata(self.dir.join(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Bytes of a page of [`MemoryStorage`].
const PAGE_BYTES: usize = 4096;

/// What a power cut makes of a page that was written but not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFate {
    /// The page was not written back.
    Old,
    /// The page was written back.
    New,
    /// The first bytes, as many as said, rounded down to a sector of 512, were written back.
    Torn(u16),
}

/// A disk in memory, with a cache in front of a medium, for bytes and for names.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    /// Never shrinks: a file keeps its place when it loses its name.
    files: Vec<MemoryFile>,
    names: BTreeMap<String, usize>,
    names_synced: BTreeMap<String, usize>,
}

/// Invariant: `cache` and `medium` have the same length.
#[derive(Clone, Debug, Default)]
struct MemoryFile {
    cache: Vec<u8>,
    medium: Vec<u8>,
}

impl MemoryStorage {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: names go back to those synced, and of each file every page that was
    /// written and not synced becomes what `fate` says of its name and number.
    pub fn cut_power(&mut self, mut fate: impl FnMut(&str, u64) -> PageFate) {
        self.names = self.names_synced.clone();
        for (name, place) in &self.names {
            let Some(file) = self.files.get_mut(*place) else {
                continue;
            };
            let pages = file.medium.chunks_mut(PAGE_BYTES).zip(file.cache.chunks(PAGE_BYTES));
            for (page, (old, new)) in (0..).zip(pages) {
                if old == new {
                    continue;
                }
                let written = match fate(name, page) {
                    PageFate::Old => 0,
                    PageFate::New => new.len(),
                    PageFate::Torn(bytes) => (usize::from(bytes) / 512 * 512).min(new.len()),
                };
                old[..written].copy_from_slice(&new[..written]);
            }
            file.cache.clone_from(&file.medium);
        }
    }

    fn file(&self, name: &str) -> io::Result<&MemoryFile> {
        let place = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get(*place).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut MemoryFile> {
        let place = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(*place).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for MemoryStorage {
    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let zeros = vec![0; to_usize(len)];
        self.names.insert(name.to_owned(), self.files.len());
        self.files.push(MemoryFile { cache: zeros.clone(), medium: zeros });
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let rest = self.file_mut(name)?.cache.get_mut(to_usize(offset)..);
        let place = rest.and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let rest = self.file(name)?.cache.get(to_usize(offset)..);
        let found = rest.and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let file = self.file_mut(name)?;
        file.medium.clone_from(&file.cache);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.names_synced.clone_from(&self.names);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let place = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), place);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.file(name).ok().map(|file| to_u64(file.cache.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(storage: &impl Storage, name: &str) -> Vec<u8> {
        let len = storage.len(name).unwrap().unwrap();
        let mut bytes = vec![0; to_usize(len)];
        storage.read_at(name, 0, &mut bytes).unwrap();
        bytes
    }

    /// One script for both implementations: they must answer alike.
    fn check(storage: &mut impl Storage) {
        assert_eq!(storage.len("a").unwrap(), None);
        storage.create("a", 8).unwrap();
        assert_eq!(storage.create("a", 8).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        storage.write_at("a", 2, b"xyz").unwrap();
        assert_eq!(read(storage, "a"), b"\0\0xyz\0\0\0");
        let past = storage.read_at("a", 6, &mut [0; 3]).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
        storage.sync("a").unwrap();
        storage.create("b", 1).unwrap();
        storage.rename("a", "b").unwrap();
        storage.sync_names().unwrap();
        assert_eq!(storage.list().unwrap(), ["b"]);
        assert_eq!(read(storage, "b"), b"\0\0xyz\0\0\0");
        storage.remove("b").unwrap();
        for result in [storage.remove("b"), storage.sync("b"), storage.write_at("b", 0, b"x")] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        assert!(storage.list().unwrap().is_empty());
    }

    #[test]
    fn directory_and_memory_answer_alike() {
        let dir = tempfile::tempdir().unwrap();
        check(&mut DirStorage::new(dir.path()));
        check(&mut MemoryStorage::new());
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced() {
        for (fate, expected) in
            [(PageFate::Old, [1, 1]), (PageFate::New, [2, 2]), (PageFate::Torn(1023), [2, 1])]
        {
            let mut storage = MemoryStorage::new();
            storage.create("a", 4096).unwrap();
            storage.write_at("a", 0, &[1; 4096]).unwrap();
            storage.sync("a").unwrap();
            storage.sync_names().unwrap();
            storage.write_at("a", 0, &[2; 4096]).unwrap();
            storage.create("unnamed", 1).unwrap();
            storage.cut_power(|_, _| fate);
            let bytes = read(&storage, "a");
            assert_eq!([bytes[511], bytes[512]], expected, "{fate:?}");
            assert_eq!(storage.list().unwrap(), ["a"]);
        }
    }
}
