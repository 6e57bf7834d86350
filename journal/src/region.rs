//! Region: a fixed piece of memory that is all there before the first store.
//!
//! Three kinds share one face, `&[u8]` and `&mut [u8]`: a mapped file (the journal, the report
//! ring), anonymous memory (big tables), and plain heap memory (tests, the simulator).
//!
//! A store into mapped memory may fault, and on a sparse file of a full disk it kills the process
//! by SIGBUS. So the file's blocks are allocated before it is mapped, every page is faulted in for
//! writing, and the pages are locked where the system's limits allow it. Not pre-faulted, a store
//! was measured at 11-14 us at p99; pre-faulted below 0.5 us.
//!
//! The mapping is sound because of three things this file keeps: the file is locked exclusively
//! (an OFD lock, taken before mapping, held as long as the region lives); its length is checked
//! before and never changed by us; and it is reached only through slices borrowed from the region,
//! so within the process there is never a second mutable view. Another program that ignores the
//! lock and truncates the file ends this process by SIGBUS, it cannot make it read foreign memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Advice, MmapMut, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl, posix_fallocate};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::bytes::{to_u64, to_usize};

const PAGE_BYTES: usize = 4096;

/// A fixed piece of memory, zeroed when new, present before the first store.
#[derive(Debug)]
pub struct Region {
    backing: Backing,
    is_locked: bool,
}

#[derive(Debug)]
enum Backing {
    /// The lock lives as long as the open file.
    File {
        map: MmapMut,
        file: File,
    },
    Anonymous(MmapMut),
    /// Words, so that the bytes are aligned as a mapping's are; `usize` is the length asked for.
    Heap(Vec<u64>, usize),
}

/// Why memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The system refused a step.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The step.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Anonymous memory was refused.
    #[error("{len} bytes of memory expected: {source}")]
    Memory {
        /// Bytes asked for.
        len: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// The file has another length.
    #[error("{}: length of {expected} bytes expected, {found} found", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// Another process, or another region of this one, holds the file.
    #[error("{}: the file is locked by another region or process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl Region {
    /// Maps the file at `path`, `len` bytes long, for reading and writing. With `create` the file
    /// must not exist and is made with zeros; without it the file must exist with exactly that
    /// length. The disk being full is an error here, never a signal later.
    pub fn map_file(path: &Path, len: u64, create: bool) -> Result<Self, RegionError> {
        let fail = |doing| {
            move |source: io::Error| RegionError::Io { path: path.to_owned(), doing, source }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .open(path)
            .map_err(fail("open it"))?;
        lock_exclusively(&file).map_err(|errno| match errno {
            Some(errno) => fail("lock it")(errno.into()),
            None => RegionError::InUse { path: path.to_owned() },
        })?;
        let found = file.metadata().map_err(fail("read its length"))?.len();
        let expected = if create { 0 } else { len };
        if found != expected || len == 0 {
            return Err(RegionError::Length { path: path.to_owned(), expected, found });
        }
        let size = libc::off_t::try_from(len).map_err(|_| fail("map it")(Errno::EFBIG.into()))?;
        // Also for a file that exists: a copy of it may have become sparse.
        posix_fallocate(&file, 0, size)
            .map_err(|errno| fail("allocate its blocks")(errno.into()))?;
        // SAFETY: the file is locked exclusively until this region is dropped, has `len` bytes
        // with blocks behind them, and is never resized by this program; the header of this file
        // argues the rest.
        // JUSTIFICATION: the safe way, one pwrite a record, costs a system call of 0.5-1 us
        // against 10-25 ns of a store, and a killed process must lose nothing it has stored.
        let map = unsafe { MmapOptions::new().len(to_usize(len)).map_mut(&file) }
            .map_err(fail("map it"))?;
        let mut region = Self { backing: Backing::File { map, file }, is_locked: false };
        region.populate();
        Ok(region)
    }

    /// Anonymous memory of `len` bytes, zeroed and present, on huge pages where the system likes.
    pub fn anonymous(len: u64) -> Result<Self, RegionError> {
        let map = MmapOptions::new()
            .len(to_usize(len))
            .map_anon()
            .map_err(|source| RegionError::Memory { len, source })?;
        // Advice only: without huge pages the memory works the same, a little slower.
        let _ = map.advise(Advice::HugePage);
        let mut region = Self { backing: Backing::Anonymous(map), is_locked: false };
        region.populate();
        Ok(region)
    }

    /// Heap memory of `len` bytes, zeroed; for tests and the simulator.
    #[must_use]
    pub fn heap(len: u64) -> Self {
        let words = vec![0_u64; to_usize(len.div_ceil(8))];
        Self { backing: Backing::Heap(words, to_usize(len)), is_locked: false }
    }

    /// Keeps the pages in memory, best effort; [`Region::is_locked`] says whether it held.
    pub fn lock_memory(&mut self) {
        self.is_locked = match &self.backing {
            Backing::File { map, .. } | Backing::Anonymous(map) => map.lock().is_ok(),
            Backing::Heap(..) => false,
        };
    }

    /// Writes a mapped file's pages to its disk and waits; does nothing for memory. The kernel
    /// protects pages while it writes them, so the next store into each faults: not for a region
    /// that is being stored to.
    pub fn sync(&self) -> io::Result<()> {
        match &self.backing {
            Backing::File { map, file } => {
                map.flush()?;
                file.sync_all()
            }
            Backing::Anonymous(_) | Backing::Heap(..) => Ok(()),
        }
    }

    /// As [`Region::sync`], for the first `len` bytes only; the other pages stay as they are.
    pub fn sync_front(&self, len: u64) -> io::Result<()> {
        match &self.backing {
            Backing::File { map, .. } => map.flush_range(0, to_usize(len)),
            Backing::Anonymous(_) | Backing::Heap(..) => Ok(()),
        }
    }

    /// The bytes, for writing.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.backing {
            Backing::File { map, .. } | Backing::Anonymous(map) => map,
            Backing::Heap(words, len) => &mut words.as_mut_slice().as_mut_bytes()[..*len],
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.backing {
            Backing::File { map, .. } | Backing::Anonymous(map) => map,
            Backing::Heap(words, len) => &words.as_slice().as_bytes()[..*len],
        }
    }

    /// The whole region as a table of `T`, for writing. `None` when its length is no multiple of
    /// `T`'s size.
    #[must_use]
    pub fn table_mut<T: FromBytes + IntoBytes + Immutable>(&mut self) -> Option<&mut [T]> {
        <[T]>::mut_from_bytes(self.bytes_mut()).ok()
    }

    /// The whole region as a table of `T`. `None` when its length is no multiple of `T`'s size.
    #[must_use]
    pub fn table<T: FromBytes + Immutable>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(self.bytes()).ok()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        to_u64(self.bytes().len())
    }

    /// Whether the region has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Whether the pages are locked in memory.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.is_locked
    }

    /// Faults every page in for writing. A kernel before 5.14 does not know the advice; then one
    /// byte a page is stored to itself.
    fn populate(&mut self) {
        let done = match &self.backing {
            Backing::File { map, .. } | Backing::Anonymous(map) => {
                map.advise(Advice::PopulateWrite).is_ok()
            }
            Backing::Heap(..) => true,
        };
        if !done {
            for byte in self.bytes_mut().iter_mut().step_by(PAGE_BYTES) {
                *byte = std::hint::black_box(*byte);
            }
        }
    }
}

/// Takes an OFD lock over the whole file. `Err(None)`: somebody else holds it. Such a lock belongs
/// to the open file, so a second open in the same process is refused too.
fn lock_exclusively(file: &File) -> Result<(), Option<Errno>> {
    let range = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).map_err(|_| Some(Errno::EINVAL))?,
        l_whence: i16::try_from(libc::SEEK_SET).map_err(|_| Some(Errno::EINVAL))?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(None),
        Err(errno) => Err(Some(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_zeroed_and_writable() {
        let dir = tempfile::tempdir().unwrap();
        let file = Region::map_file(&dir.path().join("f"), 8192, true).unwrap();
        for mut region in [file, Region::anonymous(8192).unwrap(), Region::heap(8192)] {
            assert_eq!(region.len(), 8192);
            assert!(region.bytes().iter().all(|byte| *byte == 0));
            assert_eq!(region.bytes().as_ptr().align_offset(8), 0);
            region.bytes_mut()[8191] = 7;
            assert_eq!(region.bytes()[8191], 7);
            let table: &mut [u64] = region.table_mut().unwrap();
            table[0] = 5;
            assert_eq!(region.table::<u64>().map(|table| (table.len(), table[0])), Some((1024, 5)));
            assert!(region.table::<[u8; 3]>().is_none());
            region.sync().unwrap();
        }
        assert_eq!(Region::heap(5).len(), 5);
        assert!(Region::heap(0).is_empty());
    }

    #[test]
    fn a_file_keeps_its_bytes_and_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut region = Region::map_file(&path, 8192, true).unwrap();
        region.bytes_mut()[4096] = 9;
        let second = Region::map_file(&path, 8192, false);
        assert!(matches!(second, Err(RegionError::InUse { .. })), "{second:?}");
        drop(region);
        assert_eq!(std::fs::read(&path).unwrap().len(), 8192);
        assert_eq!(Region::map_file(&path, 8192, false).unwrap().bytes()[4096], 9);
        let created = Region::map_file(&path, 8192, true);
        assert!(matches!(created, Err(RegionError::Io { .. })), "{created:?}");
        let wrong = Region::map_file(&path, 12_288, false);
        let expected = (12_288, 8192);
        assert!(matches!(
            wrong,
            Err(RegionError::Length { expected: e, found: f, .. }) if (e, f) == expected
        ));
        assert!(Region::map_file(&dir.path().join("none"), 8192, false).is_err());
    }
}
