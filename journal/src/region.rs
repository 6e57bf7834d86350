//! Region: a fixed piece of memory that is all there before the first store.
//!
//! Four kinds share one face, `&[u8]` and `&mut [u8]`: a mapped file (the journal), memory that
//! another thread may read through a handle (the report ring), anonymous memory (big tables), and
//! plain heap memory (tests, the simulator).
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
//! lock and truncates the file ends this process by SIGBUS, it cannot make it read foreign memory;
//! [`exit_on_sigbus`] makes that end a sentence and an exit code.
//!
//! Another thread never gets a slice. It reads a region through a [`RegionReader`], whose `pread`
//! copies in the kernel: what it gets may be half of a store, as another process may see it, and
//! who shares a region says by other means which of its bytes stand still.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use memmap2::{Advice, MmapMut, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl, posix_fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::bytes::{to_u64, to_usize};
use crate::ring::RingBytes;

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
    /// A file without a name, of memory; its length is sealed.
    Shared {
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

    /// Memory of `len` bytes, zeroed and present, that [`Region::reader`] gives handles of. It has
    /// no name in any file system and goes with the process, or with the last handle.
    pub fn shared(len: u64) -> Result<Self, RegionError> {
        let refused = |errno: Errno| RegionError::Memory { len, source: errno.into() };
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"tidegate", flags).map_err(refused)?);
        let size = libc::off_t::try_from(len).map_err(|_| refused(Errno::EFBIG))?;
        // Also gives it its length. Memory that is not there is missed here, not at a store.
        posix_fallocate(&file, 0, size).map_err(refused)?;
        // From here on nobody who holds the file, of whatever process, can take a page away.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(refused)?;
        // SAFETY: the file has no name, so it is reached through this region alone; the handles of
        // `reader` only read, by copies that the kernel makes; its length is sealed. It is private
        // to the process in all but those reads, and the header of this file argues the rest.
        // JUSTIFICATION: the safe way is memory that no other thread can read (the persister of
        // the report ring would have to run on the hot thread), or a pwrite of the hot thread for
        // each report, 0.5-1 us against the 30-40 ns that a report costs.
        let map = unsafe { MmapOptions::new().len(to_usize(len)).map_mut(&file) }
            .map_err(|source| RegionError::Memory { len, source })?;
        // Advice only, as below.
        let _ = map.advise(Advice::HugePage);
        let mut region = Self { backing: Backing::Shared { map, file }, is_locked: false };
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

    /// A handle that another thread reads the bytes through, of a mapped file or of
    /// [`Region::shared`]; the other kinds are `Unsupported`. It shares the open file: the lock of
    /// a mapped file is given up when region and handles are gone.
    pub fn reader(&self) -> io::Result<RegionReader> {
        match &self.backing {
            Backing::File { file, .. } | Backing::Shared { file, .. } => {
                Ok(RegionReader { file: file.try_clone()?, len: self.len() })
            }
            Backing::Anonymous(_) | Backing::Heap(..) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "expected a region with a file, found plain memory",
            )),
        }
    }

    /// Keeps the pages in memory, best effort; [`Region::is_locked`] says whether it held.
    pub fn lock_memory(&mut self) {
        self.is_locked = match &self.backing {
            Backing::File { map, .. } | Backing::Shared { map, .. } | Backing::Anonymous(map) => {
                map.lock().is_ok()
            }
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
            Backing::Shared { .. } | Backing::Anonymous(_) | Backing::Heap(..) => Ok(()),
        }
    }

    /// As [`Region::sync`], for the first `len` bytes only; the other pages stay as they are.
    pub fn sync_front(&self, len: u64) -> io::Result<()> {
        match &self.backing {
            Backing::File { map, .. } => map.flush_range(0, to_usize(len)),
            Backing::Shared { .. } | Backing::Anonymous(_) | Backing::Heap(..) => Ok(()),
        }
    }

    /// The bytes, for writing.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.backing {
            Backing::File { map, .. } | Backing::Shared { map, .. } | Backing::Anonymous(map) => {
                map
            }
            Backing::Heap(words, len) => &mut words.as_mut_slice().as_mut_bytes()[..*len],
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.backing {
            Backing::File { map, .. } | Backing::Shared { map, .. } | Backing::Anonymous(map) => {
                map
            }
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
            Backing::File { map, .. } | Backing::Shared { map, .. } | Backing::Anonymous(map) => {
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

/// For who has the region itself: one thread plays all parts.
impl RingBytes for Region {
    fn read_ring(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.bytes().get(at..));
        let bytes = from.and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(bytes.ok_or_else(|| outside(at, into.len(), self.len()))?);
        Ok(())
    }
}

/// Bytes of a region for another thread than its owner's, by copies that the kernel makes.
#[derive(Debug)]
pub struct RegionReader {
    file: File,
    len: u64,
}

impl RegionReader {
    /// Fills `into` with the bytes at `offset`.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(to_u64(into.len()));
        if end.is_none_or(|end| end > self.len) {
            return Err(outside(offset, into.len(), self.len));
        }
        self.file.read_exact_at(into, offset)
    }
}

impl RingBytes for RegionReader {
    fn read_ring(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_at(at, into)
    }
}

fn outside(at: u64, count: usize, len: u64) -> io::Error {
    let text = format!("expected bytes of a region of {len}, found {count} at {at}");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

static SIGBUS_LINE: &[u8] = b"tidegate: SIGBUS: a mapped file was truncated or its disk failed; \
    nothing is acknowledged after this line\n";
static SIGBUS_CODE: AtomicI32 = AtomicI32::new(1);

/// From now on a SIGBUS ends the process with exit code `code` and a line on standard error, and
/// nothing else happens: no destructor, no handler of an exit, no other thread's next step is
/// waited for.
pub fn exit_on_sigbus(code: i32) -> io::Result<()> {
    SIGBUS_CODE.store(code, Ordering::Relaxed);
    let handler = SigHandler::Handler(on_sigbus);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::all());
    // SAFETY: the handler does nothing but load an atomic and call `write` and `_exit`, which POSIX
    // lists as async-signal-safe; it allocates nothing, takes no lock, cannot unwind and never
    // returns into the code that faulted.
    // JUSTIFICATION: there is no safe way to be told of a fault in a mapping; without the handler
    // the process dies by the signal, in silence and with a core.
    unsafe { sigaction(Signal::SIGBUS, &action) }?;
    Ok(())
}

extern "C" fn on_sigbus(_: libc::c_int) {
    // SAFETY: the pointer and the length are those of a static; both calls are async-signal-safe.
    // JUSTIFICATION: as in `exit_on_sigbus`; std's write takes a lock, which a handler must not.
    unsafe {
        // Nothing can be done about a line that does not go out.
        let _ = libc::write(libc::STDERR_FILENO, SIGBUS_LINE.as_ptr().cast(), SIGBUS_LINE.len());
        libc::_exit(SIGBUS_CODE.load(Ordering::Relaxed));
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
        let shared = Region::shared(8192).unwrap();
        for mut region in [file, shared, Region::anonymous(8192).unwrap(), Region::heap(8192)] {
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
    /// Another thread sees what the owner stored before it said so, of both kinds with a file.
    #[test]
    fn a_reader_sees_what_was_stored() {
        let dir = tempfile::tempdir().unwrap();
        let file = Region::map_file(&dir.path().join("f"), 8192, true).unwrap();
        for mut region in [file, Region::shared(8192).unwrap()] {
            let reader = region.reader().unwrap();
            let (stored, seen) = std::sync::mpsc::sync_channel(0);
            let other = std::thread::spawn(move || {
                let mut bytes = [0; 3];
                seen.recv().unwrap();
                reader.read_at(4095, &mut bytes).unwrap();
                (bytes, reader)
            });
            region.bytes_mut()[4095..4098].copy_from_slice(b"abc");
            stored.send(()).unwrap();
            let (bytes, reader) = other.join().unwrap();
            assert_eq!(&bytes, b"abc");
            let mut own = [0; 3];
            region.read_ring(4095, &mut own).unwrap();
            assert_eq!(own, bytes);

            for offset in [8190, 8192, u64::MAX] {
                let error = reader.read_at(offset, &mut own).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
                assert!(region.read_ring(offset, &mut own).is_err(), "{offset}");
            }
            reader.read_at(8192, &mut []).unwrap();
        }
        for region in [Region::anonymous(8192).unwrap(), Region::heap(8192)] {
            assert_eq!(region.reader().unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
    }

    /// A handle keeps the bytes, and of a mapped file also its lock.
    #[test]
    fn a_reader_outlives_its_region() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = Region::map_file(&path, 8192, true).unwrap();
        for mut region in [file, Region::shared(8192).unwrap()] {
            region.bytes_mut()[7] = 7;
            let reader = region.reader().unwrap();
            drop(region);
            let mut byte = [0];
            reader.read_at(7, &mut byte).unwrap();
            assert_eq!(byte, [7]);
        }
        let reader = Region::map_file(&path, 8192, false).unwrap().reader().unwrap();
        let again = Region::map_file(&path, 8192, false);
        assert!(matches!(again, Err(RegionError::InUse { .. })), "{again:?}");
        drop(reader);
        assert!(Region::map_file(&path, 8192, false).is_ok(), "nobody holds it");
    }

    /// Memory that is shared cannot be taken away under the mapping, nor be had without bytes.
    #[test]
    fn the_length_of_shared_memory_is_sealed() {
        let region = Region::shared(8192).unwrap();
        let reader = region.reader().unwrap();
        for len in [0, 4096, 16_384] {
            assert!(reader.file.set_len(len).is_err(), "{len}");
        }
        assert_eq!(reader.file.metadata().unwrap().len(), 8192);
        for len in [0, u64::MAX] {
            assert!(matches!(Region::shared(len), Err(RegionError::Memory { .. })), "{len}");
        }
    }
}
