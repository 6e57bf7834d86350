//! Open: a journal from its directory, or a new one; and its clean stop.
//!
//! ```text
//! journal.meta            identity, state, floor, where the ring is
//! journal-K.seg .sha256   the journal
//! <hot_dir>/tidegate-UUID the newest part of it, mapped
//! ```
//!
//! The order of steps is what makes a kill between any two of them harmless. Creating: the first
//! segment and the ring are made, then the metadata gets its name, and no record is written before.
//! Opening (`reopen.rs`): lock, look, scan; nothing changes up to here, so a refusal leaves all as
//! it was. Stopping: everything to the disk, the mark, and then the ring is not needed and goes.

use std::io::Error;
use std::path::{Path, PathBuf};

use crate::create::create;
use crate::error::JournalError;
use crate::files::META_FILE;
use crate::found::Found;
use crate::hot::{self, RingPlace};
use crate::identity::Identity;
use crate::label::Uuid;
use crate::lock::DirectoryLock;
use crate::persist::{Persisted, Persister};
use crate::position::Geometry;
use crate::prepare::{Prepared, Preparer};
use crate::recover::Recovery;
use crate::region::Region;
use crate::reopen::reopen;
use crate::ring::Ring;
use crate::storage::{DirStorage, Storage};

/// How a journal is created or opened.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct JournalOptions {
    /// Bytes of the ring, four segments: a power of two in [`crate::RING_BYTES_MIN`],
    /// [`crate::RING_BYTES_MAX`].
    pub ring_bytes: u64,
    /// The node that writes the journal.
    pub node_id: u32,
    /// Where the ring is mapped: an absolute path, best of a memory file system. `None`, or where
    /// that cannot be: in the journal's directory.
    pub hot_dir: Option<PathBuf>,
    /// The writer will acknowledge only what is on the disk.
    pub acks_durable: bool,
    /// Free bytes of the disk below which it counts as full.
    pub space_low_water: u64,
    /// The kernel's boot id; `None` reads it. Tests play a restart of the machine with it.
    pub boot_id: Option<Uuid>,
    /// Name of a new journal; `None` draws one.
    pub journal_uuid: Option<Uuid>,
    /// Take a directory that is a copy, under a new incarnation.
    pub accept_copy: bool,
    /// Go on although records are damaged or missing, under a new incarnation.
    pub accept_loss: bool,
    /// Lock the ring's pages in memory, as far as the system's limits allow.
    pub lock_memory: bool,
}

impl JournalOptions {
    /// A ring of `ring_bytes` for a node, in the data directory; everything else as a program wants
    /// it.
    #[must_use]
    pub const fn new(ring_bytes: u64, node_id: u32) -> Self {
        Self {
            ring_bytes,
            node_id,
            hot_dir: None,
            acks_durable: false,
            space_low_water: 0,
            boot_id: None,
            journal_uuid: None,
            accept_copy: false,
            accept_loss: false,
            lock_memory: true,
        }
    }
}

/// Incarnation a journal starts with. A wiped directory must not look like its former self, so it
/// is drawn with the uuid: 47 random bits above a counter of 16.
#[must_use]
pub const fn first_incarnation(journal_uuid: Uuid) -> u64 {
    let Some(first) = journal_uuid.0.first_chunk::<8>() else {
        return 1;
    };
    (u64::from_le_bytes(*first) >> 17 << 16) | 1
}

/// An open journal: the parts that threads take.
#[derive(Debug)]
pub struct Journal {
    /// The hot thread's.
    pub ring: Ring,
    /// The persister's.
    pub persister: Persister,
    /// The preparer's.
    pub preparer: Preparer,
    /// What opening it found.
    pub recovery: Recovery,
}

/// Whether a journal must be absent, must be present, or may be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    New,
    Present,
    Either,
}

/// What the steps of an open share.
pub(crate) struct Context<'a> {
    pub(crate) dir: PathBuf,
    pub(crate) storage: &'a mut dyn Storage,
    pub(crate) place: RingPlace,
    pub(crate) options: &'a JournalOptions,
    pub(crate) boot_id: Uuid,
    pub(crate) lock: Option<DirectoryLock>,
}

impl Context<'_> {
    /// An error of a step with a file of the directory.
    pub(crate) fn io(
        &self,
        name: &str,
        doing: &'static str,
    ) -> impl FnOnce(Error) -> JournalError + use<> {
        JournalError::io_owned(self.dir.join(name), doing)
    }
}

impl Journal {
    /// Creates a journal in `dir`, which is made if it does not exist and must not hold one.
    pub fn create(dir: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        in_directory(dir, options, Wanted::New)
    }

    /// Opens the journal in `dir` and recovers it. What cannot be trusted is refused, and then
    /// nothing was changed.
    pub fn open(dir: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        in_directory(dir, options, Wanted::Present)
    }

    /// Opens the journal in `dir`, or creates one where there is none.
    pub fn open_or_create(dir: &Path, options: &JournalOptions) -> Result<Self, JournalError> {
        in_directory(dir, options, Wanted::Either)
    }

    /// As [`Journal::open_or_create`], on any storage; `region` is what a process that was killed
    /// left of its ring, and `options` name the boot.
    pub fn on_storage(
        storage: &mut dyn Storage,
        region: Option<Region>,
        options: &JournalOptions,
    ) -> Result<Self, JournalError> {
        let context = Context {
            dir: PathBuf::new(),
            storage,
            place: RingPlace::Memory(region),
            options,
            boot_id: options.boot_id.unwrap_or_default(),
            lock: None,
        };
        begin(context, Wanted::Either)
    }

    /// One step of persister and preparer, where one thread plays all parts. False when there was
    /// nothing to do, or nothing can be done.
    pub fn step(&mut self, storage: &mut dyn Storage) -> bool {
        let prepared = self.preparer.step(storage);
        let persisted = self.persister.step(storage, &self.ring);
        prepared == Prepared::Piece || matches!(persisted, Persisted::Group(_))
    }

    /// Brings everything that is appended to the disk, and makes the segments ahead.
    pub fn drain(&mut self, dir: &Path) -> Result<(), JournalError> {
        let mut storage = DirStorage::new(dir);
        let Self { ring, persister, preparer, .. } = self;
        drain(&mut storage, dir, ring, persister, preparer)
    }

    /// Stops cleanly: everything to the disk, then the mark that says so, then the ring goes. A
    /// journal dropped without this reopens as after a kill.
    pub fn close(self, dir: &Path) -> Result<(), JournalError> {
        self.close_on(&mut DirStorage::new(dir), dir)
    }

    /// As [`Journal::close`], on any storage; `dir` is for messages.
    pub fn close_on(self, storage: &mut dyn Storage, dir: &Path) -> Result<(), JournalError> {
        let Self { ring, persister, preparer, .. } = self;
        close(storage, dir, ring, persister, preparer)
    }
}

/// Stops a journal whose parts were on threads of their own: see [`Journal::close`].
pub fn close(
    storage: &mut dyn Storage,
    dir: &Path,
    ring: Ring,
    mut persister: Persister,
    mut preparer: Preparer,
) -> Result<(), JournalError> {
    ring.assert_invariants();
    drain(storage, dir, &ring, &mut persister, &mut preparer)?;
    persister
        .mark_stop(storage)
        .map_err(JournalError::io_owned(dir.join(META_FILE), "write the mark of a stop"))?;
    let path = ring.path().cloned();
    drop(ring);
    path.as_deref().map_or(Ok(()), hot::remove)
}

/// Brings everything that is appended to the disk.
fn drain(
    storage: &mut dyn Storage,
    dir: &Path,
    ring: &Ring,
    persister: &mut Persister,
    preparer: &mut Preparer,
) -> Result<(), JournalError> {
    loop {
        match persister.step(storage, ring) {
            Persisted::Nothing => return Ok(()),
            Persisted::Group(_) => continue,
            Persisted::Poisoned => {}
            Persisted::WaitsForSegment => match preparer.step(storage) {
                Prepared::Piece | Prepared::Nothing => continue,
                Prepared::NoRoom => {
                    let bytes = ring.lag_bytes();
                    return Err(JournalError::NoRoom { dir: dir.to_owned(), bytes });
                }
                Prepared::Poisoned => {}
            },
        }
        let poison = persister.marks().poison().cloned();
        let Some(poison) = poison else { unreachable!("a poisoned journal knows why") };
        return Err(JournalError::Poisoned(poison));
    }
}

fn in_directory(
    dir: &Path,
    options: &JournalOptions,
    wanted: Wanted,
) -> Result<Journal, JournalError> {
    if wanted == Wanted::Present && !dir.is_dir() {
        return Err(JournalError::NoJournal { dir: dir.to_owned() });
    }
    std::fs::create_dir_all(dir).map_err(JournalError::io(dir, "make the directory"))?;
    let lock = DirectoryLock::acquire(dir)?;
    let boot_id = options.boot_id.map_or_else(read_boot_id, Ok)?;
    let context = Context {
        dir: dir.to_owned(),
        storage: &mut DirStorage::new(dir),
        place: RingPlace::Directory { hot: options.hot_dir.clone(), data: dir.to_owned() },
        options,
        boot_id,
        lock: Some(lock),
    };
    begin(context, wanted)
}

fn begin(context: Context<'_>, wanted: Wanted) -> Result<Journal, JournalError> {
    let options = context.options;
    let geometry = Geometry::new(options.ring_bytes)
        .ok_or(JournalError::RingBytes { found: options.ring_bytes })?;
    let found = Found::look(&context.dir, context.storage, &context.place)?;
    match found.facts(options, context.boot_id).judge().verdict() {
        Identity::Create | Identity::CreateAgain if wanted == Wanted::Present => {
            Err(JournalError::NoJournal { dir: context.dir })
        }
        Identity::Create | Identity::CreateAgain => create(context, &found, geometry),
        Identity::Open(_) | Identity::Refuse(_) if wanted == Wanted::New => {
            Err(JournalError::AlreadyExists { dir: context.dir })
        }
        Identity::Open(copy) => reopen(context, found, geometry, copy),
        Identity::Refuse(kind) => Err(found.refusal(kind, options)),
    }
}

/// The kernel draws a new one at each start of the machine.
pub(crate) fn read_boot_id() -> Result<Uuid, JournalError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(JournalError::io(path, "read it"))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16)
        .map(|number| Uuid(number.to_be_bytes()))
        .map_err(|error| JournalError::io(path, "understand it")(Error::other(error)))
}
