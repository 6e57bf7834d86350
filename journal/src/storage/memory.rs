//! A disk in memory that can lose its power.
//!
//! A write goes to a cache of pages; only a sync moves pages to the medium. At a power cut each
//! page that was not synced is, independently, old, new or torn. Names are simpler: those made,
//! changed or removed since the last `sync_names` go back to what they were. A real disk may also
//! have written names early; a test has that by syncing them before it cuts.
//!
//! A clone is the whole disk at a moment, cache and medium, so that many power cuts can be tried
//! on the same moment. Pages are shared between clones, and between cache and medium, until they
//! are written.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use super::{Storage, check_len, check_name, check_read, check_write};
use crate::bytes::{to_u64, to_usize};

/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;
const PAGE: usize = to_usize(PAGE_BYTES);

type Bytes = [u8; PAGE];

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
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    /// Differs between disks, so that a file copied to another disk has another id.
    disk: u32,
    files_made: u32,
    /// By id. Those without a name are dropped when names are synced or power is cut.
    files: BTreeMap<u64, MemoryFile>,
    names: BTreeMap<String, u64>,
    names_synced: BTreeMap<String, u64>,
    capacity_bytes: u64,
}

/// Invariant: `unsynced` are numbers of `pages`; a page that is absent is zeros, in both.
#[derive(Clone, Debug, Default)]
struct MemoryFile {
    len: u64,
    pages: BTreeMap<u64, Page>,
    unsynced: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
struct Page {
    cache: Arc<Bytes>,
    /// `None`: zeros.
    medium: Option<Arc<Bytes>>,
}

impl Page {
    fn is_same(&self) -> bool {
        *self.cache == self.medium.as_deref().copied().unwrap_or([0; PAGE])
    }

    fn cut_power(&mut self, fate: PageFate) {
        let written = match fate {
            PageFate::Old => 0,
            PageFate::New => PAGE,
            PageFate::Torn(bytes) => (usize::from(bytes) / 512 * 512).min(PAGE),
        };
        let medium = self.medium.get_or_insert_with(|| Arc::new([0; PAGE]));
        Arc::make_mut(medium)[..written].copy_from_slice(&self.cache[..written]);
    }
}

impl MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        for (number, at, piece) in pieces(offset, bytes.len()) {
            let page = self
                .pages
                .entry(number)
                .or_insert_with(|| Page { cache: Arc::new([0; PAGE]), medium: None });
            let place = &mut Arc::make_mut(&mut page.cache)[at..at + piece.len()];
            place.copy_from_slice(&bytes[piece]);
            self.unsynced.insert(number);
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) {
        for (number, at, piece) in pieces(offset, into.len()) {
            let place = &mut into[piece];
            match self.pages.get(&number) {
                Some(page) => place.copy_from_slice(&page.cache[at..at + place.len()]),
                None => place.fill(0),
            }
        }
    }

    fn sync(&mut self) {
        while let Some(number) = self.unsynced.pop_first() {
            if let Some(page) = self.pages.get_mut(&number) {
                page.medium = Some(Arc::clone(&page.cache));
            }
        }
    }

    /// Pages that are on the medium otherwise than in the cache and that a sync would write.
    fn pending(&self) -> impl Iterator<Item = u64> {
        let differs = |number: &u64| self.pages.get(number).is_some_and(|page| !page.is_same());
        self.unsynced.iter().copied().filter(differs)
    }

    /// The cache forgets the pages that a sync would not write.
    fn drop_clean_pages(&mut self) {
        let Self { pages, unsynced, .. } = self;
        pages.retain(|number, page| match &page.medium {
            _ if unsynced.contains(number) => true,
            Some(medium) => {
                page.cache = Arc::clone(medium);
                true
            }
            None => false,
        });
    }
}

/// The pages that `count` bytes at `offset` of a file touch: number, first byte in the page, and
/// which of the bytes.
fn pieces(offset: u64, count: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + to_u64(done);
        let at = to_usize(position % PAGE_BYTES);
        let piece = done..count.min(done + PAGE - at);
        done = piece.end;
        (!piece.is_empty()).then_some((position / PAGE_BYTES, at, piece))
    })
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    /// An empty disk, larger than anyone needs. Its number, and so the ids of its files, is
    /// another for each in this process.
    #[must_use]
    pub fn new() -> Self {
        static DISKS: AtomicU32 = AtomicU32::new(1 << 31);
        Self::numbered(DISKS.fetch_add(1, Ordering::Relaxed))
    }

    /// As [`MemoryStorage::new`]; the caller gives the number, so that a run that writes ids down
    /// can be repeated.
    #[must_use]
    pub fn numbered(disk: u32) -> Self {
        Self {
            disk,
            files_made: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            names_synced: BTreeMap::new(),
            capacity_bytes: u64::MAX,
        }
    }

    /// Gives the disk another size. A file takes its length rounded up to pages of 4 KiB, from
    /// when it is made until it is removed. What is there stays, also when it is more.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    /// Cuts the power: names go back to those synced, and of each file every page that was
    /// written and not synced becomes what `fate` says of its name and number. A file whose name
    /// was synced and whose bytes were not has what the medium has: older bytes, or zeros.
    pub fn cut_power(&mut self, mut fate: impl FnMut(&str, u64) -> PageFate) {
        self.names.clone_from(&self.names_synced);
        self.drop_nameless();
        for (name, id) in &self.names {
            let Some(file) = self.files.get_mut(id) else {
                continue;
            };
            for number in file.pending().collect::<Vec<_>>() {
                if let Some(page) = file.pages.get_mut(&number) {
                    page.cut_power(fate(name, number));
                }
            }
            file.unsynced.clear();
            file.drop_clean_pages();
        }
    }

    /// Names and numbers of the pages whose fate a power cut would ask for.
    #[must_use]
    pub fn unsynced_pages(&self) -> Vec<(String, u64)> {
        let mut pages = Vec::new();
        for (name, id) in &self.names_synced {
            let pending = self.files.get(id).into_iter().flat_map(MemoryFile::pending);
            pages.extend(pending.map(|number| (name.clone(), number)));
        }
        pages
    }

    /// What a kernel does when a sync fails: the unsynced pages count as written and are not. The
    /// cache goes on showing them, the medium keeps the old bytes, and later syncs succeed without
    /// a word. A page that is written again is synced again, whole.
    pub fn forget_unsynced(&mut self, name: &str) {
        if let Ok(file) = self.file_mut(name) {
            file.unsynced.clear();
        }
    }

    /// What a kernel may do at any time when memory is short: pages that need no sync leave the
    /// cache. After [`MemoryStorage::forget_unsynced`] the old bytes come to light.
    pub fn drop_clean_pages(&mut self) {
        self.files.values_mut().for_each(MemoryFile::drop_clean_pages);
    }

    fn file(&self, name: &str) -> io::Result<&MemoryFile> {
        let file = self.found(name)?.and_then(|id| self.files.get(&id));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut MemoryFile> {
        let file = self.found(name)?.and_then(|id| self.files.get_mut(&id));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn found(&self, name: &str) -> io::Result<Option<u64>> {
        check_name(name)?;
        Ok(self.names.get(name).copied())
    }

    fn drop_nameless(&mut self) {
        let named: BTreeSet<u64> =
            self.names.values().chain(self.names_synced.values()).copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }

    fn room_bytes(&self) -> u64 {
        let files = self.names.values().filter_map(|id| self.files.get(id));
        let taken = files.map(|file| taken_bytes(file.len)).fold(0, u64::saturating_add);
        self.capacity_bytes.saturating_sub(taken)
    }
}

fn taken_bytes(len: u64) -> u64 {
    len.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
}

impl Storage for MemoryStorage {
    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        if self.found(name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        check_len(len)?;
        if taken_bytes(len) > self.room_bytes() {
            return Err(Errno::ENOSPC.into());
        }
        self.files_made += 1;
        let id = u64::from(self.disk) << 32 | u64::from(self.files_made);
        self.names.insert(name.to_owned(), id);
        self.files.insert(id, MemoryFile { len, ..MemoryFile::default() });
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file_mut(name)?;
        check_write(name, offset, bytes.len(), file.len)?;
        file.write_at(offset, bytes);
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let file = self.file(name)?;
        check_read(name, offset, into.len(), file.len)?;
        file.read_at(offset, into);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file_mut(name)?.sync();
        Ok(())
    }

    fn sync_data(&mut self, name: &str) -> io::Result<()> {
        self.sync(name)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.names_synced.clone_from(&self.names);
        self.drop_nameless();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        check_name(to)?;
        let id = self.found(from)?.ok_or(io::ErrorKind::NotFound)?;
        self.names.remove(from);
        self.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.found(name)?.ok_or(io::ErrorKind::NotFound)?;
        self.names.remove(name);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<Option<u64>> {
        check_name(name)?;
        Ok(self.file(name).ok().map(|file| file.len))
    }

    fn id(&self, name: &str) -> io::Result<Option<u64>> {
        self.found(name)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.room_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(storage: &MemoryStorage, name: &str, at: u64) -> u8 {
        let mut byte = [0];
        storage.read_at(name, at, &mut byte).unwrap();
        byte[0]
    }

    /// A file of three pages, synced as 1, with its name.
    fn disk() -> MemoryStorage {
        let mut storage = MemoryStorage::new();
        storage.create("a", 3 * PAGE_BYTES).unwrap();
        storage.write_at("a", 0, &[1; 3 * PAGE]).unwrap();
        storage.sync("a").unwrap();
        storage.sync_names().unwrap();
        storage
    }

    #[test]
    fn a_power_cut_makes_a_page_old_new_or_torn() {
        for (fate, expected) in [
            (PageFate::Old, [1, 1, 1]),
            (PageFate::New, [2, 2, 2]),
            (PageFate::Torn(0), [1, 1, 1]),
            (PageFate::Torn(511), [1, 1, 1]),
            (PageFate::Torn(512), [2, 1, 1]),
            (PageFate::Torn(1023), [2, 1, 1]),
            (PageFate::Torn(3584), [2, 2, 1]),
            (PageFate::Torn(4096), [2, 2, 2]),
            (PageFate::Torn(u16::MAX), [2, 2, 2]),
        ] {
            let mut storage = disk();
            storage.write_at("a", 0, &[2; PAGE]).unwrap();
            storage.cut_power(|_, _| fate);
            let found = [511, 512, 3584].map(|at| byte(&storage, "a", at));
            assert_eq!(found, expected, "{fate:?}");
        }
    }

    /// Every subset of the unsynced pages can be what the medium has, and a cut is the end of it:
    /// a second one changes nothing.
    #[test]
    fn a_power_cut_takes_each_page_by_itself() {
        let mut storage = disk();
        storage.write_at("a", 0, &[2; 3 * PAGE]).unwrap();
        assert_eq!(storage.unsynced_pages(), [0, 1, 2].map(|number| ("a".to_owned(), number)));
        for subset in 0_u8..8 {
            let is_new = |number: u64| subset >> number & 1 == 1;
            let fate = |number| if is_new(number) { PageFate::New } else { PageFate::Old };
            let mut cut = storage.clone();
            cut.cut_power(|name, number| {
                assert_eq!(name, "a");
                fate(number)
            });
            cut.cut_power(|_, _| unreachable!("nothing is unsynced"));
            for number in 0..3 {
                let expected = 1 + u8::from(is_new(number));
                assert_eq!(byte(&cut, "a", number * PAGE_BYTES), expected, "{subset:03b}");
            }
        }
        assert_eq!(byte(&storage, "a", 0), 2, "the moment itself is untouched");
    }

    /// The table of names and bytes: what was done before the cut, what is there after it when no
    /// page was written back.
    #[test]
    fn names_and_bytes_are_synced_apart() {
        type Script = fn(&mut MemoryStorage) -> io::Result<()>;
        type Row = (&'static str, Script, &'static [(&'static str, u8)]);
        #[rustfmt::skip]
        let rows: [Row; 9] = [
            ("nothing",                           |_| Ok(()), &[("a", 1)]),
            ("made, not named",                   |s| s.create("b", 9), &[("a", 1)]),
            ("made, synced, not named",           |s| { s.create("b", 9)?; s.write_at("b", 0, &[2])?; s.sync("b") }, &[("a", 1)]),
            ("made, named, bytes not synced",     |s| { s.create("b", 9)?; s.write_at("b", 0, &[2])?; s.sync_names() }, &[("a", 1), ("b", 0)]),
            ("made, named, synced",               |s| { s.create("b", 9)?; s.write_at("b", 0, &[2])?; s.sync_data("b")?; s.sync_names() }, &[("a", 1), ("b", 2)]),
            ("removed, not synced",               |s| s.remove("a"), &[("a", 1)]),
            ("removed, synced",                   |s| { s.remove("a")?; s.sync_names() }, &[]),
            ("renamed, not synced, bytes synced", |s| { s.rename("a", "b")?; s.write_at("b", 0, &[2])?; s.sync("b") }, &[("a", 2)]),
            ("replaced, synced, bytes not",       |s| { s.create("b", 9)?; s.write_at("b", 0, &[2])?; s.rename("b", "a")?; s.sync_names() }, &[("a", 0)]),
        ];
        for (what, script, expected) in rows {
            let mut storage = disk();
            script(&mut storage).unwrap();
            storage.cut_power(|_, _| PageFate::Old);
            let names = storage.list().unwrap();
            let found: Vec<_> =
                names.iter().map(|name| (name.as_str(), byte(&storage, name, 0))).collect();
            assert_eq!(found, expected, "{what}");
        }
    }

    /// The measured behaviour of a failed fdatasync: the cache shows the new bytes, later syncs
    /// succeed, the medium keeps the old ones.
    #[test]
    fn forgotten_pages_are_shown_and_never_written() {
        let mut storage = disk();
        storage.write_at("a", 0, &[2; 2 * PAGE]).unwrap();
        storage.forget_unsynced("a");
        storage.forget_unsynced("none");
        storage.sync("a").unwrap();
        assert_eq!(byte(&storage, "a", 0), 2);
        assert!(storage.unsynced_pages().is_empty());

        // A page written again is written whole; the other one is not.
        storage.write_at("a", PAGE_BYTES, &[3]).unwrap();
        storage.sync_data("a").unwrap();
        let shown = [0, PAGE_BYTES, PAGE_BYTES + 1].map(|at| byte(&storage, "a", at));
        assert_eq!(shown, [2, 3, 2]);
        let mut dropped = storage.clone();
        dropped.drop_clean_pages();
        storage.cut_power(|_, _| unreachable!("nothing is unsynced"));
        for storage in [storage, dropped] {
            let kept = [0, PAGE_BYTES, PAGE_BYTES + 1].map(|at| byte(&storage, "a", at));
            assert_eq!(kept, [1, 3, 2]);
        }
    }

    #[test]
    fn dropping_clean_pages_keeps_unsynced_ones() {
        let mut storage = disk();
        storage.create("b", 9).unwrap();
        storage.write_at("b", 0, &[2]).unwrap();
        storage.drop_clean_pages();
        assert_eq!([byte(&storage, "a", 0), byte(&storage, "b", 0)], [1, 2]);
        // Never written to the medium, so zeros come to light.
        storage.forget_unsynced("b");
        storage.drop_clean_pages();
        assert_eq!(byte(&storage, "b", 0), 0);
    }

    #[test]
    fn room_ends_and_comes_back() {
        let mut storage = MemoryStorage::new();
        storage.set_capacity(3 * PAGE_BYTES);
        assert_eq!(storage.free_bytes().unwrap(), 3 * PAGE_BYTES);
        storage.create("a", 1).unwrap();
        storage.create("empty", 0).unwrap();
        assert_eq!(storage.free_bytes().unwrap(), 2 * PAGE_BYTES);
        let full = storage.create("b", 2 * PAGE_BYTES + 1).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(full.raw_os_error(), Some(28), "ENOSPC");
        assert_eq!(storage.list().unwrap(), ["a", "empty"]);

        storage.create("b", 2 * PAGE_BYTES).unwrap();
        assert_eq!(storage.free_bytes().unwrap(), 0);
        assert!(storage.create("c", 1).is_err());
        storage.write_at("b", PAGE_BYTES, &[1; PAGE]).unwrap();
        storage.remove("a").unwrap();
        assert_eq!(storage.free_bytes().unwrap(), PAGE_BYTES);
        storage.create("c", 1).unwrap();

        storage.set_capacity(PAGE_BYTES);
        assert_eq!(storage.free_bytes().unwrap(), 0);
        storage.set_capacity(4 * PAGE_BYTES);
        storage.create("d", PAGE_BYTES).unwrap();
    }

    #[test]
    fn a_copy_of_a_file_has_another_id() {
        let [mut first, mut second] = [MemoryStorage::new(), MemoryStorage::new()];
        for storage in [&mut first, &mut second] {
            storage.create("a", 1).unwrap();
        }
        let id = first.id("a").unwrap();
        assert_ne!(second.id("a").unwrap(), id);
        assert_eq!(first.clone().id("a").unwrap(), id, "the same disk at a moment");
        let mut again = MemoryStorage::numbered(7);
        again.create("a", 1).unwrap();
        assert_eq!(again.id("a").unwrap(), Some(7 << 32 | 1));
        // Power does not change it, nor is it given out twice.
        first.sync_names().unwrap();
        first.cut_power(|_, _| PageFate::Old);
        assert_eq!(first.id("a").unwrap(), id);
        first.remove("a").unwrap();
        first.create("a", 1).unwrap();
        assert_ne!(first.id("a").unwrap(), id);
    }

    #[test]
    fn files_without_a_name_are_dropped() {
        let mut storage = disk();
        storage.create("b", 9).unwrap();
        storage.rename("b", "a").unwrap();
        assert_eq!(storage.files.len(), 2, "the medium still names the first");
        storage.sync_names().unwrap();
        assert_eq!(storage.files.len(), 1);
    }
}
