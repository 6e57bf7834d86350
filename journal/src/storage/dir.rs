//! A directory of the file system.
//!
//! The persister writes the same two files thousands of times a second, so handles stay open. A
//! kept handle is dangerous in two ways. A name may come to mean another file, by our own hand or
//! by a stranger's: every use asks the directory who bears the name (one `stat`, which also tells
//! the length) and opens anew when it is not the file of the handle. And the kernel reports a write
//! that failed in the background to the handles that are open then: closing one with unsynced bytes
//! may lose the only report. So the oldest handle without unsynced bytes is closed first, and when
//! there is none, the oldest is synced before it goes.

use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

use super::{Storage, check_len, check_name, check_read, check_write};

/// Handles kept open; a journal at work has two segments, their sums, the ring and the metadata.
const HANDLES_MAX: usize = 16;

/// A directory of the file system.
#[derive(Debug)]
pub struct DirStorage {
    dir: PathBuf,
    /// Oldest first, at most [`HANDLES_MAX`], one a name. In a cell because reading, which changes
    /// nothing that can be seen, opens files too.
    handles: RefCell<Vec<Handle>>,
}

#[derive(Debug)]
struct Handle {
    name: String,
    file: File,
    device: u64,
    inode: u64,
    is_writable: bool,
    /// Written since the last sync was asked for.
    is_unsynced: bool,
}

impl Handle {
    fn new(name: &str, file: File, is_writable: bool) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let name = name.to_owned();
        Ok(Self { name, file, device, inode, is_writable, is_unsynced: false })
    }

    fn is_of(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }
}

impl DirStorage {
    /// The directory must exist by the first use.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), handles: RefCell::default() }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.dir.join(name))
    }

    fn metadata(&self, name: &str) -> io::Result<Option<Metadata>> {
        match std::fs::metadata(self.path(name)?) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Acts on the file that bears the name now, given its length too.
    fn act<T>(
        &self,
        name: &str,
        is_writable: bool,
        action: impl FnOnce(&mut Handle, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        let metadata = self.metadata(name)?;
        let mut handles = self.handles.borrow_mut();
        handles.retain(|handle| {
            let is_current = metadata.as_ref().is_some_and(|metadata| handle.is_of(metadata));
            handle.name != name || (is_current && (handle.is_writable || !is_writable))
        });
        let len = metadata.ok_or(io::ErrorKind::NotFound)?.len();
        if let Some(handle) = handles.iter_mut().find(|handle| handle.name == name) {
            return action(handle, len);
        }
        make_room(&mut handles)?;
        let file = OpenOptions::new().read(true).write(is_writable).open(self.path(name)?)?;
        let mut handle = Handle::new(name, file, is_writable)?;
        let result = action(&mut handle, len);
        handles.push(handle);
        result
    }

    fn sync_with(&self, name: &str, sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
        self.act(name, true, |handle, _| {
            // Also when it fails: a sync that failed is never tried again.
            handle.is_unsynced = false;
            sync(&handle.file)
        })
    }
}

fn make_room(handles: &mut Vec<Handle>) -> io::Result<()> {
    if handles.len() < HANDLES_MAX {
        return Ok(());
    }
    let oldest = handles.iter().position(|handle| !handle.is_unsynced).unwrap_or(0);
    let closed = handles.remove(oldest);
    if closed.is_unsynced { closed.file.sync_all() } else { Ok(()) }
}

fn allocate(file: &File, len: u64) -> io::Result<()> {
    let len = check_len(len)?;
    if len == 0 {
        return Ok(());
    }
    loop {
        match posix_fallocate(file, 0, len) {
            // A signal came; what was allocated until then is given back or found again.
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// One write of the kernel. A short one is an error and not continued: the rest would most likely
/// fail, and the journal trusts no file that a write failed on.
fn write_once(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write_at(bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(count) if count < bytes.len() => {
                let text = format!("expected to write {} bytes, wrote {count}", bytes.len());
                return Err(io::Error::new(io::ErrorKind::WriteZero, text));
            }
            result => return result.map(drop),
        }
    }
}

impl Storage for DirStorage {
    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        let path = self.path(name)?;
        let handles = self.handles.get_mut();
        make_room(handles)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path)?;
        match allocate(&file, len).and_then(|()| Handle::new(name, file, true)) {
            Ok(handle) => {
                handles.retain(|handle| handle.name != name);
                handles.push(handle);
                Ok(())
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.act(name, true, |handle, len| {
            check_write(name, offset, bytes.len(), len)?;
            handle.is_unsynced = true;
            write_once(&handle.file, offset, bytes)
        })
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.act(name, false, |handle, len| {
            check_read(name, offset, into.len(), len)?;
            handle.file.read_exact_at(into, offset)
        })
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.sync_with(name, File::sync_all)
    }

    fn sync_data(&mut self, name: &str) -> io::Result<()> {
        self.sync_with(name, File::sync_data)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from)?, self.path(to)?)?;
        if from != to {
            let handles = self.handles.get_mut();
            handles.retain(|handle| handle.name != to);
            // The handle follows its file, and with it the knowledge of unsynced bytes.
            for handle in handles.iter_mut().filter(|handle| handle.name == from) {
                to.clone_into(&mut handle.name);
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name)?)?;
        self.handles.get_mut().retain(|handle| handle.name != name);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                // A name that is no text is none of ours.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.metadata(name)?.map(|metadata| metadata.len()))
    }

    fn id(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.metadata(name)?.map(|metadata| metadata.ino()))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = statvfs(&self.dir)?;
        Ok(space.blocks_available().saturating_mul(space.fragment_size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(storage: &DirStorage) -> Vec<String> {
        storage.handles.borrow().iter().map(|handle| handle.name.clone()).collect()
    }

    fn read(storage: &DirStorage, name: &str) -> [u8; 3] {
        let mut bytes = [0; 3];
        storage.read_at(name, 0, &mut bytes).unwrap();
        bytes
    }

    /// The persister's files stay open; what is only read or was synced makes room.
    #[test]
    fn handles_are_kept_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = DirStorage::new(dir.path());
        storage.create("unsynced", 3).unwrap();
        storage.write_at("unsynced", 0, b"abc").unwrap();
        for number in 0..40 {
            storage.create(&format!("file-{number}"), 3).unwrap();
            assert!(names(&storage).len() <= HANDLES_MAX);
        }
        let kept = names(&storage);
        assert_eq!(kept.len(), HANDLES_MAX);
        assert_eq!(kept[..2], ["unsynced", "file-25"], "the oldest of the rest were closed");

        storage.sync_data("unsynced").unwrap();
        storage.create("last", 3).unwrap();
        assert!(!names(&storage).contains(&"unsynced".to_owned()));
        assert_eq!(read(&storage, "unsynced"), *b"abc");
    }

    #[test]
    fn a_handle_with_unsynced_bytes_is_synced_before_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = DirStorage::new(dir.path());
        for number in 0..=HANDLES_MAX {
            let name = format!("file-{number}");
            storage.create(&name, 3).unwrap();
            storage.write_at(&name, 0, b"abc").unwrap();
        }
        assert!(!names(&storage).contains(&"file-0".to_owned()));
        let unsynced = |handle: &Handle| handle.is_unsynced;
        assert!(storage.handles.borrow().iter().all(unsynced), "nothing else was synced");
    }

    #[test]
    fn a_handle_is_the_file_that_bears_the_name_now() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = DirStorage::new(dir.path());
        storage.create("a", 3).unwrap();
        storage.write_at("a", 0, b"old").unwrap();
        let id = storage.id("a").unwrap();

        // By a stranger: replaced, then removed, then made again.
        std::fs::write(dir.path().join("other"), b"new").unwrap();
        std::fs::rename(dir.path().join("other"), dir.path().join("a")).unwrap();
        assert_eq!(read(&storage, "a"), *b"new");
        assert_ne!(storage.id("a").unwrap(), id);
        storage.write_at("a", 0, b"own").unwrap();
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"own");
        std::fs::remove_file(dir.path().join("a")).unwrap();
        let gone = storage.sync_data("a").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert!(names(&storage).is_empty(), "a handle would hold the blocks");

        // By our own hand.
        storage.create("a", 3).unwrap();
        storage.create("b", 3).unwrap();
        storage.write_at("b", 0, b"bbb").unwrap();
        storage.rename("b", "a").unwrap();
        assert_eq!(names(&storage), ["a"]);
        assert_eq!(read(&storage, "a"), *b"bbb");
        storage.remove("a").unwrap();
        assert!(names(&storage).is_empty());
    }

    /// What only reads may lack the right to write.
    #[test]
    fn reading_asks_for_no_right_to_write() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"abc").unwrap();
        let mut storage = DirStorage::new(dir.path());
        assert_eq!(read(&storage, "a"), *b"abc");
        assert!(!storage.handles.borrow()[0].is_writable);
        storage.write_at("a", 0, b"xyz").unwrap();
        assert_eq!(read(&storage, "a"), *b"xyz");
        assert_eq!(names(&storage), ["a"]);
        assert!(storage.handles.borrow()[0].is_writable);
    }

    #[test]
    fn a_file_that_cannot_be_made_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = DirStorage::new(dir.path());
        // More than a file of any file system may have: refused without trying to take it.
        assert!(storage.create("a", 1 << 62).is_err());
        assert!(storage.create("a", 1 << 63).is_err());
        assert!(storage.list().unwrap().is_empty());
        assert!(names(&storage).is_empty());
        storage.create("a", 8192).unwrap();
        let blocks = std::fs::metadata(dir.path().join("a")).unwrap().blocks();
        assert!(blocks * 512 >= 8192, "not sparse: {blocks} blocks");
    }

    #[test]
    fn directories_are_not_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("f"), b"").unwrap();
        assert_eq!(DirStorage::new(dir.path()).list().unwrap(), ["f"]);
        assert!(DirStorage::new(dir.path()).free_bytes().unwrap() > 0);
    }
}
