//! A storage that fails by a script, and remembers in which order it was used.
//!
//! What a journal does on a bad disk is a claim about order: nothing is written after the first
//! failure, no sync is tried a second time. So this storage keeps a list of all operations, with
//! what came of them, beside its script of faults. The script and the list are behind a handle
//! ([`Faults`]) that can be shared: a test holds one end while a thread owns the storage, and two
//! storages of one directory can write one list.
//!
//! The worst fault is the sync that fails and lies ([`Effect::LostSync`]): the kernel counts the
//! pages as written, shows them, and lets the next sync succeed. Only the medium knows better.
//!
//! For tests: the list grows for ever.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::{DirStorage, MemoryStorage, Storage};
use crate::bytes::{to_u64, to_usize};

/// What a storage can be asked; a method of [`Storage`] each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// [`Storage::create`]
    Create,
    /// [`Storage::write_at`]
    Write,
    /// [`Storage::read_at`]
    Read,
    /// [`Storage::sync`]
    Sync,
    /// [`Storage::sync_data`]
    SyncData,
    /// [`Storage::sync_names`]
    SyncNames,
    /// [`Storage::rename`]
    Rename,
    /// [`Storage::remove`]
    Remove,
    /// [`Storage::list`]
    List,
    /// [`Storage::len`]
    Len,
    /// [`Storage::id`]
    Id,
    /// [`Storage::free_bytes`]
    Free,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Create,
        Self::Write,
        Self::Read,
        Self::Sync,
        Self::SyncData,
        Self::SyncNames,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::Len,
        Self::Id,
        Self::Free,
    ];
    /// Those that change bytes or names: what a file system that was made read-only refuses.
    pub const CHANGES: [Self; 4] = [Self::Create, Self::Write, Self::Rename, Self::Remove];
    /// Those that wait for the medium.
    pub const SYNCS: [Self; 3] = [Self::Sync, Self::SyncData, Self::SyncNames];
}

/// What happens to the operation that a fault fires on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// EIO; nothing was done. After a sync the bytes wait for the next one, as a kind kernel would
    /// have it; [`Effect::LostSync`] is the real one.
    Eio,
    /// ENOSPC; nothing was done.
    Enospc,
    /// EROFS; nothing was done.
    Erofs,
    /// The first bytes, as many as said, were written; then it fails as a short write does.
    ShortWrite(u64),
    /// EIO; nothing reached the medium, and later syncs succeed without writing these pages.
    LostSync,
    /// EIO; everything was done nevertheless.
    DoneThenEio,
}

/// When something fails, and how: by [`Fault::new`] the first call of the kinds, once.
#[derive(Clone, Debug)]
pub struct Fault {
    kinds: Vec<OperationKind>,
    name_part: String,
    /// Counted from 1 among the calls that match.
    first_call: u64,
    calls: u64,
    effect: Effect,
}

impl Fault {
    /// The first call of one of `kinds`, whatever the name, once.
    #[must_use]
    pub fn new(kinds: &[OperationKind], effect: Effect) -> Self {
        let possible: &[OperationKind] = match effect {
            Effect::ShortWrite(_) => &[OperationKind::Write],
            Effect::LostSync => &[OperationKind::Sync, OperationKind::SyncData],
            Effect::Eio | Effect::Enospc | Effect::Erofs | Effect::DoneThenEio => {
                &OperationKind::ALL
            }
        };
        assert!(!kinds.is_empty(), "a fault without a kind never fires");
        let is_possible = kinds.iter().all(|kind| possible.contains(kind));
        assert!(is_possible, "expected kinds of {possible:?} for {effect:?}, found {kinds:?}");
        let (kinds, name_part) = (kinds.to_vec(), String::new());
        Self { kinds, name_part, first_call: 1, calls: 1, effect }
    }

    /// Only calls with a name that contains this; of a rename either name counts. What has no name
    /// (names synced, list, free bytes) does not match.
    #[must_use]
    pub fn on(mut self, name_part: &str) -> Self {
        name_part.clone_into(&mut self.name_part);
        self
    }

    /// Not before the n-th call that matches, counted from 1.
    #[must_use]
    pub fn nth(mut self, call: u64) -> Self {
        assert!(call > 0, "calls are counted from 1");
        self.first_call = call;
        self
    }

    /// As many matching calls, one after the other.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        assert!(calls > 0, "a fault of no call never fires");
        self.calls = calls;
        self
    }

    /// That call and all after it.
    #[must_use]
    pub fn for_ever(self) -> Self {
        self.times(u64::MAX)
    }

    fn matches(&self, operation: &Operation) -> bool {
        let has_part = |name: &str| name.contains(&self.name_part);
        self.kinds.contains(&operation.kind)
            && (has_part(&operation.name) || operation.to.as_deref().is_some_and(has_part))
    }

    fn is_due(&self, call: u64) -> bool {
        call >= self.first_call && call - self.first_call < self.calls
    }
}

/// One call, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was asked.
    pub kind: OperationKind,
    /// Of which file; empty for what has no name.
    pub name: String,
    /// The new name of a rename.
    pub to: Option<String>,
    /// Where a write or a read begins; 0 otherwise.
    pub offset: u64,
    /// Bytes to write, to read or to make; 0 otherwise.
    pub bytes: u64,
    /// The number of the fault that fired on it.
    pub fault: Option<usize>,
    /// What it failed with; none while it runs.
    pub error: Option<io::ErrorKind>,
}

impl Operation {
    fn new(kind: OperationKind, name: &str) -> Self {
        let name = name.to_owned();
        Self { kind, name, to: None, offset: 0, bytes: 0, fault: None, error: None }
    }

    fn at(mut self, offset: u64, bytes: u64) -> Self {
        (self.offset, self.bytes) = (offset, bytes);
        self
    }
}

/// A fault that fired, and on which operation; both are numbers of their lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    /// As [`Faults::add`] gave it.
    pub fault: usize,
    /// An index of [`Faults::operations`].
    pub operation: usize,
}

/// Is told of each operation before it is done.
type Hook = Box<dyn FnMut(&Operation) + Send>;

/// The script of faults and the list of operations: a handle, shared by its clones.
#[derive(Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Apart from the state, so that a hook may ask for the list or add a fault.
    hook: Mutex<Option<Hook>>,
}

#[derive(Default)]
struct State {
    script: Vec<Armed>,
    operations: Vec<Operation>,
    fired: Vec<Fired>,
}

struct Armed {
    fault: Fault,
    /// Calls that matched until now.
    calls: u64,
    is_removed: bool,
}

impl Faults {
    /// No faults, no operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault to the script, which counts calls from now on, and returns its number. When
    /// several are due on one operation the one that was added first fires.
    #[expect(clippy::must_use_candidate, reason = "who adds one fault needs no number")]
    pub fn add(&self, fault: Fault) -> usize {
        let mut state = self.state();
        state.script.push(Armed { fault, calls: 0, is_removed: false });
        state.script.len() - 1
    }

    /// The disk is repaired: no fault fires any more. What was remembered stays.
    pub fn remove_all(&self) {
        self.state().script.iter_mut().for_each(|armed| armed.is_removed = true);
    }

    /// Calls `hook` before each operation, in place of the hook there was; it may advance a clock
    /// for a slow flush, and use this handle, but not set a hook.
    pub fn on_operation(&self, hook: impl FnMut(&Operation) + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// All operations until now, in their order.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// Operations behind the first that a fault fired on; none when no fault fired.
    #[must_use]
    pub fn operations_after_fault(&self) -> Vec<Operation> {
        let state = self.state();
        let first = state.operations.iter().position(|operation| operation.fault.is_some());
        let rest = first.and_then(|first| state.operations.get(first + 1..));
        rest.unwrap_or_default().to_vec()
    }

    /// How many operations there were of a kind.
    #[must_use]
    pub fn count(&self, kind: OperationKind) -> u64 {
        let state = self.state();
        to_u64(state.operations.iter().filter(|operation| operation.kind == kind).count())
    }

    /// The faults that fired, in their order.
    #[must_use]
    pub fn fired(&self) -> Vec<Fired> {
        self.state().fired.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Does an operation as the script has it: `action` is given what happens to it.
    fn run<T>(
        &self,
        operation: Operation,
        action: impl FnOnce(Option<Effect>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut told = operation.clone();
        let (number, effect) = self.state().begin(operation);
        if let Some(hook) = lock(&self.shared.hook).as_mut() {
            told.fault = effect.map(|(fault, _)| fault);
            hook(&told);
        }
        let result = action(effect.map(|(_, effect)| effect));
        if let Some(operation) = self.state().operations.get_mut(number) {
            operation.error = result.as_ref().err().map(io::Error::kind);
        }
        result
    }
}

impl State {
    /// The operation's number, and the fault that fires on it.
    fn begin(&mut self, mut operation: Operation) -> (usize, Option<(usize, Effect)>) {
        let number = self.operations.len();
        let mut due = None;
        for (fault, armed) in self.script.iter_mut().enumerate() {
            if armed.is_removed || !armed.fault.matches(&operation) {
                continue;
            }
            armed.calls += 1;
            if due.is_none() && armed.fault.is_due(armed.calls) {
                due = Some((fault, armed.fault.effect));
            }
        }
        if let Some((fault, _)) = due {
            operation.fault = Some(fault);
            self.fired.push(Fired { fault, operation: number });
        }
        self.operations.push(operation);
        (number, due)
    }
}

/// A test that panicked elsewhere is no reason to panic here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A storage of which [`Effect::LostSync`] can be played.
pub trait ForgetUnsynced: Storage {
    /// The file's unsynced pages count as written, and are not.
    fn forget_unsynced(&mut self, name: &str);
}

impl ForgetUnsynced for MemoryStorage {
    fn forget_unsynced(&mut self, name: &str) {
        Self::forget_unsynced(self, name);
    }
}

impl ForgetUnsynced for DirStorage {
    /// The kernel keeps its pages, and power cannot be cut: the error and the later successes are
    /// all that is seen of the lie.
    fn forget_unsynced(&mut self, _name: &str) {}
}

/// A storage that fails by a script.
pub struct FaultyStorage<S> {
    inner: S,
    faults: Faults,
}

impl<S: ForgetUnsynced> FaultyStorage<S> {
    /// Without faults until some are added.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self::with_faults(inner, Faults::new())
    }

    /// With a script and a list that others share.
    #[must_use]
    pub fn with_faults(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The script and the list.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What is wrapped; what is done to it is neither counted nor failed.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// As [`FaultyStorage::inner`], to cut its power or give it room.
    #[must_use]
    pub fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the wrapping off.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn sync_with(
        &mut self,
        kind: OperationKind,
        name: &str,
        sync: fn(&mut S, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { inner, faults } = self;
        faults.run(Operation::new(kind, name), |effect| {
            if effect == Some(Effect::LostSync) {
                inner.forget_unsynced(name);
            }
            affect(effect, || sync(inner, name))
        })
    }
}

/// Does the action, or not, as the effect has it.
fn affect<T>(effect: Option<Effect>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let errno = match effect {
        None => return action(),
        Some(Effect::DoneThenEio) => {
            action()?;
            Errno::EIO
        }
        Some(Effect::Eio | Effect::LostSync | Effect::ShortWrite(_)) => Errno::EIO,
        Some(Effect::Enospc) => Errno::ENOSPC,
        Some(Effect::Erofs) => Errno::EROFS,
    };
    Err(errno.into())
}

impl<S: ForgetUnsynced> Storage for FaultyStorage<S> {
    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        let operation = Operation::new(OperationKind::Create, name).at(0, len);
        self.faults.run(operation, |effect| affect(effect, || self.inner.create(name, len)))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let count = to_u64(bytes.len());
        let operation = Operation::new(OperationKind::Write, name).at(offset, count);
        self.faults.run(operation, |effect| {
            let Some(Effect::ShortWrite(written)) = effect else {
                return affect(effect, || self.inner.write_at(name, offset, bytes));
            };
            let prefix = bytes.get(..to_usize(written)).unwrap_or(bytes);
            self.inner.write_at(name, offset, prefix)?;
            let text = format!("expected to write {count} bytes, wrote {}", prefix.len());
            Err(io::Error::new(io::ErrorKind::WriteZero, text))
        })
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let operation = Operation::new(OperationKind::Read, name).at(offset, to_u64(into.len()));
        self.faults
            .run(operation, |effect| affect(effect, || self.inner.read_at(name, offset, into)))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.sync_with(OperationKind::Sync, name, S::sync)
    }

    fn sync_data(&mut self, name: &str) -> io::Result<()> {
        self.sync_with(OperationKind::SyncData, name, S::sync_data)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let operation = Operation::new(OperationKind::SyncNames, "");
        self.faults.run(operation, |effect| affect(effect, || self.inner.sync_names()))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut operation = Operation::new(OperationKind::Rename, from);
        operation.to = Some(to.to_owned());
        self.faults.run(operation, |effect| affect(effect, || self.inner.rename(from, to)))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let operation = Operation::new(OperationKind::Remove, name);
        self.faults.run(operation, |effect| affect(effect, || self.inner.remove(name)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let operation = Operation::new(OperationKind::List, "");
        self.faults.run(operation, |effect| affect(effect, || self.inner.list()))
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        let operation = Operation::new(OperationKind::Len, name);
        self.faults.run(operation, |effect| affect(effect, || self.inner.len(name)))
    }

    fn id(&self, name: &str) -> io::Result<Option<u64>> {
        let operation = Operation::new(OperationKind::Id, name);
        self.faults.run(operation, |effect| affect(effect, || self.inner.id(name)))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let operation = Operation::new(OperationKind::Free, "");
        self.faults.run(operation, |effect| affect(effect, || self.inner.free_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::PageFate;
    use OperationKind::{
        Create, Free, Id, Len, List, Read, Remove, Rename, Sync, SyncData, SyncNames, Write,
    };

    /// A disk with the file `old` of four bytes `1`, synced with its name.
    fn disk() -> FaultyStorage<MemoryStorage> {
        let mut memory = MemoryStorage::new();
        memory.create("old", 4).unwrap();
        memory.write_at("old", 0, &[1; 4]).unwrap();
        memory.sync("old").unwrap();
        memory.sync_names().unwrap();
        FaultyStorage::new(memory)
    }

    fn read(storage: &MemoryStorage, name: &str) -> [u8; 4] {
        let mut bytes = [0; 4];
        storage.read_at(name, 0, &mut bytes).unwrap();
        bytes
    }

    /// What the file has after a power cut that wrote nothing back.
    fn kept(storage: &MemoryStorage, name: &str) -> [u8; 4] {
        let mut cut = storage.clone();
        cut.cut_power(|_, _| PageFate::Old);
        read(&cut, name)
    }

    fn call(storage: &mut FaultyStorage<MemoryStorage>, kind: OperationKind) -> io::Result<()> {
        match kind {
            Create => storage.create("new", 4),
            Write => storage.write_at("old", 0, &[2; 4]),
            Read => storage.read_at("old", 0, &mut [0; 4]),
            Sync => storage.sync("old"),
            SyncData => storage.sync_data("old"),
            SyncNames => storage.sync_names(),
            Rename => storage.rename("old", "other"),
            Remove => storage.remove("old"),
            List => storage.list().map(drop),
            Len => storage.len("old").map(drop),
            Id => storage.id("old").map(drop),
            Free => storage.free_bytes().map(drop),
        }
    }

    #[test]
    fn each_operation_fails_with_each_error_and_does_nothing() {
        for kind in OperationKind::ALL {
            for (effect, errno) in [(Effect::Eio, 5), (Effect::Enospc, 28), (Effect::Erofs, 30)] {
                let mut storage = disk();
                storage.faults().add(Fault::new(&[kind], effect));
                let error = call(&mut storage, kind).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(errno), "{kind:?}");
                assert_eq!(storage.inner().list().unwrap(), ["old"], "{kind:?}");
                assert_eq!(read(storage.inner(), "old"), [1; 4], "{kind:?}");
                call(&mut storage, kind).unwrap();
                let log = storage.faults().operations();
                assert_eq!(log.iter().map(|done| done.kind).collect::<Vec<_>>(), [kind; 2]);
                assert_eq!([log[0].error, log[1].error], [Some(error.kind()), None]);
                assert_eq!([log[0].fault, log[1].fault], [Some(0), None]);
                assert_eq!(storage.faults().fired(), [Fired { fault: 0, operation: 0 }]);
            }
        }
    }

    /// Which of eight calls fail: writes to `a` and `b` in turn.
    #[test]
    fn a_fault_counts_the_calls_that_match() {
        let fault = || Fault::new(&[Write, Remove], Effect::Eio);
        #[rustfmt::skip]
        let rows = [
            (fault(),                          vec![0]),
            (fault().nth(3),                   vec![2]),
            (fault().times(2),                 vec![0, 1]),
            (fault().nth(7).for_ever(),        vec![6, 7]),
            (fault().on("b"),                  vec![1]),
            (fault().on("-b").nth(2).times(2), vec![3, 5]),
            (fault().on("file").nth(8),        vec![7]),
            (fault().on("c").for_ever(),       vec![]),
            (fault().nth(9),                   vec![]),
        ];
        for (fault, expected) in rows {
            let mut storage = FaultyStorage::new(MemoryStorage::new());
            storage.create("file-a", 1).unwrap();
            storage.create("file-b", 1).unwrap();
            let text = format!("{fault:?}");
            storage.faults().add(fault);
            let failed: Vec<_> = (0..8)
                .filter(|call| {
                    let name = if call % 2 == 0 { "file-a" } else { "file-b" };
                    storage.write_at(name, 0, &[1]).is_err()
                })
                .collect();
            assert_eq!(failed, expected, "{text}");
            let fired = storage.faults().fired();
            let fired: Vec<_> = fired.iter().map(|fired| fired.operation - 2).collect();
            assert_eq!(fired, expected, "{text}");
        }
    }

    #[test]
    fn of_a_rename_either_name_counts() {
        for part in ["old", "other"] {
            let mut storage = disk();
            storage.faults().add(Fault::new(&[Rename], Effect::Eio).on(part));
            assert!(storage.rename("old", "other").is_err(), "{part}");
            storage.rename("old", "other").unwrap();
        }
        let storage = disk();
        storage.faults().add(Fault::new(&OperationKind::ALL, Effect::Eio).on("old").for_ever());
        assert!(storage.len("old").is_err());
        storage.list().unwrap();
        storage.free_bytes().unwrap();
    }

    #[test]
    fn the_first_added_of_two_due_faults_fires_and_both_count() {
        let mut storage = disk();
        let eio = storage.faults().add(Fault::new(&[Write], Effect::Eio));
        let full = storage.faults().add(Fault::new(&[Write], Effect::Enospc).nth(1).times(2));
        let errors = [0; 3].map(|at| storage.write_at("old", at, &[2]).err());
        let numbers = errors.map(|error| error.and_then(|error| error.raw_os_error()));
        assert_eq!(numbers, [Some(5), Some(28), None]);
        let fired: Vec<_> = storage.faults().fired().iter().map(|fired| fired.fault).collect();
        assert_eq!(fired, [eio, full]);
    }

    #[test]
    fn a_short_write_leaves_its_prefix() {
        for (count, expected) in [(0, [1, 1, 1, 1]), (3, [2, 2, 2, 1]), (9, [2, 2, 2, 2])] {
            let mut storage = disk();
            storage.faults().add(Fault::new(&[Write], Effect::ShortWrite(count)));
            let error = storage.write_at("old", 0, &[2; 4]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WriteZero);
            assert_eq!(read(storage.inner(), "old"), expected);
            assert_eq!(kept(storage.inner(), "old"), [1; 4]);
        }
    }

    /// The table of failed syncs: what is on the medium after the failure, and what after one more
    /// sync, which succeeds each time.
    #[test]
    fn a_failed_sync_is_lost_or_waits_or_was_done() {
        for (effect, after_failure, after_retry) in [
            (Effect::Eio, [1; 4], [2; 4]),
            (Effect::LostSync, [1; 4], [1; 4]),
            (Effect::DoneThenEio, [2; 4], [2; 4]),
        ] {
            for kind in [Sync, SyncData] {
                let mut storage = disk();
                storage.faults().add(Fault::new(&[kind], effect).on("old"));
                storage.write_at("old", 0, &[2; 4]).unwrap();
                let error = call(&mut storage, kind).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(5), "{effect:?}");
                assert_eq!(kept(storage.inner(), "old"), after_failure, "{effect:?}");
                call(&mut storage, kind).unwrap();
                assert_eq!(read(storage.inner(), "old"), [2; 4], "what is shown");
                assert_eq!(kept(storage.inner(), "old"), after_retry, "{effect:?}");
            }
        }
    }

    #[test]
    fn what_was_done_before_the_error_is_done() {
        let mut storage = disk();
        storage.faults().add(Fault::new(&[Create, Rename], Effect::DoneThenEio).times(2));
        assert!(storage.create("new", 1).is_err());
        assert!(storage.rename("old", "other").is_err());
        assert_eq!(storage.list().unwrap(), ["new", "other"]);
        // The error of the action itself comes first.
        storage.faults().add(Fault::new(&[Remove], Effect::DoneThenEio));
        assert_eq!(storage.remove("none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// The list convicts a writer that goes on after a failure and acquits one that stops.
    #[test]
    fn the_list_shows_what_was_done_after_a_failure() {
        for (goes_on, expected) in [(false, vec![]), (true, vec![Write, SyncData])] {
            let mut storage = disk();
            storage.faults().add(Fault::new(&OperationKind::SYNCS, Effect::Eio).nth(2));
            assert!(storage.faults().operations_after_fault().is_empty());
            for offset in 0..4 {
                storage.write_at("old", offset, &[3]).unwrap();
                if storage.sync_data("old").is_err() {
                    if goes_on {
                        storage.write_at("old", offset, &[3]).unwrap();
                        storage.sync_data("old").unwrap();
                    }
                    break;
                }
            }
            let after = storage.faults().operations_after_fault();
            assert_eq!(after.iter().map(|done| done.kind).collect::<Vec<_>>(), expected);
            assert_eq!(storage.faults().count(SyncData), 2 + u64::from(goes_on));
            assert_eq!(storage.faults().count(Sync), 0);
            let write = &storage.faults().operations()[2];
            assert_eq!((write.name.as_str(), write.offset, write.bytes), ("old", 1, 1));
        }
    }

    #[test]
    fn a_hook_is_told_before_the_operation_and_may_advance_a_clock() {
        let mut storage = disk();
        let clock = Arc::new(Mutex::new(0));
        let (hook_clock, faults) = (Arc::clone(&clock), storage.faults().clone());
        storage.faults().on_operation(move |operation| {
            let seconds = if operation.kind == SyncData { 10 } else { 0 };
            *hook_clock.lock().unwrap() += seconds;
            // It may use the handle: from the second slow flush on the disk is gone.
            if *hook_clock.lock().unwrap() == 20 {
                assert_eq!(faults.count(SyncData), 2);
                faults.add(Fault::new(&[Write], Effect::Eio).for_ever());
            }
        });
        for expected in [10, 20] {
            storage.write_at("old", 0, &[2; 4]).unwrap();
            storage.sync_data("old").unwrap();
            assert_eq!(*clock.lock().unwrap(), expected);
        }
        assert!(storage.write_at("old", 0, &[2; 4]).is_err());
    }

    #[test]
    fn two_storages_of_a_directory_share_a_script_and_a_list() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::new();
        let storage = || FaultyStorage::with_faults(DirStorage::new(dir.path()), faults.clone());
        let (mut persister, mut preparer) = (storage(), storage());
        faults.add(Fault::new(&[SyncData], Effect::LostSync));
        let thread = std::thread::spawn(move || preparer.create("a", 4));
        thread.join().unwrap().unwrap();
        persister.write_at("a", 0, b"abcd").unwrap();
        assert!(persister.sync_data("a").is_err());
        persister.sync_data("a").unwrap();
        let kinds: Vec<_> = faults.operations().iter().map(|done| done.kind).collect();
        assert_eq!(kinds, [Create, Write, SyncData, SyncData]);

        faults.add(Fault::new(&OperationKind::CHANGES, Effect::Erofs).for_ever());
        assert!(persister.remove("a").is_err());
        faults.remove_all();
        persister.remove("a").unwrap();
        assert_eq!(faults.fired().len(), 2);
    }

    #[test]
    #[should_panic(expected = "expected kinds of [Sync, SyncData] for LostSync, found [Write]")]
    fn an_effect_has_its_operations() {
        let _ = Fault::new(&[Write], Effect::LostSync);
    }
}
